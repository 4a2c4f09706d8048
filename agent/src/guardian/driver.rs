//! The guardian's loop. It reads the clock once per turn, and between its start and its end it neither allocates nor waits for
//! anything but time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use vmpulse_link::{Transmitter, lock_used_memory, run_in_real_time};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::RunLock;
use vmpulse_local::recorder::{Daemon, Opening, Recorder};
use vmpulse_protocol::time::Instant;

use super::arguments::{Arguments, Record};
use super::beat::{PACKET_BYTES, packet};
use super::file::{LOCK_FILE, OpenedPage};
use super::page::{Header, Page};
use super::probe::Probe;
use super::record::{GuardianRecording, Start, Sum};
use super::rehearsal;
use super::restart::{Clerk, Errand};
use super::watch::{Failure, LOOK, Watch, WatchOutput};
use super::watchdog::Watchdog;

/// Before all ordinary work; behind whoever thinks to be more important.
const PRIORITY: u8 = 10;
/// A guardian is the last that the kernel should kill for want of memory.
const OOM_SCORE: &str = "-1000";
/// Turns of at most [`LOOK`] between two looks whether the page is still the one in the run directory.
const TURNS_PER_FILE_LOOK: u32 = 4;

/// Time since the guest was started, the same for both processes.
#[must_use]
pub fn now() -> Instant {
    // It fails for clocks that do not exist; this one does.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    let (seconds, nanos) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Guards until it is told to end, or the daemon ends on purpose.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    match Guardian::start(arguments) {
        Ok(guardian) => guardian.run(),
        Err(refused) => {
            eprintln!("vmpulse-guardian: {}", refused.text);
            refused.exit
        }
    }
}

struct Refused {
    text: String,
    exit: Exit,
}

impl Refused {
    fn new(what: impl std::fmt::Display, error: &dyn std::error::Error, exit: Exit) -> Self {
        let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Self { text: format!("{what}: {error}{why}"), exit }
    }

    fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            Self::new(what, &error, if denied { Exit::NoPermission } else { Exit::OsError })
        }
    }
}

struct Guardian {
    page: OpenedPage,
    watch: Watch,
    transmitter: Transmitter,
    watchdog: Option<Watchdog>,
    probe: Option<Probe>,
    clerk: Clerk,
    number: u64,
    stop: Arc<AtomicBool>,
    /// The daemon was seen running.
    served: bool,
    disk_gone: bool,
    recording: Option<GuardianRecording>,
    _lock: RunLock,
}

