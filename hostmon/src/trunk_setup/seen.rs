//! What `ip` and `nft` say of a host, read from their JSON. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use vmpulse_protocol::MacAddr;

use super::rules;

/// An answer that is not what these programs say.
#[derive(Debug, thiserror::Error)]
#[error("the answer of `{program}` is not understood; it may be a version that this one does not know")]
pub struct NotUnderstood {
    /// Which program.
    program: &'static str,
    source: serde_json::Error,
}

/// An adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Its name.
    #[serde(rename = "ifname")]
    pub name: String,
    /// The adapter it stands on, or its other end, if that is in the same namespace.
    pub link: Option<String>,
    /// `UP`, `NOARP`, ...
    pub flags: Vec<String>,
    /// Its MTU.
    pub mtu: u32,
    /// Ethernet address, as text.
    pub address: String,
    /// Its alias: where we leave our mark.
    #[serde(rename = "ifalias")]
    pub alias: String,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// `ether` for Ethernet.
    pub link_type: String,
    /// Whether the kernel gives it an IPv6 address: `none` if not; empty without IPv6.
    pub inet6_addr_gen_mode: String,
    #[serde(rename = "linkinfo")]
    info: Info,
    #[serde(rename = "addr_info")]
    addresses: Vec<Address>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Info {
    info_kind: String,
    info_data: Value,
    info_slave_data: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Address {
    local: String,
}

impl Link {
    /// `veth`, `macvtap`, ...; empty for hardware.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.info.info_kind
    }

    /// `vepa`, `bridge`, ... of a macvlan or macvtap; empty for others.
    #[must_use]
    pub fn mode(&self) -> &str {
        self.info.info_data.get("mode").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is a port of a bridge with this switched on: `isolated`, `hairpin`.
    #[must_use]
    pub fn is_bridge_port(&self, with: &str) -> bool {
        self.info.info_slave_data.get(with).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Whether it has a flag.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        self.address.parse().ok()
    }

    /// Its IP addresses.
    pub fn ip_addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(|address| address.local.as_str())
    }
}

/// The adapters of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(Vec<Link>);

impl Links {
    /// From `ip -j -d link show` and `ip -j addr show`: neither says all.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn parse(link_show: &str, address_show: &str) -> Result<Self, NotUnderstood> {
        let mut links = list::<Link>(link_show)?;
        for with_addresses in list::<Link>(address_show)? {
            if let Some(link) = links.iter_mut().find(|link| link.name == with_addresses.name) {
                link.addresses = with_addresses.addresses;
            }
        }
        Ok(Self(links))
    }

    /// The adapter of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Link> {
        self.0.iter().find(|link| link.name == name)
    }

    /// Ports of a bridge.
    pub fn ports_of<'a>(&'a self, bridge: &'a str) -> impl Iterator<Item = &'a Link> {
        self.0.iter().filter(move |link| link.master.as_deref() == Some(bridge))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }

    /// Adapters that stand on another one: guests' macvtaps and macvlans.
    pub fn standing_on<'a>(&'a self, lower: &'a str) -> impl Iterator<Item = &'a Link> {
        self.0
            .iter()
            .filter(move |link| rules::is_macvlan(link.kind()) && link.link.as_deref() == Some(lower))
    }
}

/// Names of the network namespaces that `ip -j netns list` tells.
///
/// # Errors
/// [`NotUnderstood`].
pub fn namespaces(netns_list: &str) -> Result<BTreeSet<String>, NotUnderstood> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    Ok(list::<Named>(netns_list)?.into_iter().map(|named| named.name).collect())
}

/// No output at all is an empty list, too.
fn list<T: for<'a> Deserialize<'a>>(text: &str) -> Result<Vec<T>, NotUnderstood> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // An adapter that vanished while it was listed leaves an empty object behind.
    let values: Vec<Value> =
        serde_json::from_str(text).map_err(|source| NotUnderstood { program: "ip", source })?;
    let full = values.into_iter().filter(|value| value.as_object().is_some_and(|object| !object.is_empty()));
    full.map(|value| serde_json::from_value(value).map_err(|source| NotUnderstood { program: "ip", source }))
        .collect()
}

