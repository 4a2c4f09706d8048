//! How much the monitor holds, to be compared with its bounds.

use super::Monitor;
use crate::sessions::SessionSizes;

/// What can grow by what guests send or by what the store asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the sessions.
    pub sessions: SessionSizes,
    /// VMs of the roster, and those of other hosts that came by.
    pub watched: usize,
    /// Messages to guests that are under way.
    pub to_guests: usize,
    /// Messages of guests that wait for their write to be committed; at most 8 of each watched VM.
    pub to_accept: usize,
}

impl Monitor {
    /// How much is held now.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            sessions: self.sessions.sizes(),
            watched: self.watched.len(),
            to_guests: self.under_way.len(),
            to_accept: self.to_accept.len(),
        }
    }
}
