//! A trunk: the only Ethernet between guests and one host monitor. Guests reach the monitor and never each other.

use std::path::Path;

use crate::daemons::write_common_settings;
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::process::{Place, run, run_with_input, sh};
use crate::qemu::Adapter;
use crate::world;

/// What `hmmgr` ends with when this machine cannot do what is asked.
const UNAVAILABLE: i32 = 69;

/// How a trunk isolates its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// macvlan and macvtap adapters in VEPA mode: everything leaves by the trunk.
    Vepa,
    /// A bridge whose guest ports are isolated from each other.
    IsolatedBridge,
}

/// Who made a trunk, and so where its monitor's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// The lab, by `ip`: in a namespace of its own.
    Lab,
    /// `hmmgr trunk create`: beside the guests' end.
    Hmmgr,
}

/// One trunk of the host.
#[derive(Debug, Clone)]
pub(crate) struct Trunk {
    letter: char,
    topology: Topology,
    maker: Maker,
}

impl Trunk {
    /// Makes the trunk between the host and a new namespace for its monitor.
    pub(crate) fn create(letter: char, topology: Topology) -> Lab<Trunk> {
        let trunk = Trunk { letter, topology, maker: Maker::Lab };
        world::add_namespace(&trunk.vios())?;
        trunk.add_veth()?;
        trunk.add_bridge()?;
        Ok(trunk)
    }

    /// Makes the trunk by `hmmgr trunk create`, policed.
    pub(crate) fn create_policed(kit: &Kit, letter: char, topology: Topology) -> Lab<Trunk> {
        let trunk = Trunk { letter, topology, maker: Maker::Hmmgr };
        write_common_settings()?;
        let mut command = trunk.place().command(kit.program("hmmgr"));
        command.args(["trunk", "create", &trunk.guests_device(), "--mac", &trunk.monitor_mac()]);
        let said = run(command)?;
        if said.code() == Some(UNAVAILABLE) {
            return Err(LabError::Skipped(said.text()));
        }
        said.ok()?;
        trunk.add_bridge()?;
        Ok(trunk)
    }

    fn add_bridge(&self) -> Lab<()> {
        if self.topology == Topology::IsolatedBridge {
            let (bridge, device) = (self.bridge(), self.guests_device());
            host(&format!("ip link add {bridge} type bridge mcast_snooping 0"))?;
            host(&format!("ip link set {bridge} up"))?;
            host(&format!("ip link set {device} master {bridge}"))?;
        }
        Ok(())
    }

    /// `A`, `B`, ...
    pub(crate) fn letter(&self) -> char {
        self.letter
    }

    /// The namespace of this trunk's host monitor.
    pub(crate) fn vios(&self) -> String {
        match self.maker {
            Maker::Lab => format!("vios{}", self.letter),
            Maker::Hmmgr => "host".to_string(),
        }
    }

    /// Where this trunk's host monitor runs.
    pub(crate) fn place(&self) -> Place {
        Place::net(&self.vios())
    }

    /// The trunk's device at the monitor.
    pub(crate) fn device(&self) -> String {
        match self.maker {
            Maker::Lab => self.guests_device(),
            Maker::Hmmgr => format!("{}-hm", self.guests_device()),
        }
    }

    /// The trunk's device at the host, and the trunk's name.
    pub(crate) fn guests_device(&self) -> String {
        format!("trunk{}", self.letter)
    }

    /// The adapter of a guest on this trunk, as the guest names it.
    pub(crate) fn adapter(&self) -> String {
        format!("eth{}", self.index())
    }

    /// The address of a guest's adapter on this trunk.
    pub(crate) fn guest_mac(&self, guest: u8) -> String {
        format!("52:54:00:7e:{:02x}:{guest:02x}", self.index())
    }

    /// The address of the trunk's device at the monitor.
    pub(crate) fn monitor_mac(&self) -> String {
        format!("52:54:00:7e:{:02x}:ff", self.index())
    }

    /// What a host monitor's settings say of its canary.
    pub(crate) fn canary(&self, wanted: bool) -> String {
        match (self.maker, wanted) {
            (Maker::Hmmgr, _) => String::new(),
            (Maker::Lab, false) => "canary = \"off\"\n".to_string(),
            (Maker::Lab, true) => {
                format!("canary = \"{}\"\npolicing_netns = \"/run/netns/host\"\n", self.guests_device())
            }
        }
    }

