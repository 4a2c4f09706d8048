//! The rules in the kernel, as text for `nft -f`. Pure.
//!
//! ```text
//!                      our EtherType, tagged or not
//!  [hook on the trunk] -----------------------------> lanes --- source in @known ---> known_lane
//!          |                                            |                               | its own limit
//!          | other EtherTypes (on a trunk of our own)   | every other source            v
//!          v                                            v                              pass
//!         drop                        its own limit, then one for all of them
//!                                                       v
//!                                                      pass
//! ```
//! The two lanes have nothing in common, no set and no limit, so whatever strangers do (an invented address for every frame
//! included) takes nothing from the guests that the host monitor knows. It keeps `known` up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use vmpulse_protocol::MacAddr;

use super::plan::{Adapter, Limits, Port, TrunkPlan};

/// Addresses in `known`: as many as a host monitor has paths, and its canary's. One that has no room keeps all others out.
pub const KNOWN_MAXIMUM: usize = crate::sessions::SESSIONS_MAXIMUM + 1;
/// Strangers whose own rate is kept. Those beyond, which only a flood of invented addresses brings, share the common
/// limit; some 100 bytes of kernel memory each.
const STRANGERS_MAXIMUM: usize = 4096;
/// A source's rate is forgotten when it was quiet for this long, and its burst is whole again long before.
const RATE_TIMEOUT: &str = "1m";
/// Changes when the rules do, so that tables made by an older version are made anew.
const VERSION: u32 = 2;

/// Counters of the whole table, in the order in which they are shown.
pub const COUNTERS: [&str; 6] = [
    "known_passed",
    "known_dropped",
    "strangers_passed",
    "strangers_dropped",
    "stranger_source_dropped",
    "foreign_dropped",
];

/// The set of addresses that the host monitor knows.
pub const KNOWN: &str = "known";

/// What the name of every table of ours begins with.
pub const TABLE_PREFIX: &str = "vmpulse-";

/// The table that polices what the monitor on this adapter hears.
#[must_use]
pub fn table(monitor_adapter: &str) -> String {
    format!("{TABLE_PREFIX}{monitor_adapter}")
}

/// The chain of a port.
#[must_use]
pub fn port_chain(adapter: &Adapter) -> String {
    format!("port-{adapter}")
}

/// The two counters of a port: frames from addresses that are not its own, and frames beyond its limit.
#[must_use]
pub fn port_counters(adapter: &Adapter) -> [String; 2] {
    ["forged", "over"].map(|what| format!("port-{adapter}-{what}"))
}

/// The name of an empty chain that tells what a table was made from, and when: nftables has no better place for it
/// that every version shows. A table with another mark is made anew.
#[must_use]
pub fn mark(plan: &TrunkPlan, limits: &Limits, made: u64) -> String {
    format!("{}{made:x}", mark_prefix(plan, limits))
}

/// What [`mark`] begins with, whenever the table was made.
#[must_use]
pub fn mark_prefix(plan: &TrunkPlan, limits: &Limits) -> String {
    let Limits { source_per_second, source_burst, strangers_per_second, strangers_burst } = limits;
    format!(
        "made-{VERSION}-{:04x}-{source_per_second}-{source_burst}-{strangers_per_second}-{strangers_burst}-{}{}-",
        plan.ethertype,
        plan.vlan.map(|vlan| format!("vlan{vlan}-")).unwrap_or_default(),
        hook(plan),
    )
}

/// Whether a chain is such a mark.
#[must_use]
pub fn is_mark(chain: &str) -> bool {
    chain.starts_with("made-")
}

/// Makes the table, anew if it is there, in one step: no frame passes between the old and the new. `made` differs each
/// time; `known` is who has a lane of its own from the beginning; `ports` are those whose adapters are there, with the
/// kind of each.
#[must_use]
pub fn table_script(
    plan: &TrunkPlan,
    limits: &Limits,
    made: u64,
    known: &[MacAddr],
    ports: &[(&Port, &str)],
) -> String {
    let table = table(&plan.monitor_adapter());
    let mut script =
        format!("add table netdev {table}\ndelete table netdev {table}\ntable netdev {table} {{\n");
    let _ = writeln!(script, "  chain {} {{ }}", mark(plan, limits, made));
    script.push_str(&sets());
    for counter in COUNTERS {
        let _ = writeln!(script, "  counter {counter} {{ }}");
    }
    script.push_str(&chains(plan, limits));
    script.push_str("}\n");
    for (port, kind) in ports {
        script.push_str(&port_script(plan, limits, port, kind));
    }
    script.push_str(&known_script(&table, "add", known));
    script
}

