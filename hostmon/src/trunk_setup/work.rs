//! Makes, looks at and takes away trunks. An edge: it carries the [`steps`](super::steps) out.

mod ports;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vmpulse_protocol::MacAddr;

use super::canary::is_canary;
use super::error::TrunkError;
use super::plan::{Adapter, TrunkPlan};
use super::programs::{ProgramError, Programs};
use super::records::Records;
use super::rules;
use super::seen::{self, Links, Table};
use super::steps::{Action, Observed, Step, remarks, steps};

/// Looks at a trunk until nothing is wrong: a namespace, what is in it, its settings, and one to see that all is well. More
/// means that something else changes it back.
const ROUNDS_MAXIMUM: usize = 5;
/// From this version on Linux can police what leaves an adapter.
const EGRESS_SINCE: (u32, u32) = (5, 16);

/// What works on trunks.
#[derive(Debug)]
pub struct Works {
    programs: Programs,
    records: Records,
    /// Different at each start: what tables are marked with.
    making: u64,
}

/// What was done to a trunk.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// The trunk.
    pub trunk: Adapter,
    /// What was changed, in order; empty: all was well.
    pub changes: Vec<String>,
}

/// A trunk as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What is wrong; empty: all is well.
    pub wrong: Vec<String>,
    /// What else an administrator should know.
    pub remarks: Vec<String>,
    /// How many addresses have a lane of their own.
    pub known: usize,
    /// Frames by counter; empty if it is not policed.
    pub counters: BTreeMap<String, u64>,
    /// Guests' adapters that stand on it.
    pub guests: BTreeSet<String>,
}

impl Works {
    /// `making`: different at each start.
    #[must_use]
    pub const fn new(programs: Programs, records: Records, making: u64) -> Self {
        Self { programs, records, making }
    }

