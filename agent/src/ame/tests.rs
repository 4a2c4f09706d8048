use std::collections::BTreeMap;

use super::*;
use crate::config::Configuration;

mod circles;
mod dependencies;
mod histories;
mod orders;
mod traces;

/// How a script behaves when it is started.
#[derive(Clone, Copy)]
enum Play {
    /// Runs this long, then ends so.
    Ends(u64, Outcome),
    /// Runs until it is killed, and this much longer.
    Hangs(u64),
}

const OK: Play = Play::Ends(1000, Outcome::Exit(0));
const FAILS: Play = Play::Ends(1000, Outcome::Exit(1));
const MISSING: Play = Play::Ends(0, Outcome::CouldNotStart);

/// An engine with one application, its scripts and a clock.
struct World {
    ame: Ame,
    now_ms: u64,
    monitor: Play,
    stop: Play,
    start: Play,
    /// Those of one application that behave otherwise.
    plays: BTreeMap<(String, ScriptKind), Play>,
    /// Run, when it ends, how.
    alive: Vec<(RunId, Option<u64>, Outcome, u64)>,
    /// What happened when.
    trace: Vec<String>,
    doorbell: Doorbell,
}

fn configuration(vmm: &str, app: &str) -> Configuration {
    let defaults = [
        ("monitored", "1"),
        ("monitor_period", "5"),
        ("monitor_timeout", "3"),
        ("monitor_failure_threshold", "2"),
        ("max_restart", "1"),
    ];
    let mut attributes = app.to_owned();
    for (name, text) in defaults.iter().filter(|(name, _)| !app.contains(&format!("{name}="))) {
        attributes.push_str(&format!(" {name}=\"{text}\""));
    }
    let text = format!(
        "<Monitoring {vmm}><Application name=\"a\" uuid=\"1567267349133928000\" monitor_script=\"/m\" \
         stop_script=\"/t\" start_script=\"/s\" {attributes}/></Monitoring>"
    );
    Configuration::read(&text, 16).unwrap()
}

impl World {
    fn new(vmm: &str, app: &str) -> Self {
        Self::with(configuration(vmm, app), &Past::default())
    }

