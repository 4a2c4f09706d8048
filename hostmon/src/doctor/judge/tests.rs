//! Each finding from the facts that make it, and none from those of a host that is well.

use std::time::Duration;

use super::*;
use crate::doctor::{ClockFacts, DaemonFacts, KeyFacts, Probe, Reflected, StoreFacts, TrunkFacts};
use crate::endpoint::metrics::tests_status;
use crate::status::Status;
use crate::trunk_setup::plan::{DEFAULT_LIMITS, TrunkPlan};
use crate::trunk_setup::rules;
use crate::trunk_setup::seen::{Links, Table};
use crate::trunk_setup::steps::Observed;
use vmpulse_store::MonitorMode;

/// Every capability.
const ALL: u64 = u64::MAX;
const NET_ADMIN: u64 = 1 << 12;

fn plan() -> TrunkPlan {
    TrunkPlan::new("trunkA".parse().unwrap(), 0x88B5)
}

fn side(name: &str, mtu: u32, more: &str) -> String {
    format!(
        r#"{{"ifname":"{name}","flags":["NOARP","UP"],"mtu":{mtu},"link_type":"ether","address":"02:00:00:00:00:01",
        "ifalias":"vmpulse trunk trunkA","inet6_addr_gen_mode":"none","linkinfo":{{"info_kind":"veth"{more}}}"#
    )
}

/// A host with these adapters, and the table of a trunk's plan.
fn observed(links: &[String], addresses: &str) -> Observed {
    let links = Links::parse(&format!("[{}]", links.join("},") + "}"), addresses).unwrap();
    let mark = rules::mark(&plan(), &DEFAULT_LIMITS, 1);
    let chains = ["police".to_owned(), mark.clone()].into();
    Observed { near: links, far: None, table: Some(Table { mark: Some(mark), chains }), recorded: true }
}

fn both() -> [String; 2] {
    [side("trunkA", 1500, ""), side("trunkA-hm", 1500, "")]
}

fn status() -> Status {
    let mut status = Status { mode: MonitorMode::Global, store_ok: true, kernel_drops: 0, ..tests_status() };
    status.policing.on = true;
    status
}

fn answers(status: Status, capabilities: u64) -> Option<DaemonFacts> {
    Some(DaemonFacts::Answers { status: Box::new(status), capabilities: Some(capabilities) })
}

fn trunk() -> TrunkFacts {
    TrunkFacts {
        name: "trunkA".to_owned(),
        plan: Some(plan()),
        observed: Some(Ok(observed(&both(), ""))),
        monitor_adapter: "trunkA-hm".to_owned(),
        guests_adapter: Some("trunkA".to_owned()),
        probe: Some(Ok(Probe {
            sent: 4,
            left: 4,
            reflected: Vec::new(),
            waited: Duration::from_millis(500),
        })),
        lost_frames: Some(0),
        daemon: answers(status(), ALL),
        settings: Some((0x88B5, None)),
        wants: (false, false),
        receive_buffer_bytes: 8 << 20,
    }
}

fn well() -> Facts {
    Facts {
        capabilities: ALL,
        clock: Some(ClockFacts { synchronised: Some(true), stepped_us: 400, stamps_off_us: Some(900) }),
        store: Some(StoreFacts::Answers { clock_off_us: 0 }),
        keys: Some(KeyFacts { directory: "/etc/vmpulse/keys".to_owned(), ..KeyFacts::default() }),
        backlog_drops: 0,
        orphan_tables: Vec::new(),
        trunks: vec![trunk()],
    }
}

/// What is found when a host that is well is changed like this: its names, and that each says everything.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = well();
    change(&mut facts);
    let findings = judge(&facts);
    for one in &findings {
        let texts = [&one.place, &one.what, &one.why.to_owned(), &one.remedy];
        assert!(texts.iter().all(|text| !text.is_empty()), "{one:?}");
        let page = include_str!("../../../../docs/reference/doctor.md");
        assert!(
            page.contains(&format!("| `{}` |", one.finding)),
            "{} is not in docs/reference/doctor.md",
            one.finding
        );
    }
    findings.iter().map(|one| one.finding).collect()
}

fn found_on_trunk(change: impl FnOnce(&mut TrunkFacts)) -> Vec<&'static str> {
    found(|facts| change(&mut facts.trunks[0]))
}

#[test]
fn nothing_is_found_where_all_is_well_or_nothing_was_looked_at() {
    assert_eq!(found(|_| {}), [""; 0]);
    assert!(judge(&Facts { capabilities: ALL, ..Facts::default() }).is_empty());
    assert_eq!(found_on_trunk(|trunk| *trunk = TrunkFacts::default()), [""; 0]);
}

