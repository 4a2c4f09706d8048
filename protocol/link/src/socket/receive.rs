//! The three ways frames come from the kernel.
//!
//! All wait for the same reactor and ask it the same way: a look that found nothing clears what the reactor knew, so that
//! the next wait is a real one.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::PacketSocket;
use crate::adapter::size_queue;
use crate::control::Remarks;
use crate::filter::Filter;
use crate::link::{BUFFER_BYTES, CONTROL_BYTES};
use crate::ring::{Ring, Taken};
use crate::sys::many::{MOST_AT_ONCE, receive_many};
use crate::sys::{self, Lengths, ring};
use crate::{Left, LinkConfig, LinkError, ReceiveBuffer, ReceiveMethod, Received};

/// Where frames come from, and what that needs.
#[derive(Debug)]
pub(super) enum Source {
    /// The buffer is made when it is first needed: who brings one of his own does without.
    Plain(Option<Box<ReceiveBuffer>>),
    Batched(Option<Batch>),
    /// Locked by [`Link::receive`](crate::Link::receive) only, which reads with a shared reference.
    Ring {
        ring: Mutex<Ring>,
        lag: Duration,
    },
}

impl Source {
    /// To be done before the socket is bound.
    pub(super) fn prepare(socket: &Socket, config: &LinkConfig, mtu: usize) -> io::Result<Self> {
        let shape = match config.receive {
            ReceiveMethod::Plain | ReceiveMethod::Batched => {
                size_queue(socket, config.receive_buffer_bytes)?;
                return Ok(match config.receive {
                    ReceiveMethod::Batched => Self::Batched(None),
                    ReceiveMethod::Plain | ReceiveMethod::Ring(_) => Self::Plain(None),
                });
            }
            ReceiveMethod::Ring(shape) => shape,
        };
        let geometry = shape.geometry(config.receive_buffer_bytes, mtu, ring::page_bytes());
        let lag = lag(Duration::from_millis(geometry.block_timeout_ms.into()), sys::tick());
        Ok(Self::Ring { ring: Mutex::new(Ring::new(socket, geometry)?), lag })
    }
}

/// Before Linux 6.18 the timer runs in ticks: the time is rounded up to whole ones, and the first may have begun.
fn lag(block_timeout: Duration, tick: Duration) -> Duration {
    let tick = tick.max(Duration::from_millis(1));
    let ticks = block_timeout.as_nanos().div_ceil(tick.as_nanos());
    tick * u32::try_from(ticks).unwrap_or(u32::MAX - 1).saturating_add(1)
}

/// Room for the frames of one system call. Only the pages that frames really fill take memory.
#[derive(Debug)]
pub(super) struct Batch {
    frames: Box<[u8]>,
    controls: Box<[[u8; CONTROL_BYTES]]>,
    lengths: Box<[Lengths]>,
}

impl Batch {
    fn new() -> Self {
        Self {
            frames: vec![0; BUFFER_BYTES * MOST_AT_ONCE].into(),
            controls: vec![[0; CONTROL_BYTES]; MOST_AT_ONCE].into(),
            lengths: vec![Lengths::default(); MOST_AT_ONCE].into(),
        }
    }

    /// Receives at most `most` frames; says how many, and whether no more waited.
    fn fill(&mut self, socket: &Socket, most: usize) -> io::Result<(usize, bool)> {
        let lengths = self.lengths.get_mut(..most.min(MOST_AT_ONCE)).unwrap_or_default();
        let room = lengths.len();
        let count = receive_many(socket, &mut self.frames, BUFFER_BYTES, &mut self.controls, lengths)?;
        Ok((count, count < room))
    }

    fn iter(&self, count: usize) -> impl Iterator<Item = (&[u8], Remarks)> {
        let rooms = self.frames.chunks_exact(BUFFER_BYTES).zip(&self.controls).zip(self.lengths.iter());
        rooms.take(count).map(|((frame, control), lengths)| {
            let remarks = Remarks::decode(control.get(..lengths.control).unwrap_or_default());
            (frame.get(..lengths.frame).unwrap_or_default(), remarks)
        })
    }
}