    fn with(configuration: Configuration, past: &Past) -> Self {
        Self {
            ame: Ame::new(configuration, past, Instant::ZERO),
            now_ms: 0,
            monitor: OK,
            stop: OK,
            start: OK,
            plays: BTreeMap::new(),
            alive: Vec::new(),
            trace: Vec::new(),
            doorbell: Doorbell::default(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    /// Lets time pass until `until_ms`, event by event.
    fn run(&mut self, until_ms: u64) {
        loop {
            let script = self.alive.iter().filter_map(|(_, end, ..)| *end).min();
            let timer = self.ame.poll_timeout().map(|at| (at.as_nanos() / 1_000_000).max(self.now_ms));
            let Some(next) = script.into_iter().chain(timer).min().filter(|next| *next <= until_ms) else {
                break;
            };
            self.now_ms = next;
            self.end_scripts();
            self.ame.handle_timeout(self.now());
            self.drain();
        }
        self.now_ms = until_ms;
    }

    fn end_scripts(&mut self) {
        let now_ms = self.now_ms;
        let (ended, alive) =
            self.alive.drain(..).partition(|(_, end, ..)| end.is_some_and(|end| end <= now_ms));
        self.alive = alive;
        let ended: Vec<(RunId, Option<u64>, Outcome, u64)> = ended;
        for (run, _, outcome, _) in ended {
            self.ame.handle_input(self.now(), AmeInput::ScriptEnded { run, outcome });
        }
    }

    fn drain(&mut self) {
        while self.drain_one() {}
    }

    fn drain_one(&mut self) -> bool {
        let Some(output) = self.ame.poll_output() else { return false };
        self.follow(output);
        true
    }

    fn follow(&mut self, output: AmeOutput) {
        match output {
            AmeOutput::StartScript(order) => {
                self.note(&order.app, &order.kind.to_string());
                let usual = match order.kind {
                    ScriptKind::Monitor => self.monitor,
                    ScriptKind::Stop => self.stop,
                    ScriptKind::Start => self.start,
                };
                let play = self.plays.get(&(order.app, order.kind)).copied().unwrap_or(usual);
                self.alive.push(match play {
                    Play::Ends(after, outcome) => (order.run, Some(self.now_ms + after), outcome, 0),
                    Play::Hangs(after) => (order.run, None, Outcome::Timeout, after),
                });
            }
            AmeOutput::KillScript { run } => {
                self.note("", "kill");
                for (_, end, outcome, after) in self.alive.iter_mut().filter(|(id, ..)| *id == run) {
                    *end = Some(self.now_ms + *after);
                    *outcome = Outcome::Timeout;
                }
            }
            AmeOutput::StatusChanged { app, to, .. } => self.note(&app, to.name()),
            AmeOutput::Waits { app, waits_for, .. } => {
                self.note(&app, &format!("waits for {}", waits_for.join(" and ")));
            }
            AmeOutput::Changed(bits) => self.doorbell = self.doorbell.with(bits),
            AmeOutput::Table(text) => self.trace.push(text),
        }
    }

    /// The only application needs no name.
    fn note(&mut self, app: &str, what: &str) {
        let app =
            if self.ame.machines.len() > 1 && !app.is_empty() { format!("{app}:") } else { String::new() };
        self.trace.push(format!("{:.1} {app}{what}", self.now_ms as f64 / 1000.0));
    }

    /// From now on a script of one application does this.
    fn play(&mut self, app: &str, kind: ScriptKind, play: Play) {
        self.plays.insert((app.to_owned(), kind), play);
    }

    fn order(&mut self, order: Order, app: &str) -> Result<String, Refused> {
        let waits_for = self.ame.handle_order(self.now(), order, app);
        self.drain();
        waits_for.map(|waits_for| waits_for.join(" and "))
    }

    fn suspend(&mut self, suspended: bool) {
        self.ame.handle_input(self.now(), AmeInput::Suspend(suspended));
        self.drain();
    }

    fn status_of(&self, app: &str) -> Status {
        self.ame.applications().find(|found| found.name == app).unwrap().status
    }

    fn configure(&mut self, vmm: &str, app: &str) {
        self.ame.handle_input(self.now(), AmeInput::Configure(configuration(vmm, app)));
        self.drain();
    }

    /// What happened since the last call.
    fn trace(&mut self) -> String {
        std::mem::take(&mut self.trace).join(", ")
    }

    fn status(&self) -> ApplicationStatus {
        self.ame.applications().next().unwrap()
    }
}

#[test]
fn numbers_and_colours_are_those_of_the_reference() {
    let shown: Vec<String> = Status::ALL
        .iter()
        .map(|status| format!("{status} {} {}", status.number(), status.colour()))
        .collect();
    assert_eq!(
        shown,
        [
            "NOT_MONITORED 0 GRAY",
            "UNSET 1 YELLOW",
            "NORMAL 2 GREEN",
            "FAILING 3 YELLOW",
            "TO_STOP 4 YELLOW",
            "NOT_STOPPABLE 5 RED",
            "TO_START 6 YELLOW",
            "NOT_STARTABLE 7 RED",
            "ABNORMAL 8 RED",
            "FAILURE 9 RED"
        ]
    );
}

#[test]
fn spurious_timeouts_and_unknown_runs_change_nothing() {
    let mut world = World::new("", "");
    world.run(500);
    world.trace();
    for _ in 0..3 {
        world.ame.handle_timeout(world.now());
        let stale = AmeInput::ScriptEnded { run: RunId(99), outcome: Outcome::Exit(0) };
        world.ame.handle_input(world.now(), stale);
        world.drain();
    }
    assert_eq!(world.trace(), "");
    assert_eq!(world.status().status, Status::Unset);
}

#[test]
fn an_engine_without_applications_sleeps() {
    let ame = Ame::new(Configuration::default(), &crate::ame::Past::default(), Instant::ZERO);
    assert_eq!(ame.poll_timeout(), None);
}

#[test]
fn the_doorbell_rings_once_per_change() {
    let mut world = World::new("", "");
    world.run(3000);
    assert_eq!(world.doorbell, Doorbell::STATUS);
    world.doorbell = Doorbell::default();
    world.run(20_000);
    assert_eq!(world.doorbell, Doorbell::default(), "a steady application is silent");
    world.configure("", "critical=\"yes\"");
    world.run(21_000);
    assert_eq!(world.doorbell, Doorbell::CONFIGURATION);
    world.doorbell = Doorbell::default();
    world.configure("", "critical=\"yes\"");
    world.run(22_000);
    assert_eq!(world.doorbell, Doorbell::default(), "the same configuration again is no change");
}

#[test]
fn suspension_is_gray_and_resuming_begins_anew() {
    let mut world = World::new("", "");
    world.monitor = FAILS;
    world.run(3000);
    assert_eq!(world.status().status, Status::Failing);
    world.configure("", "monitored=\"0\"");
    world.run(60_000);
    assert_eq!(world.status().status.colour(), Colour::Gray);
    world.trace();
    world.run(120_000);
    assert_eq!(world.trace(), "", "nothing runs while suspended");
    world.monitor = OK;
    world.configure("", "monitored=\"1\"");
    world.run(123_000);
    assert_eq!(world.status().status, Status::Normal);
}

#[test]
fn a_script_that_runs_while_its_application_is_removed_keeps_its_time_limit() {
    let mut world = World::new("log=\"3\"", "");
    world.monitor = Play::Hangs(0);
    world.run(1000);
    let empty = Configuration::read("<Monitoring log=\"3\"/>", 16).unwrap();
    world.ame.handle_input(world.now(), AmeInput::Configure(empty));
    world.run(2500);
    assert!(world.trace().contains("monitor   0   1"), "the table shows what is left of it");
    world.run(10_000);
    let trace = world.trace();
    assert!(trace.contains("3.0 kill") && trace.matches("UUID").count() == 1, "{trace}");
    assert_eq!(world.ame.poll_timeout(), None);
    assert_eq!(world.doorbell.with(Doorbell::CONFIGURATION), world.doorbell);
}

#[test]
fn applications_do_not_wait_for_each_other() {
    let text = "<Monitoring><Application name=\"a\" uuid=\"1567267349133928000\" monitor_script=\"/hang\" \
        stop_script=\"/t\" start_script=\"/s\"/><Application name=\"b\" uuid=\"1567267349133928001\" \
        monitor_script=\"/m\" stop_script=\"/t\" start_script=\"/s\"/></Monitoring>";
    let mut ame = Ame::new(Configuration::read(text, 16).unwrap(), &Past::default(), Instant::ZERO);
    ame.handle_timeout(Instant::ZERO);
    let orders: Vec<StartScript> = std::iter::from_fn(|| ame.poll_output())
        .filter_map(|output| if let AmeOutput::StartScript(order) = output { Some(order) } else { None })
        .collect();
    assert_eq!(orders.len(), 2);
    let now = Instant::from_millis(1000);
    ame.handle_input(now, AmeInput::ScriptEnded { run: orders[1].run, outcome: Outcome::Exit(0) });
    ame.handle_timeout(Instant::from_millis(2000));
    let statuses: Vec<Status> = ame.applications().map(|application| application.status).collect();
    assert_eq!(statuses, [Status::Unset, Status::Normal]);
}

#[test]
fn a_stall_is_not_made_up_for() {
    let mut world = World::new("log=\"3\"", "");
    world.run(100);
    world.trace();
    world.ame.handle_timeout(Instant::from_millis(60_000));
    world.ame.handle_timeout(Instant::from_millis(60_000));
    world.drain();
    assert_eq!(world.trace().matches("UUID").count(), 1);
    assert_eq!(world.ame.poll_timeout(), Some(Instant::from_millis(61_000)));
}

#[test]
fn a_changed_configuration_leaves_what_is_unchanged_alone() {
    let names = |names| dependencies::several("", names, "", &[]);
    let mut world = World::with(names("abc"), &Past::default());
    world.play("b", ScriptKind::Monitor, Play::Ends(2500, Outcome::Exit(0)));
    world.run(1500);
    world.trace();
    let mut changed = names("abcd");
    changed.applications.retain(|application| application.name != "c");
    changed.applications[0].monitor_period = Duration::from_secs(7);
    world.ame.handle_input(world.now(), AmeInput::Configure(changed));
    world.run(13_000);
    assert_eq!(
        world.trace(),
        "2.0 a:NORMAL, 2.0 d:UNSET, 2.0 d:monitor, 3.0 b:NORMAL, 4.0 d:NORMAL, 5.0 a:monitor, 5.0 b:monitor, \
         7.0 d:monitor, 10.0 b:monitor, 12.0 a:monitor, 12.0 d:monitor",
        "b's script goes on, and what it says counts"
    );
}

#[test]
fn as_many_as_there_can_be_keep_their_period_and_do_not_start_all_at_once() {
    let names: String = (0..256_u32).filter_map(|number| char::from_u32(0x4e00 + number)).collect();
    let mut configuration = dependencies::several("", "a", "monitor_period=\"2\" monitor_timeout=\"1\"", &[]);
    let one = configuration.applications.remove(0);
    configuration.applications = names
        .chars()
        .enumerate()
        .map(|(index, name)| Application {
            name: name.to_string(),
            uuid: format!("{index:019}"),
            ..one.clone()
        })
        .collect();
    let mut ame = Ame::new(configuration, &Past::default(), Instant::ZERO);
    let mut starts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut at_once: BTreeMap<u64, usize> = BTreeMap::new();
    while let Some(at) = ame.poll_timeout().filter(|at| *at < Instant::from_millis(20_000)) {
        // Every round is held a little late, and no two equally so.
        let now = at + Duration::from_micros(at.as_nanos() % 1013);
        ame.handle_timeout(now);
        while let Some(output) = ame.poll_output() {
            let AmeOutput::StartScript(order) = output else { continue };
            let ms = at.as_nanos() / 1_000_000;
            starts.entry(order.app).or_default().push(ms);
            *at_once.entry(ms).or_default() += 1;
            ame.handle_input(now, AmeInput::ScriptEnded { run: order.run, outcome: Outcome::Exit(0) });
        }
    }
    assert_eq!(starts.len(), 256);
    for times in starts.values() {
        assert_eq!(times.len(), 10, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 2000), "{times:?}");
    }
    assert_eq!(at_once.values().max(), Some(&rounds::PER_SLOT));
}

#[test]
fn the_table_of_level_3() {
    let mut world = World::new("log=\"3\"", "");
    world.run(2000);
    let table = world.trace.last().unwrap().clone();
    assert_eq!(
        table,
        "UUID                STATE         RESULT RUN     MON DEL    FAIL    STOP   START RESTART\n\
         1567267349133928000 NORMAL        NORMAL -         1   0     0/2     0/3     0/3     0/1"
    );
    world.configure("log=\"2\"", "");
    world.trace();
    world.run(5000);
    assert!(!world.trace().contains("UUID"));
}