/// A table of ours as it is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it was made from, and when: [`rules::mark`].
    pub mark: Option<String>,
    /// Its chains, the mark among them.
    pub chains: BTreeSet<String>,
}

impl Table {
    /// From `nft -j list chains netdev`; `None` if there is no chain of that table, and so no policing.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn parse(chains: &str, table: &str) -> Result<Option<Self>, NotUnderstood> {
        let chains: BTreeSet<String> = objects(chains, "chain")?
            .iter()
            .filter(|chain| text(chain, "table") == table && text(chain, "family") == "netdev")
            .map(|chain| text(chain, "name").to_owned())
            .collect();
        let mark = chains.iter().find(|name| rules::is_mark(name)).cloned();
        Ok((!chains.is_empty()).then_some(Self { mark, chains }))
    }

    /// Every table of ours, from the same answer.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn names(chains: &str) -> Result<BTreeSet<String>, NotUnderstood> {
        let ours = |chain: &Value| {
            text(chain, "family") == "netdev" && text(chain, "table").starts_with(rules::TABLE_PREFIX)
        };
        let chains = objects(chains, "chain")?;
        Ok(chains.iter().filter(|chain| ours(chain)).map(|chain| text(chain, "table").to_owned()).collect())
    }

    /// Whether the hook is in place. A kernel may take a chain away with its adapter.
    #[must_use]
    pub fn polices(&self) -> bool {
        self.chains.contains("police")
    }
}

/// Frames that an adapter lost on their way in, since it is there, from `ip -j -s -s link show dev ADAPTER`. What the kernel calls
/// dropped is not among them: those are frames that no protocol wanted, and of a trunk in a VLAN all that a monitor hears.
///
/// # Errors
/// [`NotUnderstood`].
pub fn lost_frames(link_show: &str) -> Result<u64, NotUnderstood> {
    let all = list::<Value>(link_show)?;
    let counts = all.first().and_then(|link| link.get("stats64")?.get("rx"));
    let count = |name: &str| counts.and_then(|rx| rx.get(name)?.as_u64()).unwrap_or_default();
    Ok(["over_errors", "missed_errors", "fifo_errors"].iter().map(|name| count(name)).sum())
}

/// Packets by counter, from `nft -j list counters table netdev TABLE`.
///
/// # Errors
/// [`NotUnderstood`].
pub fn counters(answer: &str) -> Result<BTreeMap<String, u64>, NotUnderstood> {
    let packets = |counter: &Value| counter.get("packets").and_then(Value::as_u64).unwrap_or_default();
    Ok(objects(answer, "counter")?
        .iter()
        .map(|counter| (text(counter, "name").to_owned(), packets(counter)))
        .collect())
}

/// Addresses in a set, from `nft -j list set netdev TABLE SET`.
///
/// # Errors
/// [`NotUnderstood`].
pub fn elements(answer: &str) -> Result<BTreeSet<MacAddr>, NotUnderstood> {
    let sets = objects(answer, "set")?;
    let all = sets.iter().filter_map(|set| set.get("elem")?.as_array()).flatten();
    Ok(all.filter_map(|element| element.as_str()?.parse().ok()).collect())
}

