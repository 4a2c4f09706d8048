use vmpulse_store::*;

use crate::bench::*;

pub(crate) fn strangers_are_reported_until_acknowledged(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[opened(7)]);
    let entry = bench.attention().remove(0);
    let expected = (vm(7).to_string(), VmState::Unknown, Some(Discovery::Unmanaged));
    assert_eq!((entry.uuid, entry.state, entry.discovery), expected);
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    bench.write(
        11,
        &[opened(7), detected(7), missing(7, 19), doorbell(7, 2), suspended(7, SuspendReason::Os)],
    );
    assert_eq!(bench.attention(), [], "the same again is no news, and the rest is no matter of the store's");
    assert_eq!(bench.store.vms().unwrap().len(), 1);
}

pub(crate) fn the_store_judges_by_what_is_registered(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    let known = vm(1).to_string().to_uppercase();
    bench
        .write(11, &[stranger(&known, Discovery::Unmanaged), stranger(&vm(8).to_string(), Discovery::Moved)]);
    bench.write(21, &[stranger(&known, Discovery::Unmanaged)]);
    let shown: Vec<_> = bench.attention().into_iter().map(|entry| (entry.uuid, entry.discovery)).collect();
    let expected =
        [(vm(8).to_string(), Some(Discovery::Unmanaged)), (vm(1).to_string(), Some(Discovery::Moved))];
    assert_eq!(shown, expected);
}

pub(crate) fn floods_do_not_grow_the_store(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.write(21, &[opened(1)]);
    for batch in 0..3 {
        let flood: Vec<_> = (0..1000)
            .map(|n| HostMonitorWrite::Discovered {
                uuid: "ö".repeat(n),
                mac: format!("{batch}-{n}"),
                kind: Discovery::CannotManage,
            })
            .chain((0..500).map(|n| opened(1000 + batch * 1000 + n)))
            .collect();
        bench.write(21, &flood);
    }
    let entries = bench.attention();
    assert!(entries.len() <= 1024, "{}", entries.len());
    assert!(entries.iter().all(|entry| entry.uuid.len() <= 64));
    let newest = vm(1000 + 2000 + 499).to_string();
    assert!(entries.iter().any(|entry| entry.uuid == newest), "the oldest are replaced");
    assert!(
        entries.iter().any(|entry| entry.discovery == Some(Discovery::Moved)),
        "but a registered VM is not"
    );
    assert_eq!(bench.store.vms().unwrap().len(), 1);
}

pub(crate) fn registering_ends_being_a_stranger(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    bench.write(11, &[opened(1)]);
    bench.write(21, &[opened(1)]);
    bench.add_vm(1, 1);
    let shown = bench.store.needs_attention().unwrap().hosts;
    let shown: Vec<_> = shown.iter().map(|host| (&host.key, host.vms[0].discovery)).collect();
    let expected = [(&host(1), Some(Discovery::Managed)), (&host(2), Some(Discovery::Moved))];
    assert_eq!(
        shown, expected,
        "at home it can be monitored now, elsewhere it is a stranger of another kind"
    );
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[detected(1)]);
    let path = bench.vm(1).paths.remove(0);
    assert_eq!(
        (path.mac.as_str(), path.version.as_str()),
        ("02:00:00:00:00:01", "2.1"),
        "from its open session"
    );
}

pub(crate) fn moved_again_is_news_again(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.write(21, &[opened(1)]);
    bench.write(11, &[opened(1)]);
    assert_eq!(bench.attention().len(), 1, "not forgotten before somebody was told");
    bench.acknowledge();
    bench.write(21, &[opened(1)]);
    assert_eq!(bench.attention(), [], "still there");
    bench.write(11, &[opened(1)]);
    bench.write(21, &[opened(1)]);
    assert_eq!(bench.attention()[0].discovery, Some(Discovery::Moved));
}

pub(crate) fn version_conflicts_are_shown_until_the_next_handshake(bench: &mut Bench) {
    bench.started();
    let conflict = |number: u32, kind| HostMonitorWrite::Conflict {
        uuid: vm(number).to_string().to_uppercase(),
        mac: "02:00:00:00:00:01".into(),
        kind,
        text: "it speaks 3.0".into(),
    };
    bench.write(11, &[conflict(1, ConflictKind::Uuid), conflict(4, ConflictKind::Version)]);
    assert!(!bench.vm(1).version_conflict);
    bench.write(11, &[conflict(1, ConflictKind::Version), conflict(1, ConflictKind::Version)]);
    assert!(bench.vm(1).version_conflict);
    bench.write(12, &[opened(1)]);
    assert!(!bench.vm(1).version_conflict);
}

pub(crate) fn texts_of_guests_are_kept_as_well_as_they_can_be(bench: &mut Bench) {
    bench.add_host(1);
    let odd = ["a\0b", "B", "a", "ä", "\u{1f980}?1 INDEXED BY '"];
    let writes: Vec<_> = odd.iter().map(|uuid| stranger(uuid, Discovery::CannotManage)).collect();
    bench.write(11, &[writes.clone(), writes].concat());
    let kept: Vec<_> = bench.attention().into_iter().map(|entry| entry.uuid).collect();
    assert_eq!(kept, ["B", "a", "a\u{fffd}b", "ä", "\u{1f980}?1 INDEXED BY '"], "once each, by their bytes");
}

pub(crate) fn two_guests_with_one_uuid_are_noticed_in_their_own_interval(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    let conflicts = |bench: &mut Bench| {
        let wanted = NodeEventsWanted { limit: 100, ..NodeEventsWanted::default() };
        let events = bench.store.node_events(&wanted).unwrap();
        events.into_iter().filter(|event| event.text.contains("two guests have one UUID")).count()
    };
    let settings = VmSettings { heartbeat_interval_ms: Some(1000), ..VmSettings::default() };
    bench.store.vm_settings_replace(vm(1), &settings).unwrap();
    bench.write(21, &[opened(1), detected(1)]);
    bench.pass_alive(12, &[11, 12, 21]);
    assert_eq!(conflicts(bench), 0, "its home may not have missed it yet");
    bench.write(11, &[missing(1, 2)]);
    bench.write(12, &[missing(1, 2)]);
    bench.pass_alive(60, &[11, 12, 21]);
    assert_eq!(conflicts(bench), 0, "it moved");
    bench.write(12, &[detected(1)]);
    bench.pass_alive(12, &[11, 12, 21]);
    assert_eq!(conflicts(bench), 0, "it may be moving back");
    bench.pass_alive(1, &[11, 12, 21]);
    bench.pass_alive(1, &[11, 12, 21]);
    assert_eq!(conflicts(bench), 1, "two beat; told once");
    assert_eq!(bench.missed(1), None);
}