fn sets() -> String {
    let rates = |name: &str, size: usize| {
        format!(
            "  set {name} {{\n    type ether_addr\n    size {size}\n    flags dynamic,timeout\n    timeout {RATE_TIMEOUT}\n  }}\n"
        )
    };
    format!(
        "  set {KNOWN} {{\n    type ether_addr\n    size {KNOWN_MAXIMUM}\n  }}\n{}{}",
        rates("known_rates", KNOWN_MAXIMUM),
        rates("stranger_rates", STRANGERS_MAXIMUM)
    )
}

fn chains(plan: &TrunkPlan, limits: &Limits) -> String {
    let Limits { source_per_second, source_burst, strangers_per_second, strangers_burst } = limits;
    let (hook, device, ethertype) = (hook(plan), plan.guests_adapter(), plan.ethertype);
    let source =
        format!("ether saddr limit rate over {source_per_second}/second burst {source_burst} packets");
    let all = format!("limit rate over {strangers_per_second}/second burst {strangers_burst} packets");
    // An adapter of the host's own carries other traffic too, which is none of our business.
    let foreign = if plan.adapter.is_none() { "    counter name foreign_dropped drop\n" } else { "" };
    let ours = match plan.vlan {
        None => format!(
            "    ether type {ethertype:#06x} goto lanes\n    ether type 8021q vlan type {ethertype:#06x} goto lanes\n"
        ),
        // What is ours and in another VLAN goes round the lanes, so it must not pass on an adapter of the host's own either.
        Some(vlan) => format!(
            "    ether type 8021q vlan id {vlan} vlan type {ethertype:#06x} goto lanes
    ether type {ethertype:#06x} counter name foreign_dropped drop
    ether type 8021q vlan type {ethertype:#06x} counter name foreign_dropped drop\n"
        ),
    };
    format!(
        "  chain police {{
    type filter hook {hook} device \"{device}\" priority 0; policy accept;
{ours}{foreign}  }}
  chain lanes {{
    ether saddr @{KNOWN} goto known_lane
    update @stranger_rates {{ {source} }} counter name stranger_source_dropped drop
    {all} counter name strangers_dropped drop
    counter name strangers_passed accept
  }}
  chain known_lane {{
    update @known_rates {{ {source} }} counter name known_dropped drop
    counter name known_passed accept
  }}
"
    )
}

/// Guests' frames leave by a guests' side of our own, and come in by an adapter that leads outside.
const fn hook(plan: &TrunkPlan) -> &'static str {
    if plan.adapter.is_some() { "ingress" } else { "egress" }
}

