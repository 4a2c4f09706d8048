//! A trunk's adapters, rules and isolation.

use super::finding;
use crate::doctor::Finding;
use crate::doctor::facts::{Probe, Reflected, TrunkFacts};
use crate::trunk_setup::plan::TrunkPlan;
use crate::trunk_setup::seen::Link;
use crate::trunk_setup::steps::{Action, Observed, Step, steps};

const ISOLATION: &str =
    "guests reach each other by it: one can speak in the name of another's monitor, and flood it";
const SIZE: &str =
    "frames of one size leave and do not arrive: heartbeats pass, being short, and reports never do";
const POLICING: &str =
    "a guest can send what it likes, as much as it likes, and heartbeats of others are lost in it";
const IP: &str = "a trunk carries no IP: an agent uses only adapters without, and what else speaks on it disturbs and leaks";

/// What `hmmgr trunk create` would put right, and what it does not touch.
pub(super) fn adapters(trunk: &TrunkFacts) -> Vec<Finding> {
    let observed = match &trunk.observed {
        None => return Vec::new(),
        Some(Err(why)) => {
            return vec![finding(
                "not-looked-at",
                &trunk.name,
                why,
                "nothing can be said of its adapters and rules",
                "what the text says; then run this again",
            )];
        }
        Some(Ok(observed)) => observed,
    };
    let mut findings = match &trunk.plan {
        Some(plan) => made(plan, observed),
        None => foreign(trunk, observed),
    };
    findings.extend(ends(trunk, observed));
    findings.extend(guests(trunk, observed));
    findings.extend(addresses(trunk, observed));
    findings
}

fn made(plan: &TrunkPlan, observed: &Observed) -> Vec<Finding> {
    let remedy = format!("`hmmgr trunk create {}`", plan.name);
    match steps(plan, observed) {
        Err(in_the_way) => vec![finding(
            "trunk-broken",
            plan.name.as_str(),
            in_the_way,
            "guests have no monitor on it, or another one",
            "what the text says",
        )],
        Ok(steps) => steps.into_iter().map(|step| step_finding(plan, step, &remedy)).collect(),
    }
}

fn step_finding(plan: &TrunkPlan, step: Step, remedy: &str) -> Finding {
    let (name, why) = match &step.action {
        Action::Table | Action::NoTable | Action::Port(_) => ("policing", POLICING),
        Action::Ip(words)
            if words.iter().any(|word| word == "mtu") && words.iter().any(|word| word == "set") =>
        {
            ("mtu", SIZE)
        }
        Action::Ip(_) => {
            ("adapter", "its guests are not heard, or something else than the protocol is on it")
        }
    };
    finding(name, plan.name.as_str(), step.wrong, why, remedy)
}

/// One that `hmmgr trunk create` did not make.
fn foreign(trunk: &TrunkFacts, observed: &Observed) -> Vec<Finding> {
    let name = trunk.guests_adapter.as_ref().unwrap_or(&trunk.monitor_adapter);
    match observed.near.find(name) {
        None => vec![finding(
            "adapter",
            &trunk.name,
            format!("there is no adapter {name} here"),
            "its guests are not heard",
            format!("`hmmgr trunk create {name}` makes one; `ip link` names those that are"),
        )],
        Some(link) if !link.has("UP") => vec![finding(
            "adapter",
            &trunk.name,
            format!("{name} is down"),
            "its guests are not heard",
            format!("`ip link set dev {name} up`"),
        )],
        Some(_) => Vec::new(),
    }
}

/// Both sides, if both can be seen.
fn sides<'a>(trunk: &TrunkFacts, observed: &'a Observed) -> (Option<&'a Link>, Option<&'a Link>) {
    let near = trunk.guests_adapter.as_ref().and_then(|name| observed.near.find(name));
    let namespace = match &trunk.plan {
        Some(plan) => observed.monitors(plan),
        None => Some(&observed.near),
    };
    (near, namespace.and_then(|links| links.find(&trunk.monitor_adapter)))
}

/// Of a trunk of ours each side is held against its plan already; this is for the others.
fn ends(trunk: &TrunkFacts, observed: &Observed) -> Option<Finding> {
    let (Some(near), Some(far)) = sides(trunk, observed) else { return None };
    (near.mtu != far.mtu && trunk.plan.is_none()).then(|| {
        finding(
            "mtu",
            &trunk.name,
            format!("{} has an MTU of {}, {} one of {}", near.name, near.mtu, far.name, far.mtu),
            SIZE,
            format!("give both the smaller one: `ip link set dev ADAPTER mtu {}`", near.mtu.min(far.mtu)),
        )
    })
}

