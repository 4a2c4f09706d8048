//! The daemon's status for people and for programs.

use serde_json::{Value, json};
use vmpulse_local::keys::path_words;

use crate::command::{DaemonStatus, LivePath};

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
    for problem in &status.adapter_problems {
        text.push_str(&format!("\nAdapter: {problem}\n"));
    }
    if let Some(problem) = &status.config_problem {
        text.push_str(&format!("\nConfiguration not loaded, the last good one is used: {problem}\n"));
    }
    if let Some(problem) = &status.key_problem {
        text.push_str(&format!("\nKeys not loaded, those read before are used: {problem}\n"));
    }
    text
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
