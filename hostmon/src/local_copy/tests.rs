use vmpulse_store::{AcceptedVersions, MonitorSettings, Quiet};

use super::*;

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn registered(number: u8, missed: Option<u64>) -> RosterVm {
    RosterVm {
        uuid: vm(number),
        state: VmState::Started,
        suspended: None,
        heartbeat_interval_ms: Some(500),
        path: Some(RosterPath { mac: "02:00:00:00:00:01".to_owned(), missed: missed.map(seconds) }),
    }
}

fn roster() -> Roster {
    Roster {
        vms: (1..=5).map(|number| registered(number, (number == 1).then_some(100))).collect(),
        visiting: vec![registered(9, None)],
        settings: MonitorSettings {
            version: 3,
            versions: Some(AcceptedVersions::ALL),
            ..MonitorSettings::default()
        },
        quiet: vec![Quiet { vm: vm(2), sequence: 4, left: seconds(60), reason: "backup".to_owned() }],
        ..Roster::default()
    }
}

fn booted(boot: &str, origin_s: u64) -> BootClock {
    BootClock { boot: boot.to_owned(), origin: seconds(origin_s) }
}

#[test]
fn ages_go_on_over_a_restart_and_never_exceed_what_is_known_to_have_passed() {
    let copy = encode(&roster(), &booted("one", 1000), Instant::from_millis(50_000));
    // 30 s later another start reads it, 5 s after its own beginning.
    let read = decode(&copy, &booted("one", 1075), Instant::from_millis(5000)).unwrap();
    assert_eq!(read.vms[0].path.as_ref().unwrap().missed, Some(seconds(130)));
    assert_eq!(read.quiet[0].left, seconds(30));
    assert_eq!((read.vms.len(), &read.vms[1]), (5, &registered(2, None)));
    assert_eq!((&read.visiting, &read.settings), (&roster().visiting, &roster().settings));
    // The machine was switched off meanwhile: only what it has been up for since is sure.
    let read = decode(&copy, &booted("two", 20), Instant::from_millis(5000)).unwrap();
    assert_eq!(read.vms[0].path.as_ref().unwrap().missed, Some(seconds(125)));
}

#[test]
fn what_is_not_sound_is_no_copy() {
    let clock = booted("one", 0);
    let copy = encode(&roster(), &clock, Instant::ZERO);
    for length in 0..copy.len() {
        assert_eq!(decode(&copy[..length], &clock, Instant::ZERO), None);
    }
    for place in 0..copy.len() {
        let mut spoilt = copy.clone();
        spoilt[place] ^= 1;
        assert_eq!(decode(&spoilt, &clock, Instant::ZERO), None, "byte {place}");
    }
    let many = Roster { visiting: (0..10_000).map(|_| registered(7, None)).collect(), ..roster() };
    let copy = encode(&many, &clock, Instant::ZERO);
    assert!(copy.len() > 1024 * 1024);
    assert_eq!(decode(&copy, &clock, Instant::ZERO), Some(many), "larger than any record");
}

#[test]
fn what_the_spool_holds_is_put_on_top() {
    use HostMonitorWrite as Write;
    let (administrator, os) = (SuspendReason::Administrator, SuspendReason::Os);
    let writes = [
        Write::PathDetected { vm: vm(1) },
        Write::PathMissing { vm: vm(2), age: seconds(40), common: false },
        Write::Suspended { vm: vm(3), reason: os, age: Duration::ZERO },
        Write::PathOpened {
            vm: vm(3),
            mac: "02:00:00:00:00:03".to_owned(),
            version: "2.1".to_owned(),
            authenticated: false,
            age: Duration::ZERO,
        },
        Write::Suspended { vm: vm(4), reason: administrator, age: Duration::ZERO },
        Write::PathOpened {
            vm: vm(4),
            mac: "02:00:00:00:00:04".to_owned(),
            version: "2.1".to_owned(),
            authenticated: false,
            age: Duration::ZERO,
        },
        Write::PathForgotten { vm: vm(5) },
        Write::QuietOver { vm: vm(2), sequence: 4, age: Duration::ZERO },
    ];
    let writes = writes.into_iter().enumerate().map(|(number, write)| (number as u64, write)).collect();
    let mut copy = roster();
    put_on_top(&mut copy, &[StartWrites { incarnation: "A".to_owned(), writes, of_earlier_boot: false }]);
    let missed: Vec<_> = copy.vms.iter().map(|vm| vm.path.as_ref().map(|path| path.missed)).collect();
    assert_eq!(missed, [Some(None), Some(Some(seconds(40))), Some(None), Some(None), None]);
    let suspended: Vec<_> = copy.vms.iter().map(|vm| (vm.state, vm.suspended)).collect();
    let well = (VmState::Started, None);
    assert_eq!(suspended, [well, well, well, (VmState::Suspended, Some(administrator)), well]);
    assert_eq!(copy.vms[2].path.as_ref().unwrap().mac, "02:00:00:00:00:03");
    assert_eq!(copy.quiet, []);
}
