//! What a trunk is to be. Pure; it is also what is kept of a trunk in a file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::MacAddr;

/// The monitor's side is called as the trunk, with this behind.
pub const MONITOR_SUFFIX: &str = "-hm";
/// Longest name of a trunk: an adapter's, with room for [`MONITOR_SUFFIX`].
pub const NAME_MAXIMUM: usize = ADAPTER_MAXIMUM - MONITOR_SUFFIX.len();
/// Longest name of an adapter: IFNAMSIZ without its final zero.
const ADAPTER_MAXIMUM: usize = 15;
/// Ports policed on a trunk: more guests than any host runs. Each has a chain and two counters in the kernel.
pub const PORTS_MAXIMUM: usize = 4096;
/// A SYN has up to 512 bytes of text and is never split, so a frame must hold it; no frame is longer than 64 KiB.
pub const MTU: std::ops::RangeInclusive<u32> = 576..=65_535;
/// VLAN ids of IEEE 802.1Q.
pub const VLAN: std::ops::RangeInclusive<u16> = 1..=4094;
/// Rates and bursts beyond this are no limit any more.
const RATE_MAXIMUM: u32 = 1_000_000;

/// A text that cannot be what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// The name of an adapter: what `ip` and `nft` take without quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Adapter(String);

impl Adapter {
    /// As it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Adapter {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.len() <= ADAPTER_MAXIMUM && text.chars().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Unusable(format!(
            "{text:?} cannot be used as a name: 1 to {ADAPTER_MAXIMUM} letters, digits, dots, hyphens and \
             underscores, a letter or digit first"
        )))
    }
}

impl TryFrom<String> for Adapter {
    type Error = Unusable;

    fn try_from(text: String) -> Result<Self, Unusable> {
        text.parse()
    }
}

impl From<Adapter> for String {
    fn from(adapter: Adapter) -> Self {
        adapter.0
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// How much a guest may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Frames per second of one source address.
    pub source_per_second: u32,
    /// Frames that one source address may send at once.
    pub source_burst: u32,
    /// Frames per second of all addresses together that are no registered VM's.
    pub strangers_per_second: u32,
    /// Frames that all of them together may send at once.
    pub strangers_burst: u32,
}

/// A guest that does what the protocol says never meets them. The busiest one beats every 100 ms and sends its whole
/// report, 256 KiB or 179 authenticated frames at an MTU of 1500, to four host monitors: 40 frames a second, 716 at once.
/// Strangers need some five frames each for a handshake, repeat what is lost, and are few: 2,000 a second is a
/// fraction of what a host monitor can take.
pub const DEFAULT_LIMITS: Limits =
    Limits { source_per_second: 200, source_burst: 1024, strangers_per_second: 2000, strangers_burst: 2000 };

impl Limits {
    /// Why they cannot be used.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let all =
            [self.source_per_second, self.source_burst, self.strangers_per_second, self.strangers_burst];
        let wrong = all.into_iter().find(|limit| !(1..=RATE_MAXIMUM).contains(limit))?;
        Some(format!("{wrong} is no rate or burst: they are 1 to {RATE_MAXIMUM} frames"))
    }
}

/// A guest's adapter that is policed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The adapter.
    pub adapter: Adapter,
    /// The only source address that may come from it.
    #[serde(with = "mac_text")]
    pub mac: MacAddr,
}

/// A trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkPlan {
    /// The trunk, and its guests' side where that is made by us.
    pub name: Adapter,
    /// MTU of both sides.
    pub mtu: u32,
    /// EtherType of the protocol's frames.
    pub ethertype: u16,
    /// VLAN id that frames of the protocol are tagged with; none: whether they are is the guests' affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Address of the monitor's side; empty until the trunk is made for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_mac_text")]
    pub mac: Option<MacAddr>,
    /// Named network namespace of the monitor's side, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<Adapter>,
    /// Whether that namespace was made with the trunk, and goes with it.
    #[serde(default)]
    pub netns_made: bool,
    /// An adapter that is there, by which guests' frames come in from outside, in place of a guests' side of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// Limits that the kernel enforces; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policing: Option<Limits>,
    /// Guests' adapters that are policed by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

impl TrunkPlan {
    /// A trunk as it is made when nothing is said.
    #[must_use]
    pub const fn new(name: Adapter, ethertype: u16) -> Self {
        Self {
            name,
            mtu: 1500,
            ethertype,
            vlan: None,
            mac: None,
            netns: None,
            netns_made: false,
            adapter: None,
            policing: Some(DEFAULT_LIMITS),
            ports: Vec::new(),
        }
    }

