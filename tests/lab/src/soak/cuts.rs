//! Frames that a trunk loses: of single guests, of all, one way or both, or some of a thousand. By nftables, at the guests' end.

use std::collections::BTreeSet;

use crate::error::Lab;
use crate::process::{Place, run_with_input};
use crate::world::Trunk;

/// What a trunk loses now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cuts {
    /// From guests to the host monitor.
    pub(super) up: bool,
    /// And back.
    pub(super) down: bool,
    /// Of a thousand frames, in each direction.
    pub(super) permille: u16,
    /// Addresses of guests of which nothing passes.
    pub(super) guests: BTreeSet<String>,
}

impl Cuts {
    /// Makes it so.
    pub(super) fn apply(&self, trunk: &Trunk) -> Lab<()> {
        let mut command = Place::net("host").command("nft");
        command.args(["-f", "-"]);
        let script = self.script(&format!("soak-{}", trunk.guests_device()), &trunk.guests_device());
        run_with_input(command, script.as_bytes())?.ok().map(drop)
    }

    /// One transaction: a table that may be there is replaced.
    fn script(&self, table: &str, device: &str) -> String {
        // A hook of egress sees what guests send, one of ingress what comes for them.
        let up = self.chain("egress", device, "saddr", self.up);
        let down = self.chain("ingress", device, "daddr", self.down);
        format!(
            "table netdev {table} {{}}\ndelete table netdev {table}\ntable netdev {table} {{\n{up}{down}}}\n"
        )
    }

    fn chain(&self, hook: &str, device: &str, side: &str, all: bool) -> String {
        let mut rules = String::new();
        if all {
            rules.push_str(" drop\n");
        }
        if !self.guests.is_empty() {
            let list: Vec<&str> = self.guests.iter().map(String::as_str).collect();
            rules.push_str(&format!(" ether {side} {{ {} }} drop\n", list.join(", ")));
        }
        if self.permille > 0 {
            rules.push_str(&format!(" numgen random mod 1000 < {} drop\n", self.permille));
        }
        format!(
            "chain {hook} {{\n type filter hook {hook} device {device} priority -500; policy accept;\n{rules}}}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_is_lost_and_nothing_else() {
        let none = Cuts::default().script("t", "trunkA");
        assert!(!none.contains("drop"), "{none}");
        let guests = BTreeSet::from(["52:54:00:7e:00:01".to_string()]);
        let some = Cuts { up: true, permille: 200, guests, ..Cuts::default() }.script("t", "trunkA");
        assert_eq!(some.matches(" drop\n").count(), 5, "{some}");
        assert!(some.contains("ether saddr { 52:54:00:7e:00:01 } drop"), "{some}");
        assert!(some.contains("numgen random mod 1000 < 200 drop"), "{some}");
    }
}
