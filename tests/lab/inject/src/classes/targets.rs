//! Whom a class touches: what the product has here, or what the mark names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Arg, value_parser};

use super::server;
use crate::class::Subject;
use crate::context::Context;
use crate::daemon::{Proof, RUN_DIR, monitors};
use crate::error::{Inject, InjectError};
use crate::expect::Named;
use crate::marker::Identity;
use crate::options::{Options, value};
use crate::process::{self, Process};

/// Of the mark, when only some of a machine's host monitors belong to the group.
const MONITOR: &str = "monitor";
/// A VM by its name or UUID at its emulator.
pub(super) const DOMAIN: &str = "domain";
/// A guest made of namespaces, by a file with the number of its first process.
pub(super) const CONTAINER: &str = "guest-pid-file";
/// A store, by the folder of its data.
const DATABASE: &str = "database";

/// The kernel tells when it started, and so when processes did, in whole seconds.
const ROUNDED_S: i64 = 2;

pub(super) fn run_dir() -> Arg {
    value("run-dir", "DIR", "run_dir of the daemons' settings (/run/vmpulse)")
}

pub(super) fn trunk() -> Arg {
    value("trunk", "NAME", "the host monitor of this trunk adapter; may be left out where there is only one")
}

pub(super) fn data() -> Arg {
    value("data", "DIR", "the data folder of the store's server, as the mark names it (database:DIR)")
        .value_parser(value_parser!(PathBuf))
}

fn folder_of(options: &Options) -> String {
    options.text("run-dir").unwrap_or_else(|| RUN_DIR.to_owned())
}

pub(super) fn agent(context: &Context, options: &Options) -> Proof {
    Proof::agent(context, &folder_of(options))
}

/// The host monitor of `--trunk`, or the only one.
pub(super) fn monitor(context: &Context, options: &Options) -> Inject<(String, Proof)> {
    let all = monitors(context, &folder_of(options))?;
    let trunks: Vec<&str> = all.iter().map(|(trunk, _)| trunk.as_str()).collect();
    let trunks = trunks.join(", ");
    let wanted = options.text("trunk");
    if wanted.is_none() && all.len() > 1 {
        return Err(InjectError::Usage(format!("several host monitors run here: --trunk, one of {trunks}.")));
    }
    let found = all.into_iter().find(|(trunk, _)| wanted.as_ref().is_none_or(|wanted| wanted == trunk));
    let (trunk, proof) = found.ok_or_else(|| {
        InjectError::Failed(format!(
            "No host monitor of {} runs here; there are: {trunks}.",
            wanted.unwrap_or_default()
        ))
    })?;
    belongs(context, &trunk)?;
    Ok((named(&trunk), proof))
}

/// Every host monitor that runs here.
pub(super) fn all_monitors(context: &Context, options: &Options) -> Inject<Vec<(String, Proof)>> {
    let all = monitors(context, &folder_of(options))?;
    all.iter().try_for_each(|(trunk, _)| belongs(context, trunk))?;
    Ok(all.into_iter().map(|(trunk, proof)| (named(&trunk), proof)).collect())
}

fn named(trunk: &str) -> String {
    format!("the host monitor of {trunk}")
}

/// A mark that names host monitors speaks of those alone, one that names none of all.
fn belongs(context: &Context, trunk: &str) -> Inject<()> {
    let names_some = context.mark()?.targets.iter().any(|target| target.starts_with("monitor:"));
    if names_some { context.need_target(MONITOR, trunk) } else { Ok(()) }
}

/// This guest, as events name it.
pub(super) fn this_vm(context: &Context) -> Vec<Named> {
    let identity = Identity::here(context);
    identity.vm_uuid.or(identity.dmi_uuid).map(|uuid| (Subject::Vm, uuid)).into_iter().collect()
}

/// Host monitors, as events name them.
pub(super) fn trunks<'a>(proofs: impl Iterator<Item = &'a Proof>) -> Vec<Named> {
    proofs.filter_map(Proof::trunk).map(|trunk| (Subject::Monitor, trunk)).collect()
}

