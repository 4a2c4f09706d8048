//! Both threads with real stores that fail.

use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::time::Instant as StdInstant;

use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{
    HostKey, HostMonitorRegistration, HostMonitorStart, HostMonitorWrite, HostRegistration, MonitorMode,
    SqliteStore, Store, StoreClock, StoreTime, SuspendReason, SystemClock, VmRegistration, VmState,
};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn hm() -> HostMonitorId {
    HostMonitorId::from_bytes([9; 16])
}

fn vm() -> VmUuid {
    VmUuid::from_bytes([1; 16])
}

struct Bench {
    folder: tempfile::TempDir,
    threads: Option<StoreThread>,
    number: u64,
    starts: u32,
    clock: MonotonicClock,
    /// The store's clock is so far from the machine's, in microseconds.
    store_clock: Arc<AtomicI64>,
}

struct SetClock(Arc<AtomicI64>);

impl StoreClock for SetClock {
    fn now(&self) -> StoreTime {
        StoreTime(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

impl Bench {
    /// A host with this monitor and one VM that is monitored.
    fn new() -> Self {
        let bench = Self {
            store_clock: Arc::new(AtomicI64::new(0)),
            folder: tempfile::tempdir().unwrap(),
            threads: None,
            number: 0,
            starts: 0,
            clock: MonotonicClock::start(),
        };
        let key = HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() };
        let monitor = HostMonitorRegistration { id: hm(), part_number: 0, mac: None };
        let mut store = bench.store();
        store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors: vec![monitor] }]).unwrap();
        store.vms_add(&key, &[VmRegistration { uuid: vm(), name: None }]).unwrap();
        store.vms_start(&[vm()]).unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("health.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), Box::new(SystemClock)).unwrap()
    }

    fn start(&mut self) {
        self.starts += 1;
        let (path, store_clock) = (self.path(), Arc::clone(&self.store_clock));
        let incarnation = format!("start {}", self.starts);
        let start = Start {
            open: Box::new(move || {
                let clock = Box::new(SetClock(Arc::clone(&store_clock)));
                Ok(Box::new(SqliteStore::open(&path, clock)?))
            }),
            host_monitor: hm(),
            incarnation: incarnation.clone(),
            clock: self.clock,
            spool_path: &self.folder.path().join("trunkA.spool"),
            copy_path: &self.folder.path().join("trunkA.roster"),
        };
        self.threads = Some(StoreThread::start(start).unwrap());
        self.number = 0;
        self.write(HostMonitorWrite::Started(HostMonitorStart {
            trunk: "trunkA".into(),
            mac: "02:00:00:00:00:01".into(),
            vlan: None,
            incarnation,
            versions: "2.0-2.1".into(),
            heartbeat_interval: Duration::from_secs(30),
        }));
    }

    /// As a process that is killed, and quicker: its threads take nothing with them.
    fn end(&mut self) {
        let threads = self.threads.take().unwrap();
        threads.join();
    }

    fn write(&mut self, write: HostMonitorWrite) {
        self.number += 1;
        let waiting = Waiting { number: self.number, at: self.clock.now(), write };
        self.threads.as_ref().unwrap().push(waiting);
    }

    /// Waits for a reply of which `what` makes something.
    #[allow(clippy::disallowed_methods)]
    fn reply<T>(&mut self, what: impl Fn(Reply) -> Option<T>) -> T {
        let until = StdInstant::now() + LIMIT;
        loop {
            let threads = self.threads.as_mut().unwrap();
            threads.turned();
            if let Some(found) = threads.reply_now().and_then(&what) {
                return found;
            }
            assert!(StdInstant::now() < until, "in vain");
            std::thread::yield_now();
        }
    }

    fn wait_until_safe(&mut self) {
        let number = self.number;
        self.reply(|reply| matches!(reply, Reply::Safe { up_to, .. } if up_to >= number).then_some(()));
    }

    fn wait_until_global(&mut self) {
        self.reply(|reply| matches!(reply, Reply::Global).then_some(()));
    }

    fn wait_until_local(&mut self) -> String {
        self.reply(|reply| if let Reply::Local { error } = reply { Some(error) } else { None })
    }

    fn modes(&self) -> Vec<MonitorMode> {
        self.store().mode_news().unwrap().into_iter().map(|news| news.mode).collect()
    }
}

