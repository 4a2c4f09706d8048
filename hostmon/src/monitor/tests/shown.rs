//! What is shown of VMs without a path, and what is logged of guests that nobody registered.

use vmpulse_store::{NODE_EVENT_KINDS, Quiet};

use super::*;

fn absent(world: &World) -> Vec<AbsentView> {
    let mut views: Vec<_> = world.monitor.absent(world.now).collect();
    views.sort_by_key(|view| view.vm);
    views
}

#[test]
fn every_registered_vm_is_shown_with_its_path_or_without() {
    let mut world = World::new();
    assert_eq!(absent(&world), [], "nothing is known before the store was read");
    let suspended =
        RosterVm { suspended: Some(SuspendReason::Os), ..registered(3, VmState::Suspended, None) };
    let heard_before = Some(RosterPath { mac: mac(4).to_string(), missed: Some(Duration::from_secs(60)) });
    let vms = vec![
        registered(1, VmState::Started, None),
        registered(2, VmState::Starting, None),
        suspended,
        registered(4, VmState::Started, heard_before),
        registered(5, VmState::Added, None),
    ];
    world.roster(Roster {
        quiet: vec![Quiet { vm: vm(2), sequence: 1, left: Duration::from_secs(60), reason: "backup".into() }],
        ..roster(vms)
    });
    world.guest(1, 1);
    world.run(1);
    let paths: Vec<_> = world.monitor.paths(world.now).map(|path| path.session.vm).collect();
    assert_eq!(paths, [vm(1)]);
    let views = absent(&world);
    let vms: Vec<_> = views.iter().map(|view| view.vm).collect();
    assert_eq!(vms, [vm(2), vm(3), vm(4), vm(5)]);
    let [two, three, four, five] = views.as_slice() else { panic!("{views:?}") };
    assert!(two.wanted && two.quiet && two.silence.is_none() && !two.missing, "{two:?}");
    assert_eq!((three.suspended, three.silence), (Some(SuspendReason::Os), None));
    assert!(four.missing && four.silence >= Some(Duration::from_secs(60)), "{four:?}");
    assert!(!five.wanted && !five.quiet && five.suspended.is_none(), "{five:?}");
}

#[test]
fn a_suspension_is_shown_and_its_end_too_though_nothing_else_changes() {
    let mut world = World::beating(1..=1);
    let shown = |world: &World| world.monitor.paths(world.now).map(|path| path.suspended).collect::<Vec<_>>();
    assert_eq!(shown(&world), [None]);
    let suspended =
        RosterVm { suspended: Some(SuspendReason::Administrator), ..registered(1, VmState::Suspended, None) };
    world.roster(roster(vec![suspended]));
    assert_eq!(shown(&world), [Some(SuspendReason::Administrator)]);
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    assert_eq!(shown(&world), [None]);
}

#[test]
fn a_closed_path_leaves_its_vm_among_those_without_one() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    let now = world.now;
    world.monitor.sessions.close(now, vm(1), vmpulse_protocol::path::CloseReason::Unanswered);
    world.monitor.handle_timeout(now);
    world.carry();
    let views = absent(&world);
    assert!(views.len() == 1 && !views[0].missing && views[0].silence.is_some(), "{views:?}");
    world.run(60);
    let views = absent(&world);
    assert!(views[0].missing && views[0].silence >= Some(Duration::from_secs(60)), "{views:?}");
}

#[test]
fn lines_about_paths_of_strangers_are_limited_and_counted() {
    let mut world = World::new();
    world.roster(roster(vec![registered(200, VmState::Started, None)]));
    for number in 1..=60 {
        world.guest(number, number);
    }
    world.guest(200, 200);
    world.run(5);
    let opened = |world: &World, known: bool| {
        let mut of = world.notes.iter();
        of.by_ref()
            .filter(|note| matches!(note, Note::Opened { registered, .. } if *registered == known))
            .count()
    };
    assert_eq!(world.monitor.paths(world.now).count(), 61);
    assert_eq!((opened(&world, false), opened(&world, true)), (32, 1));
    let left_out = |world: &World| {
        let lines = |note: &Note| if let Note::LeftOut { lines } = note { Some(*lines) } else { None };
        world.notes.iter().filter_map(lines).collect::<Vec<_>>()
    };
    assert!(left_out(&world).is_empty(), "it is not over");
    world.run(30);
    assert_eq!(left_out(&world), [28], "said once, though nothing else came");
    world.notes.clear();
    for number in 1..=60 {
        let now = world.now;
        world.monitor.sessions.close(now, vm(number), vmpulse_protocol::path::CloseReason::Unanswered);
    }
    world.monitor.handle_timeout(world.now);
    world.carry();
    let closed = world.notes.iter().filter(|note| matches!(note, Note::Closed { .. })).count();
    assert_eq!(closed, 32);
    let counters: BTreeMap<_, _> = world.monitor.counters().into_iter().collect();
    assert!(counters["log_lines_left_out"] >= 56, "{counters:?}");
}

#[test]
fn what_the_monitor_records_is_among_the_kinds_that_can_be_asked_for() {
    let mut world = World::beating(1..=3);
    world.guest_mut(1).frozen = true;
    world.monitor.handle_input(world.now, Input::Adapter(false));
    world.run(60);
    world.monitor.handle_input(world.now, Input::Adapter(true));
    world.monitor.handle_input(world.now, Input::Dropped(7));
    world.monitor.handle_input(world.now, Input::KeyProblem("a key".to_owned()));
    world.monitor.handle_input(world.now, Input::StoreReachable(false));
    world.monitor.handle_input(world.now, Input::StoreReachable(true));
    world.run(60);
    let kinds: std::collections::BTreeSet<_> = world
        .writes()
        .into_iter()
        .filter_map(|write| match write {
            HostMonitorWrite::NodeEvent { kind, .. } => Some(kind.as_str()),
            _ => None,
        })
        .collect();
    assert!(kinds.len() >= 5 && kinds.iter().all(|kind| NODE_EVENT_KINDS.contains(kind)), "{kinds:?}");
}
