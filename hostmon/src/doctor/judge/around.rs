//! What stands around the trunks: permissions, clock, store, keys, rules that nobody has.

use super::finding;
use crate::doctor::Finding;
use crate::doctor::facts::{ClockFacts, Facts, KeyFacts, StoreFacts, capability_names};

/// What looking needs.
const NEEDED: [&str; 2] = ["CAP_NET_ADMIN", "CAP_NET_RAW"];
/// A clock that is slewed runs off by at most half a thousandth: in the seconds that are looked at, some milliseconds.
const STEP_US: i64 = 100_000;
/// Beyond this the controller records an event; ages are not hurt by it, since the store's clock is the one that counts.
const OFF_US: i64 = 1_000_000;

/// All of it.
pub(super) fn host(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let missing = capability_names(facts.capabilities, &NEEDED);
    if !missing.is_empty() {
        findings.push(finding(
            "no-permission",
            "hmmgr doctor",
            format!("it runs without {}", missing.join(" and ")),
            "rules cannot be read and no frame can be sent without them, so isolation and policing are not checked",
            "run it as root, or with these capabilities",
        ));
    }
    findings.extend(facts.clock.iter().flat_map(clock));
    findings.extend(facts.store.as_ref().and_then(store));
    findings.extend(facts.keys.iter().flat_map(keys));
    if facts.backlog_drops > 0 {
        findings.push(finding(
            "backlog-drops",
            "this host's processors",
            format!(
                "the kernel lost {} frames between adapters and protocols while it was looked at",
                facts.backlog_drops
            ),
            "on a trunk made of a veth pair heartbeats are lost there when a processor does not keep up",
            "police the trunks, spread the load over processors, or raise net.core.netdev_max_backlog",
        ));
    }
    findings.extend(facts.orphan_tables.iter().map(|table| {
        finding(
            "policing-stale",
            format!("table netdev {table}"),
            "no trunk that was made here has it",
            "it goes on dropping frames of a trunk that nobody looks after",
            format!("`nft delete table netdev {table}`"),
        )
    }));
    findings
}

fn clock(clock: &ClockFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if clock.synchronised == Some(false) {
        findings.push(finding(
            "clock-unsynchronised",
            "wall clock",
            "the kernel says that nothing keeps it in step",
            "silence is measured by monotonic clocks and does not suffer; times of events and of log lines do, and certificates of the \
             status endpoint",
            "run chrony, systemd-timesyncd or another NTP client; `timedatectl` shows its state",
        ));
    }
    if clock.stepped_us.abs() > STEP_US {
        findings.push(finding(
            "clock-stepped",
            "wall clock",
            format!("it was set by {} ms while it was looked at", clock.stepped_us / 1000),
            "the kernel stamps frames by it: while it jumps, a monitor goes by its own clock instead, and times of events jump with it",
            "find out who sets it: two NTP clients, or the hypervisor's time service beside one",
        ));
    }
    if let Some(off) = clock.stamps_off_us.filter(|off| off.abs() > OFF_US) {
        findings.push(finding(
            "stamps-off",
            "kernel's stamps on frames",
            format!("they are {} ms off the wall clock", off / 1000),
            "a monitor goes by them to tell a late guest from a late monitor",
            "the clock was set while a frame was under way; run this again, and look for `clock-stepped`",
        ));
    }
    findings
}

fn store(store: &StoreFacts) -> Option<Finding> {
    let why = "what monitors find out reaches no controller until it works: nothing is lost, and nobody acts";
    match store {
        StoreFacts::Answers { clock_off_us } if clock_off_us.abs() > OFF_US => Some(finding(
            "store-clock-off",
            "health store",
            format!("its clock is {} ms off this host's", clock_off_us / 1000),
            "ages are measured by the store's clock and stay right; times in logs here and in the store do not fit together",
            "keep both in step by NTP",
        )),
        StoreFacts::Answers { .. } => None,
        StoreFacts::Missing => Some(finding(
            "store-missing",
            "health store",
            "there is no such file",
            why,
            "start the host monitor, which makes it; or name the right one as `store` in hostmon.toml",
        )),
        StoreFacts::Schema(text) => Some(finding(
            "store-schema",
            "health store",
            text.clone(),
            why,
            "use the same version of vmpulse everywhere; on PostgreSQL its owner migrates (docs/operating/postgresql.md)",
        )),
        StoreFacts::Fails(text) => Some(finding(
            "store-unreachable",
            "health store",
            text.clone(),
            why,
            "look at `store` in hostmon.toml, at the server, at its log, and at what stands between",
        )),
    }
}

fn keys(keys: &KeyFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if keys.missing && keys.required {
        findings.push(finding(
            "keys-missing",
            keys.directory.clone(),
            "there is no such directory, and `authentication` is required",
            "no guest gets a path",
            "make keys with `hmmgr key create VM`, or say `authentication = \"optional\"`",
        ));
    }
    findings.extend(keys.problems.iter().map(|problem| {
        finding(
            "keys-unusable",
            keys.directory.clone(),
            problem.clone(),
            "who can read or change a key can speak for a guest, so such a file or directory is not used",
            format!(
                "`chown -R root: {0}; chmod 700 {0}; chmod 600 {0}/*.key`, or what the text says",
                keys.directory
            ),
        )
    }));
    findings
}
