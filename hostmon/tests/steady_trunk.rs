//! Heartbeats from a real adapter through the driver's read, sessions, monitor and tracker allocate nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../benches/fleet.rs"]
mod fleet;

use std::time::Duration;

use allocation_counter::measure;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use vmpulse_hostmon::driver::trunk::{RING, Trunk};
use vmpulse_link::bench::{Injector, Wire, enter_namespace, write_frame};
use vmpulse_link::{LinkConfig, ReceiveMethod};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::MacAddr;

use fleet::{Fleet, Secured};

const PATHS: usize = 200;
/// Reached only if something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    clock: MonotonicClock,
    runtime: Runtime,
    trunk: Trunk,
    injector: Injector,
    fleet: Fleet,
    frames: Vec<Vec<u8>>,
}

impl Bench {
    fn new(receive: ReceiveMethod) -> Self {
        let wire = Wire::new(1500).unwrap();
        let to = wire.receiver_mac().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let clock = MonotonicClock::start();
        let trunk = {
            let _here = runtime.enter();
            Trunk::open(LinkConfig { receive, ..LinkConfig::new(wire.receiver) }, clock.now()).unwrap()
        };
        let mut fleet = Fleet::beating(PATHS, 60_000, Secured::No);
        let frame = |(source, payload): (MacAddr, Vec<u8>)| {
            let mut frame = Vec::new();
            write_frame(&mut frame, to, source, None, &payload);
            frame
        };
        let frames = fleet.heartbeats().into_iter().map(frame).collect();
        Self { clock, runtime, trunk, injector: Injector::open(&wire.sender).unwrap(), fleet, frames }
    }

    fn send(&self) {
        for chunk in self.frames.chunks(64) {
            assert_eq!(self.injector.send(chunk).unwrap(), chunk.len());
        }
    }

    /// Turns like those of the driver until so many heartbeats more were heard.
    fn hear(&mut self, count: u64) {
        let Self { clock, runtime, trunk, fleet, .. } = self;
        let mut heard = 0;
        runtime.block_on(async {
            while heard < count {
                timeout(PATIENCE, trunk.readable()).await.expect("frames arrive");
                let _ = trunk.read(clock.now(), clock.realtime(), |frame| {
                    heard += 1;
                    fleet.take_frame(fleet.now, frame.source, frame.payload);
                });
                fleet.monitor.handle_timeout(fleet.now);
                assert!(fleet.monitor.poll_output().is_none());
            }
        });
    }
}

#[test]
fn steady_heartbeats_from_an_adapter_allocate_nothing() {
    if let Err(error) = enter_namespace() {
        eprintln!("SKIPPED: no network namespace can be made here: {error}");
        return;
    }
    for receive in [ReceiveMethod::Ring(RING), ReceiveMethod::Batched, ReceiveMethod::Plain] {
        let mut bench = Bench::new(receive);
        // The first ones make room that is kept.
        bench.send();
        bench.hear(PATHS as u64);
        let before = bench.fleet.heard();
        (0..10).for_each(|_| bench.send());
        let counted = measure(|| bench.hear(10 * PATHS as u64));
        assert_eq!(bench.fleet.heard() - before, 10 * PATHS as u64, "{receive:?}");
        assert_eq!(counted.count_total, 0, "{receive:?}");
        drop(bench);
        let deleted = std::process::Command::new("ip").args(["link", "del", "va"]).status().unwrap();
        assert!(deleted.success());
    }
}