    /// What is kept of trunks.
    #[must_use]
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// Makes a trunk, or puts one in order. `plan` turns what was kept of it into what it is to be; `known` names
    /// guests that are known already.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn create(
        &self,
        name: &Adapter,
        plan: impl FnOnce(Option<TrunkPlan>) -> Result<TrunkPlan, TrunkError>,
        known: impl Fn(&TrunkPlan) -> Vec<MacAddr>,
    ) -> Result<Done, TrunkError> {
        let _lock = self.records.lock()?;
        let kept = self.records.find(name)?;
        let mut plan = plan(kept.clone())?;
        if let Some(fault) = plan.fault() {
            return Err(TrunkError::Usage(fault));
        }
        self.programs_are_there(&plan)?;
        let observed = self.observe(&plan)?;
        self.steps(&plan, &observed)?;
        // What was kept says of a namespace that it is ours, so that it is taken away again.
        plan.netns_made |= plan.netns.is_some() && observed.far.is_none();
        if kept.as_ref() != Some(&plan) {
            self.records.save(&plan)?;
        }
        let changes = self.settle(&plan, &known)?;
        self.keep_address(&mut plan)?;
        Ok(Done { trunk: plan.name, changes })
    }

    /// Takes a trunk away, with everything that was made for it. With `force` also under running guests.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn delete(&self, name: &Adapter, force: bool) -> Result<Done, TrunkError> {
        let _lock = self.records.lock()?;
        let plan = self.records.get(name)?;
        let observed = self.observe(&plan)?;
        if plan.adapter.is_none() && !force {
            let standing = observed.near.standing_on(name.as_str()).filter(|link| !is_canary(link));
            let standing = standing.map(|link| link.name.clone());
            let adapters = standing.collect::<Vec<_>>().join(", ");
            if !adapters.is_empty() {
                return Err(TrunkError::Guests { name: name.to_string(), adapters });
            }
        }
        let mut changes = Vec::new();
        if observed.table.is_some() {
            self.remove_table(&plan)?;
            changes.push(format!("removed the table {}", rules::table(&plan.monitor_adapter())));
        }
        changes.extend(self.remove_adapters(&plan, &observed)?);
        changes.extend(self.remove_namespace(&plan)?);
        self.records.remove(name)?;
        Ok(Done { trunk: plan.name, changes })
    }

    /// How a trunk is.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn view(&self, plan: &TrunkPlan) -> Result<View, TrunkError> {
        let observed = self.observe(plan)?;
        let wrong = match steps(plan, &observed) {
            Ok(steps) => steps.into_iter().map(|step| step.wrong).collect(),
            Err(in_the_way) => vec![in_the_way],
        };
        let hm = plan.monitor_adapter();
        let standing = observed.near.standing_on(plan.guests_adapter().as_str());
        let standing = standing.filter(|link| !is_canary(link));
        let guests = standing.map(|link| link.name.clone()).filter(|name| *name != hm).collect();
        let (known, counters) = match &observed.table {
            Some(_) => (self.known(plan)?.len(), self.counters(plan)?),
            None => (0, BTreeMap::new()),
        };
        Ok(View { wrong, remarks: remarks(plan, &observed), known, counters, guests })
    }

    /// What is there of a trunk now.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn observe(&self, plan: &TrunkPlan) -> Result<Observed, TrunkError> {
        let far = match &plan.netns {
            Some(netns)
                if seen::namespaces(&self.programs.ip(&["-j", "netns", "list"])?)?
                    .contains(netns.as_str()) =>
            {
                Some(self.links(&["-n", netns.as_str()])?)
            }
            Some(_) | None => None,
        };
        let table = match self.programs.nft_list(&["chains", "netdev"]) {
            Ok(chains) => Table::parse(&chains, &rules::table(&plan.monitor_adapter()))?,
            Err(ProgramError::Missing { .. }) if plan.policing.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        let recorded = self.records.find(&plan.name)?.is_some();
        Ok(Observed { near: self.links(&[])?, far, table, recorded })
    }

    fn links(&self, namespace: &[&str]) -> Result<Links, TrunkError> {
        let ask = |words: &[&str]| self.programs.ip(&[namespace, words].concat());
        Ok(Links::parse(&ask(&["-j", "-d", "link", "show"])?, &ask(&["-j", "addr", "show"])?)?)
    }

    /// Before anything is changed.
    fn programs_are_there(&self, plan: &TrunkPlan) -> Result<(), TrunkError> {
        self.programs.ip(&["-V"])?;
        if plan.policing.is_some() {
            self.programs.nft("")?;
        }
        Ok(())
    }

    fn steps(&self, plan: &TrunkPlan, observed: &Observed) -> Result<Vec<Step>, TrunkError> {
        steps(plan, observed).map_err(|what| TrunkError::InTheWay { name: plan.name.to_string(), what })
    }

    /// Takes steps until none is left.
    fn settle(
        &self,
        plan: &TrunkPlan,
        known: impl Fn(&TrunkPlan) -> Vec<MacAddr>,
    ) -> Result<Vec<String>, TrunkError> {
        let mut changes = Vec::new();
        let mut wrong = String::new();
        for _ in 0..ROUNDS_MAXIMUM {
            let observed = self.observe(plan)?;
            let steps = self.steps(plan, &observed)?;
            let Some(first) = steps.first() else { return Ok(changes) };
            wrong.clone_from(&first.wrong);
            for step in steps {
                self.take(plan, &observed, &step.action, &known)?;
                changes.push(step.does);
            }
        }
        Err(TrunkError::Unsettled { name: plan.name.to_string(), wrong })
    }

    fn take(
        &self,
        plan: &TrunkPlan,
        observed: &Observed,
        action: &Action,
        known: impl Fn(&TrunkPlan) -> Vec<MacAddr>,
    ) -> Result<(), TrunkError> {
        match action {
            Action::Ip(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.programs.ip(&words)?;
            }
            Action::NoTable => self.remove_table(plan)?,
            Action::Table => self.make_table(plan, observed, known(plan))?,
            Action::Port(adapter) => self.police_port(plan, observed, adapter)?,
        }
        Ok(())
    }

    /// Who was known to the old table is known to the new one.
    fn make_table(
        &self,
        plan: &TrunkPlan,
        observed: &Observed,
        known: Vec<MacAddr>,
    ) -> Result<(), TrunkError> {
        let Some(limits) = &plan.policing else { return Ok(()) };
        let mut all: BTreeSet<MacAddr> = known.into_iter().collect();
        if observed.table.is_some() {
            // A table of another version may not have the set.
            all.extend(self.known(plan).unwrap_or_default());
        }
        let all: Vec<MacAddr> = all.into_iter().take(rules::KNOWN_MAXIMUM).collect();
        let script = rules::table_script(plan, limits, self.making, &all, &observed.ports(plan));
        self.programs.nft(&script).map(drop).map_err(explained)
    }

    fn remove_table(&self, plan: &TrunkPlan) -> Result<(), TrunkError> {
        let table = rules::table(&plan.monitor_adapter());
        Ok(self.programs.nft(&format!("delete table netdev {table}\n")).map(drop)?)
    }

    fn known(&self, plan: &TrunkPlan) -> Result<BTreeSet<MacAddr>, TrunkError> {
        let table = rules::table(&plan.monitor_adapter());
        Ok(seen::elements(&self.programs.nft_list(&["set", "netdev", &table, rules::KNOWN])?)?)
    }

    fn counters(&self, plan: &TrunkPlan) -> Result<BTreeMap<String, u64>, TrunkError> {
        let table = rules::table(&plan.monitor_adapter());
        Ok(seen::counters(&self.programs.nft_list(&["counters", "table", "netdev", &table])?)?)
    }

    /// The monitor's side has the same address whenever it is made again: the store knows the host monitor by it.
    fn keep_address(&self, plan: &mut TrunkPlan) -> Result<(), TrunkError> {
        if plan.mac.is_some() {
            return Ok(());
        }
        let observed = self.observe(plan)?;
        let hm = observed.monitors(plan).and_then(|links| links.find(&plan.monitor_adapter()));
        plan.mac = hm.and_then(seen::Link::mac);
        self.records.save(plan)
    }

    fn remove_adapters(&self, plan: &TrunkPlan, observed: &Observed) -> Result<Vec<String>, TrunkError> {
        let hm = plan.monitor_adapter();
        let marked =
            |links: &Links, name: &str| links.find(name).is_some_and(|link| link.alias == plan.mark());
        // Either end of a pair takes the other with it.
        if plan.adapter.is_none() && marked(&observed.near, plan.name.as_str()) {
            self.programs.ip(&["link", "delete", "dev", plan.name.as_str()])?;
            return Ok(vec![format!("removed {} and {hm}", plan.name)]);
        }
        if !observed.monitors(plan).is_some_and(|links| marked(links, &hm)) {
            return Ok(Vec::new());
        }
        let namespace = plan.netns.as_ref().map(|netns| ["-n", netns.as_str()]);
        let words =
            [namespace.as_ref().map_or(&[][..], |words| words), &["link", "delete", "dev", &hm]].concat();
        self.programs.ip(&words)?;
        Ok(vec![format!("removed {hm}")])
    }

    /// If it was made with the trunk and no other trunk is in it; otherwise that one takes it over.
    fn remove_namespace(&self, plan: &TrunkPlan) -> Result<Option<String>, TrunkError> {
        let Some(netns) = plan.netns.as_ref().filter(|_| plan.netns_made) else { return Ok(None) };
        let others = self.records.all()?.into_iter();
        let other =
            others.filter(|other| other.name != plan.name).find(|other| other.netns.as_ref() == Some(netns));
        if let Some(mut other) = other {
            other.netns_made = true;
            self.records.save(&other)?;
            return Ok(None);
        }
        if !seen::namespaces(&self.programs.ip(&["-j", "netns", "list"])?)?.contains(netns.as_str()) {
            return Ok(None);
        }
        self.programs.ip(&["netns", "delete", netns.as_str()])?;
        Ok(Some(format!("removed the network namespace {netns}")))
    }
}

/// An old kernel refuses the rules with an error that says nothing.
fn explained(error: ProgramError) -> TrunkError {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if matches!(error, ProgramError::Failed { .. }) && is_older(&release, EGRESS_SINCE) {
        return TrunkError::Kernel { release: release.trim().to_owned(), source: error };
    }
    error.into()
}

/// Not knowing is not being older.
fn is_older(release: &str, than: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version < than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_their_numbers() {
        for (release, older) in [
            ("5.15.0-91-generic", true),
            ("5.16.0", false),
            ("6.1.0-56-cloud-amd64", false),
            ("4.18.0-553.el8", true),
            ("", false),
        ] {
            assert_eq!(is_older(release, EGRESS_SINCE), older, "{release}");
        }
    }
}
