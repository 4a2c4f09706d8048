//! The wire: frames of a trunk pass through this process, which loses, delays, doubles, damages or holds them back.
//!
//! The kernel has a module for that (netem), but many have been built without it.
//!
//! * [`faults`]: what shall go wrong;
//! * [`line`]: what becomes of each frame of one direction: a pure core, the same for the same seed;
//! * [`counts`]: what became of them.

pub mod counts;
pub mod faults;
pub mod line;

use serde::{Deserialize, Serialize};

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From guests to the monitor.
    Up,
    /// From the monitor to guests.
    Down,
}

impl Way {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Way::Up => "up",
            Way::Down => "down",
        }
    }
}
