//! Which adapters are trunks. Pure.

use vmpulse_link::Interface;

/// The adapters to use, and what keeps others from being used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) usable: Vec<Interface>,
    pub(super) problems: Vec<String>,
}

/// With names: those. Without: every Ethernet adapter that has no IP address, or that carries a path already
/// (`in_use`): an address given to a trunk by mistake must not look like a dead guest. One that is `open` stays so
/// while it is down, because it works again by itself. [C-9]
pub(super) fn choose(names: &[String], interfaces: Vec<Interface>, open: &[u32], in_use: &[u32]) -> Choice {
    let mut choice = Choice::default();
    for name in names.iter().filter(|name| interfaces.iter().all(|interface| interface.name != **name)) {
        choice
            .problems
            .push(format!("{name} (named in agent.toml) is not there; `ip link` lists those that are"));
    }
    for interface in interfaces {
        let named = names.contains(&interface.name);
        let wanted = if names.is_empty() {
            interface.ethernet && (!interface.has_ip || in_use.contains(&interface.index))
        } else {
            named
        };
        if wanted && !interface.ethernet {
            choice.problems.push(format!("{} is not an Ethernet adapter", interface.name));
            continue;
        }
        if wanted && !interface.up {
            choice.problems.push(format!("{0} is down; `ip link set {0} up` switches it on", interface.name));
        }
        if wanted && (interface.up || open.contains(&interface.index)) {
            choice.usable.push(interface);
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmpulse_link::MacAddr;

    fn interface(name: &str, index: u32) -> Interface {
        Interface {
            name: name.to_owned(),
            index,
            mac: MacAddr(2, 0, 0, 0, 0, 1),
            mtu: 1500,
            up: true,
            running: true,
            has_ip: false,
            ethernet: true,
        }
    }

    fn guest() -> Vec<Interface> {
        vec![
            Interface { ethernet: false, ..interface("lo", 1) },
            Interface { has_ip: true, ..interface("eth0", 2) },
            interface("eth1", 3),
            Interface { up: false, running: false, ..interface("eth2", 4) },
            // Up without a carrier: the trunk's other end may come later.
            Interface { running: false, ..interface("eth3", 5) },
        ]
    }

    fn usable(choice: &Choice) -> Vec<&str> {
        choice.usable.iter().map(|interface| interface.name.as_str()).collect()
    }

    /// [C-9]
    #[test]
    fn by_itself_every_ethernet_adapter_without_ip() {
        let choice = choose(&[], guest(), &[], &[]);
        assert_eq!(usable(&choice), ["eth1", "eth3"]);
        assert_eq!(choice.problems, ["eth2 is down; `ip link set eth2 up` switches it on"]);
    }

    #[test]
    fn one_that_carries_a_path_stays() {
        let mut interfaces = guest();
        interfaces[2].has_ip = true;
        interfaces[3].has_ip = true;
        assert_eq!(usable(&choose(&[], interfaces, &[3, 4], &[3, 4])), ["eth1", "eth2", "eth3"]);
    }

    #[test]
    fn one_that_went_down_stays_open() {
        let choice = choose(&[], guest(), &[4], &[]);
        assert_eq!(usable(&choice), ["eth1", "eth2", "eth3"]);
        assert_eq!(choice.problems.len(), 1, "and is shown all the same");
    }

    #[test]
    fn those_named_and_no_others() {
        let names = ["eth0", "lo", "eth9"].map(str::to_owned);
        let choice = choose(&names, guest(), &[], &[]);
        assert_eq!(usable(&choice), ["eth0"], "a name overrides the address");
        assert_eq!(choice.problems.len(), 2, "{:?}", choice.problems);
    }
}