    /// The adapter that the host monitor listens on.
    #[must_use]
    pub fn monitor_adapter(&self) -> String {
        format!("{}{MONITOR_SUFFIX}", self.name)
    }

    /// The adapter that guests' frames pass: they leave by it where it is ours, and come in by it where it is not.
    #[must_use]
    pub fn guests_adapter(&self) -> &Adapter {
        self.adapter.as_ref().unwrap_or(&self.name)
    }

    /// The mark that our adapters carry.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("vmpulse trunk {}", self.name)
    }

    /// What an administrator writes into a domain of libvirt; `None` where guests' frames come from outside.
    #[must_use]
    pub fn libvirt_interface(&self) -> Option<String> {
        self.adapter.is_none().then(|| {
            format!(
                "<interface type='direct'>\n  <source dev='{}' mode='vepa'/>\n  <model type='virtio'/>\n</interface>\n",
                self.name
            )
        })
    }

    /// Why it cannot be made.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.name.as_str().len() > NAME_MAXIMUM {
            return Some(format!(
                "{} is too long: a trunk's name has at most {NAME_MAXIMUM} characters, so that {MONITOR_SUFFIX} can be added",
                self.name
            ));
        }
        if !MTU.contains(&self.mtu) {
            return Some(format!("an MTU of {} is not in {} to {}", self.mtu, MTU.start(), MTU.end()));
        }
        if let Some(vlan) = self.vlan.filter(|vlan| !VLAN.contains(vlan)) {
            return Some(format!("{vlan} is no VLAN id: they are {} to {}", VLAN.start(), VLAN.end()));
        }
        if self.mac.is_some_and(|mac| mac.is_multicast() || mac.is_zero()) {
            return Some("the monitor's address is no address of one adapter".to_owned());
        }
        self.policing.as_ref().and_then(Limits::fault)
    }
}

/// Addresses as people write them.
mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use vmpulse_protocol::MacAddr;

    pub(super) fn serialize<S: Serializer>(mac: &MacAddr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MacAddr, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no MAC address")))
    }
}

mod optional_mac_text {
    use serde::{Deserializer, Serializer};
    use vmpulse_protocol::MacAddr;

    pub(super) fn serialize<S: Serializer>(mac: &Option<MacAddr>, to: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => to.collect_str(mac),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MacAddr>, D::Error> {
        super::mac_text::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str) -> TrunkPlan {
        TrunkPlan::new(name.parse().unwrap(), 0x88B5)
    }

    #[test]
    fn names_that_mean_something_to_nft_or_ip_are_refused() {
        for bad in ["", "-x", ".x", "a b", "a{", "a;b", "a\"", "a/b", "sixteen-letters-", "ä", "a\n"] {
            assert!(bad.parse::<Adapter>().is_err(), "{bad:?}");
        }
        for good in ["a", "trunkA", "eth0.100", "9lives", "macvtap12"] {
            assert_eq!(good.parse::<Adapter>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let mut whole = plan("trunkA");
        whole.mac = Some(MacAddr(2, 0, 0, 0, 0, 9));
        whole.vlan = Some(100);
        whole.netns = Some("vios".parse().unwrap());
        whole.netns_made = true;
        whole.ports = vec![Port { adapter: "macvtap0".parse().unwrap(), mac: MacAddr(2, 0, 0, 0, 0, 1) }];
        for plan in [plan("trunkA"), whole] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<TrunkPlan>(&text).unwrap(), plan, "{text}");
        }
        assert!(toml::from_str::<TrunkPlan>("name = \"a b\"\nmtu = 1500\nethertype = 34997\n").is_err());
    }

    #[test]
    fn impossible_plans_are_named() {
        assert_eq!(plan("trunkA").fault(), None);
        let mut bad = plan("thirteen-long");
        assert!(bad.fault().unwrap().contains("at most 12"));
        bad = TrunkPlan { mtu: 100, ..plan("t") };
        assert!(bad.fault().unwrap().contains("576"));
        bad = TrunkPlan { vlan: Some(4095), ..plan("t") };
        assert!(bad.fault().unwrap().contains("4094"));
        bad = TrunkPlan { mac: Some(MacAddr::broadcast()), ..plan("t") };
        assert!(bad.fault().is_some());
        bad = TrunkPlan { policing: Some(Limits { source_burst: 0, ..DEFAULT_LIMITS }), ..plan("t") };
        assert!(bad.fault().unwrap().contains("0 is no rate"));
    }
}
