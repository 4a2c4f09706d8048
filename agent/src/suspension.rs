//! Whether the administrator has suspended monitoring: kept in a file, because a suspension outlives the agent and the
//! guest, and must reach a host monitor even if none was there when it was said.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

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
    match fs::read(state_dir.join(FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps it: it is there, whole, whatever happens next.
///
/// # Errors
/// A state directory that cannot be made or written.
pub fn save(state_dir: &Path, suspension: Suspension) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let path = state_dir.join(FILE);
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(&suspension)?)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    // The name is kept only with its directory.
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
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
