//! start_sequence, stop_sequence and parent_child, on the virtual clock. Scripts take 1 s, monitors run every 5 s, the first
//! failure leads to a restart.

use super::*;

/// Applications of these names (one letter each) with these attributes, and dependencies, each `type:list[:NO]`.
pub(super) fn several(vmm: &str, names: &str, app: &str, dependencies: &[&str]) -> Configuration {
    let times =
        if app.contains("monitor_period") { "" } else { " monitor_period=\"5\" monitor_timeout=\"3\"" };
    let mut text = format!("<Monitoring {vmm}>");
    for (index, name) in names.chars().enumerate() {
        text.push_str(&format!(
            "<Application name=\"{name}\" uuid=\"{:019}\" monitor_script=\"/m\" stop_script=\"/t\" \
             start_script=\"/s\" {app}{times}/>",
            1_567_267_349_133_928_000 + index
        ));
    }
    for (index, dependency) in dependencies.iter().enumerate() {
        let mut parts = dependency.split(':');
        let (kind, list) = (parts.next().unwrap(), parts.next().unwrap());
        text.push_str(&format!(
            "<Dependency depuuid=\"{:019}\" dependency_type=\"{kind}\" dependency_list=\"{list}\" strict=\"{}\"/>",
            1_542_239_347_575_681_000_usize + index,
            parts.next().unwrap_or("YES")
        ));
    }
    Configuration::read(&(text + "</Monitoring>"), 256).unwrap()
}

/// All NORMAL at 2.0, and what happened until then forgotten.
fn normal(names: &str, dependencies: &[&str]) -> World {
    let configuration = several("", names, "monitor_failure_threshold=\"1\"", dependencies);
    let mut world = World::with(configuration, &Past::default());
    world.run(2000);
    assert!(world.ame.applications().all(|app| app.status == Status::Normal));
    world.trace();
    world
}

/// Just after a boot.
fn booting(names: &str, app: &str, dependencies: &[&str]) -> World {
    let booted = Past { booted: true, ..Past::default() };
    World::with(several("", names, app, dependencies), &booted)
}

/// Only what this application did.
fn only(trace: &str, app: &str) -> String {
    let prefix = format!(" {app}:");
    let lines: Vec<&str> = trace.split(", ").filter(|line| line.contains(&prefix)).collect();
    lines.join(", ").replace(&format!("{app}:"), "")
}

#[test]
fn a_strict_start_sequence_waits_until_each_is_normal() {
    let mut world = booting("abc", "", &["start_sequence:b,a,c"]);
    world.run(14_000);
    let trace = world.trace();
    assert_eq!(
        only(&trace, "b"),
        "0.0 TO_START, 0.0 start, 1.0 UNSET, 2.0 monitor, 4.0 NORMAL, 7.0 monitor, 12.0 monitor"
    );
    assert_eq!(
        only(&trace, "a"),
        "0.0 TO_START, 0.0 waits for b, 5.0 start, 6.0 UNSET, 7.0 monitor, 9.0 NORMAL, 12.0 monitor",
        "{trace}"
    );
    assert!(only(&trace, "c").starts_with("0.0 TO_START, 0.0 waits for a, 9.0 start"), "{trace}");
}

#[test]
fn a_loose_start_sequence_waits_until_each_start_was_issued() {
    let mut world = booting("abc", "", &["start_sequence:b,a,c:NO"]);
    world.play("a", ScriptKind::Start, Play::Ends(8000, Outcome::Exit(0)));
    world.run(4000);
    let trace = world.trace();
    assert!(only(&trace, "b").starts_with("0.0 TO_START, 0.0 start"), "{trace}");
    assert!(only(&trace, "a").starts_with("0.0 TO_START, 0.0 waits for b, 1.0 start"), "{trace}");
    assert!(only(&trace, "c").starts_with("0.0 TO_START, 0.0 waits for a, 1.0 start"), "{trace}");
}

#[test]
fn who_cannot_be_started_holds_up_a_strict_sequence_until_it_is_repaired() {
    let mut world = booting("ab", "start_max_failures=\"2\"", &["start_sequence:a,b"]);
    world.play("a", ScriptKind::Start, FAILS);
    world.run(60_000);
    assert_eq!((world.status_of("a"), world.status_of("b")), (Status::NotStartable, Status::ToStart));
    assert_eq!(world.ame.applications().nth(1).unwrap().waits_for, ["a"]);
    assert!(!world.trace().contains("b:start"));
    world.plays.clear();
    world.order(Order::Start, "a").unwrap();
    world.run(75_000);
    assert_eq!((world.status_of("a"), world.status_of("b")), (Status::Normal, Status::Normal));
    assert_eq!(
        world.ame.applications().map(|app| app.restarts).sum::<u32>(),
        0,
        "a start by hand is no cycle"
    );
}