fn suspended() -> HostMonitorWrite {
    HostMonitorWrite::Suspended { vm: vm(), reason: SuspendReason::Administrator, age: Duration::ZERO }
}

#[test]
fn a_store_that_somebody_else_has_locked() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until_safe();
    let lock = rusqlite::Connection::open(bench.path()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    bench.write(suspended());
    bench.wait_until_safe();
    assert_eq!(bench.threads.as_ref().unwrap().view().local, None, "safe before it is LOCAL");
    bench.wait_until_local();
    assert_eq!(bench.store().vms().unwrap()[0].state, VmState::Starting, "the lock holds");
    lock.execute_batch("COMMIT").unwrap();
    bench.wait_until_global();
    assert_eq!(bench.store().vms().unwrap()[0].state, VmState::Suspended);
    assert_eq!(bench.modes(), [MonitorMode::Local, MonitorMode::Global]);
}

/// The file is there and may be read; nothing can be written to it.
#[test]
fn a_store_that_may_only_be_read_and_a_start_without_one() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until_safe();
    let roster = |reply| if let Reply::Roster(roster) = reply { Some(roster) } else { None };
    assert_eq!(bench.reply(roster).vms.len(), 1);
    let lock = rusqlite::Connection::open(bench.path()).unwrap();
    // As on a disk that was mounted read-only: every write fails at once.
    lock.execute_batch(
        "CREATE TRIGGER no_writes BEFORE UPDATE ON host_monitor BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END",
    )
    .unwrap();
    bench.write(suspended());
    let why = bench.wait_until_local();
    assert!(why.contains("disk I/O error"), "{why}");
    bench.wait_until_safe();

    // It ends without a word; the store's file is gone when it starts again.
    drop(lock);
    bench.end();
    let away = bench.folder.path().join("away");
    std::fs::rename(bench.path(), &away).unwrap();
    std::fs::create_dir(bench.path()).unwrap();
    bench.start();
    let copy = bench.reply(roster);
    assert_eq!((copy.vms[0].uuid, copy.vms[0].state), (vm(), VmState::Suspended), "as it was kept");
    bench.wait_until_local();
    assert!(bench.threads.as_ref().unwrap().view().kept > 0);
    std::fs::remove_dir(bench.path()).unwrap();
    std::fs::rename(&away, bench.path()).unwrap();
    rusqlite::Connection::open(bench.path()).unwrap().execute_batch("DROP TRIGGER no_writes").unwrap();
    bench.wait_until_global();
    assert_eq!(bench.store().vms().unwrap()[0].state, VmState::Suspended);
    assert_eq!(bench.modes(), [MonitorMode::Local, MonitorMode::Global], "one outage");
    assert_eq!(bench.threads.as_ref().unwrap().view().kept, 0);
}

/// What was acknowledged is in no file then, until it is kept anew.
#[test]
#[allow(clippy::disallowed_methods)]
fn a_spool_that_somebody_removes_is_made_anew() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until_safe();
    let lock = rusqlite::Connection::open(bench.path()).unwrap();
    lock.execute_batch(
        "CREATE TRIGGER no_writes BEFORE UPDATE ON host_monitor BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END",
    )
    .unwrap();
    bench.write(suspended());
    bench.wait_until_local();
    bench.wait_until_safe();
    let spool = bench.folder.path().join("trunkA.spool");
    std::fs::remove_file(&spool).unwrap();
    let until = StdInstant::now() + LIMIT;
    while !spool.exists() {
        assert!(StdInstant::now() < until, "in vain");
        bench.threads.as_ref().unwrap().turned();
        std::thread::yield_now();
    }
    // Killed, and started again with a store that works.
    bench.end();
    lock.execute_batch("DROP TRIGGER no_writes").unwrap();
    bench.start();
    bench.wait_until_global();
    assert_eq!(bench.store().vms().unwrap()[0].state, VmState::Suspended);
}

/// Its own threads go on: they say so, and that it is over.
#[test]
#[allow(clippy::disallowed_methods)]
fn a_loop_that_stands_is_down_until_it_turns() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until_safe();
    let until = StdInstant::now() + LIMIT;
    while bench.modes() != [MonitorMode::Down] {
        assert!(StdInstant::now() < until, "in vain: {:?}", bench.modes());
        std::thread::yield_now();
    }
    while bench.modes() != [MonitorMode::Down, MonitorMode::Global] {
        bench.threads.as_ref().unwrap().turned();
        assert!(StdInstant::now() < until, "in vain: {:?}", bench.modes());
        std::thread::yield_now();
    }
}

