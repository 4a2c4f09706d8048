//! What payloads say.

use serde_json::Value;
use vmpulse_protocol::id::{HostMonitorId, Incarnation};
use vmpulse_protocol::message::{Doorbell, HmSyn, Message, Shutdown, VmmSyn};
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::wire::Version;

use crate::files::{is_authentication, list, number, text, vectors};

/// The message that a vector describes; `None` if it describes one that is not understood.
fn message(vector: &Value) -> Option<Message<'_>> {
    let arguments = &vector["arguments"];
    let tag = || text(arguments, "tag").parse().unwrap();
    let u32_of = |key| u32::try_from(arguments[key].as_u64().unwrap()).unwrap();
    Some(match vector["kind"].as_str()? {
        "heartbeat" => Message::Heartbeat { guardian: arguments["guardian"] == true },
        "start" => Message::StartHeartbeat { interval_ms: u32_of("interval_ms") },
        "stop" => Message::StopHeartbeat,
        "shutdown" if arguments["what"] == "os" => Message::Shutdown(Shutdown::Os),
        "shutdown" => Message::Shutdown(Shutdown::Daemon),
        "suspend" => Message::Suspend,
        "resume" => Message::Resume,
        "dying" => Message::Dying { reason: text(arguments, "reason") },
        "doorbell" => Message::Doorbell(Doorbell(u32_of("bits"))),
        "report_request" => Message::ReportRequest { tag: tag(), what: text(arguments, "what") },
        "report" => Message::Report { tag: tag(), xml: text(arguments, "xml").as_bytes() },
        "report_taken" => Message::ReportTaken { tag: tag() },
        "report_clear" => Message::ReportClear { tag: tag() },
        other => panic!("no kind of message {other:?}"),
    })
}

/// [M-1] [M-2] [M-5] [M-10] [M-12] [N-2]
#[test]
fn messages_are_understood_or_not() {
    for vector in vectors("messages") {
        let payload = text(&vector, "text").as_bytes();
        let message = message(&vector);
        assert_eq!(Message::parse(payload), message, "{vector}");
        if let Some(message) = message {
            assert_eq!(Value::from(message.is_urgent()), vector["urgent"], "{vector}");
            assert_eq!(Value::from(message.encode() == payload), vector["canonical"], "{vector}");
        }
    }
}

/// [Q-1] [Q-4] [M-2] [N-2]
#[test]
fn announced_silences_are_understood_or_not() {
    for vector in vectors("quiet") {
        let payload = text(&vector, "text").as_bytes();
        let ms = || u32::try_from(number(&vector, "ms")).unwrap();
        let message = match vector["kind"].as_str() {
            Some("quiet") => Some(Message::Quiet { ms: ms(), reason: text(&vector, "reason") }),
            Some("quiet_ok") => Some(Message::QuietOk { ms: ms() }),
            other => other.map(|kind| panic!("no kind of message {kind:?}")),
        };
        assert_eq!(Message::parse(payload), message, "{vector}");
        if let Some(message) = message {
            assert_eq!(message.is_urgent(), vector["kind"] == "quiet", "{vector}");
            assert_eq!(Value::from(message.encode() == payload), vector["canonical"], "{vector}");
        }
    }
}

/// [H-2]
#[test]
fn identifiers_are_checked() {
    for vector in vectors("hello") {
        let identifier = text(&vector, "text");
        let read = Incarnation::from_payload(identifier.as_bytes());
        let expected = (vector["valid"] == true).then_some(identifier);
        assert_eq!(read.as_ref().map(Incarnation::as_str), expected, "{vector}");
    }
}

/// [S-2] [S-3] [S-5] [S-8]
#[test]
fn syns_of_vmms_are_read() {
    for vector in vectors("syn").iter().filter(|vector| vector["from"] == "vmm") {
        let payload = text(vector, "text").as_bytes();
        let read = VmmSyn::parse(payload);
        if vector["malformed"] == true {
            assert!(read.is_err(), "{vector}");
            continue;
        }
        let syn = read.unwrap_or_else(|_| panic!("{vector}"));
        let mark = syn.mark.map(|mark| mark.to_string());
        assert_eq!(
            (syn.uuid.as_str(), syn.os_type.as_str()),
            (text(vector, "uuid"), text(vector, "ostype")),
            "{vector}"
        );
        assert_eq!(syn.lower, version(&vector["lower"]), "{vector}");
        assert_eq!(syn.upper, version(&vector["upper"]), "{vector}");
        assert_eq!(mark.as_deref(), vector["n"].as_str(), "{vector}");
        if vector["offer"].is_null() && !is_authentication(vector) {
            assert_eq!(Value::from(syn.encode() == payload), vector["canonical"], "{vector}");
        }
    }
}

/// [S-2] [S-4] [S-7] [S-10]
#[test]
fn syns_of_host_monitors_are_read() {
    for vector in vectors("syn").iter().filter(|vector| vector["from"] == "hm") {
        let payload = text(vector, "text").as_bytes();
        let read = HmSyn::parse(payload);
        if vector["malformed"] == true {
            assert!(read.is_err(), "{vector}");
            continue;
        }
        let syn = read.unwrap_or_else(|_| panic!("{vector}"));
        if vector["offer"].is_null() {
            assert_eq!(Value::from(syn.encode() == payload), vector["canonical"], "{vector}");
        }
        let expected: HostMonitorId = text(vector, "uuid").parse().unwrap();
        match syn {
            HmSyn::Accepted { uuid, running, mark, .. } => {
                let mark = mark.map(|mark| mark.to_string());
                assert_eq!((uuid, running), (expected, version(&vector["running"])), "{vector}");
                assert_eq!(mark.as_deref(), vector["n"].as_str(), "{vector}");
            }
            HmSyn::Conflict { uuid, lower, upper } => {
                let range = list(vector, "conflict");
                assert_eq!(
                    (uuid, lower, upper),
                    (expected, version(&range[0]), version(&range[1])),
                    "{vector}"
                );
            }
        }
    }
}

/// [S-8] [S-9] [S-10]
#[test]
fn the_running_version_is_the_highest_in_both_ranges() {
    for vector in vectors("versions") {
        let (vmm, hm) = (list(&vector, "vmm"), list(&vector, "hm"));
        let uuid = HostMonitorId::from_bytes([7; 16]);
        let identity = HmIdentity { uuid, lower: version(&hm[0]), upper: version(&hm[1]), mtu: 1500 };
        let payload =
            format!("verVmmLower={}:verVmmUpper={}", vmm[0].as_str().unwrap(), vmm[1].as_str().unwrap());
        let running = identity.common_version(&VmmSyn::parse(payload.as_bytes()).unwrap());
        assert_eq!(
            running.map(|running| running.to_string()).as_deref(),
            vector["running"].as_str(),
            "{vector}"
        );
    }
}

fn version(text: &Value) -> Version {
    text.as_str().unwrap().parse().unwrap()
}
