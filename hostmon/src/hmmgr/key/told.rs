//! The host monitors that run here: told of changes, and asked which path uses which key.

use std::io;

use serde::Serialize;
use vmpulse_local::command::{CallError, call};
use vmpulse_local::exit::Exit;

use super::super::status::{ANSWER_TIMEOUT, explained, sockets};
use super::super::{fail, print};
use crate::settings::Settings;
use crate::status::{CommandRequest, KeysLoaded, Status};

/// Tells every host monitor, and says what each made of it. The exit code is that of the first failure.
pub(super) fn tell(settings: &Settings, request: &CommandRequest) -> Exit {
    let sockets = match sockets(&settings.run_dir) {
        Ok(sockets) => sockets,
        Err(error) => return fail(&error, Exit::OsError),
    };
    let mut exit = Exit::Done;
    let mut running = false;
    for socket in sockets {
        let told = match call::<_, KeysLoaded>(&socket, request, ANSWER_TIMEOUT) {
            Ok(loaded) => show(settings, &loaded),
            // It left its socket behind: it does not run.
            Err(CallError::NotRunning { .. }) => continue,
            Err(error) => {
                let text = format!(
                    "the key file is changed, but a host monitor was not told: {}",
                    explained(&error)
                );
                fail(&io::Error::other(text), error.exit())
            }
        };
        running = true;
        exit = if exit == Exit::Done { told } else { exit };
    }
    if running {
        return exit;
    }
    let text = format!(
        "No host monitor runs here (there is none in {}); the keys are read when one starts.\n",
        settings.run_dir.display()
    );
    print(&text, exit)
}

fn show(settings: &Settings, loaded: &KeysLoaded) -> Exit {
    let KeysLoaded { trunk, authentication, key_dir, vms, problems } = loaded;
    let exit = print(
        &format!(
            "Host monitor of trunk {trunk}: authentication is {authentication}; VMs with keys: {vms}.\n"
        ),
        Exit::Done,
    );
    for problem in problems {
        fail(&io::Error::other(format!("host monitor of trunk {trunk}: {problem}")), exit);
    }
    if *key_dir != settings.key_dir.display().to_string() {
        let text = format!(
            "the host monitor of trunk {trunk} reads its keys in {key_dir}, and this is {}: name its settings with --settings",
            settings.key_dir.display()
        );
        return fail(&io::Error::other(text), Exit::Config);
    }
    exit
}

/// How a path of a VM is authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct KeyPath {
    #[serde(skip)]
    pub(super) vm: String,
    pub(super) trunk: String,
    pub(super) mac: String,
    pub(super) authenticated_in: bool,
    pub(super) authenticated_out: bool,
    pub(super) key_id: Option<u8>,
}

/// Every open path of this host.
///
/// # Errors
/// Why a host monitor that runs did not answer.
pub(super) fn paths(settings: &Settings) -> Result<Vec<KeyPath>, String> {
    let mut paths = Vec::new();
    for socket in sockets(&settings.run_dir).map_err(|error| error.to_string())? {
        match call::<_, Status>(&socket, &CommandRequest::Status, ANSWER_TIMEOUT) {
            Ok(status) => paths.extend(key_paths(status)),
            Err(CallError::NotRunning { .. }) => {}
            Err(error) => return Err(explained(&error)),
        }
    }
    Ok(paths)
}

fn key_paths(status: Status) -> impl Iterator<Item = KeyPath> {
    let Status { trunk, paths, .. } = status;
    paths.into_iter().map(move |path| KeyPath {
        vm: path.vm,
        trunk: trunk.clone(),
        mac: path.mac,
        authenticated_in: path.authenticated_in,
        authenticated_out: path.authenticated_out,
        key_id: path.key_id,
    })
}