/// The folder of `--data`, which the mark must name.
pub(super) fn data_folder(context: &Context, options: &Options) -> Inject<PathBuf> {
    let data = options.path("data").ok_or_else(|| {
        InjectError::Usage("--data DIR is missing: the data folder of the store.".to_owned())
    })?;
    let folder = data.canonicalize().map_err(InjectError::file("find", &data))?;
    context.need_target(DATABASE, &folder.display().to_string())?;
    Ok(folder)
}

/// The PostgreSQL server of `--data`, which must not be one that holds no store.
pub(super) fn server(context: &Context, options: &Options) -> Inject<Proof> {
    let data = data_folder(context, options)?;
    let proof = Proof::Postmaster(data.clone());
    let first = proof.need("the store's server")?;
    match server::holds_store(&data, first) {
        Some(true) => {}
        Some(false) => {
            let why = format!(
                "no database of the server of {} holds a health store (schema vmpulse).",
                data.display()
            );
            return Err(InjectError::Refused(why));
        }
        None => eprintln!(
            "vmpulse-inject: the server of {} does not say whether it holds a store; the mark names it.",
            data.display()
        ),
    }
    Ok(proof)
}

/// The emulator of the VM of this name or UUID.
pub(super) fn emulator(wanted: &str) -> Inject<Process> {
    let mut found: Vec<Process> =
        process::all().into_iter().filter(|one| is_emulator(*one) && runs_vm(&one.words(), wanted)).collect();
    match (found.pop(), found.len()) {
        (Some(process), 0) => Ok(process),
        (Some(_), _) => {
            Err(InjectError::Refused(format!("several emulators run a VM {wanted}: name it by its UUID.")))
        }
        (None, _) => Err(InjectError::Failed(format!("No emulator here runs a VM {wanted}."))),
    }
}

fn is_emulator(process: Process) -> bool {
    let file = process.program();
    let name = file.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("qemu") || name.starts_with("kvm")
}

/// `-uuid UUID`, `-name NAME` or `-name guest=NAME,debug-threads=on`.
fn runs_vm(words: &[String], wanted: &str) -> bool {
    let value_of = |option: &str| {
        words.iter().zip(words.iter().skip(1)).find(|(word, _)| *word == option).map(|(_, value)| value)
    };
    let uuid = value_of("-uuid").is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted));
    let name = value_of("-name").and_then(|name| name.split(',').next());
    uuid || name.is_some_and(|name| name.strip_prefix("guest=").unwrap_or(name) == wanted)
}

/// The first process of a guest made of namespaces. The file may be older than the guest: its number may be anybody's since.
pub(super) fn container(file: &str) -> Inject<Process> {
    let text = crate::context::read(Path::new(file))?;
    let process = text.parse().ok().and_then(Process::of);
    let process = process.ok_or_else(|| InjectError::Failed(format!("{file} names no running process.")))?;
    let refused =
        |why: &str| InjectError::Refused(format!("{file} names process {}, which {why}.", process.pid));
    if process.number_within() != Some(1) {
        return Err(refused("is not the first of a process namespace: no guest made of namespaces"));
    }
    let written = std::fs::metadata(file).map_err(InjectError::file("look at", Path::new(file)))?.mtime();
    if process.began()? > written.saturating_add(ROUNDED_S) {
        return Err(refused(
            "began after the file was written (or the clock was set since: write the file again)",
        ));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulator_of_a_vm_by_name_and_uuid() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let libvirt = words(
            "qemu-system-x86_64 -name guest=vm1,debug-threads=on -uuid 61be20f0-09a8-4753-b5e5-564f8a545ed5",
        );
        assert!(runs_vm(&libvirt, "vm1"));
        assert!(runs_vm(&libvirt, "61BE20F0-09A8-4753-B5E5-564F8A545ED5"));
        assert!(!runs_vm(&libvirt, "vm") && !runs_vm(&libvirt, "guest=vm1"));
        assert!(runs_vm(&words("qemu -name vm3 -m 96"), "vm3"));
        assert!(!runs_vm(&words("qemu -m 96"), "96"));
    }
}
