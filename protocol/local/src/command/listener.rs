//! The daemon's end of the command socket.
//!
//! ```text
//!   reading --line--> asked --reply--> writing --> closed
//!      |                |                 |
//!      | 5 s, EOF,      | 60 s, call      | 5 s
//!      | > 1 MiB,       | dropped         v
//!      | not JSON       v               closed
//!      +---------> error answer
//! ```
//!
//! Each connection has its own task and deadlines, so that no client can hold up the daemon or another client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{ANSWER_LIMIT_BYTES, Answer, CommandError, Peer, REQUEST_LIMIT_BYTES};

mod socket_file;

pub use socket_file::{SocketFile, bind_socket};

/// Connections served at once; more wait in the kernel's queue. Commands are typed by people and run by timers,
/// a few at a time; 64 bounds the memory of the request lines to 64 MiB.
const CONNECTION_LIMIT: usize = 64;
/// A local client sends its line at once.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Commands that wait for another machine take some seconds; after this the daemon has lost the call.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// A local client reads at once.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Accepting fails when the process is out of descriptors; trying again at once would only burn time.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
struct Limits {
    request_deadline: Duration,
    answer_deadline: Duration,
    write_deadline: Duration,
}

const LIMITS: Limits = Limits {
    request_deadline: REQUEST_DEADLINE,
    answer_deadline: ANSWER_DEADLINE,
    write_deadline: WRITE_DEADLINE,
};

/// The command socket of a daemon. Dropped, it removes its file and closes.
#[derive(Debug)]
pub struct CommandListener {
    calls: mpsc::Receiver<CommandCall>,
    acceptor: JoinHandle<()>,
    _file: SocketFile,
}

impl CommandListener {
    /// Listens at `path`, with the file mode `mode` and, if given, a group by name or number.
    ///
    /// A socket file that nobody serves is replaced. Needs a running tokio runtime.
    ///
    /// # Errors
    /// See [`CommandError`]. Nothing is left behind then.
    pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> Result<Self, CommandError> {
        Self::bind_with(path, mode, group, LIMITS)
    }

    fn bind_with(path: &Path, mode: u32, group: Option<&str>, limits: Limits) -> Result<Self, CommandError> {
        let (listener, file) = SocketFile::create(path, mode, group)?;
        let (sender, calls) = mpsc::channel(CONNECTION_LIMIT);
        let acceptor = tokio::spawn(accept_all(listener, sender, limits));
        Ok(Self { calls, acceptor, _file: file })
    }

    /// The next well-formed request. Cancel-safe: a request is either returned or still waiting.
    pub async fn accept(&mut self) -> CommandCall {
        match self.calls.recv().await {
            Some(call) => call,
            // The acceptor ends only with the listener or the runtime, so there is nothing more to come.
            None => std::future::pending().await,
        }
    }
}

impl Drop for CommandListener {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// One request that waits for its reply. Dropped without one, the client is told so.
#[derive(Debug)]
pub struct CommandCall {
    /// Who asks.
    pub peer: Peer,
    /// What is asked.
    pub request: Value,
    answer: oneshot::Sender<Vec<u8>>,
}

impl CommandCall {
    /// Answers. Never blocks: the connection's own task writes, and gives up on a client that does not read.
    pub fn reply(self, answer: &impl Serialize) {
        let line = answer_line(&Answer::Ok(answer));
        // The task is gone if the client waited too long; then nobody wants the answer.
        let _ = self.answer.send(line);
    }

    /// Answers that the request is not understood; the client sees [`super::CallError::Refused`].
    pub fn refuse(self, reason: &str) {
        let _ = self.answer.send(refusal(reason));
    }
}

async fn accept_all(listener: UnixListener, calls: mpsc::Sender<CommandCall>, limits: Limits) {
    let permits = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, calls.clone(), limits, permit));
            }
            Err(err) => {
                tracing::warn!(%err, "cannot accept a command connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve(
    mut stream: UnixStream,
    calls: mpsc::Sender<CommandCall>,
    limits: Limits,
    _permit: OwnedSemaphorePermit,
) {
    let line = match read_request(&mut stream, limits).await {
        Ok((peer, request)) => ask(&calls, peer, request, limits).await,
        Err(None) => return,
        Err(Some(reason)) => {
            tracing::debug!(reason, "command refused");
            refusal(&reason)
        }
    };
    match timeout(limits.write_deadline, stream.write_all(&line)).await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => tracing::debug!(%err, "the client left before its answer"),
        Err(_) => tracing::debug!("the client did not read its answer"),
    }
}

/// Reads one request; the error is what to tell the client, or `None` if it left without a word.
async fn read_request(stream: &mut UnixStream, limits: Limits) -> Result<(Peer, Value), Option<String>> {
    let peer = peer(stream).map_err(|error| Some(format!("the caller is unknown: {error}")))?;
    let mut line = Vec::new();
    // One byte more than the limit, and the newline, tell a line of the limit from a longer one.
    let mut reader = BufReader::new(stream).take(REQUEST_LIMIT_BYTES as u64 + 2);
    match timeout(limits.request_deadline, reader.read_until(b'\n', &mut line)).await {
        Err(_) => return Err(Some(format!("no complete request within {:?}", limits.request_deadline))),
        Ok(Err(_)) | Ok(Ok(0)) => return Err(None),
        Ok(Ok(_)) => {}
    }
    // A last line without its newline is a line too: `printf '{}' | nc -U`.
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() > REQUEST_LIMIT_BYTES {
        return Err(Some(format!("the request is longer than {REQUEST_LIMIT_BYTES} bytes")));
    }
    let request =
        serde_json::from_slice(&line).map_err(|error| Some(format!("the request is not JSON: {error}")))?;
    Ok((peer, request))
}

/// Hands the request to the daemon and waits for the answer line.
async fn ask(calls: &mpsc::Sender<CommandCall>, peer: Peer, request: Value, limits: Limits) -> Vec<u8> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        calls.send(CommandCall { peer, request, answer }).await.ok()?;
        answered.await.ok()
    };
    match timeout(limits.answer_deadline, asked).await {
        Ok(Some(line)) => line,
        Ok(None) => refusal("the daemon is stopping or has no answer to this"),
        Err(_) => refusal(&format!("the daemon had no answer within {:?}", limits.answer_deadline)),
    }
}

fn peer(stream: &UnixStream) -> std::io::Result<Peer> {
    let credentials = stream.peer_cred()?;
    Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

fn refusal(reason: &str) -> Vec<u8> {
    answer_line(&Answer::<()>::Error(reason.to_owned()))
}

fn answer_line<T: Serialize>(answer: &Answer<T>) -> Vec<u8> {
    match serde_json::to_vec(answer) {
        Ok(mut line) if line.len() <= ANSWER_LIMIT_BYTES => {
            line.push(b'\n');
            line
        }
        Ok(line) => {
            refusal(&format!("the answer has {} bytes, {ANSWER_LIMIT_BYTES} are allowed", line.len()))
        }
        Err(error) => refusal(&format!("the answer cannot be written as JSON: {error}")),
    }
}

#[cfg(test)]
mod tests;