#[test]
fn a_suspended_application_is_passed_over() {
    let mut world = booting("abc", "", &["start_sequence:a,b,c", "parent_child:b,c"]);
    let suspended = several("", "abc", "", &["start_sequence:a,b,c", "parent_child:b,c"]);
    let mut configuration = suspended;
    configuration.applications[1].monitored = false;
    world.ame.handle_input(world.now(), AmeInput::Configure(configuration));
    world.run(14_000);
    let trace = world.trace();
    assert_eq!(world.status_of("b"), Status::NotMonitored);
    assert_eq!(world.status_of("c"), Status::Normal, "{trace}");
    let (a_normal, c_start) = (trace.find("a:NORMAL").unwrap(), trace.find("c:start").unwrap());
    assert!(a_normal < c_start, "the one before is waited for: {trace}");
}

#[test]
fn a_stop_sequence_keeps_its_order_and_holds_nobody_up_who_need_not_stop() {
    let mut world = normal("abc", &["stop_sequence:c,a,b"]);
    world.play("c", ScriptKind::Stop, Play::Ends(2500, Outcome::Exit(0)));
    for app in ["a", "b", "c"] {
        world.play(app, ScriptKind::Monitor, FAILS);
    }
    world.run(12_000);
    let trace = world.trace();
    assert!(only(&trace, "c").starts_with("5.0 monitor, 6.0 TO_STOP, 7.0 stop, 9.5 TO_START"), "{trace}");
    assert!(only(&trace, "a").contains("6.0 TO_STOP, 6.0 waits for c, 10.0 stop, 11.0 TO_START"), "{trace}");
    assert!(only(&trace, "b").contains("12.0 stop"), "{trace}");
    let mut world = normal("abc", &["stop_sequence:c,a,b"]);
    world.play("b", ScriptKind::Monitor, FAILS);
    world.run(7000);
    assert!(world.trace().contains("7.0 b:stop"), "those before it need not be stopped for it");
}

#[test]
fn a_loose_stop_sequence_waits_until_each_stop_was_issued() {
    let mut world = normal("ab", &["stop_sequence:b,a:NO"]);
    world.monitor = FAILS;
    world.stop = Play::Ends(3000, Outcome::Exit(0));
    world.run(8000);
    let trace = world.trace();
    assert!(trace.contains("6.0 a:waits for b") || trace.contains("6.0 b:TO_STOP"), "{trace}");
    assert!(trace.contains("7.0 b:stop") && trace.contains("8.0 a:stop"), "{trace}");
}

#[test]
fn a_parent_that_fails_takes_its_child_along_and_brings_it_back() {
    let mut world = normal("pc", &["parent_child:p,c"]);
    world.play("p", ScriptKind::Monitor, FAILS);
    world.run(6500);
    world.plays.clear();
    world.run(14_000);
    let restarts: Vec<u32> = world.ame.applications().map(|app| app.restarts).collect();
    assert_eq!(restarts, [1, 0], "the child did nothing wrong");
    world.run(20_000);
    let trace = world.trace();
    assert_eq!(
        only(&trace, "p"),
        "5.0 monitor, 6.0 TO_STOP, 6.0 waits for c, 9.0 stop, 10.0 TO_START, 11.0 start, 12.0 UNSET, 13.0 monitor, \
         15.0 NORMAL, 18.0 monitor",
        "{trace}"
    );
    assert_eq!(
        only(&trace, "c"),
        "5.0 monitor, 6.0 TO_STOP, 7.0 stop, 8.0 TO_START, 8.0 waits for p, 15.0 start, 16.0 UNSET, 17.0 monitor, \
         19.0 NORMAL",
        "{trace}"
    );
}

#[test]
fn a_parent_that_cannot_be_started_keeps_its_child_down() {
    let mut world = normal("pc", &["parent_child:p,c"]);
    world.play("p", ScriptKind::Monitor, FAILS);
    world.play("p", ScriptKind::Start, FAILS);
    world.run(60_000);
    assert_eq!((world.status_of("p"), world.status_of("c")), (Status::NotStartable, Status::ToStart));
    assert!(!world.trace().contains("c:start"));
    assert_eq!(world.order(Order::Start, "c").unwrap(), "p", "by hand no more than otherwise");
    world.run(70_000);
    assert_eq!(world.trace(), "");
}

