//! The daemon's status for people and for programs.

use serde_json::{Value, json};
use vmpulse_local::keys::path_words;

use super::{announce, keys};
use crate::command::{DaemonStatus, LivePath, LiveQuiet, LiveTold};

/// Name of the daemon, as the system's own tools call it.
const SUBSYSTEM: &str = "vmpulse-agentd";

/// Indented, with a line end.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Subsystem, group, PID and state; below them the paths, and what is wrong.
pub(super) fn status(status: Option<&DaemonStatus>, group: &str) -> String {
    let pid = status.map_or_else(String::new, |status| status.pid.to_string());
    let state = if status.is_some() { "active" } else { "inoperative" };
    let mut text = table(&[
        ["Subsystem", "Group", "PID", "Status"].map(str::to_owned).to_vec(),
        vec![SUBSYSTEM.to_owned(), group.to_owned(), pid, state.to_owned()],
    ]);
    let Some(status) = status else { return text };
    text.push('\n');
    text.push_str(&paths(&status.paths));
    let key = status.key_ids.last().copied();
    text.push_str(&format!("\nKeys: {}\n", keys::told(&status.authentication, key, &status.paths)));
    if status.suspended {
        let heard = if status.suspension_heard { "" } else { ", and no host monitor knows it yet" };
        text.push_str(&format!("\nMonitoring is suspended{heard}; `vmmgr resume` resumes it.\n"));
    } else if !status.suspension_heard {
        text.push_str("\nMonitoring is resumed, and no host monitor knows it yet.\n");
    }
    if let Some(quiet) = &status.quiet {
        text.push_str(&format!("\nAnnounced silence: {}\n{}", quiet_line(quiet), told(&quiet.paths)));
    }
    if let Some(problem) = &status.guardian.problem {
        text.push_str(&format!("\nNo guardian: {problem}\n"));
    }
    for problem in &status.adapter_problems {
        text.push_str(&format!("\nAdapter: {problem}\n"));
    }
    if let Some(problem) = &status.config_problem {
        text.push_str(&format!("\nConfiguration not loaded, the last good one is used: {problem}\n"));
    }
    for warning in &status.config_warnings {
        text.push_str(&format!("\nConfiguration: {warning}\n"));
    }
    if let Some(problem) = &status.key_problem {
        text.push_str(&format!("\nKeys not loaded, those read before are used: {problem}\n"));
    }
    text
}

/// How much is left of an announced silence, and why.
pub(super) fn quiet_line(quiet: &LiveQuiet) -> String {
    let left = milliseconds(quiet.left_ms);
    let granted = if quiet.granted { "" } else { ", not granted by any host monitor yet" };
    format!("{left} more{granted}: {}", quiet.reason)
}

/// What each host monitor made of what it was told.
pub(super) fn told(paths: &[LiveTold]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let mut rows = vec![["Adapter", "HM", "Answer"].map(str::to_owned).to_vec()];
    rows.extend(paths.iter().map(|path| {
        let host_monitor = path.host_monitor.clone().unwrap_or_else(|| "-".to_owned());
        vec![path.adapter.clone(), host_monitor, announce::words(path)]
    }));
    table(&rows)
}

/// As seconds, with as many decimals as it takes.
pub(super) fn milliseconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn paths(paths: &[LivePath]) -> String {
    if paths.is_empty() {
        return "No adapter: add an Ethernet adapter without an IP address, or name one in agent.toml.\n"
            .to_owned();
    }
    let titles = ["Adapter", "HM", "State", "Last_hello", "Heartbeats", "Authenticated"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for path in paths {
        let hello = path.last_hello_age_ms.map_or_else(|| "-".to_owned(), |age| format!("{} s", age / 1000));
        rows.push(vec![
            path.adapter.clone(),
            path.host_monitor.clone().unwrap_or_else(|| "-".to_owned()),
            path.state.clone(),
            hello,
            path.heartbeats_sent.to_string(),
            path_words(path.authenticated_in, path.authenticated_out, path.key_id),
        ]);
    }
    table(&rows)
}

/// Columns as wide as their widest cell, two blanks apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The same as an object; `pid` is null when the daemon is not running.
pub(super) fn status_object(status: Option<&DaemonStatus>, group: &str) -> Value {
    json!({
        "subsystem": SUBSYSTEM,
        "group": group,
        "status": if status.is_some() { "active" } else { "inoperative" },
        "pid": status.map(|status| status.pid),
        "daemon": status,
    })
}
