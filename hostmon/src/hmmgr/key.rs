//! `hmmgr key`: the keys that heartbeats of VMs are authenticated with.
//!
//! A key is read from a file or from standard input, never from the command line, which everybody can see. Nothing but
//! `export` prints one. Every host monitor that runs here is told of a change and uses it at once.

mod list;
mod told;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use vmpulse_local::exit::Exit;
use vmpulse_local::keys::{KeyFileError, SecretError, read_secret};
use vmpulse_protocol::auth::{Key, KeyId, Mode};
use vmpulse_protocol::id::VmUuid;

use super::{Output, fail, print};
use crate::keys::{ChangeError, Imported, KeyDirectory, Marks, Rotated};
use crate::settings::Settings;
use crate::status::CommandRequest;

/// Where a key is read from when no file is named.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, Subcommand)]
pub(super) enum KeyAction {
    /// Make a VM's first key.
    Create {
        /// UUID of the VM.
        vm: VmUuid,
        /// Id of the key, 1 to 255. Default: 1.
        #[arg(long, value_name = "N")]
        id: Option<KeyId>,
    },
    /// Take in a key made elsewhere: 64 hexadecimal digits, as `export` prints them.
    Import {
        /// UUID of the VM.
        vm: VmUuid,
        /// Id of the key, 1 to 255: the same everywhere.
        #[arg(long, value_name = "N")]
        id: KeyId,
        /// The file that holds the key; `-` is standard input.
        #[arg(default_value = STANDARD_INPUT)]
        file: PathBuf,
    },
    /// Make the successor of a VM's key. Both are valid until one is removed.
    Rotate {
        /// UUID of the VM.
        vm: VmUuid,
    },
    /// Forget a key. Refused while a path uses it.
    Remove {
        /// UUID of the VM.
        vm: VmUuid,
        /// Id of the key.
        #[arg(long, value_name = "N")]
        id: KeyId,
        /// Also if a path uses it, which is then closed, or if the guest could not be heard any more.
        #[arg(long)]
        force: bool,
    },
    /// Show which keys there are, which paths use them, and who must be authenticated. Never the keys.
    List,
    /// Print a key, to be carried to the guest or to another host.
    Export {
        /// UUID of the VM.
        vm: VmUuid,
        /// Id of the key.
        #[arg(long, value_name = "N")]
        id: KeyId,
    },
    /// Let a VM in without authentication again that was authenticated once. Its paths are opened anew.
    Relax {
        /// UUID of the VM.
        vm: VmUuid,
    },
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("nothing was changed")]
    Secret(#[source] SecretError),
    #[error("cannot open {}; nothing was changed", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error("the marks of authenticated VMs cannot be used")]
    Marks(#[source] KeyFileError),
    #[error("the keys cannot be read")]
    Directory(#[source] KeyFileError),
    #[error(
        "the path of VM {vm} over trunk {trunk} uses key {id}; nothing was changed. Give the guest another key first \
             (`hmmgr key rotate {vm}`), or close the path with --force"
    )]
    InUse { vm: VmUuid, id: KeyId, trunk: String },
    #[error(
        "it is not known whether a path uses key {id} of VM {vm}: {reason}. Nothing was changed; --force removes it all \
             the same"
    )]
    NotKnown { vm: VmUuid, id: KeyId, reason: String },
    #[error(
        "key {id} is the only key of VM {vm}, which must be authenticated: its guest could not be heard any more. \
             Nothing was changed. See `hmmgr key relax`, or remove it with --force"
    )]
    OnlyKey { vm: VmUuid, id: KeyId },
}

impl KeyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Change(error) => error.exit(),
            Self::Source { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Secret(_) | Self::Source { .. } | Self::InUse { .. } | Self::OnlyKey { .. } => Exit::Failed,
            Self::Marks(error) | Self::Directory(error) => error.exit(),
            Self::NotKnown { .. } => Exit::TempFail,
        }
    }
}

pub(super) fn run(settings: &Settings, action: KeyAction, output: Output) -> Exit {
    let done = match action {
        KeyAction::List => return list::run(settings, output),
        KeyAction::Export { vm, id } => return export(settings, vm, id),
        KeyAction::Relax { vm } => relax(settings, vm),
        KeyAction::Create { vm, id } => create(settings, vm, id),
        KeyAction::Import { vm, id, file } => import(settings, vm, id, &file),
        KeyAction::Rotate { vm } => rotate(settings, vm),
        KeyAction::Remove { vm, id, force } => remove(settings, vm, id, force),
    };
    match done {
        Ok(Done { text, request }) => {
            let exit = print(&text, Exit::Done);
            if exit == Exit::Done { told::tell(settings, &request) } else { exit }
        }
        Err(error) => fail(&error, error.exit()),
    }
}

/// A change that was made: what to say, and what to ask of the host monitors.
struct Done {
    text: String,
    request: CommandRequest,
}

impl Done {
    fn changed(text: String) -> Self {
        Self { text, request: CommandRequest::LoadKeys }
    }
}

fn keys(settings: &Settings) -> KeyDirectory {
    KeyDirectory::new(settings.key_dir.clone())
}

