//! Whom a worker has stopped: one line `PID STARTED` each, in a file beside the state file, before they are stopped. A worker that was
//! killed in the middle of it tells so, too.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::process::Process;

fn file(context: &Context, class: &str) -> PathBuf {
    context.state_dir.join(format!("{class}.stopped"))
}

/// Writes them down.
pub(super) fn add(context: &Context, class: &str, processes: &[Process]) -> Inject<()> {
    if processes.is_empty() {
        return Ok(());
    }
    let path = file(context, class);
    let lines: String = processes.iter().map(|one| format!("{} {}\n", one.pid, one.started)).collect();
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()));
    written.map_err(InjectError::file("write", &path))
}

/// Everybody who was written down. A last line that is not whole is of a process that was not stopped yet.
pub(super) fn read(context: &Context, class: &str) -> Inject<Vec<Process>> {
    let path = file(context, class);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.split_inclusive('\n').filter_map(parsed).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(InjectError::file("read", &path)(error)),
    }
}

fn parsed(line: &str) -> Option<Process> {
    let (pid, started) = line.strip_suffix('\n')?.split_once(' ')?;
    Some(Process { pid: pid.parse().ok()?, started: started.parse().ok()? })
}

/// They all run on.
pub(super) fn forget(context: &Context, class: &str) -> Inject<()> {
    let path = file(context, class);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(InjectError::file("remove", &path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
