//! Random histories: applications with dependencies, scripts that do anything, people who do anything; then everybody
//! calms down, and everything has to be started.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::dependencies::several;
use super::*;

const NAMES: &str = "abcdef";
const THRESHOLD: u32 = 2;
const MAX_RESTART: u32 = 2;

/// Orders that are consistent: a to f in this order to start, f to a to stop, b the parent of d and of e.
const DEPENDENCIES: [&str; 6] = [
    "start_sequence:a,b,c",
    "start_sequence:b,d,f:NO",
    "stop_sequence:f,d,a",
    "stop_sequence:c,b:NO",
    "parent_child:b,d",
    "parent_child:b,e",
];

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// A script of an application behaves like this from now on: exit code, duration; or it hangs.
    Behave(usize, ScriptKind, u8, u64),
    Order(usize, Order),
    SuspendVm(bool),
    /// Suspend or resume one application, in the file.
    Monitored(usize, bool),
    /// Take an application and its dependencies out of the file, or put them back.
    Configured(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(ScriptKind::Monitor), Just(ScriptKind::Stop), Just(ScriptKind::Start)];
    let order = prop_oneof![Just(Order::Start), Just(Order::Stop), Just(Order::Resume)];
    prop_oneof![
        8 => (1..8000_u64).prop_map(Step::Wait),
        6 => (0..6_usize, kind, 0..8_u8, 1..5000_u64).prop_map(|(app, kind, play, ms)| Step::Behave(app, kind, play, ms)),
        3 => (0..6_usize, order).prop_map(|(app, order)| Step::Order(app, order)),
        1 => any::<bool>().prop_map(Step::SuspendVm),
        2 => (0..6_usize, any::<bool>()).prop_map(|(app, on)| Step::Monitored(app, on)),
        1 => (0..6_usize, any::<bool>()).prop_map(|(app, on)| Step::Configured(app, on)),
    ]
}

/// What an observer knows who sees only what goes in and out.
#[derive(Default)]
struct Watch {
    /// Which script of which application runs.
    alive: BTreeMap<RunId, (String, ScriptKind)>,
    /// Start scripts of a cycle since the last repair, or since the monitor was content often enough.
    status: BTreeMap<String, Status>,
    /// Applications that somebody has repaired since the last step.
    repaired: BTreeSet<String>,
    /// When the threshold was met, or the stop script ended, and nothing has been started since.
    owed: BTreeMap<String, Owed>,
}

/// A script that is to be started.
struct Owed {
    kind: ScriptKind,
    since_ms: u64,
    /// By another script of the application, or by a dependency.
    held_up: bool,
}

struct History {
    world: World,
    watch: Watch,
    vmm: &'static str,
    suspended: BTreeSet<usize>,
    absent: BTreeSet<usize>,
    vm_suspended: bool,
}

impl History {
    fn new(vmm: &'static str, past: &Past) -> Self {
        let (suspended, absent) = (BTreeSet::new(), BTreeSet::new());
        let world = World::with(file(vmm, &suspended, &absent), past);
        Self { world, watch: Watch::default(), vmm, suspended, absent, vm_suspended: past.suspended }
    }

    fn take(&mut self, step: &Step) {
        // What is due anyway is done before, and judged by what was so before.
        self.world.ame.handle_timeout(self.world.now());
        self.observe();
        let name = |app: &usize| NAMES.chars().nth(*app).unwrap().to_string();
        match step {
            Step::Wait(ms) => self.run(self.world.now_ms + ms),
            Step::Behave(app, kind, play, ms) => {
                let play = match play {
                    0..=2 => Play::Ends(*ms, Outcome::Exit(0)),
                    3 | 4 => Play::Ends(*ms, Outcome::Exit(1)),
                    5 => Play::Hangs(ms % 3000),
                    6 => Play::Ends(*ms, Outcome::NoResources),
                    _ => Play::Ends(ms % 50, Outcome::CouldNotStart),
                };
                self.world.play(&name(app), *kind, play);
            }
            Step::Order(app, order) => {
                if self.world.ame.handle_order(self.world.now(), *order, &name(app)).is_ok() {
                    self.watch.repaired.insert(name(app));
                }
            }
            Step::SuspendVm(suspended) => {
                self.vm_suspended = *suspended;
                self.watch.repaired.extend(NAMES.chars().map(String::from));
                self.world.ame.handle_input(self.world.now(), AmeInput::Suspend(*suspended));
            }
            Step::Monitored(app, on) => {
                if *on {
                    self.suspended.remove(app)
                } else {
                    self.suspended.insert(*app)
                };
                self.configure(name(app));
            }
            Step::Configured(app, on) => {
                if *on {
                    self.absent.remove(app)
                } else {
                    self.absent.insert(*app)
                };
                self.configure(name(app));
            }
        }
        self.observe();
    }

    fn configure(&mut self, repaired: String) {
        self.watch.repaired.insert(repaired);
        let configuration = file(self.vmm, &self.suspended, &self.absent);
        self.world.ame.handle_input(self.world.now(), AmeInput::Configure(configuration));
    }

