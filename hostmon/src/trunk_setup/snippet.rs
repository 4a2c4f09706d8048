//! A trunk in the words of those who make adapters and connect guests: systemd-networkd, systemd and libvirt. Pure.
//!
//! What networkd makes of its files is the very trunk that `hmmgr trunk create` makes, but for the table of rules, and the mark where
//! there is no udev: `create --all`, which the unit of systemd runs, adds those and changes nothing else. A test holds one
//! against the other.

use std::fmt::Write as _;

use clap::ValueEnum;

use super::plan::TrunkPlan;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum For {
    /// Files of /etc/systemd/network: the adapters, made at each boot.
    SystemdNetworkd,
    /// A unit that makes all trunks at each boot: their rules, and whatever networkd did not make.
    Systemd,
    /// A guest's interface, and a network that domains can name in place of it.
    Libvirt,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// Its name, without a folder.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The unit that makes trunks again.
pub const UNIT: &str = "vmpulse-trunks.service";

/// The files for one of them.
///
/// # Errors
/// Why there are none, and what to do.
pub fn snippets(plan: &TrunkPlan, whom: For) -> Result<Vec<Snippet>, String> {
    match whom {
        For::SystemdNetworkd => networkd(plan),
        For::Systemd => Ok(vec![Snippet { name: UNIT.to_owned(), text: unit() }]),
        For::Libvirt => libvirt(plan),
    }
}

/// What else is to be done for it, for people; empty: nothing.
#[must_use]
pub fn note(plan: &TrunkPlan, whom: For) -> String {
    match (whom, &plan.adapter) {
        (For::SystemdNetworkd, Some(adapter)) => format!(
            "Put MACVLAN={} into the section [Network] of the file that networkd configures {adapter} by; then `networkctl reload`.",
            plan.monitor_adapter()
        ),
        (For::SystemdNetworkd, None) => {
            "Put them into /etc/systemd/network, then `networkctl reload`.".to_owned()
        }
        (For::Systemd, _) => {
            format!("Put it into /etc/systemd/system, then `systemctl enable --now {UNIT}`.")
        }
        (For::Libvirt, _) => format!(
            "The interface goes into the domain of each guest. Or `virsh net-define {0}-network.xml`, `virsh net-autostart \
             vmpulse-{0}`, and the domains say <interface type='network'> with <source network='vmpulse-{0}'/>.",
            plan.name
        ),
    }
}

fn networkd(plan: &TrunkPlan) -> Result<Vec<Snippet>, String> {
    if let Some(netns) = &plan.netns {
        return Err(format!(
            "networkd puts no adapter into the network namespace {netns}; use `--for systemd`: its unit makes the whole trunk"
        ));
    }
    let hm = plan.monitor_adapter();
    let mac = plan.mac.map(|mac| format!("MACAddress={mac}\n")).unwrap_or_default();
    let (netdev, ours) = match &plan.adapter {
        None => {
            let text = format!(
                "[NetDev]\nName={}\nKind=veth\nMTUBytes={}\n\n[Peer]\nName={hm}\n{mac}",
                plan.name, plan.mtu
            );
            (text, vec![plan.name.to_string(), hm.clone()])
        }
        Some(_) => {
            let text = format!(
                "[NetDev]\nName={hm}\nKind=macvlan\nMTUBytes={}\n{mac}\n[MACVLAN]\nMode=vepa\n",
                plan.mtu
            );
            (text, vec![hm.clone()])
        }
    };
    let mut files = vec![file(&format!("50-vmpulse-{}.netdev", plan.name), plan, &netdev)];
    for adapter in ours {
        files.push(file(&format!("50-vmpulse-{adapter}.network"), plan, &network(plan, &adapter)));
        files.push(file(&format!("50-vmpulse-{adapter}.link"), plan, &link(plan, &adapter)));
    }
    Ok(files)
}

/// Up without waiting for anybody, and nothing of IP on it.
fn network(plan: &TrunkPlan, adapter: &str) -> String {
    format!(
        "[Match]\nName={adapter}\n\n[Link]\nMTUBytes={}\nARP=no\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\n\
         IPv6AcceptRA=no\nLLDP=no\nEmitLLDP=no\nConfigureWithoutCarrier=yes\n",
        plan.mtu
    )
}

/// For udev: the mark by which `hmmgr` knows its own, and no address of udev's making.
fn link(plan: &TrunkPlan, adapter: &str) -> String {
    format!("[Match]\nOriginalName={adapter}\n\n[Link]\nAlias={}\nMACAddressPolicy=none\n", plan.mark())
}

fn file(name: &str, plan: &TrunkPlan, text: &str) -> Snippet {
    let head =
        format!("# Trunk {0} of vmpulse, by `hmmgr trunk snippet {0} --for systemd-networkd`.\n", plan.name);
    Snippet { name: name.to_owned(), text: head + text }
}

fn unit() -> String {
    "# Makes the trunks of vmpulse again after a boot, and when nftables.service has cleared all rules.
[Unit]
Description=Trunks of vmpulse
After=nftables.service systemd-networkd.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Before=libvirtd.service virtqemud.service vmpulse-hostmond.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/hmmgr trunk create --all
ExecReload=/usr/sbin/hmmgr trunk create --all

[Install]
WantedBy=multi-user.target
"
    .to_owned()
}

fn libvirt(plan: &TrunkPlan) -> Result<Vec<Snippet>, String> {
    let Some(interface) = plan.libvirt_interface() else {
        return Err(format!(
            "guests of trunk {} are connected where its frames come from, not on this host; a trunk without --adapter has guests here",
            plan.name
        ));
    };
    let mut network = String::new();
    // A name is letters, digits, dots, hyphens and underscores: nothing that XML would have escaped.
    let _ = write!(
        network,
        "<network>\n  <name>vmpulse-{0}</name>\n  <forward mode='vepa'>\n    <interface dev='{0}'/>\n  </forward>\n</network>\n",
        plan.name
    );
    Ok(vec![
        Snippet { name: format!("{}-interface.xml", plan.name), text: interface },
        Snippet { name: format!("{}-network.xml", plan.name), text: network },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmpulse_protocol::MacAddr;

    fn plan() -> TrunkPlan {
        TrunkPlan {
            mtu: 9000,
            mac: Some(MacAddr(2, 0, 0, 0, 0, 9)),
            ..TrunkPlan::new("trunkA".parse().unwrap(), 0x88B5)
        }
    }

    fn text(files: &[Snippet], name: &str) -> String {
        files.iter().find(|file| file.name == name).map(|file| file.text.clone()).unwrap_or_default()
    }

    #[test]
    fn a_trunk_of_ours_is_a_pair_with_its_address_and_nothing_of_ip() {
        let files = snippets(&plan(), For::SystemdNetworkd).unwrap();
        assert_eq!(files.len(), 5);
        let netdev = text(&files, "50-vmpulse-trunkA.netdev");
        assert!(
            netdev.contains(
                "Kind=veth\nMTUBytes=9000\n\n[Peer]\nName=trunkA-hm\nMACAddress=02:00:00:00:00:09\n"
            ),
            "{netdev}"
        );
        for side in ["trunkA", "trunkA-hm"] {
            let network = text(&files, &format!("50-vmpulse-{side}.network"));
            assert!(network.contains(&format!("Name={side}\n")) && network.contains("ARP=no\n"), "{network}");
            let link = text(&files, &format!("50-vmpulse-{side}.link"));
            assert!(link.contains("Alias=vmpulse trunk trunkA\n"), "{link}");
        }
        assert!(note(&plan(), For::SystemdNetworkd).contains("/etc/systemd/network"));
    }

    #[test]
    fn another_adapter_is_not_taken_over() {
        let outside = TrunkPlan { adapter: Some("eth1".parse().unwrap()), ..plan() };
        let files = snippets(&outside, For::SystemdNetworkd).unwrap();
        assert!(files.iter().all(|file| !file.text.contains("eth1")), "{files:?}");
        assert!(text(&files, "50-vmpulse-trunkA.netdev").contains("[MACVLAN]\nMode=vepa\n"));
        assert!(note(&outside, For::SystemdNetworkd).contains("MACVLAN=trunkA-hm"));
        assert!(snippets(&outside, For::Libvirt).is_err());
        let far = TrunkPlan { netns: Some("vios".parse().unwrap()), ..plan() };
        assert!(snippets(&far, For::SystemdNetworkd).unwrap_err().contains("--for systemd"));
    }

    #[test]
    fn the_documented_unit_is_this_one() {
        let page = include_str!("../../../docs/operating/trunk.md");
        for line in unit().lines().filter(|line| !line.starts_with('#')) {
            assert!(page.contains(line), "{line}");
        }
    }
}
