//! Questions for what is recorded.

use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{ANSWER_LIMIT, VmsOf, VmsWanted};

use super::element::Element;
use crate::passthru::request::{QueryRequest, Refusal, Request};

const HOST: [&str; 3] = ["machine_type", "model", "serial"];

pub(super) fn node_data(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let asked = request.optional_child("queryNodeData", &["max"])?;
    let of = match asked {
        Some(asked) => asked.optional_child("vios", &["uuid"])?.map(|vios| one_id(vios)).transpose()?,
        None => None,
    };
    let limit = asked.map_or(Ok(ANSWER_LIMIT), limit)?;
    Ok(Request::Query(QueryRequest::NodeData { of, limit }))
}

pub(super) fn conflicts(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let limit = match request.optional_child("queryConflict", &["max"])? {
        Some(asked) => asked.empty().and_then(|()| limit(asked))?,
        None => ANSWER_LIMIT,
    };
    Ok(Request::Query(QueryRequest::Conflicts { limit }))
}

pub(super) fn vms(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let Some(asked) = request.optional_child("queryVM", &["max", "after"])? else {
        let wanted = VmsWanted { of: VmsOf::All, after: None, limit: ANSWER_LIMIT };
        return Ok(Request::Query(QueryRequest::Vms(wanted)));
    };
    let of = asked.optional_child("vmList", &HOST)?.map_or(Ok(VmsOf::All), vms_of)?;
    let after = asked.attribute("after").map(|_| asked.id("after")).transpose()?;
    Ok(Request::Query(QueryRequest::Vms(VmsWanted { of, after, limit: limit(asked)? })))
}

/// A list of VMs, or a host.
fn vms_of(list: Element<'_, '_>) -> Result<VmsOf, Refusal> {
    let vms = vm_list(list)?;
    let of_host = HOST.iter().any(|name| list.attribute(name).is_some());
    match (of_host, vms.is_empty()) {
        (true, true) => Ok(VmsOf::Host(list.host_key()?)),
        (false, false) => Ok(VmsOf::List(vms)),
        (false, true) => Err(list.malformed("vmList must name a host or hold VMs")),
        (true, false) => Err(list.malformed("vmList must name a host or hold VMs, not both")),
    }
}

pub(super) fn homes(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let list = request.only_child("queryMSForVMs", &[])?.only_child("vmList", &[])?;
    let vms = vm_list(list)?;
    if vms.is_empty() {
        return Err(list.malformed("vm is missing in vmList"));
    }
    Ok(Request::Query(QueryRequest::Homes(vms)))
}

/// The VMs in an element, possibly none.
pub(super) fn vm_list(list: Element<'_, '_>) -> Result<Vec<VmUuid>, Refusal> {
    list.some_children("vm", &["uuid"])?.into_iter().map(one_id).collect()
}

/// The UUID of an element that has nothing else.
pub(super) fn one_id<T: std::str::FromStr>(element: Element<'_, '_>) -> Result<T, Refusal> {
    element.empty()?;
    element.id("uuid")
}

/// How many entries the answer may have.
pub(super) fn limit(asked: Element<'_, '_>) -> Result<u32, Refusal> {
    let Some(text) = asked.attribute("max") else { return Ok(ANSWER_LIMIT) };
    let most = text.parse().ok().filter(|most| (1..=ANSWER_LIMIT).contains(most));
    most.ok_or_else(|| asked.malformed(format!("max must be a number from 1 to {ANSWER_LIMIT}")))
}
