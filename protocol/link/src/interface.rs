//! The interfaces of this network namespace.
//!
//! From the kernel's calls and never from `/sys`, which shows the namespace it was mounted in.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use pnet_datalink::NetworkInterface;
use socket2::{Domain, Socket, Type};

use crate::{LinkError, MacAddr, sys};

/// One interface, as it was when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index. A new interface of the same name has another one.
    pub index: u32,
    /// Ethernet address; zero if it is no Ethernet adapter.
    pub mac: MacAddr,
    /// Largest payload of one frame.
    pub mtu: usize,
    /// Switched on by its administrator.
    pub up: bool,
    /// Up, and connected to something.
    pub running: bool,
    /// Has an IPv4 address, or an IPv6 address that is not link-local.
    ///
    /// Every adapter that is up gets a link-local IPv6 address by itself, so that one says nothing about its purpose.
    pub has_ip: bool,
    /// Is an Ethernet adapter (the loopback interface, tunnels and the like are not).
    pub ethernet: bool,
}

/// All interfaces, in the order of their indices. One that disappears meanwhile is left out.
///
/// # Errors
/// [`LinkError::Io`] if the kernel does not list them.
pub fn interfaces() -> Result<Vec<Interface>, LinkError> {
    let failed = |source| LinkError::Io { action: "list", interface: "(all)".to_owned(), source };
    // Any socket can ask. This kind needs neither a permission nor an address family that may be missing.
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None).map_err(failed)?;
    let listed = merge_labels(pnet_datalink::interfaces());
    if listed.is_empty() {
        return Err(failed(io::Error::other("the kernel listed no interface")));
    }
    Ok(listed.into_values().filter_map(|listed| look_up(&socket, &listed).ok()).collect())
}

/// An IPv4 address with a label (`eth0:1`) is listed like an interface of that name. It belongs to the adapter with its
/// index, whose own entry is the one with the label-free name.
fn merge_labels(listed: Vec<NetworkInterface>) -> BTreeMap<u32, NetworkInterface> {
    let mut merged: BTreeMap<u32, NetworkInterface> = BTreeMap::new();
    for entry in listed.into_iter().filter(|entry| entry.index != 0) {
        let Some(known) = merged.get_mut(&entry.index) else {
            merged.insert(entry.index, entry);
            continue;
        };
        let (mut adapter, label) =
            if known.name.contains(':') { (entry, &*known) } else { (known.clone(), &entry) };
        adapter.ips.extend_from_slice(&label.ips);
        *known = adapter;
    }
    merged
}

fn look_up(socket: &Socket, listed: &NetworkInterface) -> io::Result<Interface> {
    let mac = sys::ethernet_address(socket, &listed.name)?;
    Ok(Interface {
        name: listed.name.clone(),
        index: listed.index,
        mac: mac.unwrap_or_default(),
        mtu: sys::interface_mtu(socket, &listed.name)?,
        up: listed.is_up(),
        running: listed.is_up() && listed.is_running(),
        has_ip: listed.ips.iter().any(|network| names_a_purpose(network.ip())),
        ethernet: mac.is_some(),
    })
}

fn names_a_purpose(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, index: u32, ips: &[&str]) -> NetworkInterface {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        NetworkInterface { name: name.into(), description: String::new(), index, mac: None, ips, flags: 0 }
    }

    #[test]
    fn labels_belong_to_their_adapter_in_any_order() {
        let listed = vec![
            entry("eth0:web", 2, &["10.0.0.1/8"]),
            entry("eth0", 2, &["fe80::1/64"]),
            entry("eth0:db", 2, &["10.0.0.2/8"]),
            entry("gone", 0, &[]),
        ];
        let merged = merge_labels(listed);
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[&2].name.as_str(), merged[&2].ips.len()), ("eth0", 3));
    }

    #[test]
    fn an_automatic_address_is_no_purpose() {
        for (address, purpose) in
            [("10.1.2.3", true), ("fe80::1", false), ("fd00::1", true), ("169.254.1.1", true)]
        {
            assert_eq!(names_a_purpose(address.parse().unwrap()), purpose, "{address}");
        }
    }

    #[test]
    fn the_loopback_interface_is_listed_and_is_no_ethernet() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(!loopback.ethernet && loopback.index != 0 && loopback.mtu > 0);
    }
}
