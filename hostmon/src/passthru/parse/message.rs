//! The application-report exchange.

use vmpulse_store::{ANSWER_LIMIT, MessageTag, MessagesWanted};

use super::element::Element;
use super::query::{limit, one_id, vm_list};
use crate::passthru::request::{MessageRequest, Refusal, Request};

/// Asks for the report of the applications; there is no other.
const REPORT: &str = "0x2";

pub(super) fn put(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let put = request.only_child("putMsg", &["hsTag"])?;
    let vm = put.only_child("vm", &["uuid"])?;
    let command = vm.only_child("Command", &["code"])?;
    command.empty()?;
    let code = command.required("code")?;
    if code != REPORT {
        return Err(command.malformed(format!("there is no command {code:?}: {REPORT} asks for the report")));
    }
    let acknowledge = put.attribute("hsTag").map(|_| number(put, "hsTag")).transpose()?;
    Ok(Request::Message(MessageRequest::Put { vm: vm.id("uuid")?, acknowledge }))
}

pub(super) fn list(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let wanted = match request.optional_child("queryMsg", &["max", "after"])? {
        Some(asked) => MessagesWanted {
            vms: vm_list(asked)?,
            after: asked.attribute("after").map(|_| number(asked, "after")).transpose()?,
            limit: limit(asked)?,
        },
        None => MessagesWanted { vms: Vec::new(), after: None, limit: ANSWER_LIMIT },
    };
    Ok(Request::Message(MessageRequest::List(wanted)))
}

pub(super) fn get(request: Element<'_, '_>) -> Result<Request, Refusal> {
    Ok(Request::Message(MessageRequest::Get(tag_of(request.only_child("getMsg", &["tag"])?)?)))
}

pub(super) fn acknowledge(request: Element<'_, '_>) -> Result<Request, Refusal> {
    Ok(Request::Message(MessageRequest::Acknowledge(tag_of(request.only_child("ackMsg", &["tag"])?)?)))
}

pub(super) fn sync(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let of = match request.optional_child("syncMsg", &[])? {
        Some(asked) => asked.optional_child("vios", &["uuid"])?.map(one_id).transpose()?,
        None => None,
    };
    Ok(Request::Message(MessageRequest::Sync(of)))
}

pub(super) fn remove(request: Element<'_, '_>) -> Result<Request, Refusal> {
    let vms = request.optional_child("removeAllMsg", &[])?.map(vm_list).transpose()?.unwrap_or_default();
    Ok(Request::Message(MessageRequest::Remove((!vms.is_empty()).then_some(vms))))
}

fn tag_of(asked: Element<'_, '_>) -> Result<MessageTag, Refusal> {
    asked.empty()?;
    number(asked, "tag")
}

fn number(element: Element<'_, '_>, name: &str) -> Result<i64, Refusal> {
    let text = element.required(name)?;
    text.parse().map_err(|_| element.malformed(format!("{name} must be a number, as in an answer")))
}
