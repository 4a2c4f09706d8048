//! Whether a script is there to be run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Why a script cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such file, or it cannot be looked at.
    NotThere,
    /// A directory or a device.
    NoFile,
    /// Nobody may execute it.
    NotExecutable,
}

/// Looks at the file itself: that its interpreter is there shows only when it is run.
pub fn check(path: &Path) -> Result<(), Missing> {
    let metadata = fs::metadata(path).map_err(|_| Missing::NotThere)?;
    if !metadata.is_file() {
        return Err(Missing::NoFile);
    }
    if metadata.permissions().mode() & 0o111 == 0 { Err(Missing::NotExecutable) } else { Ok(()) }
}
