//! The emulator's control socket, as far as the lab asks it anything.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Lab, LabError};

/// A stopped emulator does not answer; nobody waits longer for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The run state: `running`, `paused`, `guest-panicked`, ...
pub(crate) fn status(socket: &Path) -> Lab<String> {
    let answer = execute(socket, "query-status", &json!({}))?;
    answer
        .pointer("/return/status")
        .and_then(Value::as_str)
        .map(str::to_string)
        .ok_or_else(|| LabError::Unexpected(format!("the emulator's answer has no status: {answer}")))
}

/// Does something; fails unless the emulator did it.
pub(crate) fn order(socket: &Path, command: &str, arguments: &Value) -> Lab<()> {
    let answer = execute(socket, command, arguments)?;
    match answer.get("error") {
        None => Ok(()),
        Some(error) => Err(LabError::Unexpected(format!("the emulator refused {command}: {error}"))),
    }
}

fn execute(socket: &Path, command: &str, arguments: &Value) -> Lab<Value> {
    let stream = UnixStream::connect(socket).map_err(LabError::file("connect to", socket))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(LabError::file("set up", socket))?;
    let mut reader = BufReader::new(stream);
    receive(&mut reader, socket)?;
    for (name, arguments) in [("qmp_capabilities", &json!({})), (command, arguments)] {
        let line = format!("{}\n", json!({ "execute": name, "arguments": arguments }));
        reader.get_mut().write_all(line.as_bytes()).map_err(LabError::file("write to", socket))?;
        loop {
            let answer = receive(&mut reader, socket)?;
            if answer.get("event").is_some() {
                continue;
            }
            if name == command || answer.get("error").is_some() {
                return Ok(answer);
            }
            break;
        }
    }
    Err(LabError::Unexpected("the emulator answered nothing".into()))
}

fn receive(reader: &mut BufReader<UnixStream>, socket: &Path) -> Lab<Value> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(LabError::file("read from", socket))?;
    serde_json::from_str(&line)
        .map_err(|error| LabError::Unexpected(format!("the emulator said {line:?}: {error}")))
}
