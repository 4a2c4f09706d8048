//! Which addresses have a lane of their own in the kernel: from those wanted to those there. Pure.
//!
//! Additions and removals go by what is believed to be there; when that turns out to be wrong it is read again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vmpulse_protocol::MacAddr;

use crate::trunk_setup::rules;

/// What is wanted in the set, and what is in it.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// `None`: not said yet, so what is there stays: a restarted monitor must not turn its guests into strangers.
    wanted: Option<BTreeSet<MacAddr>>,
    /// `None`: not known, to be read.
    there: Option<BTreeSet<MacAddr>>,
}

impl Lane {
    /// These addresses, and no others, are to have a lane.
    pub fn want(&mut self, addresses: BTreeSet<MacAddr>) {
        self.wanted = Some(addresses);
    }

    /// What was read from the kernel.
    pub fn found(&mut self, addresses: BTreeSet<MacAddr>) {
        self.there = Some(addresses);
    }

    /// What is there is not known any more: the table is another one, or something was refused.
    pub fn doubt(&mut self) {
        self.there = None;
    }

    /// Whether what is there must be read before it can be changed.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.there.is_none()
    }

    /// What makes one of the other, in one step; `None` if nothing is to be done, or too little is known.
    #[must_use]
    pub fn script(&self, table: &str) -> Option<String> {
        let (wanted, there) = (self.wanted.as_ref()?, self.there.as_ref()?);
        let missing: Vec<MacAddr> = wanted.difference(there).copied().collect();
        let stale: Vec<MacAddr> = there.difference(wanted).copied().collect();
        // Removed first, so that there is room.
        let script =
            rules::known_script(table, "delete", &stale) + &rules::known_script(table, "add", &missing);
        (!script.is_empty()).then_some(script)
    }

    /// The script was carried out.
    pub fn done(&mut self) {
        self.there.clone_from(&self.wanted);
    }

    /// How many addresses are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.there.as_ref().map_or(0, BTreeSet::len)
    }

    /// Whether none is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What `hmmgr status` tells of policing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicingStatus {
    /// Whether the kernel polices this trunk, and its guests have a lane of their own.
    pub on: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Addresses that have a lane of their own.
    pub known: usize,
    /// Frames by counter, as of the last look, some seconds ago: names in docs/operating/trunk.md.
    pub counters: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macs(last: &[u8]) -> BTreeSet<MacAddr> {
        last.iter().map(|last| MacAddr(2, 0, 0, 0, 0, *last)).collect()
    }

    #[test]
    fn only_the_difference_is_written() {
        let mut lane = Lane::default();
        lane.want(macs(&[1, 2]));
        assert!(lane.is_doubtful() && lane.script("t").is_none());
        lane.found(macs(&[2, 3]));
        let script = lane.script("t").unwrap();
        assert_eq!(
            script,
            "delete element netdev t known { 02:00:00:00:00:03 }\nadd element netdev t known { 02:00:00:00:00:01 }\n"
        );
        lane.done();
        assert_eq!((lane.script("t"), lane.len()), (None, 2));
        lane.want(macs(&[]));
        assert!(lane.script("t").unwrap().starts_with("delete") && !lane.is_empty());
    }

    #[test]
    fn nobody_is_taken_out_before_it_is_said_who_is_wanted() {
        let mut lane = Lane::default();
        lane.found(macs(&[1, 2]));
        assert_eq!((lane.script("t"), lane.len()), (None, 2));
        lane.want(macs(&[1, 2]));
        assert_eq!(lane.script("t"), None);
    }

    #[test]
    fn a_table_made_anew_is_read_again() {
        let mut lane = Lane::default();
        lane.want(macs(&[1]));
        lane.found(macs(&[1]));
        lane.doubt();
        assert!(lane.script("t").is_none());
        lane.found(macs(&[]));
        assert!(lane.script("t").unwrap().starts_with("add"));
    }
}
