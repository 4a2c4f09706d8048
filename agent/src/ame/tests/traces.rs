//! The known traces: monitor_period=5, monitor_timeout=3, threshold=2, max_restart=1, scripts that take 1 s.

use super::*;

#[test]
fn start_unset_normal() {
    let mut world = World::new("", "");
    assert_eq!(world.status().status, Status::NotMonitored);
    world.run(11_500);
    assert_eq!(
        world.trace(),
        "0.0 UNSET, 0.0 monitor, 2.0 NORMAL, 5.0 monitor, 10.0 monitor",
        "NORMAL at the round after the script ends, runs from start to start"
    );
}

#[test]
fn failing_restart_and_the_last_restart_has_its_chance() {
    let mut world = World::new("", "");
    world.run(4000);
    world.trace();
    world.monitor = FAILS;
    world.run(15_500);
    assert_eq!(
        world.trace(),
        "5.0 monitor, 6.0 FAILING, 10.0 monitor, 11.0 TO_STOP, 12.0 stop, 13.0 TO_START, 14.0 start, 15.0 UNSET"
    );
    assert_eq!(world.status().restarts, 1);
    world.run(60_000);
    assert_eq!(world.doorbell.with(Doorbell::RESTARTS), world.doorbell);
    assert_eq!(world.trace(), "16.0 monitor, 17.0 FAILING, 21.0 monitor, 22.0 FAILURE");
    assert_eq!(world.status().status.colour(), Colour::Red);
}

#[test]
fn the_last_restart_may_succeed() {
    let mut world = World::new("", "");
    world.monitor = FAILS;
    world.run(9000);
    world.monitor = OK;
    world.run(13_000);
    assert_eq!((world.status().status, world.status().restarts), (Status::Normal, 1));
    world.run(30_000);
    assert_eq!(world.status().restarts, 0, "repaired: the full allowance again");
}

#[test]
fn exactly_max_restart_starts_each_after_a_stop() {
    let mut world = World::new("", "max_restart=\"3\"");
    world.monitor = FAILS;
    world.run(200_000);
    let trace = world.trace();
    assert_eq!(trace.matches(" start").count(), 3, "{trace}");
    assert_eq!(trace.matches(" stop").count(), 3, "{trace}");
    assert_eq!(world.status().status, Status::Failure);
    assert_eq!(world.status().restarts, 3);
}

#[test]
fn without_restarts_the_threshold_is_failure() {
    let mut world = World::new("", "max_restart=\"0\"");
    world.monitor = FAILS;
    world.run(60_000);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 1.0 FAILING, 5.0 monitor, 6.0 FAILURE");
}

#[test]
fn one_success_clears_the_failures() {
    let mut world = World::new("", "");
    world.monitor = FAILS;
    world.run(2000);
    world.monitor = OK;
    world.run(7000);
    world.monitor = FAILS;
    world.run(12_000);
    assert_eq!(
        world.trace(),
        "0.0 UNSET, 0.0 monitor, 1.0 FAILING, 5.0 monitor, 7.0 NORMAL, 10.0 monitor, 11.0 FAILING"
    );
}

#[test]
fn a_monitor_that_hangs_is_killed_and_runs_again_at_once() {
    let mut world = World::new("", "monitor_failure_threshold=\"3\"");
    world.monitor = Play::Hangs(0);
    world.run(4500);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 3.0 kill, 3.0 FAILING, 4.0 monitor");
    assert_eq!(world.status().last_result, RunResult::TimedOut);
}

#[test]
fn one_that_ignores_term_is_waited_for() {
    let mut world = World::new("", "");
    world.monitor = Play::Hangs(2000);
    world.run(7000);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 3.0 kill, 5.0 FAILING, 6.0 monitor");
}

#[test]
fn success_after_its_time_is_a_failure() {
    let mut world = World::new("", "");
    world.run(10);
    world.now_ms = 3500;
    world.ame.handle_timeout(world.now());
    let run = RunId(1);
    world.ame.handle_input(world.now(), AmeInput::ScriptEnded { run, outcome: Outcome::Exit(0) });
    world.alive.clear();
    world.run(3600);
    assert_eq!(world.status().last_result, RunResult::TimedOut);
    assert_eq!(world.status().status, Status::Failing);
}

#[test]
fn a_script_renamed_away_is_abnormal_at_its_next_run() {
    let mut world = World::new("", "");
    world.run(4000);
    world.monitor = MISSING;
    world.trace();
    world.run(60_000);
    assert_eq!(world.trace(), "5.0 monitor, 5.0 ABNORMAL");
    world.monitor = OK;
    world.configure("", "");
    world.run(70_000);
    assert_eq!(world.trace(), "", "the same configuration repairs nothing");
    world.configure("", "desc=\"repaired\"");
    world.run(73_000);
    assert_eq!(world.trace(), "70.0 UNSET, 71.0 monitor, 73.0 NORMAL");
}

#[test]
fn a_system_out_of_processes_is_a_failure_not_abnormal() {
    let mut world = World::new("", "");
    world.monitor = Play::Ends(0, Outcome::NoResources);
    world.run(2000);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 0.0 FAILING");
}

#[test]
fn not_stoppable_and_not_startable() {
    let mut world = World::new("", "monitor_failure_threshold=\"1\" stop_max_failures=\"2\"");
    world.monitor = FAILS;
    world.stop = FAILS;
    world.run(60_000);
    assert_eq!(world.trace(), "0.0 UNSET, 0.0 monitor, 1.0 TO_STOP, 2.0 stop, 4.0 stop, 5.0 NOT_STOPPABLE",);
    let mut world = World::new("", "monitor_failure_threshold=\"1\" start_stabilization_time=\"4\"");
    world.monitor = FAILS;
    world.start = Play::Hangs(0);
    world.run(60_000);
    assert_eq!(
        world.trace(),
        "0.0 UNSET, 0.0 monitor, 1.0 TO_STOP, 2.0 stop, 3.0 TO_START, 4.0 start, 8.0 kill, 9.0 start, 13.0 kill, \
         14.0 start, 18.0 kill, 18.0 NOT_STARTABLE"
    );
}

#[test]
fn period_0_has_a_round_whenever_something_is_due() {
    let mut world = World::new("period=\"0\"", "");
    world.monitor = Play::Ends(250, Outcome::Signal(11));
    world.stop = Play::Ends(250, Outcome::Exit(0));
    world.start = Play::Ends(250, Outcome::Exit(0));
    world.run(6300);
    assert_eq!(
        world.trace(),
        "0.0 UNSET, 0.0 monitor, 0.2 FAILING, 5.0 monitor, 5.2 TO_STOP, 5.2 stop, 5.5 TO_START, 5.5 start, \
         5.8 UNSET, 5.8 monitor, 6.0 FAILING"
    );
}

#[test]
fn cycles_older_than_the_window_do_not_count() {
    let mut world = World::new("", "restart_window=\"20\" monitor_failure_threshold=\"1\"");
    world.monitor = FAILS;
    world.run(5500);
    world.monitor = OK;
    world.run(24_000);
    assert_eq!(world.status().restarts, 1, "with a window only age forgets");
    world.doorbell = Doorbell::default();
    world.run(26_000);
    assert_eq!(world.status().restarts, 0);
    assert_eq!(world.doorbell, Doorbell::RESTARTS);
}
