//! `hmmgr status`: asks every host monitor whose command socket is in the run folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use vmpulse_local::command::{CallError, call};
use vmpulse_local::exit::Exit;
use vmpulse_local::keys::path_words;
use vmpulse_store::SuspendReason;

use super::{Output, fail, print};
use crate::policing::PolicingStatus;
use crate::settings::Settings;
use crate::status::{AbsentStatus, CanaryStatus, CommandRequest, PathStatus, SettingsStatus, Status};

/// A host monitor that is well answers in milliseconds.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What was heard, as `-o json` shows it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) host_monitors: Vec<Status>,
    pub(super) failures: Vec<Failure>,
}

/// A socket that brought no answer.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    socket: PathBuf,
    pub(super) error: String,
}

pub(super) fn run(settings: &Settings, output: Output) -> Exit {
    let sockets = match sockets(&settings.run_dir) {
        Ok(sockets) => sockets,
        Err(error) => return fail(&error, Exit::OsError),
    };
    let (report, exit) = ask(sockets);
    let text = match output {
        Output::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        Output::Text => report.host_monitors.iter().map(show).collect::<Vec<_>>().join("\n"),
    };
    let exit = print(&text, exit);
    for failure in &report.failures {
        fail(&std::io::Error::other(failure.error.clone()), exit);
    }
    if report.host_monitors.is_empty() && report.failures.is_empty() {
        let hint = format!(
            "no host monitor runs here: there is no hostmon-*.sock in {}; start one, or name its settings with \
             --settings",
            settings.run_dir.display()
        );
        return fail(&std::io::Error::other(hint), Exit::Unavailable);
    }
    exit
}

/// GLOBAL, or since when and why not.
fn mode(status: &Status) -> String {
    let since = status.mode_since.as_deref().map(|since| format!(" since {}", local_time(since)));
    let why = status.mode_reason.as_deref().map(|why| format!(": {why}"));
    format!("{}{}{}", status.mode, since.unwrap_or_default(), why.unwrap_or_default())
}

fn spool(status: &Status) -> String {
    let problem = status.spool_error.as_deref().map(|error| format!("; cannot be written: {error}"));
    format!("{} ({} bytes){}", status.spool, status.spool_bytes, problem.unwrap_or_default())
}

/// Sockets of host monitors, by name. A folder that is not there has none.
pub(super) fn sockets(run_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(run_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("hostmon-") && name.ends_with(".sock") {
            sockets.push(path);
        }
    }
    sockets.sort();
    Ok(sockets)
}

/// The exit code is that of the first failure.
pub(super) fn ask(sockets: Vec<PathBuf>) -> (Report, Exit) {
    let mut report = Report::default();
    let mut exit = Exit::Done;
    for socket in sockets {
        match call::<_, Status>(&socket, &CommandRequest::Status, ANSWER_TIMEOUT) {
            Ok(status) => report.host_monitors.push(status),
            Err(error) => {
                exit = if exit == Exit::Done { error.exit() } else { exit };
                report.failures.push(Failure { error: explained(&error), socket });
            }
        }
    }
    (report, exit)
}

pub(super) fn explained(error: &CallError) -> String {
    let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", reason.unwrap_or_default())
}

fn show(status: &Status) -> String {
    let mut text = String::new();
    let store = format!("{} ({})", status.store, if status.store_ok { "ok" } else { "cannot be reached" });
    let lines = [
        (
            "Trunk",
            format!(
                "{}{}",
                status.trunk,
                match (status.isolated, status.trunk_heard) {
                    (true, _) => " (ISOLATED: its paths are unknown)",
                    (false, false) => " (not heard: its paths are unknown)",
                    (false, true) => "",
                }
            ),
        ),
        ("UUID", status.uuid.clone()),
        ("MAC", status.mac.clone()),
        ("PID", status.pid.to_string()),
        ("Mode", format!("{}{}", mode(status), if status.removed { REMOVED } else { "" })),
        ("Incarnation", status.incarnation.clone()),
        ("Started", local_time(&status.started)),
        ("Store", store),
        ("Settings", settings(&status.settings)),
        ("Pending_writes", status.pending_writes.to_string()),
        ("Spool", spool(status)),
        ("Kernel_drops", status.kernel_drops.to_string()),
        ("Late", status.late.to_string()),
        ("Canary", canary(&status.canary)),
        ("Policing", policing(&status.policing)),
        ("Policing_drops", policing_drops(&status.policing)),
        ("Paths", status.paths.len().to_string()),
        ("Without_path", status.without_path.len().to_string()),
    ];
    for (key, value) in lines {
        line(&mut text, &format!("{:<21}{value}", format!("{key}:")));
    }
    for quiet in &status.quiet {
        let text_of = format!("VM {} for {} s more: {}", quiet.vm, seconds(quiet.left_ms), quiet.reason);
        line(&mut text, &format!("{:<21}{text_of}", "Announced_silence:"));
    }
    paths(&mut text, &status.paths);
    without_path(&mut text, &status.without_path);
    for (name, count) in status.counters.iter().filter(|(_, count)| **count > 0) {
        line(&mut text, &format!("{:<21}{name} {count}", "Counter:"));
    }
    text
}