#[test]
fn missing_permissions_are_named_by_their_capabilities() {
    assert_eq!(found(|facts| facts.capabilities = NET_ADMIN), ["no-permission"]);
    let mut facts = well();
    facts.capabilities = NET_ADMIN;
    assert!(
        judge(&facts)[0].what.contains("CAP_NET_RAW") && !judge(&facts)[0].what.contains("CAP_NET_ADMIN")
    );
    facts = well();
    facts.trunks[0].daemon = answers(status(), 1 << 13);
    facts.trunks[0].wants = (true, true);
    let what = judge(&facts)[0].what.clone();
    assert_eq!(what, "it runs without CAP_NET_ADMIN, CAP_SYS_NICE, CAP_IPC_LOCK");
    // What is not asked for is not missed.
    assert_eq!(found_on_trunk(|trunk| trunk.daemon = answers(status(), 3 << 12)), [""; 0]);
}

#[test]
fn the_clock_is_judged_with_room_for_what_is_usual() {
    let clock = |change: fn(&mut ClockFacts)| found(|facts| change(facts.clock.as_mut().unwrap()));
    assert_eq!(clock(|clock| clock.synchronised = Some(false)), ["clock-unsynchronised"]);
    assert_eq!(clock(|clock| clock.synchronised = None), [""; 0]);
    assert_eq!(clock(|clock| clock.stepped_us = -2_000_000), ["clock-stepped"]);
    assert_eq!(clock(|clock| clock.stepped_us = 90_000), [""; 0]);
    assert_eq!(clock(|clock| clock.stamps_off_us = Some(2_000_000)), ["stamps-off"]);
    assert_eq!(clock(|clock| clock.stamps_off_us = None), [""; 0]);
}

