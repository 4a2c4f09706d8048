//! By hand: start, stop, resume, suspend; and after a boot.

use super::*;

fn normal() -> World {
    let mut world = World::new("", "");
    world.run(2000);
    assert_eq!(world.status().status, Status::Normal);
    world.trace();
    world.doorbell = Doorbell::default();
    world
}

#[test]
fn stopped_by_hand_it_stays_so_until_it_is_started() {
    let mut world = normal();
    assert_eq!(world.order(Order::Stop, "a").unwrap(), "");
    world.run(60_000);
    assert_eq!(world.trace(), "2.0 TO_STOP, 3.0 stop, 4.0 NOT_MONITORED");
    assert!(world.status().stopped && world.status().monitored);
    world.order(Order::Stop, "a").unwrap();
    world.run(70_000);
    assert_eq!(world.trace(), "", "it is stopped already");
    world.order(Order::Start, "a").unwrap();
    world.run(75_000);
    assert_eq!(world.trace(), "70.0 TO_START, 71.0 start, 72.0 UNSET, 73.0 monitor, 75.0 NORMAL");
    assert_eq!((world.status().stopped, world.status().restarts), (false, 0));
}

#[test]
fn what_runs_is_not_started_and_what_is_not_there_or_suspended_takes_no_order() {
    let mut world = normal();
    let refused = world.order(Order::Start, "a").unwrap_err();
    assert_eq!(refused, Refused::Runs { app: "a".to_owned(), status: Status::Normal });
    assert!(matches!(world.order(Order::Stop, "b"), Err(Refused::Unknown(_))));
    world.configure("", "monitored=\"0\"");
    for order in [Order::Start, Order::Stop, Order::Resume] {
        assert!(matches!(world.order(order, "a"), Err(Refused::Suspended(_))));
    }
    world.configure("", "");
    world.suspend(true);
    let refused = world.order(Order::Start, "a").unwrap_err();
    assert!(refused.to_string().contains("vmmgr resume"), "{refused}");
    assert!(!world.trace().contains("TO_ST"));
}

#[test]
fn a_start_by_hand_while_it_is_being_stopped_follows_the_stop() {
    let mut world = normal();
    world.order(Order::Stop, "a").unwrap();
    world.run(3500);
    world.order(Order::Start, "a").unwrap();
    world.run(9000);
    assert_eq!(
        world.trace(),
        "2.0 TO_STOP, 3.0 stop, 4.0 TO_START, 5.0 start, 6.0 UNSET, 7.0 monitor, 9.0 NORMAL"
    );
}

#[test]
fn a_stop_by_hand_waits_for_the_script_that_runs() {
    let mut world = World::new("", "");
    world.monitor = Play::Ends(2500, Outcome::Exit(1));
    world.run(1500);
    world.order(Order::Stop, "a").unwrap();
    world.run(10_000);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 1.5 TO_STOP, 3.0 stop, 4.0 NOT_MONITORED");
    // It is no failure of the monitor that it ends while the application is being stopped.
    assert_eq!(world.status().restarts, 0);
}

#[test]
fn every_final_state_ends_by_resuming_starting_stopping_or_another_configuration() {
    type Repair = fn(&mut World);
    let repairs: [(Repair, &str); 4] = [
        (|world| drop(world.order(Order::Resume, "a")), "UNSET, 101.0 monitor"),
        (|world| drop(world.order(Order::Start, "a")), "TO_START, 101.0 start"),
        (|world| drop(world.order(Order::Stop, "a")), "TO_STOP, 101.0 stop"),
        (|world| world.configure("", "desc=\"x\""), "UNSET, 101.0 monitor"),
    ];
    let plays = [
        (FAILS, OK, OK, Status::Failure),
        (FAILS, FAILS, OK, Status::NotStoppable),
        (FAILS, OK, FAILS, Status::NotStartable),
        (MISSING, OK, OK, Status::Abnormal),
        (FAILS, MISSING, OK, Status::Abnormal),
        (FAILS, OK, MISSING, Status::Abnormal),
    ];
    for (monitor, stop, start, expected) in plays {
        for (repair, then) in repairs {
            let mut world = World::new("", "");
            (world.monitor, world.stop, world.start) = (monitor, stop, start);
            world.run(100_000);
            assert_eq!(world.status().status, expected);
            world.trace();
            (world.monitor, world.stop, world.start) = (OK, OK, OK);
            repair(&mut world);
            assert_eq!(world.status().restarts, 0, "the full allowance again");
            world.run(101_000);
            assert_eq!(world.trace(), format!("100.0 {then}"), "{expected}");
        }
    }
}

