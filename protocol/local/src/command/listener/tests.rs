use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Client;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::*;
use crate::command::{CallError, call};
use crate::exit::Exit;

/// Long enough for a slow machine: reached only if the code under test hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Deadlines that a test can wait for.
const SHORT: Limits = Limits {
    request_deadline: Duration::from_millis(50),
    answer_deadline: Duration::from_millis(50),
    write_deadline: Duration::from_millis(50),
};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.sock");
    (directory, path)
}

/// Answers every request with its text, its sender and its length; `"unanswered"` not at all.
fn echo(mut listener: CommandListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let call = listener.accept().await;
            match call.request.as_str() {
                Some("unanswered") => drop(call),
                Some("refused") => call.refuse("not here"),
                Some("long") => call.reply(&"x".repeat(ANSWER_LIMIT_BYTES)),
                _ => {
                    let answer = json!({"request": call.request, "uid": call.peer.uid, "pid": call.peer.pid});
                    call.reply(&answer);
                }
            }
        }
    })
}

async fn ask_blocking(path: &Path, request: Value) -> Result<Value, CallError> {
    let path = path.to_owned();
    spawn_blocking(move || call(&path, &request, PATIENCE)).await.unwrap()
}

/// Sends `bytes` as they are, and returns all that comes back until the daemon closes.
async fn raw(path: &Path, bytes: &'static [u8], shutdown: bool) -> String {
    let path = path.to_owned();
    let exchange = move || {
        let mut client = Client::connect(path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // The daemon may close before it has read all; it says why first.
        let _ = client.write_all(bytes);
        if shutdown {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        // Not to a string: the end may be a reset, because the daemon did not read all.
        let mut answer = Vec::new();
        let mut byte = [0; 1];
        while matches!(client.read(&mut byte), Ok(1)) {
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn a_request_arrives_with_its_sender_and_is_answered() {
    let (_directory, path) = place();
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    let answer = ask_blocking(&path, json!({"show": "ünïcode\n"})).await.unwrap();
    let (uid, pid) = (nix::unistd::getuid().as_raw(), std::process::id());
    assert_eq!(answer, json!({"request": {"show": "ünïcode\n"}, "uid": uid, "pid": pid}));
    daemon.abort();
}

#[tokio::test]
async fn bad_requests_are_answered_and_never_reach_the_daemon() {
    let (_directory, path) = place();
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    assert!(raw(&path, b"\xff\xfe no json\n", false).await.contains("not JSON"));
    assert!(raw(&path, b"\n", false).await.contains("not JSON"));
    assert!(raw(&path, b"{\"cut\": ", true).await.contains("not JSON"));
    assert!(raw(&path, [b'['; REQUEST_LIMIT_BYTES].as_slice(), true).await.contains("recursion limit"));
    assert!(raw(&path, [b' '; REQUEST_LIMIT_BYTES * 2].as_slice(), false).await.contains("longer than"));
    assert_eq!(raw(&path, b"", true).await, "", "a client that leaves without a word is not answered");
    let answer = raw(&path, b"\"no newline\"", true).await;
    assert!(answer.starts_with("{\"ok\":") && answer.ends_with("}\n"), "{answer}");
    daemon.abort();
}

#[tokio::test]
async fn the_largest_request_passes_and_one_byte_more_does_not() {
    let (_directory, path) = place();
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    let quotes = 2;
    let largest = "a".repeat(REQUEST_LIMIT_BYTES - quotes);
    let answer = ask_blocking(&path, json!(largest)).await.unwrap();
    assert_eq!(answer["request"].as_str().map(str::len), Some(largest.len()));
    let refused = ask_blocking(&path, json!(largest + "a")).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Refused { reason, .. } if reason.contains("1048577 bytes")),
        "{refused}"
    );
    daemon.abort();
}

#[tokio::test]
async fn silent_clients_are_told_and_do_not_hold_up_others() {
    let (_directory, path) = place();
    let daemon = echo(CommandListener::bind_with(&path, 0o660, None, SHORT).unwrap());
    // More than are served at once: the last ones and the call get their turn after the deadline of the first.
    let place = path.clone();
    let connect_many = move || (0..CONNECTION_LIMIT + 8).map(|_| Client::connect(&place).unwrap()).collect();
    let silent: Vec<Client> = spawn_blocking(connect_many).await.unwrap();
    ask_blocking(&path, json!(1)).await.unwrap();
    assert!(raw(&path, b"{\"half\": 1", false).await.contains("no complete request within"));
    drop(silent);
    daemon.abort();
}

#[tokio::test]
async fn a_call_dropped_or_refused_or_answered_too_long_is_told_to_the_client() {
    let (_directory, path) = place();
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    for (request, reason) in
        [("unanswered", "has no answer"), ("refused", "not here"), ("long", "are allowed")]
    {
        let error = ask_blocking(&path, json!(request)).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
    }
    daemon.abort();
}

#[tokio::test]
async fn a_late_answer_is_given_up_and_a_client_that_does_not_read_too() {
    let (_directory, path) = place();
    let mut listener = CommandListener::bind_with(&path, 0o660, None, SHORT).unwrap();
    let mut deaf = Client::connect(&path).unwrap();
    deaf.write_all(b"1\n").unwrap();
    let held = listener.accept().await;
    assert!(raw(&path, b"2\n", false).await.contains("no answer within"));
    // Its task is gone: replying is harmless. The next client is served as ever.
    held.reply(&json!(1));
    listener.accept().await.reply(&"discarded");
    let mut full = Client::connect(&path).unwrap();
    full.write_all(b"3\n").unwrap();
    listener.accept().await.reply(&"x".repeat(ANSWER_LIMIT_BYTES / 2));
    let daemon = echo(listener);
    ask_blocking(&path, json!(4)).await.unwrap();
    daemon.abort();
}

#[tokio::test]
async fn accept_loses_nothing_when_it_is_cancelled() {
    let (_directory, path) = place();
    let mut listener = CommandListener::bind(&path, 0o660, None).unwrap();
    let client = ask_blocking(&path, json!("once"));
    tokio::pin!(client);
    let call = loop {
        tokio::select! {
            biased;
            call = listener.accept() => break call,
            _ = &mut client => panic!("answered by nobody"),
            () = tokio::task::yield_now() => {}
        }
    };
    call.reply(&json!("done"));
    assert_eq!(client.await.unwrap(), json!("done"));
}

#[tokio::test]
async fn mode_and_group_hold_and_the_file_goes_with_the_listener() {
    let (_directory, path) = place();
    let group = nix::unistd::getgid().as_raw();
    let listener = CommandListener::bind(&path, 0o640, Some(&group.to_string())).unwrap();
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.gid()), (0o640, group));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_file_is_replaced_a_live_socket_and_other_files_are_not() {
    let (_directory, path) = place();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    let refused = CommandListener::bind(&path, 0o660, None).unwrap_err();
    assert!(matches!(refused, CommandError::InUse { .. }), "{refused}");
    ask_blocking(&path, json!(1)).await.unwrap();
    daemon.abort();

    let file = path.with_extension("txt");
    std::fs::write(&file, "precious").unwrap();
    let refused = CommandListener::bind(&file, 0o660, None).unwrap_err();
    assert!(matches!(refused, CommandError::NotASocket { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let refused = CommandListener::bind(&path, 0o660, Some("no-such-group")).unwrap_err();
    assert_eq!((refused.exit(), refused.to_string().contains("no-such-group")), (Exit::Config, true));
}

#[tokio::test]
async fn a_listener_does_not_remove_the_socket_of_its_successor() {
    let (_directory, path) = place();
    let first = CommandListener::bind(&path, 0o660, None).unwrap();
    std::fs::remove_file(&path).unwrap();
    let daemon = echo(CommandListener::bind(&path, 0o660, None).unwrap());
    drop(first);
    ask_blocking(&path, json!(1)).await.unwrap();
    daemon.abort();
}

#[test]
fn a_client_without_a_daemon_gets_a_helpful_error() {
    let (_directory, path) = place();
    let missing = call::<_, Value>(&path, &1, PATIENCE).unwrap_err();
    assert!(matches!(missing, CallError::NotRunning { .. }), "{missing}");
    assert_eq!(missing.exit(), Exit::Unavailable);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(call::<_, Value>(&path, &1, PATIENCE), Err(CallError::NotRunning { .. })));
}

#[test]
fn a_client_gives_up_on_a_daemon_that_hangs_or_babbles() {
    let (_directory, path) = place();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let hangs = call::<_, Value>(&path, &1, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(hangs, CallError::Timeout { .. }), "{hangs}");
    assert!(matches!(call::<_, Value>(&path, &1, Duration::ZERO), Err(CallError::Timeout { .. })));
    let daemon = std::thread::spawn(move || {
        for answer in [&b"what?\n"[..], b"{\"ok\":\"text\"}\n", b"{\"ok\":1}"] {
            // The two calls that gave up wait in the queue before these.
            loop {
                let mut stream = listener.accept().unwrap().0;
                let mut request = [0; 2];
                if stream.read_exact(&mut request).is_ok() && stream.write_all(answer).is_ok() {
                    break;
                }
            }
        }
    });
    for _ in 0..2 {
        let error = call::<_, u32>(&path, &1, PATIENCE).unwrap_err();
        assert!(matches!(error, CallError::Malformed { .. }), "{error}");
    }
    let cut = call::<_, u32>(&path, &1, PATIENCE).unwrap_err();
    assert!(matches!(cut, CallError::Io { .. }), "{cut}");
    daemon.join().unwrap();
}
