//! What the event recorder costs the monitor's loop: heartbeats with 1,000 open paths, recorded and not.
//!
//! `cargo bench -p vmpulse-hostmon --bench recorder`; docs/performance.md says what the figures mean. The recorder's own thread
//! writes meanwhile, and its time is not in the figures: each round waits, untimed, until all is in the file.

// Test code, as in a test.
#![allow(clippy::unwrap_used)]

#[path = "../../protocol/benches/cpu_time.rs"]
mod cpu_time;
#[path = "fleet.rs"]
mod fleet;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vmpulse_hostmon::monitor::Input;
use vmpulse_hostmon::record::{Recorded, Start};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::recorder::{Daemon, Opening, Recorder, RecorderSettings};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

use cpu_time::CpuTime;
use fleet::{Fleet, Secured};

const PATHS: usize = 1000;
const INTERVAL: Duration = Duration::from_millis(1000);

struct Recording {
    core: Recorded,
    now: Instant,
    beats: Vec<(MacAddr, Vec<u8>)>,
    file: Option<std::path::PathBuf>,
}

impl Recording {
    fn start(folder: Option<&Path>) -> Self {
        let mut fleet = Fleet::beating(PATHS, 1000, Secured::No);
        let beats = fleet.heartbeats();
        let directory = folder.map(Path::to_owned).unwrap_or_default();
        let settings = RecorderSettings { directory, max_mib: 4096, keep: 1 };
        let opening = Opening::now(Daemon::HostMonitor, "bench", &MonotonicClock::start());
        let start = Start::of(fleet.monitor.config(), fleet.now);
        let recorder = Recorder::start(&settings, "bench", &opening, &start).unwrap();
        let file = recorder.as_ref().map(|recorder| recorder.path().to_owned());
        Self { core: Recorded::with(fleet.monitor, recorder), now: fleet.now, beats, file }
    }

    /// A heartbeat of everybody, `turn` of them in each turn of the loop, with all that the loop does.
    fn round(&mut self, turn: usize) {
        let step = INTERVAL / u32::try_from(PATHS).unwrap();
        for frames in self.beats.chunks(turn) {
            self.now = self.now + step * u32::try_from(frames.len()).unwrap();
            for (source, payload) in frames {
                let input = Input::Frame { arrived: self.now, source: *source, vlan: None, payload };
                self.core.handle_input(self.now, input);
            }
            self.core.handle_input(self.now, Input::Heard { until: self.now, lag: Duration::ZERO });
            let _ = self.core.turn(self.now);
            while let Some(output) = self.core.poll_output() {
                drop(output);
            }
        }
    }

    /// Until the thread has written everything.
    fn settle(&mut self) {
        let Some(file) = &self.file else { return };
        // Its thread makes the file, perhaps not yet.
        let length = || std::fs::metadata(file).map_or(u64::MAX, |metadata| metadata.len());
        let mut before = 0;
        while before != length() || before == u64::MAX {
            before = length();
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert_eq!(self.core.take_news(), None, "it ended, and nothing was measured");
    }
}

fn heartbeats(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("heartbeats of 1,000 paths");
    group.throughput(Throughput::Elements(PATHS as u64)).sample_size(20);
    let folder = tempfile::tempdir().unwrap();
    for (name, turn, folder) in [
        ("one a turn", 1, None),
        ("one a turn, recorded", 1, Some(folder.path())),
        ("64 a turn", 64, None),
        ("64 a turn, recorded", 64, Some(folder.path())),
    ] {
        let mut recording = Recording::start(folder);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let begun = cpu_time::spent();
                    recording.round(turn);
                    spent += cpu_time::spent() - begun;
                    recording.settle();
                }
                spent
            });
        });
        let bytes = recording.file.and_then(|file| Some(std::fs::metadata(file).ok()?.len()));
        println!("{name}: {bytes:?} bytes recorded in all");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = heartbeats
}
criterion_main!(benches);