#[test]
fn a_clock_of_the_store_that_is_set_is_noticed() {
    let mut bench = Bench::new();
    bench.start();
    let roster = |reply| matches!(reply, Reply::Roster(_)).then_some(());
    bench.reply(roster);
    bench.store_clock.fetch_sub(3_600_000_000, Ordering::Relaxed);
    bench.reply(|reply| matches!(reply, Reply::ClockStepped).then_some(()));
    bench.store_clock.fetch_add(3_600_000_000, Ordering::Relaxed);
    bench.reply(|reply| matches!(reply, Reply::ClockStepped).then_some(()));
}

#[test]
fn ages_are_not_believed_when_the_stores_clock_was_set_between_two_starts() {
    // Set back, the silence begins in the future and has no age at all.
    for step_us in [3_600_000_000, -3_600_000_000] {
        let hour = Duration::from_hours(1);
        let mut bench = Bench::new();
        bench.start();
        bench.reply(|reply| matches!(reply, Reply::Roster(_)).then_some(()));
        bench.write(HostMonitorWrite::PathMissing { vm: vm(), age: Duration::from_secs(1), common: false });
        let number = bench.number;
        bench.reply(|reply| {
            matches!(reply, Reply::Safe { up_to, stored: true } if up_to >= number).then_some(())
        });
        bench.end();
        bench.store_clock.fetch_add(step_us, Ordering::Relaxed);
        bench.start();
        let age = bench.reply(|reply| {
            let Reply::Roster(roster) = reply else { return None };
            roster.vms.first()?.path.as_ref()?.missed
        });
        assert!(age < hour, "{age:?}");
        bench.reply(|reply| matches!(reply, Reply::AgesDoubted).then_some(()));
    }
}

#[test]
fn wrong_settings_are_told_from_a_store_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("health.db"), "this is no database, but it is long enough. ".repeat(9))
        .unwrap();
    let url = format!("sqlite://{}", folder.path().join("health.db").display());
    let start = Start {
        open: Box::new(move || vmpulse_store::open(&url)),
        host_monitor: hm(),
        incarnation: "start 1".to_owned(),
        clock: MonotonicClock::start(),
        spool_path: &folder.path().join("trunkA.spool"),
        copy_path: &folder.path().join("trunkA.roster"),
    };
    let refused = StoreThread::start(start).map(drop);
    assert!(matches!(refused, Err(StoreThreadError::Store(StoreError::NotAStore { .. }))), "{refused:?}");
}

/// The store failed when it was looked at, and a job was answered after that nobody waits for any more: neither says
/// anything of the job that is with it now.
#[test]
fn answers_are_of_the_job_that_is_with_the_store() {
    let bench = Bench::new();
    let now = bench.clock.now();
    let boot = boot_clock(&bench.clock);
    let (file, contents) = load(&bench.folder.path().join("spool"), &boot, now).unwrap();
    let ((_, events), (jobs, given), (replies, mut told)) = (channel(), channel(), unbounded_channel());
    let mut worker = Worker {
        spool: Spool::new("A", boot, contents, now),
        file,
        clock: bench.clock,
        events,
        jobs,
        last_job: 0,
        given: None,
        replies,
        applied: Vec::new(),
        stall: Stall::new(0, now),
        turns: Arc::default(),
        view: Arc::default(),
        copy: None,
        roster_read: Arc::default(),
    };
    worker.take(Event::Write(Waiting { number: 1, at: now, write: suspended() }));
    let action = worker.spool.poll_action(now + Duration::from_secs(1)).unwrap();
    worker.carry_out(action);
    let (number, _) = given.recv().unwrap();
    worker.take(Event::Store(None, StoreWord::Failed("cannot be looked at".to_owned())));
    worker.take(Event::Store(Some(number.wrapping_sub(1)), StoreWord::Applied(Vec::new())));
    worker.take(Event::Store(Some(number.wrapping_sub(1)), StoreWord::Ready));
    assert_eq!(worker.spool.poll_told(), None, "it is neither safe nor lost");
    worker.take(Event::Store(Some(number), StoreWord::Applied(Vec::new())));
    assert_eq!(worker.applied, [Told::Safe { up_to: 1 }]);
    assert!(told.try_recv().is_err());
}