/// Every object of a kind in an answer of `nft -j`.
fn objects(answer: &str, kind: &str) -> Result<Vec<Value>, NotUnderstood> {
    let whole: Value =
        serde_json::from_str(answer).map_err(|source| NotUnderstood { program: "nft", source })?;
    let list = whole.get("nftables").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(list.iter().filter_map(|object| object.get(kind)).cloned().collect())
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Frames that the kernel lost between adapters and protocols, on all processors, from /proc/net/softnet_stat: its second column.
#[must_use]
pub fn backlog_drops(softnet_stat: &str) -> u64 {
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    softnet_stat.lines().filter_map(dropped).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_frames_are_those_that_were_lost() {
        let link = r#"[{"ifname":"a","stats64":{"rx":{"packets":9,"dropped":4,"over_errors":1,"fifo_errors":2,"missed_errors":3}}}]"#;
        assert_eq!(lost_frames(link).unwrap(), 6);
        assert_eq!(lost_frames("[{}]").unwrap(), 0);
        assert_eq!(backlog_drops("0000ffff 0000000a 0\n00000001 00000006 0\n"), 16);
    }

    // As iproute2 6.1 and nft 1.0.6 print them.
    const LINKS: &str = r#"[{},{"ifindex":2,"link_index":2,"ifname":"tk","flags":["BROADCAST","MULTICAST","NOARP","UP","LOWER_UP"],
        "mtu":9000,"qdisc":"noqueue","operstate":"UP","link_type":"ether","address":"ce:ce:1a:3d:c3:6f","link_netnsid":0,
        "linkinfo":{"info_kind":"veth"},"inet6_addr_gen_mode":"none","ifalias":"vmpulse trunk tk"},
        {"ifindex":3,"link":"tk","ifname":"mvt0","flags":["UP"],"mtu":9000,"link_type":"ether","address":"fe:01:f2:28:79:2c",
        "linkinfo":{"info_kind":"macvtap","info_data":{"mode":"vepa"}},"inet6_addr_gen_mode":"eui64"}]"#;
    const ADDRESSES: &str =
        r#"[{"ifname":"tk","flags":[],"mtu":9000,"addr_info":[{"family":"inet6","local":"fe80::1"}]}]"#;

    #[test]
    fn links_are_read_with_what_stands_on_them() {
        let links = Links::parse(LINKS, ADDRESSES).unwrap();
        let trunk = links.find("tk").unwrap();
        assert_eq!(
            (trunk.kind(), trunk.mtu, trunk.has("NOARP"), trunk.has("DOWN")),
            ("veth", 9000, true, false)
        );
        assert_eq!(trunk.ip_addresses().collect::<Vec<_>>(), ["fe80::1"]);
        let on: Vec<_> = links.standing_on("tk").map(|link| (link.mode(), link.mac().unwrap())).collect();
        assert_eq!(on, [("vepa", "fe:01:f2:28:79:2c".parse().unwrap())]);
        assert_eq!(Links::parse("", "").unwrap(), Links::default());
        assert!(Links::parse("Usage: ip", "").is_err());
    }

    #[test]
    fn a_table_is_there_with_its_mark_or_not_at_all() {
        let answer = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "netdev", "table": "vmpulse-tk-hm", "name": "police", "handle": 1, "hook": "egress"}},
            {"chain": {"family": "netdev", "table": "vmpulse-tk-hm", "name": "made-1-88b5-", "handle": 2}},
            {"chain": {"family": "netdev", "table": "other", "name": "police", "handle": 2}}]}"#;
        let table = Table::parse(answer, "vmpulse-tk-hm").unwrap().unwrap();
        assert_eq!((table.mark.as_deref(), table.polices()), (Some("made-1-88b5-"), true));
        assert_eq!(Table::parse(answer, "vmpulse-tk").unwrap(), None);
        assert!(Table::parse("Error", "x").is_err());
    }

    #[test]
    fn counters_and_elements_are_read() {
        let answer = r#"{"nftables": [{"metainfo": {}}, {"counter": {"family": "netdev", "name": "known_passed",
            "table": "t", "handle": 4, "packets": 10, "bytes": 600}}]}"#;
        assert_eq!(counters(answer).unwrap().get("known_passed"), Some(&10));
        let answer = r#"{"nftables": [{"set": {"family": "netdev", "name": "known", "elem": ["52:54:00:00:00:01"]}}]}"#;
        assert_eq!(elements(answer).unwrap().len(), 1);
        let empty = r#"{"nftables": [{"set": {"family": "netdev", "name": "known"}}]}"#;
        assert!(elements(empty).unwrap().is_empty());
    }
}
