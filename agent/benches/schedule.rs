//! How late 256 applications are monitored that all want it as often as can be configured: the real engine and the real
//! runner in one thread, as in the daemon, with a heartbeat every 100 ms beside them.
//!
//! `cargo bench -p vmpulse-agent --bench schedule -- [SECONDS [APPLICATIONS]]`. Every script is this program once more, which
//! prints the time at which it runs. Figures are times after the instant at which the script, or the beat, was due. They mean
//! something only where the loop hardly ever waited for a processor, which the last line tells.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // A measurement that cannot be made has failed.

use std::collections::HashMap;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant as TokioInstant;
use vmpulse_agent::ame::{Ame, AmeInput, AmeOutput, Outcome, Past, RunId};
use vmpulse_agent::config::Configuration;
use vmpulse_agent::runner::{Ended, Grace, Runner};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::time::Instant;

/// The argument with which a script is started.
const STAMP: &str = "--stamp";
/// Long enough for a 99th percentile that means something.
const SECONDS: u64 = 60;
const APPLICATIONS: usize = 256;
const BEAT: Duration = Duration::from_millis(100);

/// Times after what was due, in microseconds.
#[derive(Default)]
struct Late {
    /// The engine has issued the order.
    issued: Vec<u64>,
    /// The script runs.
    running: Vec<u64>,
    /// The beat would be sent.
    beats: Vec<u64>,
    failed: usize,
}

struct Bench {
    clock: MonotonicClock,
    /// CLOCK_MONOTONIC, in microseconds, when `clock` read zero.
    origin_us: u64,
    ame: Ame,
    runner: Runner,
    due: HashMap<RunId, Instant>,
    late: Late,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == STAMP) {
        println!("{}", monotonic_us());
        return;
    }
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let applications = number(1).and_then(|count| usize::try_from(count).ok()).unwrap_or(APPLICATIONS);
    let seconds = number(0).unwrap_or(SECONDS);
    eprintln!("{applications} applications, monitor_period=2 period=1, {seconds} s ...");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let late = runtime.block_on(async { Bench::new(applications).run(Duration::from_secs(seconds)).await });
    println!("{:<28}{:>8} {:>9} {:>9} {:>9} {:>9}", "ms late", "count", "median", "99 %", "99.9 %", "most");
    row("script ordered", late.issued);
    row("script runs", late.running);
    row("heartbeat", late.beats);
    println!("scripts that failed: {}", late.failed);
    println!("the loop waited for a processor: {:.2} s of {seconds} s", waited().as_secs_f64());
}

fn row(what: &str, mut late: Vec<u64>) {
    late.sort_unstable();
    let of = |permille: usize| {
        let at = (late.len() * permille / 1000).min(late.len().saturating_sub(1));
        late.get(at).map_or(0.0, |us| *us as f64 / 1000.0)
    };
    println!(
        "{what:<28}{:>8} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
        late.len(),
        of(500),
        of(990),
        of(999),
        of(1000)
    );
}

/// For how long this thread could have run and did not, because others did.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn monotonic_us() -> u64 {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    u64::try_from(time.as_micros()).unwrap()
}

fn configuration(applications: usize) -> Configuration {
    let program = std::env::current_exe().unwrap();
    let user = nix::unistd::geteuid();
    let script = format!("'{}' {STAMP}", program.display());
    let mut text = "<Monitoring period=\"1\">".to_owned();
    for index in 0..applications {
        text.push_str(&format!(
            "<Application name=\"app{index}\" uuid=\"{:019}\" monitor_script=\"{script}\" stop_script=\"/bin/true\" \
             start_script=\"/bin/true\" user=\"{user}\" monitor_period=\"2\" monitor_timeout=\"1\"/>",
            1_567_267_349_133_928_000 + index
        ));
    }
    Configuration::read(&(text + "</Monitoring>"), applications).unwrap()
}

impl Bench {
    fn new(applications: usize) -> Self {
        let clock = MonotonicClock::start();
        let origin_us = monotonic_us();
        let directory = std::env::temp_dir();
        Self {
            clock,
            origin_us,
            ame: Ame::new(configuration(applications), &Past::default(), clock.now()),
            runner: Runner::new(directory.clone(), directory, Grace::default()),
            due: HashMap::new(),
            late: Late::default(),
        }
    }

    async fn run(mut self, time: Duration) -> Late {
        let end = self.clock.now() + time;
        let mut beat = self.clock.now() + BEAT;
        loop {
            let now = self.clock.now();
            if now >= end {
                return self.late;
            }
            if now >= beat {
                self.late.beats.push(micros(now.since(beat)));
                beat = beat + BEAT;
            }
            self.turn(now);
            let next = self.ame.poll_timeout().map_or(beat, |at| at.min(beat));
            let until = TokioInstant::from_std(self.clock.std_instant(next));
            tokio::select! {
                ended = self.runner.ended() => self.on_ended(ended),
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        let due = self.ame.poll_timeout().unwrap_or(now);
        self.ame.handle_timeout(now);
        self.carry(due);
    }

    fn carry(&mut self, due: Instant) {
        while let Some(output) = self.ame.poll_output() {
            match output {
                AmeOutput::StartScript(order) => {
                    self.late.issued.push(micros(self.clock.now().since(due)));
                    self.due.insert(order.run, due);
                    self.runner.start(order);
                }
                AmeOutput::KillScript { run } => self.runner.kill(run),
                AmeOutput::StatusChanged { .. }
                | AmeOutput::Waits { .. }
                | AmeOutput::Changed(_)
                | AmeOutput::Table(_) => {}
            }
        }
    }

    fn on_ended(&mut self, ended: Ended) {
        let now = self.clock.now();
        // What the engine does before it takes the news was due before it too.
        self.turn(now);
        if let (Some(due), Ok(at_us)) = (self.due.remove(&ended.run), ended.output.trim().parse::<u64>()) {
            let due_us = self.origin_us + due.as_nanos() / 1000;
            self.late.running.push(at_us.saturating_sub(due_us));
        }
        self.late.failed += usize::from(ended.outcome != Outcome::Exit(0));
        self.ame.handle_input(now, AmeInput::ScriptEnded { run: ended.run, outcome: ended.outcome });
        self.carry(now);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
