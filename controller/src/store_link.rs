//! The connection to the store: opened when it can be, opened again when it broke or its file was replaced.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vmpulse_store::{Store, StoreError};

/// Why an existing store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such file.
    #[error("there is no health store at {}: does vmpulse-controllerd or a host monitor run with another one?", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("the health store cannot be used")]
    Store(#[from] StoreError),
}

/// A store that may come and go.
pub struct StoreLink {
    url: String,
    openings: u64,
    open: Option<(Box<dyn Store>, Option<FileIdentity>)>,
}

/// Device and inode: a file moved into the place of another is another store.
type FileIdentity = (u64, u64);

impl StoreLink {
    /// Not opened yet.
    #[must_use]
    pub const fn new(url: String) -> Self {
        Self { url, openings: 0, open: None }
    }

    /// The store, opened if it is not.
    ///
    /// # Errors
    /// What opening says.
    pub fn store(&mut self) -> Result<&mut dyn Store, StoreError> {
        let identity = identity_of(&self.url);
        let open = match self.open.take().filter(|(_, opened)| *opened == identity) {
            Some(open) => open,
            None => {
                let store = vmpulse_store::open(&self.url)?;
                self.openings = self.openings.wrapping_add(1);
                // Read again: opening may have made the file.
                (store, identity_of(&self.url))
            }
        };
        Ok(self.open.insert(open).0.as_mut())
    }

    /// How often it was opened. Another number than before means that it may be another store.
    #[must_use]
    pub const fn openings(&self) -> u64 {
        self.openings
    }

    /// The store, opened if it is not, but never made.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn existing(&mut self) -> Result<&mut dyn Store, LinkError> {
        match path_of(&self.url) {
            Some(path) if !path.exists() => Err(LinkError::Missing { path }),
            Some(_) | None => Ok(self.store()?),
        }
    }

    /// Forgets the connection; the next use opens another.
    pub fn close(&mut self) {
        self.open = None;
    }
}

/// The file behind a URL that names one.
#[must_use]
pub fn path_of(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite://").filter(|path| path.starts_with('/')).map(PathBuf::from)
}

fn identity_of(url: &str) -> Option<FileIdentity> {
    let metadata = std::fs::metadata(path_of(url)?).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The name of the lock that keeps a second controller of this machine off the store: the same for every way to
/// write the store's path.
#[must_use]
pub fn lock_name(url: &str) -> String {
    let canonical = path_of(url).map(|path| canonical(&path));
    let key = canonical.as_deref().map_or(url.as_bytes(), |path| path.as_os_str().as_encoded_bytes());
    format!("controller-{:016x}.lock", fnv1a(key))
}

/// The file may not be there yet; its folder decides then.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        match (folder, path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        }
    })
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_store_has_one_lock_however_its_path_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let url = |path: &str| format!("sqlite://{}/{path}", folder.path().display());
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let before = lock_name(&url("a/health.db"));
        assert_eq!(before, lock_name(&url("a/../a/health.db")));
        std::fs::write(folder.path().join("a/health.db"), "").unwrap();
        assert_eq!(before, lock_name(&url("a/health.db")));
        assert_ne!(before, lock_name(&url("health.db")));
    }
}
