//! Keys that heartbeats are authenticated with: made, taken in, given out, forgotten, listed.
//!
//! A key is read from a file or from standard input, never from the command line, which everybody can see. Nothing but
//! `export` prints one. The daemon is told of each change: it shakes hands anew beside its open paths.

mod fault;
mod list;

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use vmpulse_local::command::CallError;
use vmpulse_local::exit::Exit;
use vmpulse_local::keys::{AddError, KeyFileError, KeyRing, LockedKeyFile};
use vmpulse_local::keys::{generate, read_secret, secret_line};
use vmpulse_protocol::auth::{Key, KeyId};

use super::codes::Code;
use super::grammar::Class;
use super::{Context, Fault, Outcome, query};
use crate::command::{LivePath, Reply, Request};
pub use fault::KeyFault;
pub(super) use list::query as list;

/// Where a key is read from when no file is named.
const STANDARD_INPUT: &str = "-";

/// `create key [ID]`
pub(super) fn create(context: &Context<'_>) -> Result<Outcome, Fault> {
    let wanted = context.line.name.is_some().then(|| id(context)).transpose()?;
    let key = generate().map_err(KeyFault::Random)?;
    let (file, mut ring) = open(context)?;
    let id = wanted.unwrap_or_else(|| ring.next_id());
    let replaced = add(&mut ring, id, key)?;
    save(file, &ring)?;
    let how = format!("The host monitors need it too: `vmmgr export key {id}` prints it.");
    applied(context, format!("Key {id} created{}. {how}", in_place_of(replaced)))
}

/// `import key ID [FILE]`
pub(super) fn import(context: &Context<'_>) -> Result<Outcome, Fault> {
    let id = id(context)?;
    let key = read_key(context.line.file.as_deref().unwrap_or(STANDARD_INPUT))?;
    let (file, mut ring) = open(context)?;
    if ring.key(id) == Some(&key) {
        return applied(context, format!("Key {id} was there already."));
    }
    let replaced = add(&mut ring, id, key)?;
    save(file, &ring)?;
    applied(context, format!("Key {id} imported{}.", in_place_of(replaced)))
}

/// `delete key ID`
pub(super) fn delete(context: &Context<'_>) -> Result<Outcome, Fault> {
    let id = id(context)?;
    let (file, mut ring) = open(context)?;
    ring.remove(id).map_err(|_| KeyFault::NoKey(id))?;
    save(file, &ring)?;
    let left = match ring.last() {
        Some(used) => format!("key {used} is used from now on"),
        None => "there is none left, and nothing is authenticated from now on".to_owned(),
    };
    applied(context, format!("Key {id} deleted; {left}."))
}

/// `export key ID`
pub(super) fn export(context: &Context<'_>) -> Result<Outcome, Fault> {
    let id = id(context)?;
    let ring = crate::keys::read(&context.settings.key_file).map_err(file_fault)?;
    let key = ring.key(id).ok_or(KeyFault::NoKey(id))?;
    let line = secret_line(key);
    // Digits and a line end.
    Ok(Outcome::shown(String::from_utf8_lossy(&line).into_owned()))
}

/// Makes the daemon read the key file; what it says for the user.
pub(super) fn load_in_daemon(context: &Context<'_>) -> Result<(Code, String), Fault> {
    match context.daemon.ask(Request::LoadKeys) {
        Ok(Reply::KeysLoaded { mode, ids }) => {
            Ok((Code::KeyTold, told(&mode, ids.last().copied(), &paths(context))))
        }
        Ok(Reply::NotLoaded { problem }) => Err(KeyFault::NotLoaded(problem).into()),
        Ok(Reply::NotAllowed) => Err(Fault::NotAllowed),
        Ok(
            Reply::Status(_)
            | Reply::Applications { .. }
            | Reply::Synced { .. }
            | Reply::Told { .. }
            | Reply::Ordered { .. }
            | Reply::NotDone { .. },
        ) => Err(Fault::OtherReply),
        Err(CallError::NotRunning { .. }) => {
            Ok((Code::KeyTold, "vmpulse-agentd is not running; it reads the keys when it starts.".to_owned()))
        }
        Err(error) => Err(KeyFault::NotTold(error).into()),
    }
}

/// Which key is used, as `sync` and `status` both say it. In mode off, or when the keys are gone, a path stays as it is
/// until its host monitor takes a handshake without a key.
pub(super) fn told(mode: &str, used: Option<u8>, paths: &[LivePath]) -> String {
    let said = match used {
        Some(id) => return format!("vmpulse-agentd uses key {id}; authentication is {mode}."),
        None if mode == "off" => {
            "authentication = \"off\" in agent.toml: vmpulse-agentd uses no key".to_owned()
        }
        None => format!("vmpulse-agentd has no key; authentication is {mode}"),
    };
    let still: Vec<String> =
        paths.iter().filter_map(|path| Some(format!("key {} on {}", path.key_id?, path.adapter))).collect();
    if still.is_empty() {
        return format!("{said}.");
    }
    let until = "until the host monitor takes a handshake without one (`hmmgr key relax` there lets it)";
    format!("{said} for new handshakes; still in use: {}, {until}.", still.join(", "))
}

/// What the daemon says of its paths; nothing if it says nothing.
fn paths(context: &Context<'_>) -> Vec<LivePath> {
    query::daemon_status(context).ok().flatten().map(|status| status.paths).unwrap_or_default()
}

fn applied(context: &Context<'_>, done: String) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::note(Code::KeyDone, done);
    outcome.messages.push(load_in_daemon(context)?);
    Ok(outcome)
}

fn in_place_of(replaced: Option<KeyId>) -> String {
    replaced.map_or_else(String::new, |id| format!(" in the place of key {id}"))
}

/// A guest only ever uses its last key, so a third one takes the place of the oldest, which is returned.
fn add(ring: &mut KeyRing, id: KeyId, key: Key) -> Result<Option<KeyId>, Fault> {
    match ring.add(id, key.clone()) {
        Ok(()) => Ok(None),
        Err(AddError::Full([oldest, _])) => {
            ring.remove(oldest).map_err(|_| KeyFault::NoKey(oldest))?;
            ring.add(id, key).map_err(KeyFault::Add)?;
            Ok(Some(oldest))
        }
        Err(error @ (AddError::SameId(_) | AddError::SameKey(_))) => Err(KeyFault::Add(error).into()),
    }
}

fn id(context: &Context<'_>) -> Result<KeyId, Fault> {
    let text = context.line.name.as_deref().ok_or(Fault::Name(context.line.action, Class::Key))?;
    text.parse().map_err(|_| KeyFault::Id(text.to_owned()).into())
}

fn read_key(from: &str) -> Result<Key, Fault> {
    let key = if from == STANDARD_INPUT {
        let input = io::stdin().lock();
        if input.is_terminal() {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "The key, 64 hexadecimal digits, then Enter and Ctrl-D:");
        }
        read_secret(input)
    } else {
        let opened = File::open(from);
        read_secret(opened.map_err(|source| KeyFault::Source { path: from.to_owned(), source })?)
    };
    key.map_err(|error| KeyFault::Secret(error).into())
}

fn open(context: &Context<'_>) -> Result<(LockedKeyFile, KeyRing), Fault> {
    LockedKeyFile::open(&context.settings.key_file).map_err(file_fault)
}

fn save(file: LockedKeyFile, ring: &KeyRing) -> Result<(), Fault> {
    file.save(ring).map_err(file_fault)
}

fn file_fault(error: KeyFileError) -> Fault {
    if error.exit() == Exit::NoPermission { Fault::NotAllowed } else { KeyFault::File(error).into() }
}
