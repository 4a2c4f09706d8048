//! What the event recorder costs the controller: polls of a store with `FLEET` VMs (10,000), recorded and not.
//!
//! `cargo bench -p vmpulse-controller --bench recorder`; docs/operating/recorder.md has the figures. The recorder's own thread
//! writes meanwhile, and its time is not in the figures: they are CPU time of the controller's thread, SQLite's part included. A poll
//! for attention is the dear one: the store tells of all VMs and applications.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use vmpulse_controller::controller::Controller;
use vmpulse_controller::record::{Recorded, Start};
use vmpulse_controller::schedule::Poll;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::recorder::{Daemon, Opening, Recorder, RecorderSettings};
use vmpulse_store::{ControllerHeartbeat, SqliteStore, Store, SystemClock};

/// Polls of each kind, recorded and not in turn: what else the machine does happens to both.
const TIMES: usize = 30;

fn main() {
    let vms: u32 = std::env::var("FLEET").map_or(10_000, |vms| vms.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    // A store for each, so that neither meets what the other has changed.
    let [mut store, mut other] =
        ["plain.db", "recorded.db"].map(|name| store(&folder.path().join(name), vms));
    let (mut plain, _) = controller(None);
    let (mut recorded, file) = controller(Some(&folder.path().join("records")));
    println!("a store with {vms} VMs; median of {TIMES}");
    for (name, poll) in [("quick", Poll::Quick), ("attention", Poll::Attention)] {
        let before = length(&file);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            without.push(turn(&mut plain, &mut store, poll));
            with.push(turn(&mut recorded, &mut other, poll));
            settle(&mut recorded, &file);
        }
        let (without, with) = (median(without), median(with));
        let bytes = (length(&file) - before) / TIMES as u64;
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{name}: {without:.2?} without, {with:.2?} with: {ratio:.2}; {bytes} bytes a poll");
    }
}

fn store(path: &Path, vms: u32) -> SqliteStore {
    let store = SqliteStore::open(path, Box::new(SystemClock)).unwrap();
    let now = store.now().unwrap().0.to_string();
    let fleet = include_str!("../../hostmon/store/benches/fleet/sqlite.sql");
    let fleet = fleet.replace(":now", &now).replace(":vms", &vms.to_string());
    rusqlite::Connection::open(path).unwrap().execute_batch(&fleet).unwrap();
    store
}

fn controller(directory: Option<&Path>) -> (Recorded, std::path::PathBuf) {
    let heartbeat = ControllerHeartbeat {
        name: "bench".to_owned(),
        pid: 1,
        version: "1".to_owned(),
        poll_interval_ms: 1000,
    };
    let directory = directory.map(Path::to_owned).unwrap_or_default();
    let settings = RecorderSettings { directory, max_mib: 4096, keep: 1 };
    let opening = Opening::now(Daemon::Controller, "bench", &MonotonicClock::start());
    let start = Start { at_ns: 0, heartbeat: heartbeat.clone() };
    let recorder = Recorder::start(&settings, "bench", &opening, &start).unwrap();
    let file = recorder.as_ref().map(|recorder| recorder.path().to_owned()).unwrap_or_default();
    (Recorded::with(Controller::new(heartbeat), recorder), file)
}

fn turn(controller: &mut Recorded, store: &mut SqliteStore, poll: Poll) -> Duration {
    let clock = MonotonicClock::start();
    let begun = spent();
    let _ = controller.turn(store, &|| clock.now(), poll).unwrap();
    spent() - begun
}

/// What this thread has had of a processor, by the kernel's account: other programs disturb it less than the time that passed.
fn spent() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(account.split(' ').next().unwrap().parse().unwrap())
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Until the thread has written everything.
fn settle(controller: &mut Recorded, file: &Path) {
    let mut before = u64::MAX;
    while before != length(file) {
        before = length(file);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(controller.take_news(), None, "it ended, and nothing was measured");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