/// Polices one port, in place of what policed it before. `kind`: what kind of adapter it is, as `ip` says.
#[must_use]
pub fn port_script(plan: &TrunkPlan, limits: &Limits, port: &Port, kind: &str) -> String {
    let (table, chain) = (table(&plan.monitor_adapter()), port_chain(&port.adapter));
    let [forged, over] = port_counters(&port.adapter);
    let Limits { source_per_second, source_burst, .. } = limits;
    let hook = port_hook(kind);
    format!(
        "add counter netdev {table} {forged}
add counter netdev {table} {over}
add chain netdev {table} {chain} {{ type filter hook {hook} device \"{}\" priority 0; policy accept; }}
flush chain netdev {table} {chain}
add rule netdev {table} {chain} ether saddr != {} counter name {forged} drop
add rule netdev {table} {chain} ether type {{ {:#06x}, 8021q }} limit rate over {source_per_second}/second burst {source_burst} packets counter name {over} drop
",
        port.adapter, port.mac, plan.ethertype,
    )
}

/// A guest's frames leave by its macvtap, as from any adapter of the host; from a tap or veth they come in.
fn port_hook(kind: &str) -> &'static str {
    if is_macvlan(kind) { "egress" } else { "ingress" }
}

/// Whether adapters of this kind stand on another one.
#[must_use]
pub fn is_macvlan(kind: &str) -> bool {
    matches!(kind, "macvtap" | "macvlan")
}

/// Polices a port no more. Of an adapter that is gone the kernel may have taken the chain away itself: `chains` and
/// `counters` are those that are there.
#[must_use]
pub fn port_removal_script(
    plan: &TrunkPlan,
    adapter: &Adapter,
    chains: &BTreeSet<String>,
    counters: &BTreeMap<String, u64>,
) -> String {
    let (table, chain) = (table(&plan.monitor_adapter()), port_chain(adapter));
    let mut script = String::new();
    if chains.contains(&chain) {
        let _ = writeln!(script, "flush chain netdev {table} {chain}\ndelete chain netdev {table} {chain}");
    }
    for counter in port_counters(adapter).iter().filter(|counter| counters.contains_key(*counter)) {
        let _ = writeln!(script, "delete counter netdev {table} {counter}");
    }
    script
}

/// Adds addresses to `known` or takes some out: `verb` is `add` or `delete`. Empty for no address.
#[must_use]
pub fn known_script(table: &str, verb: &str, addresses: &[MacAddr]) -> String {
    if addresses.is_empty() {
        return String::new();
    }
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("{verb} element netdev {table} {KNOWN} {{ {} }}\n", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunk_setup::plan::DEFAULT_LIMITS;

    fn plan() -> TrunkPlan {
        TrunkPlan::new("trunkA".parse().unwrap(), 0x88B5)
    }

    fn script(plan: &TrunkPlan) -> String {
        table_script(plan, &DEFAULT_LIMITS, 7, &[], &[])
    }

    #[test]
    fn a_trunk_of_ours_is_policed_where_frames_leave_it_and_carries_nothing_else() {
        let script = script(&plan());
        assert!(script.contains("hook egress device \"trunkA\""), "{script}");
        assert!(script.contains("counter name foreign_dropped drop"));
        let other = TrunkPlan { adapter: Some("eth1".parse().unwrap()), ..plan() };
        let script = self::script(&other);
        assert!(script.contains("hook ingress device \"eth1\""), "{script}");
        assert!(!script.contains("foreign_dropped drop"));
    }

    #[test]
    fn in_a_vlan_only_its_frames_reach_the_lanes() {
        let untagged = script(&plan());
        assert!(untagged.contains("\n    ether type 0x88b5 goto lanes\n"), "{untagged}");
        let tagged = TrunkPlan { vlan: Some(100), ..plan() };
        let script = script(&tagged);
        assert!(script.contains("ether type 8021q vlan id 100 vlan type 0x88b5 goto lanes"), "{script}");
        assert!(!script.contains("\n    ether type 0x88b5 goto lanes\n"));
        for (one, other) in [(&tagged, &plan()), (&plan(), &tagged)] {
            assert!(!mark(one, &DEFAULT_LIMITS, 7).starts_with(&mark_prefix(other, &DEFAULT_LIMITS)));
        }
    }

    #[test]
    fn the_canary_has_room_beside_as_many_guests_as_there_can_be() {
        const { assert!(KNOWN_MAXIMUM > crate::sessions::SESSIONS_MAXIMUM) };
        let script = table_script(&plan(), &DEFAULT_LIMITS, 1, &[], &[]);
        assert!(script.contains("size 16385"), "{script}");
    }

    #[test]
    fn another_limit_or_another_making_is_another_mark() {
        let other = Limits { source_burst: 1, ..DEFAULT_LIMITS };
        let prefix = mark_prefix(&plan(), &DEFAULT_LIMITS);
        assert!(mark(&plan(), &DEFAULT_LIMITS, 7).starts_with(&prefix) && is_mark(&prefix));
        assert_ne!(mark(&plan(), &DEFAULT_LIMITS, 7), mark(&plan(), &DEFAULT_LIMITS, 8));
        assert!(!mark(&plan(), &other, 7).starts_with(&prefix));
    }

    #[test]
    fn ports_hook_where_the_guests_frames_pass() {
        let port = Port { adapter: "vnet0".parse().unwrap(), mac: MacAddr(2, 0, 0, 0, 0, 1) };
        let hook = |kind| port_script(&plan(), &DEFAULT_LIMITS, &port, kind);
        assert!(hook("tun").contains("hook ingress device \"vnet0\""));
        assert!(hook("macvtap").contains("hook egress device \"vnet0\""));
        assert!(hook("tun").contains("ether saddr != 02:00:00:00:00:01 counter name port-vnet0-forged drop"));
    }

    #[test]
    fn only_what_is_there_of_a_port_is_taken_away() {
        let adapter: Adapter = "vnet0".parse().unwrap();
        let remove = |chains: &[&str], counters: &[&str]| {
            let chains = chains.iter().map(ToString::to_string).collect();
            let counters = counters.iter().map(|name| ((*name).to_owned(), 1)).collect();
            port_removal_script(&plan(), &adapter, &chains, &counters)
        };
        assert_eq!(remove(&["port-vnet1"], &[]), "");
        assert_eq!(remove(&["port-vnet0"], &["port-vnet0-over", "known_passed"]).lines().count(), 3);
    }
}
