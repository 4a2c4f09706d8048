//! A command channel into a guest that has no network: plain lines to a shell on a virtio console.
//!
//! The lab connects for one command at a time and always reads to its end: a client that is connected and does
//! not read would block the guest's output, which looks like a guest that hangs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::error::{Lab, LabError};
use crate::process::Said;
use crate::wait::Stopwatch;

/// Longest time a command may take, in an emulated guest on loaded cores.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What follows a command's output; split in the command so that no echo of it can be mistaken for the end.
const END: &str = "VMPULSE-END=";
/// More output than this is nothing a command of the lab prints.
const OUTPUT_LIMIT: usize = 1 << 20;

/// Runs a command line in the guest; standard output and error come back together.
pub(crate) fn run(socket: &Path, line: &str) -> Lab<Said> {
    let mut stream = connect(socket)?;
    let request = format!("( {line} ) < /dev/null 2>&1; echo VMPULSE-\"END=$?\"\n");
    stream.write_all(request.as_bytes()).map_err(LabError::file("write to", socket))?;
    let (text, code) = read_answer(&mut stream, socket, line)?;
    Ok(Said {
        command: line.to_string(),
        status: ExitStatus::from_raw(code << 8),
        stdout: text,
        stderr: String::new(),
    })
}

/// Sends a command line and does not wait for anything.
pub(crate) fn send(socket: &Path, line: &str) -> Lab<()> {
    let mut stream = connect(socket)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(LabError::file("write to", socket))
}

/// Connects the caller's terminal with the guest's shell until either ends.
pub(crate) fn attach(socket: &Path) -> Lab<()> {
    let mut input = connect(socket)?;
    input.set_read_timeout(None).map_err(LabError::file("set up", socket))?;
    let mut output = input.try_clone().map_err(LabError::file("set up", socket))?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut input);
        let _ = input.shutdown(std::net::Shutdown::Both);
    });
    let mut screen = std::io::stdout();
    std::io::copy(&mut output, &mut screen).map(drop).map_err(LabError::file("read from", socket))
}

fn connect(socket: &Path) -> Lab<UnixStream> {
    let stream = UnixStream::connect(socket).map_err(LabError::file("connect to", socket))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(LabError::file("set up", socket))?;
    Ok(stream)
}

fn read_answer(stream: &mut UnixStream, socket: &Path, line: &str) -> Lab<(String, i32)> {
    let watch = Stopwatch::start();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while watch.elapsed() < ANSWER_LIMIT && bytes.len() < OUTPUT_LIMIT {
        let count = stream.read(&mut chunk).map_err(LabError::file("read from", socket))?;
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(answer) = complete(&String::from_utf8_lossy(&bytes)) {
            return Ok(answer);
        }
        if count == 0 {
            break;
        }
    }
    let last = String::from_utf8_lossy(&bytes).into_owned();
    let what = format!("the guest to answer `{line}`");
    Err(LabError::Deadline { seconds: watch.seconds(), what, last: format!("; so far: {last:?}") })
}

/// Output and exit code, once the line that ends them is there.
fn complete(text: &str) -> Option<(String, i32)> {
    let (output, rest) = text.split_once(END)?;
    let (code, _) = rest.split_once('\n')?;
    Some((output.replace('\r', ""), code.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_only_with_its_whole_last_line() {
        assert_eq!(complete("a\r\nVMPULSE-END=1"), None);
        assert_eq!(complete("a\r\nVMPULSE-END=12\r\n"), Some(("a\n".to_string(), 12)));
    }
}
