//! Everything that people type and programs send: command lines, settings, keys, lines on the command sockets.
//!
//! The first byte says as which of them the rest is read. Arguments are parted by line ends.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vmpulse_agent::command::{Reply, Request};
use vmpulse_agent::config::command_line::split;
use vmpulse_agent::vmmgr::grammar;
use vmpulse_controller::cli::{help, parse};
use vmpulse_hostmon::hmmgr;
use vmpulse_hostmon::status::{CommandRequest, Status};
use vmpulse_local::exit::Exit;
use vmpulse_local::keys::{KeyRing, read_secret, secret_line};
use vmpulse_protocol::auth::{KEYS_MAXIMUM, Mode};

/// Reads these bytes as the first one says.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 9 {
        0 => vmmgr(rest),
        1 => hmmgr(rest),
        2 => hamgr(rest),
        3 => settings::<vmpulse_agent::settings::Settings>(rest, vmpulse_agent::settings::Settings::parse),
        4 => {
            settings::<vmpulse_hostmon::settings::Settings>(rest, vmpulse_hostmon::settings::Settings::parse)
        }
        5 => {
            settings::<vmpulse_controller::settings::Settings>(
                rest,
                vmpulse_controller::settings::Settings::parse,
            );
        }
        6 => sockets(rest),
        7 => script(rest),
        _ => keys(rest),
    }
}

fn arguments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn vmmgr(bytes: &[u8]) {
    let words: Vec<String> =
        arguments(bytes).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    match grammar::parse(&words) {
        Ok(line) => {
            assert!(
                line.action == grammar::Action::Help
                    || line.class.is_none() == line.action.classes().is_empty()
            );
            assert!(line.class.is_none_or(|class| line.action.classes().contains(&class)));
            let names: Vec<&String> = line.attributes.iter().map(|(name, _)| name).collect();
            assert!(
                names.iter().enumerate().all(|(at, name)| !name.is_empty() && !names[..at].contains(name))
            );
        }
        Err(fault) => {
            // A time that nobody is granted is understood, and refused.
            assert!(matches!(fault.exit(), Exit::Usage | Exit::Failed));
            assert!(fault.code().number() > 0 && !fault.to_string().is_empty());
        }
    }
}

fn hmmgr(bytes: &[u8]) {
    let program = std::iter::once(OsString::from("hmmgr"));
    let words = arguments(bytes).map(|word| OsString::from_vec(word.to_vec()));
    if let Err(exit) = hmmgr::check(program.chain(words)) {
        // Help and version are asked for and given.
        assert!(matches!(exit, Exit::Usage | Exit::Done), "{exit:?}");
    }
}

fn hamgr(bytes: &[u8]) {
    let words = arguments(bytes).map(|word| OsString::from_vec(word.to_vec())).collect();
    match parse::parse(words) {
        Ok(invocation) => {
            if let parse::Request::Help { action, class } = invocation.request {
                assert!(!help::text("hamgr", action, class).is_empty());
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(vmpulse_controller::cli::CliError::from(error).exit(), Exit::Usage);
        }
    }
}

/// What is refused is refused with words.
fn settings<T>(
    bytes: &[u8],
    parse: impl Fn(&str, &Path) -> Result<T, vmpulse_local::settings::SettingsError>,
) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = parse(text, Path::new("x.toml")) {
        assert!(error.to_string().contains("x.toml"));
    }
}

/// A line is JSON first, and then a request of one of the daemons, or an answer of one.
fn sockets(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    again::<Request>(&value);
    again::<Reply>(&value);
    again::<CommandRequest>(&value);
    again::<Status>(&value);
}

fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(value: &serde_json::Value) {
    if let Ok(read) = serde_json::from_value::<T>(value.clone()) {
        let written = serde_json::to_string(&read).expect("what was read can be written");
        assert_eq!(serde_json::from_str::<T>(&written).ok(), Some(read));
    }
}

/// A key file that is read has keys that fit together, and says the same when it is written; and does not print them.
fn keys(bytes: &[u8]) {
    match KeyRing::parse(bytes) {
        Ok(ring) => {
            assert!(!ring.is_empty() && ring.ids().count() <= KEYS_MAXIMUM);
            let written = ring.encode();
            assert_eq!(KeyRing::parse(&written).expect("what was read can be written").encode(), written);
            assert!(ring.key(ring.next_id()).is_none() && ring.last().is_some());
            assert_eq!(ring.authentication(Mode::Required).preferred().map(|(id, _)| id), ring.last());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(key) = read_secret(bytes) {
        let line = secret_line(&key);
        assert!(read_secret(line.as_slice()).is_ok_and(|again| again == key));
        let digits = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        assert!(!format!("{key:?}").contains(&digits), "a key was printed");
    }
}

/// Words that are quoted are the same words again.
fn script(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(words) = split(text) else { return };
    let quoted: Vec<String> =
        words.iter().map(|word| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    assert_eq!(split(&quoted.join(" ")).as_ref(), Ok(&words));
}
