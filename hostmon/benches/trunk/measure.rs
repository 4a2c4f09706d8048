//! One scenario: the bare loop and the daemon in turn, some times over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vmpulse_hostmon::driver::trunk::RING;
use vmpulse_link::bench::{self, BareRing, Load, Usage, Wire};
use vmpulse_link::{MacAddr, RingConfig};

use crate::guests::Guests;
use crate::monitor::Monitor;
use crate::{Arguments, Rate};

/// The sender's core, and the receiver's.
const SENDER: usize = 0;
const RECEIVER: usize = 1;
/// Until what comes with the first heartbeats is over.
const SETTLING: Duration = Duration::from_secs(2);
/// As the daemon has it by default.
const RING_BYTES: usize = 8 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) paths: u32,
    pub(crate) rate: Rate,
    pub(crate) authenticated: bool,
}

impl Scenario {
    /// What makes that rate; at the maximum the shortest.
    pub(crate) fn interval_ms(&self) -> u64 {
        match self.rate {
            Rate::PerSecond(rate) => (u64::from(self.paths) * 1000 / rate.max(1)).clamp(100, 60_000),
            Rate::Maximum => 100,
        }
    }

    fn frames_per_second(&self) -> Option<u64> {
        match self.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Maximum => None,
        }
    }
}

/// What one receiver did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Frames sent and received, from the first to the last.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Frames received in a second, while measured.
    pub(crate) rate: f64,
    /// Of a core, by the receiving thread.
    pub(crate) cpu: f64,
    pub(crate) wakeups_per_second: f64,
    /// Counted by the kernel.
    pub(crate) drops: u64,
}

/// A scenario's results, a pair for each round.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) bare: Vec<Measured>,
    pub(crate) daemon: Vec<Measured>,
    /// Anonymous memory of the daemon for each path, in bytes.
    pub(crate) bytes_per_path: u64,
}

/// The wire, and what was asked for.
pub(crate) struct Bench<'a> {
    arguments: &'a Arguments,
    wire: Wire,
    monitor: MacAddr,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(arguments: &'a Arguments) -> Self {
        let wire = Wire::new(1500).unwrap();
        if arguments.one_core {
            wire.deliver_on(RECEIVER).unwrap();
        }
        let monitor = wire.receiver_mac().unwrap();
        Self { arguments, wire, monitor }
    }

    pub(crate) fn run(&self, scenario: Scenario) -> Outcome {
        let mut outcome = Outcome { scenario, bare: vec![], daemon: vec![], bytes_per_path: 0 };
        for round in 1..=self.arguments.rounds {
            eprintln!(
                "{} paths, {:?}: round {round} of {}",
                scenario.paths, scenario.rate, self.arguments.rounds
            );
            outcome.bare.push(self.bare(&scenario));
            let (measured, bytes) = self.daemon(&scenario);
            outcome.daemon.push(measured);
            outcome.bytes_per_path = outcome.bytes_per_path.max(bytes);
        }
        outcome
    }

    fn load(&self, scenario: &Scenario) -> Load {
        Load { interface: self.wire.sender.clone(), core: SENDER, rate: scenario.frames_per_second() }
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.arguments.seconds)
    }

    /// The least that can be done with the same ring: frames are counted.
    fn bare(&self, scenario: &Scenario) -> Measured {
        let RingConfig { block_bytes, block_timeout_ms } = RING;
        let mut ring =
            BareRing::open(&self.wire.receiver, RING_BYTES, block_bytes, block_timeout_ms).unwrap();
        let counted = Arc::new(AtomicU64::new(0));
        let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&counted), Arc::clone(&measuring), Arc::clone(&stop));
        let reader = thread::spawn(move || {
            let (counted, measuring, stop) = shared;
            bench::pin(RECEIVER).unwrap();
            let mut window = None;
            let mut spent = Usage::default();
            while !stop.load(Ordering::Relaxed) {
                counted.fetch_add(ring.count().unwrap(), Ordering::Relaxed);
                match (measuring.load(Ordering::Relaxed), window) {
                    (true, None) => window = Some(Usage::now()),
                    (false, Some(begun)) => {
                        spent = Usage::now().since(begun);
                        window = None;
                    }
                    _ => {}
                }
            }
            (spent, ring.drops())
        });
        let load = self.load(scenario).start(bench::heartbeats(self.monitor, scenario.paths, None)).unwrap();
        thread::sleep(SETTLING);
        let (begun, before) = (Instant::now(), counted.load(Ordering::Relaxed));
        measuring.store(true, Ordering::Relaxed);
        thread::sleep(self.seconds());
        measuring.store(false, Ordering::Relaxed);
        let (elapsed, received) = (begun.elapsed(), counted.load(Ordering::Relaxed) - before);
        let sent = load.stop();
        // The last block is handed over by its timeout.
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let (spent, drops) = reader.join().unwrap();
        Measured {
            sent: sent.frames,
            received: counted.load(Ordering::Relaxed),
            rate: received as f64 / elapsed.as_secs_f64(),
            cpu: spent.cpu().as_secs_f64() / elapsed.as_secs_f64(),
            wakeups_per_second: spent.wakeups as f64 / elapsed.as_secs_f64(),
            drops,
        }
    }

    /// The daemon, and the memory it took for each path.
    fn daemon(&self, scenario: &Scenario) -> (Measured, u64) {
        let mut monitor = Monitor::start(&self.wire.receiver, RECEIVER, &self.arguments.receive, scenario);
        let empty = monitor.resident_bytes();
        let guests = Guests::connect(&self.wire.sender, self.monitor, scenario.paths, scenario.authenticated);
        let heard = |monitor: &Monitor| monitor.status().expect("the daemon answers").counters["heartbeats"];
        let first = heard(&monitor);
        let load = self.load(scenario).start(guests.heartbeats()).unwrap();
        monitor.wait(|status| {
            status.counters["vms_beating"] == u64::from(scenario.paths) && status.pending_writes == 0
        });
        thread::sleep(SETTLING);
        let (begun, before, spent) = (Instant::now(), heard(&monitor), monitor.spent());
        thread::sleep(self.seconds());
        let (elapsed, after, end) = (begun.elapsed(), heard(&monitor), monitor.spent());
        let bytes = monitor.resident_bytes().saturating_sub(empty) / u64::from(scenario.paths);
        let sent = load.stop();
        thread::sleep(Duration::from_millis(200));
        let status = monitor.status().expect("the daemon answers");
        let measured = Measured {
            sent: sent.frames,
            received: status.counters["heartbeats"] - first,
            rate: (after - before) as f64 / elapsed.as_secs_f64(),
            cpu: (end.cpu - spent.cpu).as_secs_f64() / elapsed.as_secs_f64(),
            wakeups_per_second: (end.wakeups - spent.wakeups) as f64 / elapsed.as_secs_f64(),
            drops: status.kernel_drops,
        };
        (measured, bytes)
    }
}
