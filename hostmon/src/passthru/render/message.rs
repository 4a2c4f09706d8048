//! The application-report exchange.

use std::fmt::Write as _;

use vmpulse_store::{Message, MessagePage, MessageView};

use super::{Attribute, Xml};
use crate::passthru::request::MessageAnswer;

pub(super) fn answer(xml: &mut Xml, answer: &MessageAnswer) {
    match answer {
        MessageAnswer::Put(view) => {
            xml.within("putMsg", vec![], |xml| xml.empty("message", message_attributes(view)));
        }
        MessageAnswer::List(page) => list(xml, page),
        MessageAnswer::Got(message) => xml.within("getMsg", vec![], |xml| got(xml, message)),
        MessageAnswer::Acknowledged { applied, unreadable } => {
            let mut attributes = vec![("applied", u8::from(*applied).to_string())];
            attributes.extend(unreadable.clone().map(|reason| ("unreadable", reason)));
            xml.empty("ackMsg", attributes);
        }
        MessageAnswer::Synced(tags) => xml.within("syncMsg", vec![], |xml| {
            for tag in tags {
                xml.empty("transaction", vec![("tag", tag.to_string())]);
            }
        }),
        MessageAnswer::Removed(count) => xml.empty("removeAllMsg", vec![("removed", count.to_string())]),
    }
}

fn list(xml: &mut Xml, page: &MessagePage) {
    let next = page.next.map(|next| ("next", next.to_string()));
    xml.within("queryMsg", next.into_iter().collect(), |xml| {
        xml.line_end();
        for message in &page.messages {
            xml.empty("message", message_attributes(message));
            xml.line_end();
        }
    });
}

fn message_attributes(message: &MessageView) -> Vec<Attribute> {
    let mut attributes = vec![
        ("tag", message.tag.to_string()),
        ("sequence", message.sequence.to_string()),
        ("uuid", message.vm.to_string()),
        ("viosUuid", message.host_monitor.to_string()),
        ("state", message.state.to_string()),
        ("askedSec", message.asked_age.as_secs().to_string()),
    ];
    attributes.extend(message.arrived_age.map(|age| ("arrivedSec", age.as_secs().to_string())));
    attributes.extend(message.bytes.map(|bytes| ("bytes", bytes.to_string())));
    attributes
}

/// The report byte for byte: as text where XML hands a text on unchanged, else in hexadecimal digits.
fn got(xml: &mut Xml, message: &Message) {
    xml.within("message", message_attributes(&message.view), |xml| {
        let Some(payload) = &message.payload else { return };
        match std::str::from_utf8(payload).ok().filter(|text| text.chars().all(is_kept)) {
            Some(text) => {
                xml.within("payload", vec![("encoding", "text".to_owned())], |xml| xml.verbatim(text))
            }
            None => {
                let mut digits = String::with_capacity(payload.len().saturating_mul(2));
                for byte in payload {
                    let _cannot_fail = write!(digits, "{byte:02x}");
                }
                xml.within("payload", vec![("encoding", "hex".to_owned())], |xml| xml.verbatim(&digits));
            }
        }
    });
}

/// A carriage return would be read as a line end.
fn is_kept(c: char) -> bool {
    matches!(c, '\n' | '\t') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}
