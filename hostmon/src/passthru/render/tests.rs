use std::time::Duration;

use super::*;
use crate::passthru::Code;
use vmpulse_store::{
    Discovery, HostStatus, MonitorMode, NodeState, REASON_NODE_SHUTDOWN, StoreTime, VmState,
};

fn key(machine_type: &str, model: &str, serial: &str) -> HostKey {
    HostKey { machine_type: machine_type.into(), model: model.into(), serial: serial.into() }
}

/// What is inside the envelope.
fn inside(response: &Response) -> String {
    let text = render(response);
    let inside = text.strip_prefix("<?xml version=\"1.0\"?>\n<VIO><Response>").unwrap();
    inside.strip_suffix("</Response></VIO>\n").unwrap().to_owned()
}

fn monitor(uuid: &str, state: NodeState, age_s: Option<u64>) -> HostMonitorStatus {
    HostMonitorStatus {
        id: uuid.parse().unwrap(),
        trunk: Some("eth1".into()),
        mac: None,
        state,
        reason: if state == NodeState::Up { 0 } else { REASON_NODE_SHUTDOWN },
        mode: MonitorMode::Global,
        responsive: state == NodeState::Up,
        heartbeat_age: age_s.map(Duration::from_secs),
        trunk_heard: true,
        has_data: state != NodeState::Up,
        sync_message: false,
        versions: None,
    }
}

#[test]
fn a_quick_query_as_documented() {
    let host_monitors = vec![
        monitor("5ac3e0dc-13fc-4221-9617-8ef61c4cdd83", NodeState::Up, Some(1)),
        monitor("315ce56b-9ba0-46a1-b4bc-da6108574e7e", NodeState::Down, Some(206_498)),
    ];
    let hosts = vec![HostStatus { key: key("8286", "42A", "21E0B2V"), host_monitors }];
    let expected = r#"<quickQuery><viosStatList><viosStatus machine_type="8286" model="42A" serial="21E0B2V">
<viosStat uuid="5ac3e0dc-13fc-4221-9617-8ef61c4cdd83" state="UP" hmResponsive="1" hmResponseSec="1" hasData="0" reason="0x00000000" syncMsg="0"/>
<viosStat uuid="315ce56b-9ba0-46a1-b4bc-da6108574e7e" state="DOWN" hmResponsive="0" hmResponseSec="206498" hasData="1" reason="0x00000040" syncMsg="0"/>
</viosStatus></viosStatList></quickQuery>"#;
    assert_eq!(inside(&Response::QuickQuery(QuickQuery { now: StoreTime(0), hosts })), expected);
}

fn attention(uuid: &str) -> VmAttention {
    VmAttention {
        uuid: uuid.into(),
        state: VmState::Started,
        doorbell: 0,
        missed: None,
        state_changed: false,
        missed_entries: vec![],
        version_conflict: false,
        fenced: false,
        discovery: None,
    }
}

#[test]
fn needs_attention_as_documented() {
    let missed = MissedHeartbeats {
        youngest: Duration::from_millis(42_007),
        oldest: Duration::from_secs(3600),
        excused: Duration::ZERO,
        common: false,
    };
    let silent = VmAttention { missed: Some(missed), ..attention("61be20f0-09a8-4753-b5e5-564f8a545ed5") };
    let ringing = VmAttention { doorbell: 0x28, ..attention("4e395e99-fffb-4345-8067-2d5296ba7d91") };
    let stranger = VmAttention {
        state: VmState::Unknown,
        discovery: Some(Discovery::Unmanaged),
        ..attention("57275f1e-3680-4eef-945a-fe7670500310")
    };
    let all = VmAttention {
        missed: Some(MissedHeartbeats { common: true, excused: Duration::from_secs(30), ..missed }),
        doorbell: 2,
        state_changed: true,
        ..attention("5ac3e0dc-13fc-4221-9617-8ef61c4cdd83")
    };
    let hosts = vec![
        HostAttention { key: key("8408", "E8E", "212424W"), vms: vec![silent, ringing, stranger, all] },
        HostAttention { key: key("8408", "E8E", "well"), vms: vec![] },
    ];
    let answer = NeedsAttention { now: StoreTime(0), tag: Some(-3_026_381_694_404_356_594), hosts };
    let expected = r#"<needsAtt hsTag="-3026381694404356594"><vmStatList><vmList machine_type="8408" model="E8E" serial="212424W">
<vmStat uuid="61be20f0-09a8-4753-b5e5-564f8a545ed5"><VM state="STARTED" missedHb="42" missedHbMax="3600" missedHbMs="42007"></VM></vmStat>
<vmStat uuid="4e395e99-fffb-4345-8067-2d5296ba7d91"><VM state="STARTED" shortMsg="0x28"></VM></vmStat>
<vmStat uuid="57275f1e-3680-4eef-945a-fe7670500310"><VM state="UNKNOWN"><discoveryInfo type="UNMANAGED"/></VM></vmStat>
<vmStat uuid="5ac3e0dc-13fc-4221-9617-8ef61c4cdd83"><VM state="STARTED" missedHb="42" missedHbMax="3600" missedHbMs="42007" missedHbAnnouncedMs="30000" common="1" shortMsg="0x2" stateChg="1"></VM></vmStat>
</vmList><vmList machine_type="8408" model="E8E" serial="well">
</vmList></vmStatList></needsAtt>"#;
    assert_eq!(inside(&Response::NeedsAttention(answer)), expected);
}