    fn run(&mut self, until_ms: u64) {
        loop {
            let world = &mut self.world;
            let script = world.alive.iter().filter_map(|(_, end, ..)| *end).min();
            let timer =
                world.ame.poll_timeout().map(|at| at.as_nanos().div_ceil(1_000_000).max(world.now_ms));
            let Some(next) = script.into_iter().chain(timer).min().filter(|next| *next <= until_ms) else {
                break;
            };
            world.now_ms = next;
            let ended: Vec<(RunId, Outcome)> = world
                .alive
                .extract_if(.., |(_, end, ..)| end.is_some_and(|end| end <= next))
                .map(|(run, _, outcome, _)| (run, outcome))
                .collect();
            for (run, outcome) in ended {
                self.watch.alive.remove(&run);
                let input = AmeInput::ScriptEnded { run, outcome };
                self.world.ame.handle_input(Instant::from_millis(next), input);
                self.observe();
            }
            self.world.ame.handle_timeout(Instant::from_millis(next));
            self.observe();
        }
        self.world.now_ms = until_ms;
    }

    /// Looks at every output, one at a time, and then lets the scripts follow.
    fn observe(&mut self) {
        while let Some(output) = self.world.ame.poll_output() {
            match &output {
                AmeOutput::StartScript(order) => self.on_start(order),
                AmeOutput::StatusChanged { app, from, to } => self.on_status(app, *from, *to),
                AmeOutput::KillScript { .. }
                | AmeOutput::Waits { .. }
                | AmeOutput::Changed(_)
                | AmeOutput::Table(_) => {}
            }
            self.world.ame.effects.outputs.push_front(output);
            self.world.drain_one();
        }
        let there: BTreeSet<String> = self.world.ame.applications().map(|app| app.name).collect();
        self.watch.status.retain(|app, _| there.contains(app));
        self.watch.owed.retain(|app, _| there.contains(app));
        for app in self.world.ame.applications() {
            assert!(app.restarts <= MAX_RESTART, "{} has {} restarts", app.name, app.restarts);
            let status = self.watch.status.get(&app.name).copied().unwrap_or(Status::NotMonitored);
            assert!(
                status == app.status || self.watch.repaired.contains(&app.name),
                "a silent change of {}",
                app.name
            );
        }
        self.watch.repaired.clear();
        self.check_children();
        self.check_promptness();
    }

    fn on_start(&mut self, order: &StartScript) {
        let beside = self.watch.alive.values().find(|(app, _)| *app == order.app);
        assert!(beside.is_none(), "{} beside {beside:?} of {}", order.kind, order.app);
        self.watch.alive.insert(order.run, (order.app.clone(), order.kind));
        match order.kind {
            ScriptKind::Start => self.check_predecessors(&order.app),
            ScriptKind::Stop => self.check_successors(&order.app),
            ScriptKind::Monitor => {}
        }
        if self.watch.owed.get(&order.app).is_some_and(|owed| owed.kind == order.kind) {
            self.watch.owed.remove(&order.app);
        }
    }

    /// No start before a strict predecessor, or a parent, is NORMAL; those that are suspended or absent are passed over.
    fn check_predecessors(&self, app: &str) {
        let before: &[&str] = match app {
            "b" => &["a"],
            "c" => &["b", "a"],
            "d" | "e" => &["b"],
            _ => &[],
        };
        let nearest = before.iter().find(|name| self.considered(name));
        if let Some(nearest) = nearest {
            assert_eq!(self.world.status_of(nearest), Status::Normal, "{app} starts before {nearest}");
        }
    }

    /// A parent is not stopped before its children are.
    fn check_successors(&self, app: &str) {
        for child in ["d", "e"].into_iter().filter(|child| app == "b" && self.considered(child)) {
            let status = self.world.status_of(child);
            let up = matches!(status, Status::Unset | Status::Normal | Status::Failing | Status::ToStop);
            assert!(!up, "{app} is being stopped while {child} is {status}");
            let starting = |(app, kind): &(String, ScriptKind)| app == child && *kind == ScriptKind::Start;
            let started = status == Status::ToStart && self.watch.alive.values().any(starting);
            assert!(!started, "{app} is being stopped while {child} is being started");
        }
    }

    fn considered(&self, name: &str) -> bool {
        let place = NAMES.find(name).unwrap();
        !self.vm_suspended && !self.suspended.contains(&place) && !self.absent.contains(&place)
    }

    fn on_status(&mut self, app: &str, from: Status, to: Status) {
        assert!(
            !from.is_final() || self.watch.repaired.contains(app),
            "{app} left {from} for {to} without a repair"
        );
        self.watch.status.insert(app.to_owned(), to);
        self.watch.owed.remove(app);
        let since_ms = self.world.now_ms;
        let owed = |kind| Owed { kind, since_ms, held_up: false };
        match to {
            Status::ToStop => self.watch.owed.insert(app.to_owned(), owed(ScriptKind::Stop)),
            Status::ToStart => self.watch.owed.insert(app.to_owned(), owed(ScriptKind::Start)),
            Status::NotMonitored
            | Status::Unset
            | Status::Normal
            | Status::Failing
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => None,
        };
    }

