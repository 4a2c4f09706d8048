//! Carrying requests out.

mod message;

use std::collections::BTreeSet;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{HostKey, Store, StoreError};

use super::request::{Code, QueryAnswer, QueryRequest, Refusal, Request, Response, Scope};

/// Carries `request` out, entirely or not at all. `local` are the host monitors of this machine.
///
/// # Errors
/// A [`Refusal`]; nothing was changed then.
pub fn execute(
    store: &mut dyn Store,
    request: &Request,
    local: &[HostMonitorId],
) -> Result<Response, Refusal> {
    match request {
        Request::AddHosts(hosts) => {
            store.hosts_add_grouped(hosts)?;
            Ok(Response::HostsAdded)
        }
        Request::AddVms { host, vms } => {
            store.vms_add(host, vms)?;
            Ok(Response::VmsAdded)
        }
        Request::StartVms(lists) => Ok(Response::VmsStarted(store.vms_start_listed(lists)?)),
        Request::StopVms(lists) => Ok(Response::VmsStopped(store.vms_stop(lists)?)),
        Request::RemoveVms(lists) => Ok(Response::VmsRemoved(store.vms_remove(lists)?)),
        Request::AddMonitors(hosts) => {
            store.host_monitors_add(hosts)?;
            Ok(Response::MonitorsAdded)
        }
        Request::RemoveMonitors(ids) => Ok(Response::MonitorsRemoved(store.host_monitors_remove(ids)?)),
        Request::RemoveHosts(hosts) => Ok(Response::HostsRemoved(store.hosts_remove(hosts)?)),
        Request::RemoveHostGroup(name) => Ok(Response::HostGroupRemoved(store.host_group_remove(name)?)),
        Request::Configure { scope, change } => {
            Ok(Response::Configured(store.host_monitors_configure(scope, change)?))
        }
        Request::QuickQuery => Ok(Response::QuickQuery(store.quick_query()?)),
        Request::NeedsAttention(Scope::Global) => Ok(Response::NeedsAttention(store.needs_attention()?)),
        Request::NeedsAttention(Scope::Local) => {
            let host = local_host(store, local)?;
            Ok(Response::NeedsAttention(store.needs_attention_of(&host)?))
        }
        Request::Acknowledge(tag) => {
            if store.acknowledge(*tag)? {
                return Ok(Response::Acknowledged);
            }
            let text =
                format!("hsTag {tag} was never given out by this store: take it from a needsAtt answer");
            Err(Refusal::new(Code::UnknownTag, text))
        }
        Request::Query(asked) => Ok(Response::Query(query(store, asked)?)),
        Request::Message(asked) => Ok(Response::Message(message::carry_out(store, asked)?)),
    }
}

fn query(store: &mut dyn Store, asked: &QueryRequest) -> Result<QueryAnswer, StoreError> {
    match asked {
        QueryRequest::NodeData { of, limit } => store.node_data(*of, *limit).map(QueryAnswer::NodeData),
        QueryRequest::Vms(wanted) => store.vms_page(wanted).map(QueryAnswer::Vms),
        QueryRequest::Homes(vms) => {
            let homes = store.vm_homes(vms)?;
            let known: BTreeSet<VmUuid> = homes.iter().map(|home| home.vm).collect();
            let unknown = vms.iter().filter(|vm| !known.contains(vm)).copied().collect();
            Ok(QueryAnswer::Homes { homes, unknown })
        }
        QueryRequest::Conflicts { limit } => store.conflicts(*limit).map(QueryAnswer::Conflicts),
    }
}

/// The one host that this machine's host monitors are registered with.
fn local_host(store: &mut dyn Store, local: &[HostMonitorId]) -> Result<HostKey, Refusal> {
    let hosts = store.quick_query()?.hosts.into_iter();
    let mut here = hosts.filter(|host| host.host_monitors.iter().any(|monitor| local.contains(&monitor.id)));
    match (here.next(), here.next()) {
        (Some(host), None) => Ok(host.key),
        (Some(one), Some(other)) => {
            let text = format!(
                "host monitors of this machine are registered with {} and with {}: register all with one host, or \
                 ask for GLOBAL_DATA",
                one.key, other.key
            );
            Err(Refusal::new(Code::UnknownHost, text))
        }
        (None, _) => {
            let text = "no host monitor of this machine is registered with a host: register it with \
                        VIO_HS_ADD_MS, or ask for GLOBAL_DATA";
            Err(Refusal::new(Code::UnknownHost, text))
        }
    }
}
