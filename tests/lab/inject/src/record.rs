//! State files: what was there before, on disk before anything is changed.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::Told;
use crate::wait;

/// Longer than any undo takes.
const TURN: std::time::Duration = std::time::Duration::from_secs(120);

/// What a state file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// The class that made it.
    pub class: String,
    /// When the failure was made, seconds since 1970: for people.
    pub since: u64,
    /// Marks workers: see [`crate::worker`].
    pub mark: String,
    /// The store's time before the failure was made, where it was asked (`--expect`).
    #[serde(default)]
    pub told_at: Option<String>,
    /// The options it was made with; none in a file of an older injector.
    #[serde(default)]
    pub(crate) options: Option<Told>,
    /// What was there before: the class's own.
    pub before: Value,
}

impl Saved {
    /// Writes it so that a reader sees the old file or the new one whole, also after a crash.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, context: &Context) -> Inject<()> {
        let path = context.state_file(&self.class);
        make_private(&context.state_dir)?;
        let scratch = path.with_extension("part");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| InjectError::Failed(format!("The state has no JSON form: {error}.")))?;
        let mut file = File::create(&scratch).map_err(InjectError::file("write", &scratch))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(InjectError::file("write", &scratch))?;
        fs::rename(&scratch, &path).map_err(InjectError::file("write", &path))
    }

    /// What the state file of a class holds, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be read: it is never taken for none.
    pub fn read(context: &Context, class: &str) -> Inject<Option<Saved>> {
        let path = context.state_file(class);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(InjectError::file("read", &path)(error)),
        };
        let saved = serde_json::from_str(&text).map_err(|error| {
            InjectError::Failed(format!(
                "{} is no state file ({error}): look at it, undo by hand, remove it.",
                path.display()
            ))
        })?;
        Ok(Some(saved))
    }

    /// Forgets it: everything is as it was.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(context: &Context, class: &str) -> Inject<()> {
        let path = context.state_file(class);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(InjectError::file("remove", &path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Environments of daemons are in the files: not for everybody.
fn make_private(folder: &Path) -> Inject<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(InjectError::file("make", folder))
}

/// One injector at a time makes or undoes something: the others wait for their turn. The lock is the folder's own, so that no file
/// stays behind, and ends with the process.
///
/// # Errors
/// `Busy` when it is not its turn for long; the system's.
pub fn take_turn(context: &Context) -> Inject<Flock<File>> {
    make_private(&context.state_dir)?;
    let mut turn = None;
    let taken = wait::until("another vmpulse-inject is done", TURN, || {
        let folder = File::open(&context.state_dir).map_err(InjectError::file("open", &context.state_dir))?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => turn = Some(lock),
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, error)) => return Err(InjectError::file("lock", &context.state_dir)(error)),
        }
        Ok(turn.is_some())
    });
    match (taken, turn) {
        (Ok(()), Some(turn)) => Ok(turn),
        (Err(InjectError::Failed(what)), _) => Err(InjectError::Busy(what)),
        (Err(error), _) => Err(error),
        (Ok(()), None) => Err(InjectError::Busy("Another vmpulse-inject is at work.".to_owned())),
    }
}

/// What a class has in its state file while it applies.
#[derive(Debug)]
pub struct Record<'a, B> {
    context: &'a Context,
    class: &'static str,
    before: B,
}

impl<'a, B: Serialize> Record<'a, B> {
    pub(crate) fn new(context: &'a Context, class: &'static str, before: B) -> Self {
        Record { context, class, before }
    }

    /// What is in the file.
    pub fn before(&self) -> &B {
        &self.before
    }

    /// Changes it, and writes the file before it returns.
    ///
    /// # Errors
    /// The system's, or that the state file is gone.
    pub fn update(&mut self, change: impl FnOnce(&mut B)) -> Inject<()> {
        change(&mut self.before);
        let Some(mut saved) = Saved::read(self.context, self.class)? else {
            return Err(InjectError::Failed(format!("The state file of {} is gone.", self.class)));
        };
        saved.before = serde_json::to_value(&self.before)
            .map_err(|error| InjectError::Failed(format!("The state has no JSON form: {error}.")))?;
        saved.write(self.context)
    }
}
