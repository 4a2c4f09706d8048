//! One measurement: sender and receiver on their cores, and what was counted.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use vmpulse_link::bench::{self, CoreTime, Load, Usage, Wire};

use crate::method::Method;
use crate::report::Row;

/// Until caches are warm and the receiver has its rhythm.
const WARM_UP: Duration = Duration::from_millis(300);
/// Until all that was sent is received, or lost.
const DRAIN: Duration = Duration::from_millis(200);

/// What a receiver does with what it counts; told to it from outside.
const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DRAINING: u8 = 2;
const OVER: u8 = 3;

/// Frames per second; `None`: as many as possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(pub(crate) Option<u64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self(None));
        }
        let rate = text.parse().ok().filter(|rate| *rate > 0);
        rate.map(|rate| Self(Some(rate))).ok_or_else(|| format!("{text:?} is neither a rate nor \"max\""))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => write!(out, "{rate}"),
            None => out.write_str("max"),
        }
    }
}

/// What stays the same for all measurements.
pub(crate) struct Plan {
    pub(crate) wire: Wire,
    pub(crate) seconds: Duration,
    pub(crate) sources: u32,
    pub(crate) buffer_bytes: usize,
    pub(crate) sender_core: usize,
    pub(crate) receiver_core: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) drops: u64,
    pub(crate) freezes: u64,
}

/// Counts, and notes what was spent when the measured time begins and ends.
pub(crate) struct Counter {
    pub(crate) frames: u64,
    phase: Arc<AtomicU8>,
    ready: SyncSender<()>,
    seen: u8,
    start: Mark,
    end: Mark,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    frames: u64,
    usage: Usage,
}

impl Mark {
    fn now(frames: u64) -> Self {
        Self { at: Instant::now(), frames, usage: Usage::now() }
    }
}

impl Counter {
    fn new(phase: Arc<AtomicU8>, ready: SyncSender<()>) -> Self {
        let mark = Mark::now(0);
        Self { frames: 0, phase, ready, seen: WARMING, start: mark, end: mark }
    }

    /// The receiver is open: what is sent from now on is received.
    pub(crate) fn ready(&self) {
        // Nobody listens only if the measurement was given up.
        let _ = self.ready.send(());
    }

    /// To be asked once a turn.
    pub(crate) fn goes_on(&mut self) -> bool {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase != self.seen {
            self.seen = phase;
            match phase {
                MEASURING => self.start = Mark::now(self.frames),
                DRAINING => self.end = Mark::now(self.frames),
                _ => {}
            }
        }
        phase != OVER
    }
}

impl Plan {
    pub(crate) fn measure(&self, method: Method, rate: Rate) -> io::Result<Row> {
        let phase = Arc::new(AtomicU8::new(WARMING));
        let (ready, is_ready) = sync_channel(1);
        let mut counter = Counter::new(Arc::clone(&phase), ready);
        let (core, interface, bytes) = (self.receiver_core, self.wire.receiver.clone(), self.buffer_bytes);
        let named = thread::Builder::new().name("receiver".to_owned());
        let receiver = named.spawn(move || -> io::Result<(Counter, Losses)> {
            bench::pin(core)?;
            let losses = method.receive(&interface, bytes, &mut counter)?;
            Ok((counter, losses))
        })?;
        // It fails if the receiver ended, which then says why.
        let sent = is_ready.recv().ok().map(|()| self.send(rate, &phase)).transpose()?;
        phase.store(OVER, Ordering::Relaxed);
        let received = receiver.join().map_err(|_| io::Error::other("the receiver panicked"))?;
        let ((counter, losses), sent) = (received?, sent.ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(row(method, rate, &counter, losses, &sent))
    }

    fn send(&self, rate: Rate, phase: &AtomicU8) -> io::Result<Sending> {
        let load = Load { interface: self.wire.sender.clone(), core: self.sender_core, rate: rate.0 };
        let running = load.start(bench::heartbeats(self.wire.receiver_mac()?, self.sources, None))?;
        thread::sleep(WARM_UP);
        let before = CoreTime::now(self.receiver_core)?;
        phase.store(MEASURING, Ordering::Relaxed);
        thread::sleep(self.seconds);
        phase.store(DRAINING, Ordering::Relaxed);
        let core = CoreTime::now(self.receiver_core)?.since(before);
        let sent = running.stop();
        thread::sleep(DRAIN);
        Ok(Sending { sent, core })
    }
}

struct Sending {
    sent: bench::Sent,
    core: CoreTime,
}

fn row(method: Method, rate: Rate, counter: &Counter, losses: Losses, sending: &Sending) -> Row {
    let Counter { start, end, .. } = counter;
    let seconds = end.at.duration_since(start.at).as_secs_f64();
    let (frames, usage) = (end.frames - start.frames, end.usage.since(start.usage));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / frames.max(1) as f64;
    let sent = &sending.sent;
    Row {
        method: method.to_string(),
        rate: rate.to_string(),
        seconds,
        received_per_second: frames as f64 / seconds,
        cpu_us_per_frame: each(usage.cpu()),
        user_us_per_frame: each(usage.user),
        system_us_per_frame: each(usage.system),
        cpu_percent: usage.cpu().as_secs_f64() * 100.0 / seconds,
        core_busy_percent: sending.core.busy.as_secs_f64() * 100.0 / seconds,
        core_interrupts_percent: sending.core.interrupts.as_secs_f64() * 100.0 / seconds,
        wakeups_per_second: usage.wakeups as f64 / seconds,
        sent: sent.frames,
        received: counter.frames,
        dropped: losses.drops,
        lost_elsewhere: sent.frames.saturating_sub(counter.frames + losses.drops),
        freezes: losses.freezes,
        sender_us_per_frame: sent.usage.cpu().as_secs_f64() * 1e6 / sent.frames.max(1) as f64,
    }
}
