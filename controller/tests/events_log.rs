//! The events log follows the store: nothing is missing, repeats carry the same id.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use tempfile::TempDir;
use vmpulse_controller::events::log::{EventsLog, LogError};
use vmpulse_store::*;

struct Bench {
    folder: TempDir,
    store: SqliteStore,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "health.db");
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events.log")
    }

    fn log(&self) -> EventsLog {
        EventsLog::new(&self.path(), TimeZone::UTC)
    }

    fn tell(&mut self, incident: &str) {
        let event = NewEvent {
            incident: incident.to_owned(),
            name: "VM_RECOVERED".to_owned(),
            severity: Severity::Informational,
            entity: "VM".to_owned(),
            resource: "VM : a UUID b".to_owned(),
            description: "0000-188 VM: a is heard again.".to_owned(),
        };
        assert!(self.store.event_append(&event).unwrap());
    }

    /// The ids in the log, in their order.
    fn ids(&self) -> Vec<i64> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let id = |line: &str| line.strip_prefix("Event ID:").map(|id| id.trim().parse().unwrap());
        text.lines().filter_map(id).collect()
    }
}

fn open(folder: &TempDir, name: &str) -> SqliteStore {
    SqliteStore::open(&folder.path().join(name), Box::new(SystemClock)).unwrap()
}

#[test]
fn each_event_is_written_once_over_restarts_and_rotation() {
    let mut bench = Bench::new();
    bench.tell("before the first start");
    let mut log = bench.log();
    log.follow(&mut bench.store).unwrap();
    log.follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1]);
    bench.tell("two");
    bench.tell("three");
    log.follow(&mut bench.store).unwrap();
    let mut log = bench.log();
    log.follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1, 2, 3]);
    fs::rename(bench.path(), bench.folder.path().join("events.log.1")).unwrap();
    bench.tell("four");
    log.follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [4]);
}

#[test]
fn killed_before_the_position_was_kept_it_is_written_again_with_its_id() {
    let mut bench = Bench::new();
    bench.log().follow(&mut bench.store).unwrap();
    let position = bench.folder.path().join("events.log.position");
    let before = fs::read_to_string(&position).unwrap();
    bench.tell("one");
    bench.log().follow(&mut bench.store).unwrap();
    fs::write(&position, before).unwrap();
    bench.tell("two");
    bench.log().follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1, 1, 2]);
}

#[test]
fn a_log_that_cannot_be_written_is_completed_later() {
    let mut bench = Bench::new();
    let mut log = bench.log();
    log.follow(&mut bench.store).unwrap();
    bench.tell("one");
    fs::create_dir(bench.path()).unwrap();
    assert!(matches!(log.follow(&mut bench.store), Err(LogError::File { path, .. }) if path == bench.path()));
    bench.tell("two");
    fs::remove_dir(bench.path()).unwrap();
    log.follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1, 2]);
}

#[test]
fn another_store_begins_anew() {
    let mut bench = Bench::new();
    let mut log = bench.log();
    for incident in ["one", "two", "three"] {
        bench.tell(incident);
    }
    log.follow(&mut bench.store).unwrap();
    bench.store = open(&bench.folder, "other.db");
    log.follow(&mut bench.store).unwrap();
    bench.tell("one of another");
    log.follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1, 2, 3, 1]);
}

#[test]
fn an_unreadable_position_means_from_the_start() {
    let mut bench = Bench::new();
    bench.tell("one");
    bench.log().follow(&mut bench.store).unwrap();
    fs::write(bench.folder.path().join("events.log.position"), "not a number").unwrap();
    bench.log().follow(&mut bench.store).unwrap();
    assert_eq!(bench.ids(), [1, 1]);
}
