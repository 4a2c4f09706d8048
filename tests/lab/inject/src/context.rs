//! Where the injector works: everything that tests put elsewhere.

use std::path::{Path, PathBuf};

use crate::error::{Inject, InjectError};
use crate::marker::{self, Marker};

/// Where state files are: /run, because what they speak of does not outlive the machine's run either.
pub const STATE_DIR: &str = "/run/vmpulse-inject";
/// The mark of a test group.
pub const MARKER: &str = "/etc/vmpulse/test-group";

/// Where the injector works.
#[derive(Debug, Clone)]
pub struct Context {
    /// The folder of the state files.
    pub state_dir: PathBuf,
    /// The mark of a test group.
    pub marker: PathBuf,
    /// What `/` is: another folder in tests.
    pub root: PathBuf,
    /// This program, which is started again as a worker.
    pub program: PathBuf,
    /// The mark that was found: only while something is made, never for `off` and `status`.
    pub mark: Option<Marker>,
}

impl Context {
    /// On this machine.
    ///
    /// # Errors
    /// When the program does not know its own file.
    pub fn here() -> Inject<Context> {
        let program =
            std::env::current_exe().map_err(InjectError::os("cannot find this program's own file"))?;
        Ok(Context {
            state_dir: STATE_DIR.into(),
            marker: MARKER.into(),
            root: "/".into(),
            program,
            mark: None,
        })
    }

    /// The mark that was found.
    ///
    /// # Errors
    /// `Refused` when none was: the engine checks before it plans, so this is for callers of the library.
    pub fn mark(&self) -> Inject<&Marker> {
        self.mark.as_ref().ok_or_else(|| InjectError::Refused("no test group was checked.".to_owned()))
    }

    /// The group whose mark was found.
    ///
    /// # Errors
    /// As [`Context::mark`].
    pub fn group(&self) -> Inject<&str> {
        self.mark().map(|mark| mark.group.as_str())
    }

    /// For targets named on the command line that the product does not find by itself (a VM, a database, an adapter): whether the
    /// mark names it (`vmpulse-inject mark GROUP --target KIND:NAME`).
    ///
    /// # Errors
    /// `Refused`, saying how to add it.
    pub fn need_target(&self, kind: &str, name: &str) -> Inject<()> {
        marker::check_named(self.mark()?, kind, name)
    }

    /// A file of this machine: `context.path("/proc/sysrq-trigger")`.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The state file of a class.
    #[must_use]
    pub fn state_file(&self, class: &str) -> PathBuf {
        self.state_dir.join(format!("{class}.json"))
    }

    /// Reads a small file of this machine, without the white space around it.
    ///
    /// # Errors
    /// The system's, with the name.
    pub fn read(&self, absolute: &str) -> Inject<String> {
        read(&self.path(absolute))
    }
}

/// Reads a small file, without the white space around it.
///
/// # Errors
/// The system's, with the name.
pub fn read(path: &Path) -> Inject<String> {
    let text = std::fs::read_to_string(path).map_err(InjectError::file("read", path))?;
    Ok(text.trim().to_owned())
}
