//! Whether the administrator has suspended monitoring: kept in a file, because a suspension outlives the agent and the
//! guest, and must reach a host monitor even if none was there when it was said.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::state_file;

/// The file in the state directory.
pub const FILE: &str = "suspension.json";

/// What was said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// `SUSPEND`; else `RESUME`.
    pub suspended: bool,
    /// Whether a host monitor has acknowledged it. From then on the store knows, and may be told otherwise by others.
    pub heard: bool,
}

impl Suspension {
    /// What is to be said to whoever comes.
    #[must_use]
    pub fn unheard(self) -> Option<bool> {
        (!self.heard).then_some(self.suspended)
    }
}

/// What was said last; `None` if nothing ever was.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn load(state_dir: &Path) -> io::Result<Option<Suspension>> {
    state_file::load(state_dir, FILE)
}

/// Keeps it: it is there, whole, whatever happens next.
///
/// # Errors
/// A state directory that cannot be made or written.
pub fn save(state_dir: &Path, suspension: Suspension) -> io::Result<()> {
    state_file::save(state_dir, FILE, &suspension)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn kept_over_a_restart_and_nonsense_is_said_to_be_such() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        assert_eq!(load(&state_dir).unwrap(), None);
        for suspended in [true, false] {
            for heard in [false, true] {
                let suspension = Suspension { suspended, heard };
                save(&state_dir, suspension).unwrap();
                assert_eq!(load(&state_dir).unwrap(), Some(suspension));
                assert_eq!(suspension.unheard(), (!heard).then_some(suspended));
            }
        }
        fs::write(state_dir.join(FILE), "suspended").unwrap();
        assert!(load(&state_dir).is_err());
        assert!(save(Path::new("/proc/nowhere"), Suspension::default()).is_err());
    }
}
