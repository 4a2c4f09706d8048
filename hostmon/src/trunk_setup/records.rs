//! What is kept of every trunk, one file each, so that it can be made again after a reboot. An edge.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use vmpulse_local::lock::RunLock;

use super::error::TrunkError;
use super::plan::{Adapter, TrunkPlan};

/// A folder of them.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Below this state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("trunks") }
    }

    /// Keeps other commands away until it is dropped.
    ///
    /// # Errors
    /// [`TrunkError::Lock`] if one is there, [`TrunkError::Record`] if the folder cannot be made.
    pub fn lock(&self) -> Result<RunLock, TrunkError> {
        fs::create_dir_all(&self.folder).map_err(failed("create", &self.folder))?;
        Ok(RunLock::acquire(&self.folder.join("lock"))?)
    }

    /// A trunk, if one of that name was made.
    ///
    /// # Errors
    /// [`TrunkError::Record`] and [`TrunkError::Spoilt`].
    pub fn find(&self, name: &Adapter) -> Result<Option<TrunkPlan>, TrunkError> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(failed("read", &path))?,
        };
        toml::from_str(&text)
            .map(Some)
            .map_err(|source| TrunkError::Spoilt { path, source: Box::new(source) })
    }

    /// A trunk that was made.
    ///
    /// # Errors
    /// As [`find`](Self::find), and [`TrunkError::Unknown`].
    pub fn get(&self, name: &Adapter) -> Result<TrunkPlan, TrunkError> {
        if let Some(plan) = self.find(name)? {
            return Ok(plan);
        }
        let names: Vec<String> = self.all()?.iter().map(|plan| plan.name.to_string()).collect();
        let known = if names.is_empty() {
            "none was made".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Err(TrunkError::Unknown { name: name.to_string(), known })
    }

    /// Every trunk, by name.
    ///
    /// # Errors
    /// [`TrunkError::Record`] and [`TrunkError::Spoilt`].
    pub fn all(&self) -> Result<Vec<TrunkPlan>, TrunkError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.folder))?,
        };
        let mut names: Vec<Adapter> = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed("read", &self.folder))?.file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".toml"));
            names.extend(name.and_then(|name| name.parse().ok()));
        }
        names.sort();
        names.iter().filter_map(|name| self.find(name).transpose()).collect()
    }

    /// Keeps it, in place of what was kept before; complete or not at all.
    ///
    /// # Errors
    /// [`TrunkError::Record`].
    pub fn save(&self, plan: &TrunkPlan) -> Result<(), TrunkError> {
        let path = self.path(&plan.name);
        let text = toml::to_string(plan).map_err(std::io::Error::other).map_err(failed("describe", &path))?;
        let scratch = path.with_extension("new");
        let written = fs::File::create(&scratch).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&scratch, &path)).map_err(failed("write", &path))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`TrunkError::Record`].
    pub fn remove(&self, name: &Adapter) -> Result<(), TrunkError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    fn path(&self, name: &Adapter) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TrunkError + use<> {
    let path = path.to_owned();
    move |source| TrunkError::Record { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str) -> TrunkPlan {
        TrunkPlan::new(name.parse().unwrap(), 0x88B5)
    }

    #[test]
    fn trunks_are_kept_by_name_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        assert!(records.all().unwrap().is_empty());
        let _lock = records.lock().unwrap();
        for name in ["trunkB", "trunkA"] {
            records.save(&plan(name)).unwrap();
        }
        assert_eq!(records.all().unwrap(), [plan("trunkA"), plan("trunkB")]);
        let error = records.get(&"trunkC".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("there are: trunkA, trunkB"), "{error}");
        records.remove(&plan("trunkB").name).unwrap();
        assert_eq!(records.find(&plan("trunkB").name).unwrap(), None);
    }

    #[test]
    fn a_spoilt_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        let _lock = records.lock().unwrap();
        fs::write(folder.path().join("trunks/trunkA.toml"), "name = 3").unwrap();
        assert!(matches!(records.all(), Err(TrunkError::Spoilt { .. })));
    }
}
