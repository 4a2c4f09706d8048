//! The host monitor of a trunk, and what it says of itself.

use vmpulse_store::MonitorMode;

use super::finding;
use crate::doctor::Finding;
use crate::doctor::facts::{DaemonFacts, TrunkFacts, capability_names};
use crate::status::Status;

const DEAF: &str = "its guests' paths are unknown: a dead guest is not noticed";
const LOST: &str = "heartbeats may be among them; the monitor waits an interval more before it accuses anybody, and calls its trunk unknown if \
                    that does not end";

pub(super) fn daemon(trunk: &TrunkFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &trunk.daemon {
        None => {}
        Some(DaemonFacts::Missing) => findings.push(finding(
            "daemon",
            &trunk.name,
            format!("no host monitor runs for {}", trunk.monitor_adapter),
            DEAF,
            format!("start vmpulse-hostmond with trunk = \"{}\" in its hostmon.toml", trunk.monitor_adapter),
        )),
        Some(DaemonFacts::Silent(why)) => findings.push(finding(
            "daemon",
            &trunk.name,
            format!("its host monitor does not answer: {why}"),
            DEAF,
            "look at its log; a loop that does not turn is ended with `kill -KILL` and started again",
        )),
        Some(DaemonFacts::Answers { status, capabilities }) => {
            findings.extend(capabilities.and_then(|set| lacking(trunk, status, set)));
            findings.extend(says(trunk, status));
        }
    }
    findings.extend(settings(trunk));
    findings.extend(trunk.lost_frames.filter(|lost| *lost > 0).map(|lost| {
        finding(
            "adapter-drops",
            &trunk.monitor_adapter,
            format!("the adapter lost {lost} frames while it was looked at"),
            LOST,
            "`ip -s -s link show` and `ethtool -S` say where; a larger ring (`ethtool -G ADAPTER rx`, up to what `ethtool -g` shows), policed guests, or \
             less load",
        )
    }));
    findings
}

/// What its settings ask for, and what it was not given.
fn lacking(trunk: &TrunkFacts, status: &Status, set: u64) -> Option<Finding> {
    let mut wanted = vec!["CAP_NET_RAW"];
    if trunk.plan.as_ref().is_some_and(|plan| plan.policing.is_some()) {
        wanted.push("CAP_NET_ADMIN");
        if trunk.plan.as_ref().is_some_and(|plan| plan.netns.is_some()) {
            wanted.extend(["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        }
    }
    let (priority, memory) = trunk.wants;
    wanted.extend(priority.then_some("CAP_SYS_NICE"));
    wanted.extend(memory.then_some("CAP_IPC_LOCK"));
    let missing = capability_names(set, &wanted);
    (!missing.is_empty()).then(|| {
        finding(
            "capability",
            format!("vmpulse-hostmond, process {}", status.pid),
            format!("it runs without {}", missing.join(", ")),
            "it opens its trunk again, tells the kernel which guests are known, and keeps its priority only with them",
            format!("AmbientCapabilities={} in its unit, or run it as root", missing.join(" ")),
        )
    })
}

fn says(trunk: &TrunkFacts, status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !status.trunk_heard {
        findings.push(finding(
            "not-heard",
            &trunk.name,
            "its host monitor does not hear it",
            DEAF,
            "look for the adapter (down, without a carrier), for drops and for late turns in `hmmgr status`",
        ));
    }
    findings.extend(canary(trunk, status));
    if status.mode != MonitorMode::Global {
        findings.push(finding(
            "mode",
            &trunk.name,
            format!("its host monitor is in mode {}: it cannot reach {}", status.mode, status.store),
            "what it finds out waits with it",
            "look at the store, and at the monitor's log",
        ));
    }
    let freezes = status.counters.get("ring_freezes").copied().unwrap_or_default();
    if status.kernel_drops > 0 || freezes > 0 {
        findings.push(finding(
            "kernel-drops",
            &trunk.name,
            format!(
                "the kernel dropped {} frames before the monitor could read them, in {freezes} times that its buffer of {} bytes was full, since {}",
                status.kernel_drops, trunk.receive_buffer_bytes, status.started
            ),
            LOST,
            "police the trunk (`hmmgr trunk create NAME --policing on`), give the monitor priority (realtime_priority), or raise receive_buffer_bytes; \
             they are counted from the monitor's start",
        ));
    }
    let policed = trunk.plan.as_ref().is_some_and(|plan| plan.policing.is_some());
    if policed && !status.policing.on {
        let why_not = status.policing.reason.clone().unwrap_or_else(|| "it has not looked yet".to_owned());
        findings.push(finding(
            "policing",
            &trunk.name,
            format!("its host monitor does not find the rules: {why_not}"),
            "its guests are strangers to the kernel and share one limit with all others",
            "policing_netns and the capabilities of the monitor, or what the text says",
        ));
    }
    findings
}

/// A silent one is [`says`]'s: then the trunk is not heard.
fn canary(trunk: &TrunkFacts, status: &Status) -> Option<Finding> {
    let why = status.canary.reason.clone()?;
    matches!(status.canary.state.as_str(), "off" | "broken").then(|| {
        finding(
            "canary",
            &trunk.name,
            format!("its canary is {}: {why}", status.canary.state),
            "guests are judged by their own silence alone: a trunk that dies makes all of them MISSING, and the controller may act on that",
            "what the text says; `hmmgr event --kind CANARY_OFF,CANARY_SILENT` tells since when; canary = \"off\" in hostmon.toml if none is wanted",
        )
    })
}

fn settings(trunk: &TrunkFacts) -> Option<Finding> {
    let (plan, (ethertype, vlan)) = (trunk.plan.as_ref()?, trunk.settings?);
    if (ethertype, vlan) == (plan.ethertype, plan.vlan) {
        return None;
    }
    let show = |vlan: Option<u16>| vlan.map_or("no VLAN".to_owned(), |vlan| format!("VLAN {vlan}"));
    Some(finding(
        "settings-differ",
        &trunk.name,
        format!(
            "the trunk was made for EtherType {:#06x} and {}, hostmon.toml says {ethertype:#06x} and {}",
            plan.ethertype,
            show(plan.vlan),
            show(vlan)
        ),
        "the rules drop what the monitor waits for",
        format!(
            "`hmmgr trunk create {} --vlan {}`, or change hostmon.toml",
            plan.name,
            vlan.unwrap_or_default()
        ),
    ))
}