impl PacketSocket {
    /// Hands the frames that wait to `take`, at most `limit`, and says whether more may wait. Never blocks, and allocates
    /// nothing for a frame. What the kernel lends is given back after `take` has returned.
    ///
    /// The driver's loop: wait for [`readable`](Self::readable), call this, do what is due, again. After [`Left::More`]
    /// there is nothing to wait for: `readable` returns at once.
    ///
    /// # When silence may be judged
    /// [`Left::Nothing`] means that every frame was handed over that came more than [`reading_lag`](Self::reading_lag)
    /// before the call: no time at all, except with a ring, where the kernel shows frames block by block. So
    /// judge a path silent at `due` not before a call at `due + reading_lag()` or later left nothing.
    ///
    /// # Errors
    /// See [`LinkError`]. What was received before the error has been handed over; what waits behind it is not lost.
    pub fn receive_batch(
        &mut self,
        limit: usize,
        mut take: impl FnMut(Received<'_>),
    ) -> Result<Left, LinkError> {
        let mut room = limit;
        while room > 0 {
            let Self { socket, source, filter, .. } = self;
            let got = match source {
                Source::Plain(buffer) => read_one(socket, filter, buffer.get_or_insert_default(), &mut take),
                Source::Batched(batch) => {
                    read_many(socket, filter, batch.get_or_insert_with(Batch::new), room, &mut take)
                }
                Source::Ring { ring, .. } => {
                    let ring = ring.get_mut().unwrap_or_else(PoisonError::into_inner);
                    read_ring(socket, filter, ring, room, &mut take)
                }
            };
            match got {
                Ok(got) => {
                    self.note(got.lost);
                    room = room.saturating_sub(got.frames);
                    if got.emptied {
                        return Ok(Left::Nothing);
                    }
                }
                Err(error) => return self.no_frame(error).map(|()| Left::Nothing),
            }
        }
        Ok(Left::More)
    }

    /// How long a frame that has come may still be hidden from its reader; zero without a ring. It is the ring's block
    /// timeout in whole ticks of the kernel and one more; Linux 6.18 and later keep to the timeout itself.
    #[must_use]
    pub fn reading_lag(&self) -> Duration {
        match &self.source {
            Source::Plain(_) | Source::Batched(_) => Duration::ZERO,
            Source::Ring { lag, .. } => *lag,
        }
    }

    /// Puts the next frame into `buffer`; `None` if none waits.
    pub(super) fn receive_into(
        &self,
        buffer: &mut ReceiveBuffer,
    ) -> Result<Option<(usize, Remarks)>, LinkError> {
        // Ends: each turn takes a frame off the queue, and the filter lets hardly any through that is not ours.
        loop {
            let got = match &self.source {
                Source::Plain(_) | Source::Batched(_) => self.next_queued(buffer),
                Source::Ring { ring, .. } => self.next_in_ring(ring, buffer),
            };
            match got {
                Ok(Some(got)) => {
                    self.note(0);
                    return Ok(Some(got));
                }
                // Not ours, or a block was handed over meanwhile.
                Ok(None) => {}
                Err(error) => return self.no_frame(error).map(|()| None),
            }
        }
    }

    /// `None` if the frame is not ours.
    fn next_queued(&self, buffer: &mut ReceiveBuffer) -> io::Result<Option<(usize, Remarks)>> {
        let lengths = look(&self.socket, |socket| receive_one(socket, buffer))?;
        let remarks = buffer.remarks(lengths);
        let frame = buffer.frame.get(..lengths.frame).unwrap_or_default();
        Ok(Received::accept(&self.filter, frame, remarks).map(|_| (lengths.frame, remarks)))
    }

    fn next_in_ring(
        &self,
        ring: &Mutex<Ring>,
        buffer: &mut ReceiveBuffer,
    ) -> io::Result<Option<(usize, Remarks)>> {
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut got = None;
        let taken = ring.read(1, |frame, remarks| {
            if Received::accept(&self.filter, frame, remarks).is_some() {
                got = Some((buffer.hold(frame), remarks));
            }
        });
        if taken.emptied {
            look(&self.socket, |socket| look_at_ring(socket, &ring))?;
        } else {
            self.note(taken.lost);
        }
        Ok(got)
    }

    /// Something came, so the adapter is not down.
    fn note(&self, lost: u64) {
        self.down.store(false, Ordering::Relaxed);
        if lost > 0 {
            self.drops.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// What one go brought.
struct Got {
    frames: usize,
    emptied: bool,
    lost: u64,
}

fn read_one(
    socket: &AsyncFd<Socket>,
    filter: &Filter,
    buffer: &mut ReceiveBuffer,
    take: &mut impl FnMut(Received<'_>),
) -> io::Result<Got> {
    let lengths = look(socket, |socket| receive_one(socket, buffer))?;
    let frame = buffer.frame.get(..lengths.frame).unwrap_or_default();
    if let Some(frame) = Received::accept(filter, frame, buffer.remarks(lengths)) {
        take(frame);
    }
    Ok(Got { frames: 1, emptied: false, lost: 0 })
}

fn read_many(
    socket: &AsyncFd<Socket>,
    filter: &Filter,
    batch: &mut Batch,
    room: usize,
    take: &mut impl FnMut(Received<'_>),
) -> io::Result<Got> {
    let (frames, emptied) = look(socket, |socket| {
        let (count, emptied) = batch.fill(socket, room)?;
        Ok(((count, emptied), emptied))
    })?;
    for (frame, remarks) in batch.iter(frames) {
        if let Some(frame) = Received::accept(filter, frame, remarks) {
            take(frame);
        }
    }
    Ok(Got { frames, emptied, lost: 0 })
}

fn read_ring(
    socket: &AsyncFd<Socket>,
    filter: &Filter,
    ring: &mut Ring,
    room: usize,
    take: &mut impl FnMut(Received<'_>),
) -> io::Result<Got> {
    let Taken { frames, emptied, lost } = ring.read(room, |frame, remarks| {
        if let Some(frame) = Received::accept(filter, frame, remarks) {
            take(frame);
        }
    });
    if frames == 0 && emptied {
        look(socket, |socket| look_at_ring(socket, ring))?;
    }
    Ok(Got { frames, emptied: false, lost })
}

fn receive_one(socket: &Socket, buffer: &mut ReceiveBuffer) -> io::Result<(Lengths, bool)> {
    let lengths = sys::receive(socket, &mut buffer.frame, &mut buffer.control)?;
    Ok((lengths, false))
}

/// A ring has no call that fails: errors are asked for.
fn look_at_ring(socket: &Socket, ring: &Ring) -> io::Result<((), bool)> {
    if ring.has_frames() {
        return Ok(((), false));
    }
    Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
}

/// Looks with `look`, which says what it found and whether nothing is left, and tells the reactor what was found empty,
/// so that it waits for the next event.
pub(crate) fn look<S: AsRawFd, T>(
    socket: &AsyncFd<S>,
    mut look: impl FnMut(&S) -> io::Result<(T, bool)>,
) -> io::Result<T> {
    let mut tried = false;
    // One at a time: the reactor clears nothing for two interests at once.
    for interest in [Interest::READABLE, Interest::ERROR] {
        let mut found = None;
        let result = socket.try_io(interest, |socket| {
            tried = true;
            let (what, emptied) = look(socket)?;
            found = Some(what);
            // The reactor forgets what it knew only when told so, and only what it knew before the look.
            if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (found, result) {
            (Some(found), _) => return Ok(found),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            (None, Ok(()) | Err(_)) => {}
        }
    }
    if tried {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // The reactor has not told of a frame, but it may only not have looked yet. A daemon that was stopped
    // for a while must not take what waits for silence, so look.
    look(socket.get_ref()).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_in_whole_ticks_and_one_more() {
        let ms = Duration::from_millis;
        for (timeout, tick, lag_ms) in [(4, 4, 8), (5, 4, 12), (1, 10, 20), (4, 1, 5), (20, 10, 30)] {
            assert_eq!(lag(ms(timeout), ms(tick)), ms(lag_ms), "{timeout} {tick}");
        }
    }
}
