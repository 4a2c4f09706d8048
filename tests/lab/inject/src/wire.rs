//! The wire: frames of a trunk pass through this process, which loses, delays, doubles, damages or holds them back.
//!
//! The kernel has a module for that (netem), but many have been built without it.
//!
//! * [`faults`]: what shall go wrong;
//! * [`mod@line`]: what becomes of each frame of one direction: a pure core, the same for the same seed;
//! * [`counts`]: what became of them;
//! * [`trunk`]: where a trunk's ends are;
//! * [`divert`]: how a wire gets into a path that is in use, and out of it;
//! * [`relay`]: the process that frames pass through;
//! * [`files`]: what goes wrong and what became of frames, in files beside the state file;
//! * [`netns`], [`programs`]: what these are made with.

pub mod counts;
pub mod divert;
pub mod faults;
pub mod files;
pub mod line;
pub mod netns;
pub mod programs;
pub mod relay;
pub mod trunk;

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
