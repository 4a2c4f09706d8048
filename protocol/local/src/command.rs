//! The command socket between a daemon and its command, on one machine.
//!
//! One connection carries one request line and one answer line, both JSON, then it is closed:
//!
//! ```text
//! client                       daemon
//!   | {"show":"status"}\n  ---->  |   at most 1 MiB, complete within 5 s
//!   |  <---- {"ok":{...}}\n       |   what the daemon replied, at most 16 MiB
//!   |  or    {"error":"..."}\n    |   refused: not JSON, too long, too slow, not answered
//! ```
//!
//! Who may connect is decided by the mode and group of the socket file; who did connect is told with each request.

mod client;
mod listener;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use client::call;
pub use listener::{CommandCall, CommandListener, SocketFile, bind_socket};

use crate::exit::Exit;

/// Longest request line. The largest legitimate one carries an application configuration, some 100 KiB.
pub const REQUEST_LIMIT_BYTES: usize = 1 << 20;
/// Longest answer line: 10,000 machines at 1 KiB each, with room. A longer answer is refused, not cut.
pub const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// One answer line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Ok(T),
    Error(String),
}

/// Who sent a request, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, if it is visible from here.
    pub pid: Option<i32>,
}

/// The command socket could not be set up.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Somebody answers there already.
    #[error("another process already listens on {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name, and is left alone.
    #[error("{} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The group of the socket does not exist.
    #[error("group {group:?} does not exist; create it or name another one for the command socket")]
    NoSuchGroup {
        /// The group.
        group: String,
    },
    /// The operating system refused.
    #[error("cannot {action} the command socket {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CommandError {
    /// The exit code of a daemon that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::InUse { .. } => Exit::TempFail,
            Self::NotASocket { .. } | Self::NoSuchGroup { .. } => Exit::Config,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::Io { .. } => Exit::OsError,
        }
    }
}

/// A call that brought no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("the daemon is not running: nobody listens on {}; start it, or check the socket path", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket's mode and group do not admit the caller.
    #[error("not allowed to use {}; run as root or as a member of the socket's group", path.display())]
    NoPermission {
        /// The socket.
        path: PathBuf,
    },
    /// No complete answer in time.
    #[error("no answer on {} within {timeout:?}; the daemon may be busy, try again", path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The connection broke.
    #[error("the connection to {} broke; see the daemon's log", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came back, or what should be sent, is not what this program understands.
    #[error("{} and this command do not understand each other; are they of the same version?", path.display())]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// Where it fails.
        source: serde_json::Error,
    },
    /// The daemon's socket refused the request before or instead of an answer.
    #[error("{} refused the request: {reason}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Why, in the daemon's words.
        reason: String,
    },
}

impl CallError {
    /// The exit code of a command that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } => Exit::Unavailable,
            Self::NoPermission { .. } => Exit::NoPermission,
            Self::Timeout { .. } => Exit::TempFail,
            Self::Io { .. } => Exit::OsError,
            Self::Malformed { .. } | Self::Refused { .. } => Exit::Failed,
        }
    }
}
