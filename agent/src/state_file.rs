//! Small things that must outlive the daemon: one JSON file each in the state directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What was kept last; `None` if nothing ever was.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn load<T: DeserializeOwned>(state_dir: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(state_dir.join(name)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps it: it is there, whole, whatever happens next.
///
/// # Errors
/// A state directory that cannot be made or written.
pub fn save<T: Serialize>(state_dir: &Path, name: &str, value: &T) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let path = state_dir.join(name);
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    // The name is kept only with its directory.
    File::open(state_dir)?.sync_all()
}
