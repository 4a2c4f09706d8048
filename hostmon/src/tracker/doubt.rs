//! When the monitor must not trust its own ears.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Doubts remembered. More than this many within one interval say the same as this many.
const REMEMBERED: usize = 64;
/// Lateness below this is a scheduler's everyday behaviour and no doubt at any interval. [L-6]
const EVERYDAY_LATENESS: Duration = Duration::from_millis(20);
/// Why the monitor may have missed heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Its loop came round this much too late, or is this far behind with reading.
    Late(Duration),
    /// The kernel dropped this many frames because the socket's buffer was full.
    Dropped(u64),
    /// Its trunk adapter was down or gone.
    AdapterDown,
    /// The trunk's canary lost heartbeats for this long, and so may have guests.
    CanaryGap(Duration),
}

impl Doubt {
    /// Whether it matters to a path of this interval. Between two heartbeats and MISSING there is room for
    /// 0.9 intervals; lateness of less than a quarter of one cannot fill it.
    pub(crate) fn matters_to(self, interval: Duration) -> bool {
        match self {
            Self::Late(by) => by > interval / 4,
            Self::Dropped(_) | Self::AdapterDown | Self::CanaryGap(_) => true,
        }
    }

    /// Whether it is more than a scheduler's everyday behaviour.
    #[must_use]
    pub fn is_noteworthy(self) -> bool {
        !matches!(self, Self::Late(by) if by <= EVERYDAY_LATENESS)
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(by) => write!(out, "the monitor's loop was {} ms late", by.as_millis()),
            Self::Dropped(frames) => {
                write!(out, "the kernel dropped {frames} frames: the receive buffer was full")
            }
            Self::AdapterDown => out.write_str("the trunk adapter was down"),
            Self::CanaryGap(gap) => {
                write!(out, "the trunk lost what its canary sent: nothing came for {} ms", gap.as_millis())
            }
        }
    }
}

/// The latest doubts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    latest: VecDeque<(Instant, Doubt)>,
}

impl Doubts {
    pub(super) fn push(&mut self, now: Instant, doubt: Doubt) {
        if !doubt.is_noteworthy() {
            return;
        }
        if self.latest.len() >= REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back((now, doubt));
    }

    /// If a doubt lies within the last interval: until when a judgement must wait, and the doubt. One interval more,
    /// counted from now: counted from the doubt it would end when the heartbeat after a lost one is due, and a guest
    /// that is late by a hair would be accused. [L-6]
    pub(super) fn defer(&self, now: Instant, interval: Duration) -> Option<(Instant, Doubt)> {
        let recent = |(at, doubt): &&(Instant, Doubt)| now < *at + interval && doubt.matters_to(interval);
        self.latest.iter().rev().find(recent).map(|(_, doubt)| (now + interval, *doubt))
    }
}
