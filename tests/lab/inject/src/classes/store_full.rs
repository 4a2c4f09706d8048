//! A store without room: its file system is filled by a file of ours.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Arg, value_parser};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use super::{events, targets};
use crate::class::{About, Class, Place, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::{Options, flag, value};
use crate::record::Record;

/// The class.
pub(super) struct StoreFull;

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    /// The file that takes the room.
    filler: PathBuf,
    /// How many bytes stay free.
    leave: u64,
    /// How many were.
    free: u64,
}

/// Its name says what it is to whoever looks for what fills the disk.
const FILLER: &str = "vmpulse-inject-store-full";
/// What file systems keep for themselves is not told exactly: the last attempts are small.
const SMALLEST_STEP: u64 = 4096;

impl Class for StoreFull {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "store-full",
            what: "the file system of the store is full",
            places: &[Place::StoreMachine],
            undo: "the file that fills it is removed",
            expected: &[events::MODE_LOCAL, events::MODE_GLOBAL],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            targets::data(),
            value("leave", "BYTES", "how much stays free (0)").value_parser(value_parser!(u64)),
            flag(
                "even-root",
                "also when that is the root file system, and everything else on this machine has no room either",
            ),
        ]
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let folder = targets::data_folder(context, options)?;
        let device = |path: &Path| {
            fs::metadata(path).map(|data| data.dev()).map_err(InjectError::file("look at", path))
        };
        if device(&folder)? == device(&context.root)? && !options.flag("even-root") {
            let why = format!(
                "{} is on the root file system: everything else here would have no room either (--even-root).",
                folder.display()
            );
            return Err(InjectError::Refused(why));
        }
        // Beside the data rather than in it: nobody backs it up then.
        let above = folder.parent().filter(|above| device(above).ok() == device(&folder).ok());
        let filler = above.unwrap_or(&folder).join(FILLER);
        if filler.exists() {
            return Err(InjectError::Failed(format!(
                "{} is there already: look whose it is, and remove it.",
                filler.display()
            )));
        }
        let free = free(&folder)?;
        Ok(Before { filler, leave: options.get("leave").unwrap_or(0), free })
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        let before = record.before();
        fill(&before.filler, before.leave)
    }

    fn restore(&self, _context: &Context, before: &Before) -> Inject<()> {
        match fs::remove_file(&before.filler) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(InjectError::file("remove", &before.filler)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let Some(size) = fs::metadata(&before.filler).ok().map(|data| data.blocks() * 512) else {
            return Ok(State::Off);
        };
        let folder = before.filler.parent().unwrap_or(&before.filler);
        let free = free(folder)?;
        let details =
            format!("{} has {size} bytes, {free} are free, {} were", before.filler.display(), before.free);
        Ok(if free <= before.leave + SMALLEST_STEP { State::On(details) } else { State::Partly(details) })
    }
}

/// What others than root may still use.
fn free(folder: &Path) -> Inject<u64> {
    let told = statvfs(folder).map_err(InjectError::file("look at", folder))?;
    Ok(told.blocks_available() * told.fragment_size())
}

/// Lets the file grow until only `leave` bytes are free. Blocks are reserved, not written: it takes no time.
fn fill(filler: &Path, leave: u64) -> Inject<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(filler);
    let file = file.map_err(InjectError::file("make", filler))?;
    let folder = filler.parent().unwrap_or(filler);
    let mut size: u64 = 0;
    let mut step = free(folder)?.saturating_sub(leave);
    while step >= SMALLEST_STEP {
        match grow(&file, size, step) {
            Ok(()) => size += step,
            // Blocks that describe the file take room, too.
            Err(Errno::ENOSPC | Errno::EFBIG) => step /= 2,
            Err(Errno::EOPNOTSUPP) => {
                let why = format!("the file system of {} cannot reserve room (fallocate).", filler.display());
                return Err(InjectError::Unsupported(why));
            }
            Err(error) => return Err(InjectError::file("fill", filler)(error)),
        }
        step = step.min(free(folder)?.saturating_sub(leave));
    }
    Ok(())
}

fn grow(file: &fs::File, size: u64, step: u64) -> nix::Result<()> {
    let offset = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
    let length = i64::try_from(step).map_err(|_| Errno::EFBIG)?;
    fallocate(file.as_fd(), FallocateFlags::empty(), offset, length)
}
