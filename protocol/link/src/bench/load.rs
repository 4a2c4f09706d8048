//! A sender on a core of its own.
#![allow(clippy::disallowed_methods)] // It keeps a rate, and a rate is time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libc::{PACKET_QDISC_BYPASS, SOL_PACKET};
use nix::sys::prctl::set_timerslack;
use socket2::Socket;

use super::{Usage, pin};
use crate::adapter::Adapter;
use crate::sys::many::{MOST_AT_ONCE, send_many};
use crate::sys::{link_address, set_option};

/// Below this, waking takes longer than the wait: the sender spins.
const SHORTEST_SLEEP: Duration = Duration::from_micros(80);

/// Sends frames as they are, from any address, past the adapter's queue. To hear answers to any address use a
/// [`CaptureSocket`](crate::CaptureSocket) on the same adapter.
#[derive(Debug)]
pub struct Injector {
    socket: Socket,
}

impl Injector {
    /// Opens the adapter.
    ///
    /// # Errors
    /// Those of opening a raw socket.
    pub fn open(interface: &str) -> io::Result<Self> {
        let (socket, adapter) = Adapter::open(interface).map_err(io::Error::other)?;
        socket.set_nonblocking(false)?;
        set_option(&socket, SOL_PACKET, PACKET_QDISC_BYPASS, 1)?;
        // Protocol 0: it hears nothing.
        socket.bind(&link_address(adapter.index, 0)?)?;
        Ok(Self { socket })
    }

    /// Sends whole frames (see [`write_frame`](super::write_frame)), at most 64 of them; says how many the adapter took.
    ///
    /// # Errors
    /// It took none.
    pub fn send(&self, frames: &[Vec<u8>]) -> io::Result<usize> {
        send_many(&self.socket, frames)
    }
}

/// What to send with, and how fast.
#[derive(Clone, Debug)]
pub struct Load {
    /// Name of the adapter.
    pub interface: String,
    /// Core the sender is kept on.
    pub core: usize,
    /// Frames per second, evenly spread; `None`: as many as the core can.
    pub rate: Option<u64>,
}

/// A sender at work. Dropped, it goes on until the process ends.
#[derive(Debug)]
pub struct Running {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What a sender did.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames the adapter took.
    pub frames: u64,
    /// Times it took none, or not all of those it was given.
    pub refused: u64,
    /// From start to end.
    pub elapsed: Duration,
    /// Of the sender's thread. On a veth pair the kernel's work for the receiver is in it.
    pub usage: Usage,
}

impl Load {
    /// Starts a thread that sends what `write` writes; it is given the number of the frame, from zero, and a vector with
    /// the bytes of an earlier frame.
    ///
    /// # Errors
    /// Those of opening a raw socket on the adapter.
    pub fn start(self, write: impl FnMut(u64, &mut Vec<u8>) + Send + 'static) -> io::Result<Running> {
        let injector = Injector::open(&self.interface)?;
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = thread::Builder::new().name("sender".to_owned()).spawn(move || {
            // A core that is not there makes the figures worse, not wrong.
            let _ = (pin(self.core), set_timerslack(1));
            send(&injector, self.rate, write, &shared.0, &shared.1)
        })?;
        Ok(Running { sent, stop, thread })
    }
}

impl Running {
    /// Frames sent so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the sender.
    ///
    /// # Panics
    /// If `write` did.
    #[allow(clippy::expect_used)] // For benchmarks.
    pub fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender's own code does not panic")
    }
}

fn send(
    injector: &Injector,
    rate: Option<u64>,
    mut write: impl FnMut(u64, &mut Vec<u8>),
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> Sent {
    let (start, usage) = (Instant::now(), Usage::now());
    let mut frames: Vec<Vec<u8>> = vec![Vec::new(); MOST_AT_ONCE];
    let (mut number, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let due = due(start.elapsed(), rate, number);
        if due == 0 {
            rest(start, rate, number);
            continue;
        }
        let batch = frames.get_mut(..due).unwrap_or_default();
        for (frame, number) in batch.iter_mut().zip(number..) {
            write(number, frame);
        }
        let taken = injector.send(batch).unwrap_or_default();
        refused += u64::from(taken < due);
        number += taken as u64;
        sent.store(number, Ordering::Relaxed);
    }
    Sent { frames: number, refused, elapsed: start.elapsed(), usage: Usage::now().since(usage) }
}

/// Frames to send now.
fn due(elapsed: Duration, rate: Option<u64>, sent: u64) -> usize {
    let Some(rate) = rate else { return MOST_AT_ONCE };
    let wanted = elapsed.as_nanos() * u128::from(rate) / 1_000_000_000;
    let due = wanted.saturating_sub(sent.into());
    usize::try_from(due).unwrap_or(usize::MAX).min(MOST_AT_ONCE)
}

fn rest(start: Instant, rate: Option<u64>, sent: u64) {
    let nanoseconds = u128::from(sent + 1) * 1_000_000_000 / u128::from(rate.unwrap_or(1).max(1));
    let next = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    match next.checked_sub(start.elapsed()) {
        Some(wait) if wait > SHORTEST_SLEEP => thread::sleep(wait),
        Some(_) | None => std::hint::spin_loop(),
    }
}
