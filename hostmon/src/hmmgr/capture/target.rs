//! Which trunk is meant, and which guest on it: asked for by VM, known to the host monitor by address.

use std::fmt;
use std::path::Path;

use thiserror::Error;
use vmpulse_link::MacAddr;
use vmpulse_local::exit::Exit;
use vmpulse_protocol::id::VmUuid;

use super::Capture;
use crate::hmmgr::status;
use crate::settings::Settings;
use crate::status::{PathStatus, Status};

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Name of the adapter.
    pub(super) trunk: String,
    /// Frames from and to this address and to all; `None`: all frames.
    pub(super) peer: Option<MacAddr>,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.trunk)?;
        self.peer.map_or(Ok(()), |peer| write!(out, ", frames from and to {peer} and to all,"))
    }
}

/// Why it is not clear what is meant.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    #[error("cannot look for host monitors in {folder}")]
    Folder { folder: String, source: std::io::Error },
    #[error("no host monitor runs here that could say which trunk is meant: name it with --trunk{reasons}")]
    NoMonitor { reasons: String },
    #[error("which trunk is meant? Name one with --trunk: {}", trunks.join(", "))]
    Several { trunks: Vec<String> },
    #[error(
        "no host monitor answers for {trunk}, which would know the address of VM {vm}: use --mac{reasons}"
    )]
    NoAnswer { trunk: String, vm: VmUuid, reasons: String },
    #[error("no path of VM {vm} is known{}; `hmmgr status` lists those that are", on(trunk))]
    UnknownVm { vm: VmUuid, trunk: Option<String> },
    #[error("VM {vm} has several addresses on {trunk}, choose with --mac: {}", addresses.join(", "))]
    SeveralAddresses { vm: VmUuid, trunk: String, addresses: Vec<String> },
    #[error("the host monitor of {trunk} calls {text:?} an address")]
    Malformed { trunk: String, text: String },
}

fn on(trunk: &Option<String>) -> String {
    trunk.as_ref().map_or_else(String::new, |trunk| format!(" on {trunk}"))
}

impl TargetError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Folder { .. } => Exit::OsError,
            Self::NoMonitor { .. } | Self::NoAnswer { .. } => Exit::Unavailable,
            Self::Several { .. } | Self::SeveralAddresses { .. } => Exit::Usage,
            Self::UnknownVm { .. } | Self::Malformed { .. } => Exit::Failed,
        }
    }
}

/// An address on the command line.
pub(in crate::hmmgr) fn address(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| "write six pairs of hexadecimal digits, as 52:54:00:00:00:01".to_owned())
}

/// Looks up what was asked for. The host monitors are asked only for what nobody else says.
pub(super) fn find(settings: &Settings, wanted: &Capture) -> Result<Target, TargetError> {
    let named = wanted.trunk.as_ref().or(Some(&settings.trunk).filter(|trunk| !trunk.is_empty()));
    if let (Some(trunk), None) = (named, wanted.vm) {
        return Ok(Target { trunk: trunk.clone(), peer: wanted.mac });
    }
    let (monitors, reasons) = ask(&settings.run_dir)?;
    choose(named.map(String::as_str), wanted.vm, wanted.mac, &monitors, &reasons)
}

/// What the host monitors say, and why some say nothing.
fn ask(run_dir: &Path) -> Result<(Vec<Status>, String), TargetError> {
    let sockets = status::sockets(run_dir)
        .map_err(|source| TargetError::Folder { folder: run_dir.display().to_string(), source })?;
    let (report, _) = status::ask(sockets);
    let reasons = report.failures.iter().map(|failure| format!(" ({})", failure.error)).collect();
    Ok((report.host_monitors, reasons))
}

fn choose(
    trunk: Option<&str>,
    vm: Option<VmUuid>,
    mac: Option<MacAddr>,
    monitors: &[Status],
    reasons: &str,
) -> Result<Target, TargetError> {
    let trunk = match trunk {
        Some(trunk) => trunk.to_owned(),
        None => choose_trunk(vm, mac, monitors, reasons)?,
    };
    let Some(vm) = vm else { return Ok(Target { trunk, peer: mac }) };
    let monitor = monitors
        .iter()
        .find(|monitor| monitor.trunk == trunk)
        .ok_or_else(|| TargetError::NoAnswer { trunk: trunk.clone(), vm, reasons: reasons.to_owned() })?;
    let peer = Some(address_of(vm, monitor)?);
    Ok(Target { trunk, peer })
}

/// The only trunk on which the guest is known, or the only trunk.
fn choose_trunk(
    vm: Option<VmUuid>,
    mac: Option<MacAddr>,
    monitors: &[Status],
    reasons: &str,
) -> Result<String, TargetError> {
    let is_meant = |path: &PathStatus| {
        vm.is_some_and(|vm| is_of(path, vm)) || mac.is_some_and(|mac| path.mac.parse() == Ok(mac))
    };
    let trunks = |of: &mut dyn Iterator<Item = &Status>| of.map(|monitor| monitor.trunk.clone()).collect();
    let all: Vec<String> = trunks(&mut monitors.iter());
    let know: Vec<String> = trunks(&mut monitors.iter().filter(|monitor| monitor.paths.iter().any(is_meant)));
    match (know.as_slice(), all.as_slice(), vm) {
        (_, [], _) => Err(TargetError::NoMonitor { reasons: reasons.to_owned() }),
        ([trunk], ..) | ([], [trunk], _) => Ok(trunk.clone()),
        ([], _, Some(vm)) => Err(TargetError::UnknownVm { vm, trunk: None }),
        ([], ..) => Err(TargetError::Several { trunks: all }),
        _ => Err(TargetError::Several { trunks: know }),
    }
}

fn is_of(path: &PathStatus, vm: VmUuid) -> bool {
    path.vm.parse() == Ok(vm)
}

fn address_of(vm: VmUuid, monitor: &Status) -> Result<MacAddr, TargetError> {
    let trunk = monitor.trunk.clone();
    let mut addresses: Vec<String> =
        monitor.paths.iter().filter(|path| is_of(path, vm)).map(|path| path.mac.clone()).collect();
    addresses.sort();
    addresses.dedup();
    match addresses.as_slice() {
        [] => Err(TargetError::UnknownVm { vm, trunk: Some(trunk) }),
        [text] => text.parse().map_err(|_| TargetError::Malformed { trunk, text: text.clone() }),
        _ => Err(TargetError::SeveralAddresses { vm, trunk, addresses }),
    }
}

#[cfg(test)]
mod tests;