    /// Drops every frame of the protocol between guests and monitor, both ways; all adapters stay up.
    pub(crate) fn lose_all(&self) -> Lab<()> {
        let (table, device) = (self.losing(), self.guests_device());
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{\n type filter hook {hook} device {device} priority -500; policy drop;\n}}\n"
            )
        };
        let script = format!("table netdev {table} {{\n{}{}}}\n", chain("ingress"), chain("egress"));
        let mut command = Place::net("host").command("nft");
        command.args(["-f", "-"]);
        run_with_input(command, script.as_bytes())?.ok().map(drop)
    }

    /// Lets frames pass again.
    pub(crate) fn lose_nothing(&self) -> Lab<()> {
        host(&format!("nft delete table netdev {}", self.losing())).map(drop)
    }

    /// Takes the trunk down at the guests' end.
    pub(crate) fn cut_guests_side(&self) -> Lab<()> {
        host(&format!("ip link set {} down", self.guests_device())).map(drop)
    }

    /// Brings it up again.
    pub(crate) fn mend_guests_side(&self) -> Lab<()> {
        host(&format!("ip link set {} up", self.guests_device())).map(drop)
    }

    /// Adapters of canaries on this trunk, by name.
    pub(crate) fn canaries(&self) -> Lab<Vec<String>> {
        let links = host("ip -o link show")?;
        let stem = format!("{}-cy", self.guests_device());
        Ok(links.lines().filter(|line| line.contains(&stem)).map(str::to_string).collect())
    }

    fn losing(&self) -> String {
        format!("lab-{}", self.guests_device())
    }

    /// For people.
    pub(crate) fn describe(&self) -> &'static str {
        match self.topology {
            Topology::Vepa => "VEPA (macvlan, macvtap)",
            Topology::IsolatedBridge => {
                "a bridge with isolated ports (a user namespace cannot make macvtap's device node)"
            }
        }
    }

    /// Gives the namespace of a guest an adapter on this trunk.
    pub(crate) fn attach_namespace(&self, namespace: &str, guest: u8) -> Lab<()> {
        let (adapter, mac, device) = (self.adapter(), self.guest_mac(guest), self.guests_device());
        let port = self.port(guest);
        match self.topology {
            Topology::Vepa => {
                host(&format!("ip link add link {device} name {port} address {mac} type macvlan mode vepa"))?;
                host(&format!("ip link set {port} netns {namespace} name {adapter}"))?;
                sh(&Place::Here, &format!("ip -n {namespace} link set {adapter} address {mac}"))?;
            }
            Topology::IsolatedBridge => {
                host(&format!("ip link add {port} type veth peer name {adapter} netns {namespace}"))?;
                sh(&Place::Here, &format!("ip -n {namespace} link set {adapter} address {mac}"))?;
                self.enslave(&port)?;
            }
        }
        sh(&Place::Here, &format!("ip -n {namespace} link set {adapter} up")).map(drop)
    }

    /// Makes an adapter on this trunk for an emulator that runs in the host's namespace.
    pub(crate) fn attach_emulator(&self, guest: u8, dir: &Path) -> Lab<Adapter> {
        let (mac, device, port) = (self.guest_mac(guest), self.guests_device(), self.port(guest));
        match self.topology {
            Topology::Vepa => {
                host(&format!("ip link add link {device} name {port} address {mac} type macvtap mode vepa"))?;
                host(&format!("ip link set {port} up"))?;
                let node = dir.join(&port);
                make_tap_node(&port, &node)?;
                Ok(Adapter::Node { node, mac })
            }
            Topology::IsolatedBridge => {
                host(&format!("ip tuntap add {port} mode tap"))?;
                self.enslave(&port)?;
                Ok(Adapter::Tap { name: port, mac })
            }
        }
    }

    /// Takes the trunk down at the monitor's end; every path over it falls silent.
    pub(crate) fn cut(&self) -> Lab<()> {
        sh(&Place::Here, &format!("ip -n {} link set {} down", self.vios(), self.device())).map(drop)
    }

    /// Brings a cut trunk back.
    pub(crate) fn mend(&self) -> Lab<()> {
        sh(&Place::Here, &format!("ip -n {} link set {} up", self.vios(), self.device())).map(drop)
    }

    /// Removes the monitor's device, and with it the whole trunk, the adapters of these guests included.
    pub(crate) fn destroy(&self, guests: &[u8]) -> Lab<()> {
        match self.topology {
            // Adapters go with the device they are on.
            Topology::Vepa => {}
            Topology::IsolatedBridge => {
                guests
                    .iter()
                    .try_for_each(|guest| host(&format!("ip link del {}", self.port(*guest))).map(drop))?;
            }
        }
        sh(&Place::Here, &format!("ip -n {} link del {}", self.vios(), self.device())).map(drop)
    }

    /// Makes the devices of a destroyed trunk again. Guests need new adapters on it.
    pub(crate) fn recreate(&self) -> Lab<()> {
        self.add_veth()?;
        match self.topology {
            Topology::Vepa => Ok(()),
            Topology::IsolatedBridge => {
                host(&format!("ip link set {} master {}", self.guests_device(), self.bridge())).map(drop)
            }
        }
    }

    fn add_veth(&self) -> Lab<()> {
        let (vios, device, mac) = (self.vios(), self.device(), self.monitor_mac());
        let add = format!(
            "ip link add {device} netns host type veth peer name {device} address {mac} netns {vios}"
        );
        sh(&Place::Here, &add)?;
        sh(&Place::Here, &format!("ip -n {vios} link set {device} up"))?;
        host(&format!("ip link set {device} up")).map(drop)
    }

    fn enslave(&self, port: &str) -> Lab<()> {
        host(&format!("ip link set {port} master {}", self.bridge()))?;
        host(&format!("bridge link set dev {port} isolated on"))?;
        host(&format!("ip link set {port} up")).map(drop)
    }

    fn bridge(&self) -> String {
        format!("bridge{}", self.letter)
    }

    /// A guest's device in the host's namespace.
    fn port(&self, guest: u8) -> String {
        format!("vm{guest}{}", self.letter.to_ascii_lowercase())
    }

    fn index(&self) -> u8 {
        u8::try_from(u32::from(self.letter).saturating_sub(u32::from('A'))).unwrap_or(u8::MAX)
    }
}

fn host(line: &str) -> Lab<String> {
    sh(&Place::net("host"), line)
}

/// The kernel's own node /dev/tapN is numbered per namespace, so two worlds would fight for one; major and minor
/// come from sysfs instead.
fn make_tap_node(port: &str, node: &Path) -> Lab<()> {
    let index = host(&format!("cat /sys/class/net/{port}/ifindex"))?;
    let numbers = host(&format!("cat /sys/class/net/{port}/tap{}/dev", index.trim()))?;
    let (major, minor) = numbers
        .trim()
        .split_once(':')
        .ok_or_else(|| LabError::Unexpected(format!("{port}'s device numbers are {numbers:?}")))?;
    let _ = std::fs::remove_file(node);
    sh(&Place::Here, &format!("mknod {} c {major} {minor}", node.display())).map(drop)
}