#[test]
fn a_parent_whose_last_chance_is_gone_leaves_no_child_running() {
    let configuration =
        several("", "pc", "monitor_failure_threshold=\"1\" max_restart=\"0\"", &["parent_child:p,c"]);
    let mut world = World::with(configuration, &Past::default());
    world.run(2000);
    world.play("p", ScriptKind::Monitor, FAILS);
    world.run(9000);
    assert_eq!((world.status_of("p"), world.status_of("c")), (Status::Failure, Status::ToStart));
    assert!(world.trace().contains("7.0 c:stop"));
}

#[test]
fn a_parent_is_not_stopped_under_a_child_that_cannot_be() {
    for missing in [FAILS, MISSING] {
        let mut world = normal("pc", &["parent_child:p,c"]);
        world.play("p", ScriptKind::Monitor, FAILS);
        world.play("c", ScriptKind::Stop, missing);
        world.run(30_000);
        let trace = world.trace();
        assert!(!trace.contains("p:stop"), "{trace}");
        assert_eq!(world.status_of("p"), Status::NotStoppable);
        assert_eq!(world.status_of("c").colour(), Colour::Red);
    }
}

#[test]
fn a_parent_whose_monitor_is_missing_takes_nobody_along() {
    let mut world = normal("pc", &["parent_child:p,c"]);
    world.play("p", ScriptKind::Monitor, MISSING);
    world.run(20_000);
    assert_eq!((world.status_of("p"), world.status_of("c")), (Status::Abnormal, Status::Normal));
}

#[test]
fn a_child_that_is_resumed_while_its_parent_is_down_does_not_stay_up() {
    for start in [FAILS, MISSING] {
        let mut world = normal("pc", &["parent_child:p,c"]);
        world.play("p", ScriptKind::Monitor, FAILS);
        world.play("p", ScriptKind::Start, start);
        world.play("c", ScriptKind::Stop, FAILS);
        world.run(4500);
        world.order(Order::Stop, "c").unwrap();
        world.run(50_000);
        assert_eq!(world.status_of("c"), Status::NotStoppable);
        world.play("c", ScriptKind::Stop, OK);
        world.order(Order::Resume, "c").unwrap();
        world.order(Order::Resume, "p").unwrap();
        world.run(100_000);
        assert_eq!(world.status_of("p").colour(), Colour::Red);
        assert_eq!(world.status_of("c"), Status::ToStart);
        world.trace();
        world.order(Order::Stop, "c").unwrap();
        world.run(110_000);
        world.order(Order::Resume, "c").unwrap();
        assert_eq!(
            world.trace(),
            "100.0 c:TO_STOP, 101.0 c:stop, 102.0 c:NOT_MONITORED, 110.0 c:UNSET, 110.0 c:TO_STOP"
        );
    }
}

#[test]
fn a_child_that_is_being_started_is_stopped_before_its_parent() {
    let mut world = booting("pc", "monitor_failure_threshold=\"1\"", &["parent_child:p,c"]);
    world.play("c", ScriptKind::Start, Play::Ends(9000, Outcome::Exit(0)));
    world.run(5500);
    assert!(world.trace().contains("c:start"));
    world.order(Order::Stop, "p").unwrap();
    world.run(30_000);
    let trace = world.trace();
    assert!(trace.find("c:stop").unwrap() < trace.find("p:stop").unwrap(), "{trace}");
    assert_eq!((world.status_of("p"), world.status_of("c")), (Status::NotMonitored, Status::ToStart));
}

#[test]
fn a_changed_dependency_rings_its_own_bit_and_holds_at_once() {
    let mut world = normal("pc", &[]);
    world.run(3000);
    world.doorbell = Doorbell::default();
    let configuration = several("", "pc", "monitor_failure_threshold=\"1\"", &["parent_child:p,c"]);
    world.ame.handle_input(world.now(), AmeInput::Configure(configuration));
    world.run(4500);
    assert_eq!(world.doorbell, Doorbell::DEPENDENCY);
    assert!(!world.trace().contains("UNSET"), "what is unchanged goes on");
    world.order(Order::Stop, "p").unwrap();
    world.run(10_000);
    assert!(world.trace().contains("c:stop"));
}
