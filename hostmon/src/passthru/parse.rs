//! Reading a request. Strict: an element or attribute that is not known is refused, so that a typing error is not
//! taken for a wish not expressed. Any namespace is accepted.

mod configure;
mod element;
mod message;
mod monitoring;
mod query;

use roxmltree::{Document, ParsingOptions};
use vmpulse_store::{GroupedHost, HostMonitorRegistration, HostRegistration, VmRegistration};

use super::request::{Code, Refusal, Request, Scope};
use element::Element;

/// Longest request: some 10,000 VMs.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Most nodes of a request; a well-meant one of the greatest length has fewer.
const MAX_NODES: u32 = 100_000;

/// The request in `input`.
///
/// # Errors
/// A [`Refusal`] that names the place.
pub fn parse(input: &[u8]) -> Result<Request, Refusal> {
    if input.len() > MAX_REQUEST_BYTES {
        let text = format!("the request is longer than {MAX_REQUEST_BYTES} bytes: send it in parts");
        return Err(Refusal::new(Code::TooLarge, text));
    }
    let text = std::str::from_utf8(input)
        .map_err(|error| Refusal::new(Code::Malformed, format!("the request is not UTF-8 text: {error}")))?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| Refusal::new(Code::Malformed, format!("the request is not well-formed: {error}")))?;
    let root = Element::root(&document, "VIO", &["version", "author", "title"])?;
    request(root.only_child("Request", &["action_str"])?)
}

fn request(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let action = request.required("action_str")?;
    match action {
        "VIO_HS_ADD_MS" => add_hosts(request.only_child("addMS", &[])?),
        "VIO_HS_ADD_VM" => add_vms(request.only_child("addVM", &[])?),
        "VIO_HS_START_VM" => start_vms(request.only_child("startVM", &[])?),
        "VIO_HS_QUICK_QUERY" => request.empty().map(|()| Request::QuickQuery),
        "VIO_HS_NEEDS_ATTENTION" => needs_attention(request),
        "VIO_HS_STOP_VM" => Ok(Request::StopVms(monitoring::vm_lists(request.only_child("stopVM", &[])?)?)),
        "VIO_HS_REMOVE_VM" => {
            Ok(Request::RemoveVms(monitoring::vm_lists(request.only_child("removeVM", &[])?)?))
        }
        "VIO_HS_ADD_VIOS" => monitoring::add_monitors(request.only_child("addVIOS", &[])?),
        "VIO_HS_REMOVE_VIOS" => monitoring::remove_monitors(request.only_child("removeVIOS", &[])?),
        "VIO_HS_REMOVE_MS" => monitoring::remove_hosts(request.only_child("removeMS", &[])?),
        "VIO_HS_REMOVE_HOST_GROUP" => {
            monitoring::remove_host_group(request.only_child("removeHostGroup", &["name"])?)
        }
        "VIO_HS_CONFIGURE_HM" => {
            configure::configure(request.only_child("configureHM", &configure::ATTRIBUTES)?)
        }
        "VIO_HS_ACKNOWLEDGE" => acknowledge(request.only_child("acknowledge", &["hsTag"])?),
        "VIO_HS_QUERY_NODE_DATA" => query::node_data(request),
        "VIO_HS_QUERY_VM" => query::vms(request),
        "VIO_HS_QUERY_MS_FOR_VMS" => query::homes(request),
        "VIO_HS_QUERY_CONFLICT" => query::conflicts(request),
        "VIO_HS_PUT_MSG" => message::put(request),
        "VIO_HS_QUERY_MSG" => message::list(request),
        "VIO_HS_GET_MSG" => message::get(request),
        "VIO_HS_ACK_MSG" => message::acknowledge(request),
        "VIO_HS_SYNC_MSG" => message::sync(request),
        "VIO_HS_REMOVE_ALL_MSG" => message::remove(request),
        _ => Err(request.refuse(Code::UnknownAction, format!("there is no action {action:?}"))),
    }
}

