//! The command's end: one blocking call with a deadline.
#![allow(clippy::disallowed_methods)] // A command waits on the real clock; nothing drives it.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc::MSG_NOSIGNAL;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ANSWER_LIMIT_BYTES, Answer, CallError, REQUEST_LIMIT_BYTES};

/// Sends `request` to the daemon at `path` and waits for its answer, `timeout` at most in all.
///
/// # Errors
/// See [`CallError`]; its texts are for the person who ran the command.
pub fn call<Q: Serialize, R: DeserializeOwned>(
    path: &Path,
    request: &Q,
    timeout: Duration,
) -> Result<R, CallError> {
    let malformed = |source| CallError::Malformed { path: path.to_owned(), source };
    let refused = |reason| CallError::Refused { path: path.to_owned(), reason };
    let mut line = serde_json::to_vec(request).map_err(malformed)?;
    if line.len() > REQUEST_LIMIT_BYTES {
        return Err(refused(format!("it has {} bytes, {REQUEST_LIMIT_BYTES} are allowed", line.len())));
    }
    line.push(b'\n');
    let answer = exchange(path, &line, timeout).map_err(|error| explain(error, path, timeout))?;
    match serde_json::from_slice::<Answer<R>>(&answer).map_err(malformed)? {
        Answer::Ok(answer) => Ok(answer),
        Answer::Error(reason) => Err(refused(reason)),
    }
}

fn exchange(path: &Path, line: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let deadline = Deadline(Instant::now() + timeout);
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    // The send timeout also bounds connecting, which blocks while the daemon's queue is full.
    socket.set_write_timeout(Some(deadline.remaining()?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    match send_all(&socket, line, &deadline) {
        // The daemon closed early; it has said why before that.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        sent => sent?,
    }
    receive_line(&socket, &deadline)
}

fn send_all(socket: &Socket, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.set_write_timeout(Some(deadline.remaining()?))?;
        // A command may have restored SIGPIPE for its stdout; a daemon that went away must not kill it.
        match socket.send_with_flags(bytes, MSG_NOSIGNAL) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive_line(mut socket: &Socket, deadline: &Deadline) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut chunk = [0; 16 << 10];
    while line.last() != Some(&b'\n') {
        socket.set_read_timeout(Some(deadline.remaining()?))?;
        match socket.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => line.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if line.len() > ANSWER_LIMIT_BYTES + 1 {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long"));
        }
    }
    Ok(line)
}

fn explain(error: io::Error, path: &Path, timeout: Duration) -> CallError {
    let path = path.to_owned();
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    if is(&[ErrorKind::NotFound, ErrorKind::ConnectionRefused]) {
        CallError::NotRunning { path }
    } else if is(&[ErrorKind::PermissionDenied]) {
        CallError::NoPermission { path }
    } else if is(&[ErrorKind::WouldBlock, ErrorKind::TimedOut]) {
        CallError::Timeout { path, timeout }
    } else {
        CallError::Io { path, source: error }
    }
}

struct Deadline(Instant);

impl Deadline {
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.0.saturating_duration_since(Instant::now());
        // The kernel takes a zero timeout for none, and its own are in microseconds.
        if remaining < Duration::from_micros(1) { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }
}
