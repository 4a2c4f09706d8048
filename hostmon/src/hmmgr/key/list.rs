//! `hmmgr key list`: ids, paths, and who must be authenticated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use vmpulse_local::exit::Exit;
use vmpulse_local::keys::path_words;

use super::super::{Output, fail, print};
use super::told::{self, KeyPath};
use super::{KeyError, is_required, keys, marks};
use crate::keys::Scan;
use crate::settings::Settings;

/// What `-o json` shows.
#[derive(Debug, Serialize)]
struct Report {
    authentication: String,
    key_dir: String,
    vms: Vec<Vm>,
    /// Key files that cannot be used.
    problems: Vec<String>,
    /// Why paths may be missing.
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Vm {
    vm: String,
    key_ids: Vec<u8>,
    /// It has no path without authentication.
    required: bool,
    /// It was authenticated, and not relaxed since.
    once_authenticated: bool,
    paths: Vec<KeyPath>,
}

pub(super) fn run(settings: &Settings, output: Output) -> Exit {
    let report = match read(settings) {
        Ok(report) => report,
        Err(error) => return fail(&error, error.exit()),
    };
    let text = match output {
        Output::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        Output::Text => show(&report),
    };
    let exit = if report.problems.is_empty() { Exit::Done } else { Exit::Config };
    let exit = if report.failures.is_empty() { exit } else { Exit::TempFail };
    let exit = print(&text, exit);
    for problem in report.problems.iter().chain(&report.failures) {
        fail(&io::Error::other(problem.clone()), exit);
    }
    exit
}

/// VMs that have keys, and those that once were authenticated.
fn read(settings: &Settings) -> Result<Report, KeyError> {
    let Scan { rings, problems } = keys(settings).scan().map_err(KeyError::Directory)?.unwrap_or_default();
    let marked = marks(settings).read().map_err(KeyError::Marks)?;
    let (paths, failures) = match told::paths(settings) {
        Ok(paths) => (paths, Vec::new()),
        Err(failure) => (Vec::new(), vec![failure]),
    };
    let mut of: BTreeMap<String, Vec<KeyPath>> = BTreeMap::new();
    for path in paths {
        of.entry(path.vm.clone()).or_default().push(path);
    }
    let known: BTreeSet<_> = rings.keys().chain(&marked).copied().collect();
    let vm = |vm| {
        let once_authenticated = marked.contains(&vm);
        Vm {
            vm: vm.to_string(),
            key_ids: rings.get(&vm).map(|ring| ring.ids().map(|id| id.as_u8()).collect()).unwrap_or_default(),
            required: is_required(settings.authentication, once_authenticated),
            once_authenticated,
            paths: of.remove(&vm.to_string()).unwrap_or_default(),
        }
    };
    Ok(Report {
        authentication: settings.authentication.to_string(),
        key_dir: settings.key_dir.display().to_string(),
        vms: known.into_iter().map(vm).collect(),
        problems: problems.into_iter().map(|problem| problem.text).collect(),
        failures,
    })
}

fn show(report: &Report) -> String {
    if report.vms.is_empty() && report.problems.is_empty() {
        return format!(
            "No key in {}: `hmmgr key create VM` makes one; `hmmgr status` shows the UUIDs of the VMs that are heard.\n",
            report.key_dir
        );
    }
    let mut text = format!("{:<36}  {:<7}  {:<8}  PATHS\n", "VM", "KEYS", "REQUIRED");
    for vm in &report.vms {
        let ids: Vec<String> = vm.key_ids.iter().map(u8::to_string).collect();
        let ids = if ids.is_empty() { "-".to_owned() } else { ids.join(",") };
        let required = if vm.required { "yes" } else { "no" };
        let paths: Vec<String> = vm.paths.iter().map(words).collect();
        let line = format!("{:<36}  {ids:<7}  {required:<8}  {}", vm.vm, paths.join(", "));
        let _cannot_fail = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn words(path: &KeyPath) -> String {
    format!("{}: {}", path.trunk, path_words(path.authenticated_in, path.authenticated_out, path.key_id))
}
