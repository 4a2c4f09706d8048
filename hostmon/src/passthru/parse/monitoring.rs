//! What of registering and monitoring is not `ADD_MS`, `ADD_VM` and `START_VM`: stopping, removing, host monitors one by
//! one, host groups.

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{HostKey, HostRegistration, VmList};

use super::element::Element;
use super::host_monitor;
use crate::passthru::request::{Refusal, Request};

const HOST_KEY: [&str; 3] = ["machine_type", "model", "serial"];

/// VMs by lists, which may name the host that they must be registered on.
pub(super) fn vm_lists(lists: Element<'_, '_>) -> Result<Vec<VmList>, Refusal> {
    let lists = lists.children("vmList", &HOST_KEY)?.into_iter().map(|list| {
        let named = HOST_KEY.iter().any(|name| list.attribute(name).is_some());
        let host = if named { Some(list.host_key()?) } else { None };
        let vms = list.children("vm", &["uuid"])?.into_iter().map(|vm| {
            vm.empty()?;
            vm.id("uuid")
        });
        Ok(VmList { host, vms: vms.collect::<Result<_, Refusal>>()? })
    });
    lists.collect()
}

pub(super) fn add_monitors(add: Element<'_, '_>) -> Result<Request, Refusal> {
    let lists = add.children("viosList", &HOST_KEY)?.into_iter().map(|list| {
        let monitors = list.children("vios", &["uuid", "isHM", "partNum", "macAddr"])?;
        let mut host_monitors = Vec::new();
        for monitor in monitors {
            host_monitors.extend(host_monitor(monitor)?);
        }
        Ok(HostRegistration { key: list.host_key()?, host_monitors })
    });
    Ok(Request::AddMonitors(lists.collect::<Result<_, Refusal>>()?))
}

pub(super) fn remove_monitors(remove: Element<'_, '_>) -> Result<Request, Refusal> {
    let monitors = remove.children("vios", &["uuid"])?.into_iter().map(|vios| {
        vios.empty()?;
        vios.id::<HostMonitorId>("uuid")
    });
    Ok(Request::RemoveMonitors(monitors.collect::<Result<_, Refusal>>()?))
}

pub(super) fn remove_hosts(remove: Element<'_, '_>) -> Result<Request, Refusal> {
    let hosts = remove.children("viosList", &HOST_KEY)?.into_iter().map(|list| {
        list.empty()?;
        list.host_key()
    });
    Ok(Request::RemoveHosts(hosts.collect::<Result<Vec<HostKey>, Refusal>>()?))
}

pub(super) fn remove_host_group(remove: Element<'_, '_>) -> Result<Request, Refusal> {
    remove.empty()?;
    let name = remove.printable("name", remove.required("name")?)?;
    Ok(Request::RemoveHostGroup(name.to_owned()))
}
