//! What the daemons and the store use.

use std::fs;

use serde::Serialize;

use super::cluster::Cluster;
use crate::error::Lab;

/// Memory is resident memory in KiB.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Usage {
    /// Of each host monitor.
    pub(super) monitors_kib: Vec<u64>,
    pub(super) controller_kib: u64,
    /// The largest agent and the largest guardian.
    pub(super) agent_kib: u64,
    pub(super) guardian_kib: u64,
    pub(super) store_bytes: u64,
    /// Transactions of the store so far.
    pub(super) transactions: u64,
    /// Descriptors open in the host monitors and the controller.
    pub(super) descriptors: usize,
}

impl Cluster {
    /// Looks at all of it.
    pub(super) fn usage(&self) -> Lab<Usage> {
        let pids: Vec<i32> = self.nodes.iter().filter_map(|node| node.monitor.pid()).collect();
        let controller = self.controller.pid();
        let of_guests: Vec<(u64, u64)> = self.guests.iter().map(super::guest::Guest::resident_kib).collect();
        // Transactions first: asking is one too.
        let number = |sql: &str| -> Lab<u64> { Ok(self.site.sql(sql)?.trim().parse().unwrap_or(0)) };
        Ok(Usage {
            transactions: number(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
            )?,
            store_bytes: number("SELECT pg_database_size(current_database())")?,
            monitors_kib: pids.iter().map(|pid| resident_kib(*pid)).collect(),
            controller_kib: controller.map_or(0, resident_kib),
            agent_kib: of_guests.iter().map(|(agent, _)| *agent).max().unwrap_or(0),
            guardian_kib: of_guests.iter().map(|(_, guardian)| *guardian).max().unwrap_or(0),
            descriptors: pids.iter().chain(&controller).map(|pid| descriptors(*pid)).sum(),
        })
    }
}

fn resident_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    field.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The machine's load averages.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