    /// A child is not up while its parent is stopped.
    fn check_children(&self) {
        if !self.considered("b") {
            return;
        }
        let parent = self.world.status_of("b");
        for child in ["d", "e"].into_iter().filter(|child| self.considered(child)) {
            let up = matches!(self.world.status_of(child), Status::Unset | Status::Normal | Status::Failing);
            let leaving = matches!(
                parent,
                Status::ToStop
                    | Status::ToStart
                    | Status::NotStoppable
                    | Status::NotStartable
                    | Status::Failure
            );
            assert!(!(up && leaving), "{child} is up, its parent {parent}");
        }
    }

    /// A stop or start that nothing holds up is issued within one period.
    fn check_promptness(&mut self) {
        let period_ms = u64::try_from(self.world.ame.vmm().period.as_millis()).unwrap();
        let now_ms = self.world.now_ms;
        for app in self.world.ame.applications().collect::<Vec<_>>() {
            let busy = self.watch.alive.values().any(|(name, _)| *name == app.name);
            let Some(owed) = self.watch.owed.get_mut(&app.name) else { continue };
            // It begins when what held it up is over.
            let held_up = std::mem::replace(&mut owed.held_up, busy || !app.waits_for.is_empty());
            if held_up {
                owed.since_ms = now_ms;
            }
            let Owed { kind, since_ms: since, .. } = *owed;
            assert!(
                owed.held_up || now_ms <= since + period_ms,
                "{kind} of {} since {since}, now {now_ms}",
                app.name
            );
        }
    }

    /// Everything works again, everything is resumed: everything has to run in the end.
    fn calm_down(&mut self) {
        self.world.plays.clear();
        for app in 0..6 {
            self.take(&Step::Configured(app, true));
            self.take(&Step::Monitored(app, true));
        }
        self.take(&Step::SuspendVm(false));
        self.take(&Step::Wait(60_000));
        for app in 0..6 {
            self.take(&Step::Order(app, Order::Resume));
        }
        self.take(&Step::Wait(200_000));
        for app in self.world.ame.applications() {
            assert_eq!(
                app.status,
                Status::Normal,
                "{} in the end; it waits for {:?}",
                app.name,
                app.waits_for
            );
        }
    }
}

fn file(vmm: &str, suspended: &BTreeSet<usize>, absent: &BTreeSet<usize>) -> Configuration {
    let attributes = format!(
        "monitor_failure_threshold=\"{THRESHOLD}\" max_restart=\"{MAX_RESTART}\" stop_max_failures=\"2\" \
         start_max_failures=\"2\" stop_stabilization_time=\"4\" start_stabilization_time=\"4\""
    );
    let mut configuration = several(vmm, NAMES, &attributes, &DEPENDENCIES);
    for place in suspended {
        configuration.applications[*place].monitored = false;
    }
    let gone: Vec<String> =
        absent.iter().map(|place| configuration.applications[*place].name.clone()).collect();
    configuration.applications.retain(|application| !gone.contains(&application.name));
    for dependency in &mut configuration.dependencies {
        dependency.list.retain(|name| !gone.contains(name));
    }
    configuration.dependencies.retain(|dependency| dependency.list.len() > 1);
    configuration
}

fn play(vmm: &'static str, past: &Past, steps: &[Step]) {
    let mut history = History::new(vmm, past);
    for step in steps {
        history.take(step);
    }
    history.calm_down();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_history_breaks_a_rule(
        period in prop_oneof![Just("period=\"0\""), Just("period=\"1\""), Just("period=\"6\" log=\"3\"")],
        who in prop_oneof![Just(""), Just("rebootappstarttype=\"OS\"")],
        booted in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        // Leaked once for each of the few settings there are.
        let vmm = Box::leak(format!("{period} {who}").into_boxed_str());
        play(vmm, &Past { booted, ..Past::default() }, &steps);
    }

    /// One application that only ever fails is stopped and started `max_restart` times exactly.
    #[test]
    fn a_cycle_more_than_allowed_never_comes(max_restart in 0..6_usize, threshold in 1..4_u32, ms in 1..4000_u64) {
        let attributes = format!("max_restart=\"{max_restart}\" monitor_failure_threshold=\"{threshold}\"");
        let mut world = World::new("", &attributes);
        world.monitor = Play::Ends(ms, Outcome::Exit(1));
        world.run(1_000_000);
        let trace = world.trace();
        prop_assert_eq!(trace.matches(" start").count(), max_restart);
        prop_assert_eq!(trace.matches(" stop").count(), max_restart);
        prop_assert_eq!(world.status().status, Status::Failure);
    }
}
