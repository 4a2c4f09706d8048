//! How much the sessions hold, to be compared with their bounds.

use super::Sessions;

/// What can grow by what guests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSizes {
    /// Addresses with a path or a handshake; at most [`SESSIONS_MAXIMUM`](super::SESSIONS_MAXIMUM).
    pub sessions: usize,
    /// Of which some are strangers; at most [`STRANGERS_MAXIMUM`](super::STRANGERS_MAXIMUM).
    pub newcomers: usize,
    /// Bytes of incomplete messages; at most [`REASSEMBLY_MAXIMUM`](super::REASSEMBLY_MAXIMUM).
    pub reassembly_bytes: usize,
    /// Looks that are scheduled; at most four for each session, or 1024.
    pub looks: usize,
}

impl Sessions {
    /// How much is held now.
    #[must_use]
    pub fn sizes(&self) -> SessionSizes {
        SessionSizes {
            sessions: self.sessions.len(),
            newcomers: self.newcomers.len(),
            reassembly_bytes: self.partial_bytes,
            looks: self.schedule.len(),
        }
    }
}
