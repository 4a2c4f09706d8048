//! The recorder's part of a settings file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::Fault;

/// From a few minutes of a small trunk to half a day of a large one.
const MAX_MIB: std::ops::RangeInclusive<u32> = 1..=4096;
/// Records of starts before this one that are kept, and this one.
const KEEP: std::ops::RangeInclusive<u32> = 1..=10_000;

/// The table `[recorder]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderSettings {
    /// Where records are kept; empty: nothing is recorded.
    pub directory: PathBuf,
    /// Largest record, in MiB. At this size it ends: without its beginning it could not be replayed.
    pub max_mib: u32,
    /// How many records of this daemon are kept, that of this start included.
    pub keep: u32,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self { directory: PathBuf::new(), max_mib: 64, keep: 4 }
    }
}

impl RecorderSettings {
    /// Whether anything is to be recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.directory.as_os_str().is_empty()
    }

    /// Largest record, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        u64::from(self.max_mib) << 20
    }

    /// What is wrong with them.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let outside = |key, value: u32, allowed: &std::ops::RangeInclusive<u32>| {
            let problem = format!("{value} is not in {} to {}", allowed.start(), allowed.end());
            (!allowed.contains(&value)).then_some((key, problem))
        };
        if self.is_on() && !self.directory.is_absolute() {
            let problem = format!("{:?} is not an absolute path", self.directory.display().to_string());
            return Some(("recorder.directory", problem));
        }
        outside("recorder.max_mib", self.max_mib, &MAX_MIB)
            .or_else(|| outside("recorder.keep", self.keep, &KEEP))
    }
}
