//! The numbers that the daemon draws where its guardian draws, too.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmpulse_protocol::path::{Draw, SharedDraw};

/// A number that was not the next one: how many were drawn before it since the last line, and what it was.
pub(super) type Jump = (u32, u8);

/// Sees every number that the daemon draws. Each session has one next number; the guardian's heartbeats are the gaps.
#[derive(Debug)]
pub struct Draws {
    /// The numbers are not drawn: they are those that were.
    replayed: bool,
    /// Nobody asks for them any more.
    over: AtomicBool,
    /// Locked by one thread only; a source of numbers may be shared.
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    count: u32,
    /// At most one for each heartbeat of the guardian since they were taken.
    jumps: Vec<Jump>,
}

impl Draws {
    pub(super) fn recorded() -> Self {
        Self { replayed: false, over: AtomicBool::new(false), drawn: Mutex::default() }
    }

    pub(super) fn replayed() -> Self {
        Self { replayed: true, over: AtomicBool::new(false), drawn: Mutex::default() }
    }

    /// A source that is seen. `first`: its first number, if nobody else draws before.
    #[must_use]
    pub fn over(self: &Arc<Self>, source: SharedDraw, first: u8) -> SharedDraw {
        Arc::new(Seen { source, next: AtomicU8::new(first), draws: Arc::clone(self) })
    }

    /// What was not the next number since this was last asked for.
    pub(super) fn take(&self) -> Vec<Jump> {
        std::mem::take(&mut *self.lock()).jumps
    }

    /// The record has ended: they would be kept for nobody.
    pub(super) fn end(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            drop(self.take());
        }
    }

    /// What will not be the next number from now on.
    pub(super) fn expect(&self, jumps: Vec<Jump>) {
        *self.lock() = Drawn { count: 0, jumps };
    }

    fn draw(&self, next: u8, source: &SharedDraw) -> u8 {
        if self.over.load(Ordering::Relaxed) {
            return source.next_urgent();
        }
        let mut drawn = self.lock();
        let place = drawn.count;
        drawn.count = drawn.count.saturating_add(1);
        if self.replayed {
            return drawn.jumps.iter().find(|(at, _)| *at == place).map_or(next, |(_, number)| *number);
        }
        let number = source.next_urgent();
        if number != next {
            drawn.jumps.push((place, number));
        }
        number
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Seen {
    source: SharedDraw,
    next: AtomicU8,
    draws: Arc<Draws>,
}

impl Draw for Seen {
    fn next_urgent(&self) -> u8 {
        let number = self.draws.draw(self.next.load(Ordering::Relaxed), &self.source);
        self.next.store(number.wrapping_add(1), Ordering::Relaxed);
        number
    }

    /// Of authenticated packets, which no record knows.
    fn next_count(&self) -> u64 {
        self.source.next_count()
    }
}