#[test]
fn short_answers() {
    assert_eq!(inside(&Response::HostsAdded), "<addMS/>");
    assert_eq!(inside(&Response::VmsAdded), "<addVM/>");
    let started = Response::VmsStarted(vec![3, 4]);
    assert_eq!(inside(&started), r#"<startVM><transaction tag="3"/><transaction tag="4"/></startVM>"#);
    assert_eq!(inside(&Response::Acknowledged), "<acknowledge/>");
    let error = Response::Error(Refusal::new(Code::Malformed, "a < b & \"c\""));
    assert_eq!(inside(&error), r#"<Error code="MALFORMED">a &lt; b &amp; &quot;c&quot;</Error>"#);
    let never = vec![monitor("5ac3e0dc-13fc-4221-9617-8ef61c4cdd83", NodeState::Up, None)];
    let hosts = vec![HostStatus { key: key("a", "b", "c"), host_monitors: never }];
    let text = inside(&Response::QuickQuery(QuickQuery { now: StoreTime(0), hosts }));
    assert!(!text.contains("hmResponseSec"), "{text}");
}

#[test]
fn guests_texts_cannot_break_out() {
    let hostile = "\"/><x a='&\u{0}\u{1b}[2J\u{ffff}\n";
    let vms = vec![VmAttention { discovery: Some(Discovery::CannotManage), ..attention(hostile) }];
    let answer = NeedsAttention {
        now: StoreTime(0),
        tag: None,
        hosts: vec![HostAttention { key: key(hostile, "b", "c"), vms }],
    };
    let text = render(&Response::NeedsAttention(answer));
    let document = roxmltree::Document::parse(&text).unwrap();
    let vm = document.descendants().find(|node| node.has_tag_name("vmStat")).unwrap();
    let replaced = "\"/><x a='&\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}";
    assert_eq!(vm.attribute("uuid"), Some(replaced));
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("x")).count(), 0);
}

#[test]
fn what_was_stopped_and_taken_out() {
    let uuid = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
    let removed = |transactions: Vec<i64>, unknown: &[&str]| {
        let unknown = unknown.iter().map(|uuid| uuid.parse().unwrap()).collect();
        Response::VmsRemoved(vmpulse_store::VmsRemoved { transactions, unknown })
    };
    let unknown = format!("<unknownVM uuid=\"{uuid}\"/>");
    let odd = key("a", "b & c", "d");
    let host = "machine_type=\"a\" model=\"b &amp; c\" serial=\"d\"";
    for (response, expected) in [
        (
            Response::VmsStopped(vec![3, 4]),
            "<stopVM><transaction tag=\"3\"/><transaction tag=\"4\"/></stopVM>".to_owned(),
        ),
        (removed(vec![], &[]), "<removeVM/>".to_owned()),
        (removed(vec![7], &[uuid]), format!("<removeVM><transaction tag=\"7\"/>{unknown}</removeVM>")),
        (Response::MonitorsAdded, "<addVIOS/>".to_owned()),
        (Response::MonitorsRemoved(vec![]), "<removeVIOS/>".to_owned()),
        (
            Response::MonitorsRemoved(vec![uuid.parse().unwrap()]),
            format!("<removeVIOS><unknownVIOS uuid=\"{uuid}\"/></removeVIOS>"),
        ),
        (Response::HostsRemoved(vec![odd.clone()]), format!("<removeMS><unknownMS {host}/></removeMS>")),
        (
            Response::HostGroupRemoved(vec![odd]),
            format!("<removeHostGroup><removedMS {host}/></removeHostGroup>"),
        ),
        (Response::Configured(12), "<configureHM version=\"12\"/>".to_owned()),
    ] {
        assert_eq!(inside(&response), expected);
    }
}