#[test]
fn the_store_must_answer_with_our_schema_and_time() {
    for (store, names) in [
        (StoreFacts::Answers { clock_off_us: -900_000 }, &[][..]),
        (StoreFacts::Answers { clock_off_us: 5_000_000 }, &["store-clock-off"]),
        (StoreFacts::Missing, &["store-missing"]),
        (StoreFacts::Schema("schema 9 is newer".to_owned()), &["store-schema"]),
        (StoreFacts::Fails("connection refused".to_owned()), &["store-unreachable"]),
    ] {
        assert_eq!(found(|facts| facts.store = Some(store.clone())), names, "{store:?}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_and_missing_ones_only_where_they_must_be() {
    let keys = |change: fn(&mut KeyFacts)| found(|facts| change(facts.keys.as_mut().unwrap()));
    assert_eq!(keys(|keys| keys.missing = true), [""; 0]);
    assert_eq!(keys(|keys| (keys.missing, keys.required) = (true, true)), ["keys-missing"]);
    assert_eq!(
        keys(|keys| keys.problems = vec!["mode 644".to_owned(); 2]),
        ["keys-unusable", "keys-unusable"]
    );
}

#[test]
fn adapters_are_held_against_their_plan() {
    let links = |links: Vec<String>| found_on_trunk(|trunk| trunk.observed = Some(Ok(observed(&links, ""))));
    let [near, far] = both();
    assert_eq!(links(vec![near.clone(), side("trunkA-hm", 9000, "")]), ["mtu"]);
    assert_eq!(links(vec![near.clone(), far.replace(",\"UP\"", "")]), ["adapter"]);
    assert_eq!(links(vec![far.clone()]), ["trunk-broken"]);
    assert_eq!(found_on_trunk(|trunk| trunk.observed = Some(Err("no `ip`".to_owned()))), ["not-looked-at"]);
    let mut untabled = observed(&both(), "");
    untabled.table = None;
    assert_eq!(found_on_trunk(|trunk| trunk.observed = Some(Ok(untabled.clone()))), ["policing"]);
    untabled.table = Some(Table { mark: Some("made-0-".to_owned()), chains: ["police".to_owned()].into() });
    assert_eq!(found_on_trunk(|trunk| trunk.observed = Some(Ok(untabled))), ["policing"]);
    let with_ip = r#"[{"ifname":"trunkA","addr_info":[{"local":"192.0.2.1"}]}]"#;
    assert_eq!(found_on_trunk(|trunk| trunk.observed = Some(Ok(observed(&both(), with_ip)))), ["ip-address"]);
    assert_eq!(found(|facts| facts.orphan_tables = vec!["vmpulse-old-hm".to_owned()]), ["policing-stale"]);
}

#[test]
fn trunks_of_another_making_are_looked_at_as_far_as_they_can_be() {
    let foreign = |links: &[String]| {
        found_on_trunk(|trunk| {
            trunk.plan = None;
            trunk.observed = Some(Ok(observed(links, "")));
        })
    };
    let [near, far] = both();
    assert_eq!(foreign(&both()), [""; 0]);
    assert_eq!(foreign(&[near.clone(), side("trunkA-hm", 1400, "")]), ["mtu"]);
    assert_eq!(foreign(&[near.replace(",\"UP\"", ""), far.clone()]), ["adapter"]);
    assert_eq!(foreign(&[far]), ["adapter"]);
}

#[test]
fn guests_that_can_reach_each_other_are_found() {
    let guest = |mode: &str, mtu: u32| {
        format!(
            r#"{{"ifname":"macvtap0","link":"trunkA","flags":["UP"],"mtu":{mtu},"link_type":"ether",
            "linkinfo":{{"info_kind":"macvtap","info_data":{{"mode":"{mode}"}}}}"#
        )
    };
    let with = |more: Vec<String>| {
        let all = [both().to_vec(), more].concat();
        found_on_trunk(|trunk| trunk.observed = Some(Ok(observed(&all, ""))))
    };
    assert_eq!(with(vec![guest("vepa", 1500)]), [""; 0]);
    assert_eq!(with(vec![guest("bridge", 1500)]), ["bridge-mode"]);
    assert_eq!(with(vec![guest("vepa", 9000)]), ["mtu"]);

    let port = |name: &str, data: &str| {
        side(name, 1500, &format!(r#","info_slave_data":{{{data}}}"#))
            .replace("\"mtu\"", "\"master\":\"br0\",\"mtu\"")
    };
    let bridged = |own: &str, other: &str| {
        let all = [port("trunkA", own), side("trunkA-hm", 1500, ""), port("vnet0", other)];
        found_on_trunk(|trunk| trunk.observed = Some(Ok(observed(&all, ""))))
    };
    assert_eq!(bridged("", r#""isolated":true"#), [""; 0]);
    assert_eq!(bridged("", ""), ["bridge-port"]);
    assert_eq!(bridged(r#""isolated":true"#, r#""isolated":true"#), ["bridge-port"]);
    assert_eq!(bridged(r#""hairpin":true"#, r#""isolated":true"#), ["bridge-port"]);
}

#[test]
fn frames_that_come_back_are_told_and_frames_that_never_left_prove_nothing() {
    let probe = |probe: Result<Probe, String>| found_on_trunk(|trunk| trunk.probe = Some(probe));
    let reflected = vec![Reflected::Unicast, Reflected::Broadcast];
    assert_eq!(
        probe(Ok(Probe { sent: 4, left: 4, reflected: reflected.clone(), ..Probe::default() })),
        ["reflects"]
    );
    assert_eq!(probe(Ok(Probe { sent: 4, left: 3, ..Probe::default() })), ["not-probed"]);
    // What came back must have left.
    assert_eq!(probe(Ok(Probe { sent: 4, left: 0, reflected, ..Probe::default() })), ["reflects"]);
    assert_eq!(probe(Err("no raw socket".to_owned())), ["not-probed"]);
}

#[test]
fn the_host_monitor_must_run_answer_hear_and_be_set_as_its_trunk() {
    assert_eq!(found_on_trunk(|trunk| trunk.daemon = Some(DaemonFacts::Missing)), ["daemon"]);
    let silent = DaemonFacts::Silent("no answer within 5 s".to_owned());
    assert_eq!(found_on_trunk(|trunk| trunk.daemon = Some(silent)), ["daemon"]);
    let says = |change: fn(&mut Status)| {
        let mut status = status();
        change(&mut status);
        found_on_trunk(|trunk| trunk.daemon = answers(status, ALL))
    };
    assert_eq!(says(|status| status.trunk_heard = false), ["not-heard"]);
    assert_eq!(says(|status| status.mode = MonitorMode::Local), ["mode"]);
    assert_eq!(says(|status| status.kernel_drops = 1), ["kernel-drops"]);
    assert_eq!(
        says(|status| *status.counters.entry("ring_freezes".to_owned()).or_default() = 1),
        ["kernel-drops"]
    );
    assert_eq!(says(|status| status.policing.on = false), ["policing"]);
    for state in ["off", "broken"] {
        let mut sick = status();
        (sick.canary.state, sick.canary.reason) = (state.to_owned(), Some("no permission".to_owned()));
        assert_eq!(found_on_trunk(|trunk| trunk.daemon = answers(sick, ALL)), ["canary"]);
    }
    assert!(says(|status| status.canary.state = "off".to_owned()).is_empty(), "as its settings want it");
    assert_eq!(found_on_trunk(|trunk| trunk.settings = Some((0x88B5, Some(100)))), ["settings-differ"]);
    assert_eq!(found_on_trunk(|trunk| trunk.settings = Some((0x88B6, None))), ["settings-differ"]);
    assert_eq!(found_on_trunk(|trunk| trunk.lost_frames = Some(3)), ["adapter-drops"]);
    assert_eq!(found(|facts| facts.backlog_drops = 1), ["backlog-drops"]);
}