/// Adapters of guests: what they stand on decides their size, and their mode whom they reach.
fn guests(trunk: &TrunkFacts, observed: &Observed) -> Vec<Finding> {
    let Some(near) = sides(trunk, observed).0 else { return Vec::new() };
    let mut findings = Vec::new();
    for guest in observed.near.standing_on(&near.name).filter(|link| link.name != trunk.monitor_adapter) {
        if !matches!(guest.mode(), "vepa" | "private") {
            findings.push(finding(
                "bridge-mode",
                &guest.name,
                format!("this guest's adapter stands on {} in mode {}", near.name, guest.mode()),
                ISOLATION,
                "in its domain: <source ... mode='vepa'/>, then restart the guest",
            ));
        }
        if guest.mtu > near.mtu {
            findings.push(finding(
                "mtu",
                &guest.name,
                format!(
                    "this guest's adapter has an MTU of {}, {} one of {}",
                    guest.mtu, near.name, near.mtu
                ),
                SIZE,
                format!("`ip link set dev {} mtu {}`", guest.name, near.mtu),
            ));
        }
    }
    findings
        .extend(near.master.as_ref().map(|bridge| bridge_ports(near, bridge, observed)).unwrap_or_default());
    findings
}

/// A bridge that carries a trunk: its guests' ports are isolated, the trunk's own is not, and sends nothing back.
fn bridge_ports(near: &Link, bridge: &str, observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    for port in observed.near.ports_of(bridge) {
        let own = port.name == near.name;
        if !own && !port.is_bridge_port("isolated") {
            findings.push(finding(
                "bridge-port",
                &port.name,
                format!("this port of {bridge} is not isolated"),
                ISOLATION,
                format!("`bridge link set dev {} isolated on`; in libvirt <port isolated='yes'/>", port.name),
            ));
        }
        if own && port.is_bridge_port("isolated") {
            findings.push(finding(
                "bridge-port",
                &port.name,
                format!("the trunk's own port of {bridge} is isolated"),
                "isolated ports reach only those that are not: no guest reaches its monitor",
                format!("`bridge link set dev {} isolated off`", port.name),
            ));
        }
        if port.is_bridge_port("hairpin") {
            findings.push(finding(
                "bridge-port",
                &port.name,
                format!("this port of {bridge} sends frames back by where they came from (hairpin)"),
                ISOLATION,
                format!("`bridge link set dev {} hairpin off`", port.name),
            ));
        }
    }
    findings
}

fn addresses(trunk: &TrunkFacts, observed: &Observed) -> Vec<Finding> {
    let (near, far) = sides(trunk, observed);
    // An adapter of the host's own may carry other traffic.
    let near = near.filter(|_| trunk.plan.as_ref().is_none_or(|plan| plan.adapter.is_none()));
    let mut findings: Vec<Finding> = Vec::new();
    for side in [near, far].into_iter().flatten() {
        for address in side.ip_addresses() {
            let said = format!("{} has the address {address}", side.name);
            let already = findings.iter().any(|one| one.what == said);
            if !already {
                let remedy = format!(
                    "`ip addr flush dev {0}`, and keep whoever gave it from doing so again",
                    side.name
                );
                findings.push(finding("ip-address", &trunk.name, said, IP, remedy));
            }
        }
    }
    findings
}

/// What became of the frames that were sent.
pub(super) fn isolation(trunk: &TrunkFacts) -> Option<Finding> {
    match trunk.probe.as_ref()? {
        Err(why) => Some(finding(
            "not-probed",
            &trunk.name,
            why,
            "whether guests are kept apart is not known",
            "what the text says; then run this again",
        )),
        Ok(probe) if !probe.reflected.is_empty() => Some(reflects(trunk, probe)),
        Ok(Probe { sent, left, .. }) if left < sent => Some(finding(
            "not-probed",
            &trunk.name,
            format!("of {sent} frames from two ports, as guests have them, {left} left by the trunk"),
            "guests' frames are lost as well, and whether guests are kept apart is not known",
            "look for floods (`hmmgr trunk show`), for rules of others (`nft list ruleset`), and whether the adapters are up",
        )),
        Ok(_) => None,
    }
}

fn reflects(trunk: &TrunkFacts, probe: &Probe) -> Finding {
    let count = |which| probe.reflected.iter().filter(|one| **one == which).count();
    finding(
        "reflects",
        &trunk.name,
        format!(
            "of {} frames from two ports, as guests have them, {} came to the other port by its address and {} by broadcast",
            probe.sent,
            count(Reflected::Unicast),
            count(Reflected::Broadcast)
        ),
        ISOLATION,
        "whatever is at the trunk's other end sends frames back: switch off hairpin of the bridge port (`bridge link set dev PORT hairpin \
         off`), reflective relay (802.1Qbg) of the switch port, or forwarding of the program that is there",
    )
}