fn marks(settings: &Settings) -> Marks {
    Marks::new(settings.marks_dir())
}

/// What is to be done next, once the host knows the key.
fn carry(vm: VmUuid, id: KeyId) -> String {
    format!(
        "Carry it to the guest: `hmmgr key export {vm} --id {id}` prints it, `vmmgr key import --id {id}` takes it in.\n"
    )
}

fn create(settings: &Settings, vm: VmUuid, id: Option<KeyId>) -> Result<Done, KeyError> {
    let id = keys(settings).create(vm, id)?;
    Ok(Done::changed(format!("Key {id} of VM {vm} created. {}", carry(vm, id))))
}

fn import(settings: &Settings, vm: VmUuid, id: KeyId, file: &Path) -> Result<Done, KeyError> {
    let done = match keys(settings).import(vm, id, read_key(file)?)? {
        Imported::Added => "imported",
        Imported::Known => "was there already",
    };
    Ok(Done::changed(format!("Key {id} of VM {vm} {done}.\n")))
}

fn rotate(settings: &Settings, vm: VmUuid) -> Result<Done, KeyError> {
    let Rotated { from, to } = keys(settings).rotate(vm)?;
    let text = format!(
        "Key {to} of VM {vm} created beside key {from}; both are valid. {}When every path uses key {to} (`hmmgr key list`): \
         `hmmgr key remove {vm} --id {from}`.\n",
        carry(vm, to)
    );
    Ok(Done::changed(text))
}

fn remove(settings: &Settings, vm: VmUuid, id: KeyId, force: bool) -> Result<Done, KeyError> {
    let marked = marks(settings).contains(vm).map_err(KeyError::Marks)?;
    if !force {
        check_unused(settings, vm, id)?;
        check_not_needed(settings, vm, id, marked)?;
    }
    let left = keys(settings).remove(vm, id)?;
    let left = match left.last() {
        Some(other) => format!("; key {other} is left"),
        None if marked => format!("; it has none left, and is refused until `hmmgr key relax {vm}`"),
        None => "; it has none left".to_owned(),
    };
    Ok(Done::changed(format!("Key {id} of VM {vm} removed{left}.\n")))
}

/// The host monitors know; where none runs, no path uses anything.
fn check_unused(settings: &Settings, vm: VmUuid, id: KeyId) -> Result<(), KeyError> {
    let paths = told::paths(settings).map_err(|reason| KeyError::NotKnown { vm, id, reason })?;
    let uses = |path: &told::KeyPath| path.vm == vm.to_string() && path.key_id == Some(id.as_u8());
    match paths.into_iter().find(uses) {
        Some(path) => Err(KeyError::InUse { vm, id, trunk: path.trunk }),
        None => Ok(()),
    }
}

fn check_not_needed(settings: &Settings, vm: VmUuid, id: KeyId, marked: bool) -> Result<(), KeyError> {
    let source = |source| ChangeError::File { vm, source };
    let ring = keys(settings).read(vm).map_err(source)?;
    let is_only = ring.key(id).is_some() && ring.ids().count() == 1;
    if is_only && is_required(settings.authentication, marked) {
        return Err(KeyError::OnlyKey { vm, id });
    }
    Ok(())
}

/// Whether a VM must be authenticated.
const fn is_required(mode: Mode, marked: bool) -> bool {
    match mode {
        Mode::Off | Mode::ReceiveOnly => false,
        Mode::Optional => marked,
        Mode::Required => true,
    }
}

fn relax(settings: &Settings, vm: VmUuid) -> Result<Done, KeyError> {
    let was_marked = marks(settings).clear(vm).map_err(KeyError::Marks)?;
    let text = match (settings.authentication, was_marked) {
        (Mode::Required, _) => {
            format!(
                "VM {vm} goes on having to be authenticated: authentication = \"required\" in the settings.\n"
            )
        }
        (Mode::Off | Mode::ReceiveOnly | Mode::Optional, true) => {
            format!("VM {vm} may be without authentication, until it is authenticated again.\n")
        }
        (Mode::Off | Mode::ReceiveOnly | Mode::Optional, false) => {
            format!("VM {vm} did not have to be authenticated.\n")
        }
    };
    Ok(Done { text, request: CommandRequest::RelaxKey { vm: vm.to_string() } })
}

fn export(settings: &Settings, vm: VmUuid, id: KeyId) -> Exit {
    let line = match keys(settings).export(vm, id) {
        Ok(line) => line,
        Err(error) => return fail(&error, error.exit()),
    };
    // Digits and a line end.
    match std::str::from_utf8(&line) {
        Ok(line) => print(line, Exit::Done),
        Err(error) => fail(&error, Exit::Failed),
    }
}

fn read_key(file: &Path) -> Result<Key, KeyError> {
    if file == Path::new(STANDARD_INPUT) {
        let input = io::stdin().lock();
        if input.is_terminal() {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "The key, 64 hexadecimal digits, then Enter and Ctrl-D:");
        }
        return read_secret(input).map_err(KeyError::Secret);
    }
    let opened = File::open(file).map_err(|source| KeyError::Source { path: file.to_owned(), source })?;
    read_secret(opened).map_err(KeyError::Secret)
}