/// What a monitor that was taken out is shown with.
const REMOVED: &str = " (removed from the store: what it sees is ignored)";

fn settings(settings: &SettingsStatus) -> String {
    let SettingsStatus { version, log_level, heartbeat_interval_ms, store_heartbeat_interval_ms, versions } =
        settings;
    format!(
        "version {version}: log level {log_level}, heartbeats {heartbeat_interval_ms} ms, to the store \
         {store_heartbeat_interval_ms} ms, HVNCP {versions}"
    )
}

fn canary(canary: &CanaryStatus) -> String {
    let CanaryStatus { state, reason, interval_ms, last_heartbeat_age_ms, .. } = canary;
    let every = interval_ms.map(|interval| format!(" every {interval} ms")).unwrap_or_default();
    let every = if state == "beating" { every } else { String::new() };
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let age = last_heartbeat_age_ms.filter(|_| state != "off");
    let age = age.map(|age| format!(" (last heard {} s ago)", seconds(age))).unwrap_or_default();
    format!("{state}{every}{age}{reason}")
}

fn policing(policing: &PolicingStatus) -> String {
    match &policing.reason {
        None if policing.on => format!("on, {} addresses known", policing.known),
        None => "off".to_owned(),
        Some(reason) => format!("off: {reason}"),
    }
}

/// Whatever a rule counts that does not let pass.
fn policing_drops(policing: &PolicingStatus) -> String {
    let dropped = policing.counters.iter().filter(|(name, _)| !name.ends_with("_passed"));
    let shown: Vec<String> = dropped.map(|(name, frames)| format!("{name} {frames}")).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn paths(text: &mut String, paths: &[PathStatus]) {
    if paths.is_empty() {
        return;
    }
    line(text, "");
    let row = |cells: [&str; 9]| {
        let [vm, mac, state, version, interval, age, heartbeats, key, suspended] = cells;
        format!(
            "  {vm:<36}  {mac:<17}  {state:<9}  {version:<7}  {interval:>11}  {age:>10}  {heartbeats:>10}  {key:<13}  {suspended}"
        )
    };
    let titles = [
        "VM",
        "MAC",
        "STATE",
        "VERSION",
        "INTERVAL_MS",
        "LAST_HB_S",
        "HEARTBEATS",
        "AUTHENTICATED",
        "SUSPENDED_BY",
    ];
    line(text, &row(titles));
    for path in paths {
        let age = path.last_heartbeat_age_ms.map_or_else(|| "never".to_owned(), seconds);
        let (interval, heartbeats) = (path.interval_ms.to_string(), path.heartbeats.to_string());
        let key = path_words(path.authenticated_in, path.authenticated_out, path.key_id);
        // It is alive, and somebody should look after its agent.
        let state = if path.guardian && path.state == "BEATING" { "GUARDIAN" } else { &path.state };
        line(
            text,
            &row([
                &path.vm,
                &path.mac,
                state,
                &path.version,
                &interval,
                &age,
                &heartbeats,
                &key,
                suspended_by(path.suspended),
            ]),
        );
    }
}

fn without_path(text: &mut String, vms: &[AbsentStatus]) {
    if vms.is_empty() {
        return;
    }
    line(text, "");
    let row = |cells: [&str; 4]| {
        let [vm, state, silent, suspended] = cells;
        format!("  {vm:<36}  {state:<13}  {silent:>12}  {suspended}")
    };
    line(text, &row(["VM_WITHOUT_PATH", "STATE", "SILENT_S", "SUSPENDED_BY"]));
    for vm in vms {
        let silent = vm.silent_ms.map_or_else(|| "-".to_owned(), seconds);
        line(text, &row([&vm.vm, &vm.state, &silent, suspended_by(vm.suspended)]));
    }
}

fn suspended_by(reason: Option<SuspendReason>) -> &'static str {
    reason.map_or("-", SuspendReason::as_str)
}

fn seconds(age_ms: u64) -> String {
    format!("{}.{:03}", age_ms / 1000, age_ms % 1000)
}