impl Guardian {
    fn start(arguments: &Arguments) -> Result<Self, Refused> {
        let lock = RunLock::acquire(&arguments.run_dir.join(LOCK_FILE))
            .map_err(|error| Refused::new("no lock", &error, error.exit()))?;
        let page = OpenedPage::open(&arguments.run_dir)
            .map_err(|error| Refused::new("no page", &error, Exit::Config))?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Refused::system("signals"))?;
        }
        // The daemon's: something has changed. That it ends the sleep is all that is wanted of it.
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::default())
            .map_err(Refused::system("signals"))?;
        let began = now();
        let mut guardian = Self {
            page,
            watch: Watch::new(began),
            transmitter: Transmitter::open().map_err(Refused::system("the raw socket cannot be opened"))?,
            watchdog: None,
            probe: None,
            clerk: Clerk::start().map_err(Refused::system("no thread"))?,
            number: arguments.number(),
            stop,
            served: false,
            disk_gone: false,
            recording: arguments.record.as_ref().and_then(|record| recording(record, began)),
            _lock: lock,
        };
        guardian.open_optional(arguments);
        settle();
        rehearsal::rehearse(&guardian.transmitter);
        Ok(guardian)
    }

    /// Without what is optional the rest is worth all the more.
    fn open_optional(&mut self, arguments: &Arguments) {
        if let Some((disk, limit)) = &arguments.root_probe {
            match Probe::start(disk, *limit, now) {
                Ok(probe) => self.probe = Some(probe),
                Err(error) => eprintln!("vmpulse-guardian: {} is not probed: {error}", disk.display()),
            }
        }
        if let Some((device, after)) = &arguments.watchdog {
            match Watchdog::open(device, *after, now()) {
                Ok(watchdog) => self.watchdog = Some(watchdog),
                Err(error) => eprintln!("vmpulse-guardian: {} is not fed: {error}", device.display()),
            }
        }
    }

    fn run(mut self) -> Exit {
        let page = self.page.page.clone();
        page.set(Header::DiskGone, 0);
        page.set(Header::GuardianPid, std::process::id().into());
        let mut turn: u32 = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let now = now();
            page.set(Header::GuardianStamp, now.as_nanos());
            if self.is_dismissed(&page, turn) {
                break;
            }
            self.look_after_disk(now, &page);
            self.turn(now, &page);
            turn = turn.wrapping_add(1);
            sleep_until(self.next_turn(now));
        }
        page.set(Header::GuardianStamp, 0);
        if let Some(recording) = self.recording.take() {
            recording.close(now());
        }
        if let Some(watchdog) = self.watchdog.take()
            && let Err(error) = watchdog.release()
        {
            eprintln!("vmpulse-guardian: the watchdog cannot be stopped, and will act: {error}");
        }
        Exit::Done
    }

    /// Whether another guardian is wanted, or none any more.
    fn is_dismissed(&mut self, page: &Page, turn: u32) -> bool {
        let wanted = page.get(Header::Wanted);
        if wanted != 0 && wanted != self.number {
            self.clerk.run(Errand::Say("a guardian with other settings takes over"));
            return true;
        }
        if turn.is_multiple_of(TURNS_PER_FILE_LOOK) && !self.page.is_current() {
            return true;
        }
        let runs = page.get(Header::Running) != 0;
        self.served |= runs;
        self.served && !runs
    }

    fn look_after_disk(&mut self, now: Instant, page: &Page) {
        let gone = self.probe.as_mut().is_some_and(|probe| probe.is_gone(now));
        if gone == self.disk_gone {
            return;
        }
        self.disk_gone = gone;
        page.set(Header::DiskGone, gone.into());
        if let Some(recording) = &mut self.recording {
            recording.disk_gone(now, gone);
        }
        self.clerk.run(Errand::Say(if gone {
            "the root disk does not answer: this guest does not beat any more"
        } else {
            "the root disk answers again"
        }));
    }

    fn turn(&mut self, now: Instant, page: &Page) {
        let (seen, mut came) = (page.seen(), Sum::default());
        self.watch.handle_seen(now, &seen);
        while let Some(output) = self.watch.poll_output() {
            came.add(&output);
            match output {
                WatchOutput::Beat { .. } if self.disk_gone => {}
                WatchOutput::Beat { slot, generation, as_guardian } => {
                    if let Err(error) = beat(page, &self.transmitter, now, (slot, generation), as_guardian) {
                        // Tried again when the next one is due.
                        let errno = error.raw_os_error().unwrap_or_default();
                        self.clerk.run(Errand::Complain("a heartbeat was not sent", errno));
                    }
                }
                WatchOutput::Failed(failure) => self.on_failed(page, failure),
                WatchOutput::Recovered => self.clerk.run(Errand::Say("the agent shows life again")),
            }
        }
        if let Some(recording) = &mut self.recording {
            recording.looked(now, &seen, came);
            if let Some(end) = recording.take_end() {
                self.clerk.run(Errand::Say(end));
            }
        }
        // A guest whose disk is gone is to be reset, if there is a watchdog to do it.
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| !self.disk_gone)
            && let Err(error) = watchdog.feed_if_due(now)
        {
            let errno = error.raw_os_error().unwrap_or_default();
            self.clerk.run(Errand::Complain("the watchdog was not fed", errno));
        }
    }

    fn on_failed(&self, page: &Page, failure: Failure) {
        match failure {
            Failure::Died => {
                self.clerk.run(Errand::Say("AGENT_FAILURE: the agent died, and was started again"))
            }
            Failure::Hangs => {
                self.clerk.run(Errand::Say("AGENT_FAILURE: the agent hangs or died; its paths are kept"));
                if page.get(Header::BySystemd) != 0 {
                    self.clerk.run(Errand::Restart);
                }
            }
        }
    }

    fn next_turn(&self, now: Instant) -> Instant {
        let food = self.watchdog.as_ref().filter(|_| !self.disk_gone).map(Watchdog::next);
        let due = self.watch.poll_timeout().into_iter().chain(food).min();
        due.unwrap_or(now + LOOK)
    }
}

/// A record that cannot be made is no reason not to guard.
fn recording(record: &Record, began: Instant) -> Option<GuardianRecording> {
    let clock = MonotonicClock::start();
    let opening = Opening::by_monotonic(Daemon::Guardian, env!("CARGO_PKG_VERSION"), &clock);
    let start = Start { at_ns: began.as_nanos(), vm: record.vm.clone() };
    match Recorder::start(&record.settings, "guardian", &opening, &start) {
        Ok(recorder) => recorder.map(GuardianRecording::new),
        Err(error) => {
            eprintln!("vmpulse-guardian: nothing is recorded: {error}");
            None
        }
    }
}

/// Sends a heartbeat in the daemon's place. Allocates nothing.
pub(super) fn beat(
    page: &Page,
    transmitter: &Transmitter,
    now: Instant,
    (slot, seen): (usize, u64),
    as_guardian: bool,
) -> io::Result<()> {
    let mut room = [0; PACKET_BYTES];
    // Another session may have taken its place since it was seen.
    let Some((to, length)) = packet(page, now, (slot, seen), as_guardian, &mut room) else { return Ok(()) };
    transmitter.send(&to, room.get(..length).unwrap_or_default())
}

/// Nothing is to keep it from running: neither other work, nor memory that must come from a disk, nor a want of memory.
fn settle() {
    if let Err(error) = std::fs::write(Path::new("/proc/self/oom_score_adj"), OOM_SCORE) {
        eprintln!("vmpulse-guardian: it may be killed for want of memory: {error}");
    }
    if let Err(error) = run_in_real_time(PRIORITY) {
        eprintln!("vmpulse-guardian: no real-time priority, so a busy guest may delay it: {error}");
    }
    if let Err(error) = lock_used_memory() {
        eprintln!("vmpulse-guardian: not locked in memory, so a want of memory may delay it: {error}");
    }
}

/// Signals end it early.
fn sleep_until(at: Instant) {
    let nanos = at.as_nanos();
    let at = TimeSpec::new((nanos / 1_000_000_000).cast_signed(), (nanos % 1_000_000_000).cast_signed());
    // Woken early: the next turn finds nothing due.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at);
}