fn add_hosts(add: Element<'_, '_>) -> Result<Request, Refusal> {
    let lists = add.children("viosList", &["machine_type", "model", "serial", "hostGroup"])?;
    let hosts = lists.into_iter().map(|list| {
        let monitors = list.some_children("vios", &["uuid", "isHM", "partNum", "macAddr"])?;
        let mut host_monitors = Vec::new();
        for monitor in monitors {
            host_monitors.extend(host_monitor(monitor)?);
        }
        let host = HostRegistration { key: list.host_key()?, host_monitors };
        let group = list.attribute("hostGroup").map(|name| list.printable("hostGroup", name)).transpose()?;
        Ok(GroupedHost { host, group: group.map(str::to_owned) })
    });
    Ok(Request::AddHosts(hosts.collect::<Result<_, Refusal>>()?))
}

/// `None` for a node that has no host monitor (`isHM="0"`): there is nothing to know of it.
fn host_monitor(vios: Element<'_, '_>) -> Result<Option<HostMonitorRegistration>, Refusal> {
    vios.empty()?;
    let id = vios.id("uuid")?;
    let part_number = match vios.attribute("partNum") {
        Some(text) => text.parse().map_err(|_| vios.malformed("partNum must be a number"))?,
        None => 0,
    };
    let mac = vios.attribute("macAddr").map(|text| mac(vios, text)).transpose()?;
    match vios.attribute("isHM").unwrap_or("1") {
        "1" => Ok(Some(HostMonitorRegistration { id, part_number, mac })),
        "0" => Ok(None),
        _ => Err(vios.malformed("isHM must be 0 or 1")),
    }
}

/// With colons or without, as `02005e000001`; kept with colons.
fn mac(vios: Element<'_, '_>, text: &str) -> Result<String, Refusal> {
    let digits: Vec<char> = text.chars().filter(|c| *c != ':').collect();
    let separated = text.len() == 17 && text.split(':').all(|pair| pair.len() == 2);
    if digits.len() != 12 || !digits.iter().all(char::is_ascii_hexdigit) || !(text.len() == 12 || separated) {
        return Err(vios.malformed("macAddr must be 12 hexadecimal digits, with or without colons"));
    }
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    Ok(pairs.join(":").to_lowercase())
}

fn add_vms(add: Element<'_, '_>) -> Result<Request, Refusal> {
    let list = add.only_child("vmList", &["machine_type", "model", "serial"])?;
    let vms = list.children("vm", &["uuid", "name"])?.into_iter().map(|vm| {
        vm.empty()?;
        let name = vm.attribute("name").map(|name| vm.printable("name", name)).transpose()?;
        Ok(VmRegistration { uuid: vm.id("uuid")?, name: name.map(str::to_owned) })
    });
    Ok(Request::AddVms { host: list.host_key()?, vms: vms.collect::<Result<_, Refusal>>()? })
}

fn start_vms(start: Element<'_, '_>) -> Result<Request, Refusal> {
    Ok(Request::StartVms(monitoring::vm_lists(start)?))
}

fn needs_attention(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let Some(asked) = request.optional_child("needsAtt", &["dataType"])? else {
        return Ok(Request::NeedsAttention(Scope::Global));
    };
    asked.empty()?;
    match asked.attribute("dataType").unwrap_or("GLOBAL_DATA") {
        "GLOBAL_DATA" => Ok(Request::NeedsAttention(Scope::Global)),
        "LOCAL_DATA" => Ok(Request::NeedsAttention(Scope::Local)),
        _ => Err(asked.malformed("dataType must be GLOBAL_DATA or LOCAL_DATA")),
    }
}

fn acknowledge(acknowledge: Element<'_, '_>) -> Result<Request, Refusal> {
    acknowledge.empty()?;
    let tag = acknowledge.required("hsTag")?;
    let tag =
        tag.parse().map_err(|_| acknowledge.malformed("hsTag must be a number, as in a needsAtt answer"))?;
    Ok(Request::Acknowledge(tag))
}

#[cfg(test)]
mod tests;