/// In the reader's time zone; as it came if it is no time.
pub(super) fn local_time(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

fn line(text: &mut String, line: &str) {
    let _cannot_fail = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::QuietStatus;
    use vmpulse_store::MonitorMode;

    #[test]
    fn a_status_is_shown_in_blocks() {
        let path = PathStatus {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".into(),
            mac: "02:00:00:00:00:01".into(),
            state: "BEATING".into(),
            suspended: None,
            version: "2.1".into(),
            interval_ms: 10_000,
            last_heartbeat_age_ms: Some(4_007),
            heartbeats: 12,
            authenticated_in: true,
            authenticated_out: false,
            key_id: Some(2),
            guardian: false,
        };
        let status = Status {
            trunk: "eth1".into(),
            trunk_heard: true,
            isolated: false,
            canary: crate::status::CanaryStatus::default(),
            uuid: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".into(),
            mac: "02:ff:00:00:00:01".into(),
            pid: 4711,
            mode: MonitorMode::Global,
            mode_since: None,
            mode_reason: None,
            incarnation: "1795245600.000000000.1".into(),
            started: "soon".into(),
            store: "sqlite:///var/lib/vmpulse/health.db".into(),
            store_ok: true,
            pending_writes: 0,
            spool: 0,
            spool_bytes: 0,
            spool_error: None,
            paths: vec![
                path.clone(),
                PathStatus {
                    last_heartbeat_age_ms: None,
                    suspended: Some(SuspendReason::Administrator),
                    ..path
                },
            ],
            without_path: vec![
                AbsentStatus {
                    vm: "4e395e99-fffb-4345-8067-2d5296ba7d91".into(),
                    state: "MISSING".into(),
                    suspended: None,
                    silent_ms: Some(412_003),
                },
                AbsentStatus {
                    vm: "57275f1e-3680-4eef-945a-fe7670500310".into(),
                    state: "SUSPENDED".into(),
                    suspended: Some(SuspendReason::Os),
                    silent_ms: None,
                },
            ],
            quiet: vec![QuietStatus {
                vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".into(),
                left_ms: 12_345,
                reason: "backup".into(),
            }],
            counters: [("hello_sent".to_owned(), 5), ("bad_checksum".to_owned(), 0)].into(),
            kernel_drops: 0,
            late: 0,
            store_work: Default::default(),
            policing: PolicingStatus {
                on: true,
                reason: None,
                known: 2,
                counters: [("known_passed".to_owned(), 9), ("strangers_dropped".to_owned(), 5)].into(),
            },
            settings: SettingsStatus::default(),
            removed: false,
        };
        let status = Status {
            settings: SettingsStatus {
                version: 3,
                log_level: "debug".into(),
                heartbeat_interval_ms: 1000,
                store_heartbeat_interval_ms: 30_000,
                versions: "2.0-2.1".into(),
            },
            ..status
        };
        let text = show(&status);
        for part in [
            "Mode:                GLOBAL\n",
            "Settings:            version 3: log level debug, heartbeats 1000 ms, to the store 30000 ms, HVNCP 2.0-2.1\n",
            "Started:             soon\n",
            "Store:               sqlite:///var/lib/vmpulse/health.db (ok)\n",
            "  VM                                    MAC                STATE      VERSION  INTERVAL_MS   LAST_HB_S",
            "  02:00:00:00:00:01  BEATING    2.1            10000       4.007          12  key 2 in       -\n",
            "never          12  key 2 in       ADMINISTRATOR\n",
            "Without_path:        2\n",
            "  VM_WITHOUT_PATH                       STATE              SILENT_S  SUSPENDED_BY\n",
            "  4e395e99-fffb-4345-8067-2d5296ba7d91  MISSING             412.003  -\n",
            "  57275f1e-3680-4eef-945a-fe7670500310  SUSPENDED                 -  OS\n",
            "Announced_silence:   VM 61be20f0-09a8-4753-b5e5-564f8a545ed5 for 12.345 s more: backup\n",
            "Counter:             hello_sent 5\n",
            "Policing:            on, 2 addresses known\n",
            "Policing_drops:      strangers_dropped 5\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains("bad_checksum"), "{text}");
        let off =
            PolicingStatus { reason: Some("`nft` is not installed".into()), ..PolicingStatus::default() };
        assert!(
            show(&Status { policing: off, ..status.clone() }).contains("Policing:            off: `nft`")
        );
        assert!(show(&Status { removed: true, ..status }).contains("GLOBAL (removed from the store"));
    }

    #[test]
    fn only_host_monitors_sockets_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hostmon-eth2.sock", "hostmon-eth1.sock", "hostmon-eth1.lock", "agent.sock"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = sockets(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["hostmon-eth1.sock", "hostmon-eth2.sock"]);
        assert!(sockets(&folder.path().join("missing")).unwrap().is_empty());
        let (report, exit) = ask(found);
        assert_eq!((report.failures.len(), exit), (2, Exit::Unavailable), "nobody listens there");
    }
}
