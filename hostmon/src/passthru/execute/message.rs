//! The application-report exchange: what the controller does, step by step.

use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{ArrivedReport, AttentionTag, Message, MessageState, MessageTag, Store, report};

use crate::passthru::request::{Code, MessageAnswer, MessageRequest, Refusal};

pub(super) fn carry_out(store: &mut dyn Store, asked: &MessageRequest) -> Result<MessageAnswer, Refusal> {
    match asked {
        MessageRequest::Put { vm, acknowledge } => put(store, *vm, *acknowledge),
        MessageRequest::List(wanted) => Ok(MessageAnswer::List(store.messages(wanted)?)),
        MessageRequest::Get(tag) => Ok(MessageAnswer::Got(arrived(store, *tag)?)),
        MessageRequest::Acknowledge(tag) => acknowledge(store, *tag),
        MessageRequest::Sync(of) => Ok(MessageAnswer::Synced(store.messages_sync(*of)?)),
        MessageRequest::Remove(of) => Ok(MessageAnswer::Removed(store.messages_remove(of.as_deref())?)),
    }
}

fn put(
    store: &mut dyn Store,
    vm: VmUuid,
    acknowledge: Option<AttentionTag>,
) -> Result<MessageAnswer, Refusal> {
    store.message_put(vm, acknowledge)?.map(MessageAnswer::Put).ok_or_else(|| {
        let text = format!("no path of VM {vm} beats that a message could take: ask again when one does");
        Refusal::new(Code::NoPath, text)
    })
}

/// The exchange, which must not be waiting for its report.
fn arrived(store: &mut dyn Store, tag: MessageTag) -> Result<Message, Refusal> {
    let message = store.message(tag)?.ok_or_else(|| {
        let text = format!("there is no exchange {tag}: it is over, was removed, or was asked for anew");
        Refusal::new(Code::UnknownMessage, text)
    })?;
    match message.view.state {
        MessageState::Arrived | MessageState::Taken => Ok(message),
        MessageState::Asked => {
            let text = format!("the report of exchange {tag} is not there yet: ask with VIO_HS_QUERY_MSG");
            Err(Refusal::new(Code::NotArrived, text))
        }
    }
}

/// One that cannot be read is taken like any other, as the controller does: otherwise it would be repeated for ever.
fn acknowledge(store: &mut dyn Store, tag: MessageTag) -> Result<MessageAnswer, Refusal> {
    let Message { view, payload } = arrived(store, tag)?;
    let Some(payload) = payload else {
        return Ok(MessageAnswer::Acknowledged { applied: false, unreadable: None });
    };
    let (content, unreadable) = match report::parse(&payload, view.vm) {
        Ok(content) => (Some(content), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let report = ArrivedReport { tag, vm: view.vm, host_monitor: view.host_monitor, payload };
    let applied = store.report_apply(&report, content.as_ref())?;
    Ok(MessageAnswer::Acknowledged { applied, unreadable })
}