#[test]
fn one_that_could_not_be_stopped_by_hand_is_stopped_when_its_configuration_is_mended() {
    let mut world = normal();
    world.stop = MISSING;
    world.order(Order::Stop, "a").unwrap();
    world.run(10_000);
    assert_eq!((world.status().status, world.status().stopped), (Status::Abnormal, true));
    world.stop = OK;
    world.configure("", "desc=\"mended\"");
    world.run(20_000);
    assert_eq!((world.status().status, world.status().stopped), (Status::NotMonitored, true));
    world.order(Order::Resume, "a").unwrap();
    assert_eq!((world.status().status, world.status().stopped), (Status::Unset, false));
}

#[test]
fn a_suspended_vm_is_gray_and_silent_and_begins_anew() {
    let mut world = World::new("", "max_restart=\"0\"");
    world.monitor = FAILS;
    world.run(20_000);
    assert_eq!(world.status().status, Status::Failure);
    world.trace();
    world.suspend(true);
    world.run(60_000);
    assert_eq!(world.trace(), "20.0 NOT_MONITORED");
    assert_eq!(world.doorbell.with(Doorbell::SUSPENSION), world.doorbell);
    world.suspend(true);
    world.monitor = OK;
    world.suspend(false);
    world.run(63_000);
    assert_eq!(world.trace(), "61.0 UNSET, 61.0 monitor, 63.0 NORMAL");
}

#[test]
fn suspending_while_a_script_runs_forgets_what_it_says() {
    let mut world = normal();
    world.monitor = FAILS;
    world.run(5500);
    world.suspend(true);
    world.run(20_000);
    assert_eq!(world.trace(), "5.0 monitor, 5.5 NOT_MONITORED");
}

fn after_boot(vmm: &str, app: &str, past: &Past) -> World {
    World::with(configuration(vmm, app), past)
}

fn booted() -> Past {
    Past { booted: true, ..Past::default() }
}

#[test]
fn after_a_boot_the_agent_starts_what_is_monitored() {
    let mut world = after_boot("", "", &booted());
    world.run(5000);
    assert_eq!(world.trace(), "0.0 TO_START, 0.0 start, 1.0 UNSET, 2.0 monitor, 4.0 NORMAL");
    assert_eq!(world.status().restarts, 0);
    let mut world = after_boot("", "monitored=\"0\"", &booted());
    world.run(5000);
    world.configure("", "");
    world.run(8000);
    assert_eq!(
        world.trace(),
        "6.0 UNSET, 6.0 monitor, 8.0 NORMAL",
        "resumed later, it is nobody's boot any more"
    );
}

#[test]
fn after_a_boot_the_system_has_its_time_and_then_the_agent_starts_what_is_not_up() {
    let os = "rebootappstarttype=\"OS\"";
    let mut world = after_boot(os, "start_stabilization_time=\"7\"", &booted());
    world.monitor = FAILS;
    world.run(7500);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 5.0 monitor, 7.0 monitor", "no failure counts yet");
    world.run(9000);
    assert_eq!(world.trace(), "8.0 TO_START, 9.0 start");
    assert_eq!(world.status().restarts, 0);
    let mut world = after_boot(os, "start_stabilization_time=\"7\"", &booted());
    world.monitor = FAILS;
    world.run(4000);
    world.monitor = OK;
    world.run(9000);
    world.monitor = FAILS;
    world.run(12_000);
    assert_eq!(
        world.trace(),
        "0.0 UNSET, 0.0 monitor, 5.0 monitor, 7.0 NORMAL, 10.0 monitor, 11.0 FAILING",
        "once it was up a failure is a failure"
    );
}

#[test]
fn what_was_stopped_by_hand_or_suspended_stays_so_when_the_agent_is_started_anew() {
    let stopped = Past { stopped: vec!["1567267349133928000".to_owned()], ..Past::default() };
    let mut world = after_boot("", "", &stopped);
    world.run(60_000);
    assert_eq!((world.trace().as_str(), world.status().stopped), ("", true));
    let suspended = Past { suspended: true, ..booted() };
    let mut world = after_boot("", "", &suspended);
    world.run(60_000);
    assert_eq!(world.trace(), "");
    world.suspend(false);
    world.run(63_000);
    assert_eq!(world.trace(), "61.0 UNSET, 61.0 monitor, 63.0 NORMAL");
}
