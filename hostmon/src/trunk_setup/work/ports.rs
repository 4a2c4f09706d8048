//! Ports: guests' adapters that are policed by themselves.

use vmpulse_protocol::MacAddr;

use super::{Done, Works, explained};
use crate::trunk_setup::canary::is_canary;
use crate::trunk_setup::error::TrunkError;
use crate::trunk_setup::plan::{Adapter, PORTS_MAXIMUM, Port, TrunkPlan};
use crate::trunk_setup::rules;
use crate::trunk_setup::seen::Link;
use crate::trunk_setup::steps::Observed;

impl Works {
    /// Polices a guest's adapter: only frames from `mac` (the adapter's own address if none is named) may leave it, and
    /// no more than one source may send.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn port_add(
        &self,
        name: &Adapter,
        adapter: &Adapter,
        mac: Option<MacAddr>,
    ) -> Result<Done, TrunkError> {
        self.change(name, |plan, observed| {
            let link = observed.near.find(adapter.as_str());
            let link = link.ok_or_else(|| {
                TrunkError::Usage(format!(
                    "there is no adapter {adapter} here; `ip link` names those that are"
                ))
            })?;
            if adapter == plan.guests_adapter() || adapter.as_str() == plan.monitor_adapter() {
                return Err(TrunkError::Usage(format!(
                    "{adapter} is the trunk itself, not a guest's adapter"
                )));
            }
            let mac = mac.or_else(|| own_address(link)).ok_or_else(|| {
                TrunkError::Usage(format!("say with --mac which address the guest behind {adapter} has"))
            })?;
            set(plan, Port { adapter: adapter.clone(), mac })?;
            self.police_port(plan, observed, adapter)?;
            Ok(vec![format!("polices the port {adapter} ({mac})")])
        })
    }

    /// Polices it no more.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn port_remove(&self, name: &Adapter, adapter: &Adapter) -> Result<Done, TrunkError> {
        self.change(name, |plan, observed| {
            if !plan.ports.iter().any(|port| port.adapter == *adapter) {
                return Err(TrunkError::Usage(format!(
                    "{adapter} is no port of trunk {name}; `hmmgr trunk show {name}` lists them"
                )));
            }
            self.forget(plan, observed, adapter)
        })
    }

    /// Polices every guest's adapter that stands on the trunk, by its own address, and forgets those that are gone.
    ///
    /// # Errors
    /// [`TrunkError`].
    pub fn port_sync(&self, name: &Adapter) -> Result<Done, TrunkError> {
        self.change(name, |plan, observed| {
            let mut changes = Vec::new();
            for port in plan.ports.clone() {
                if observed.near.find(port.adapter.as_str()).is_none() {
                    changes.extend(self.forget(plan, observed, &port.adapter)?);
                }
            }
            let hm = plan.monitor_adapter();
            let lower = plan.guests_adapter().clone();
            let guests = observed.near.standing_on(lower.as_str());
            // The canary's adapter has another address at each start of the monitor, which knows it by a key.
            for link in guests.filter(|link| link.name != hm && !is_canary(link)) {
                let (Ok(adapter), Some(mac)) = (link.name.parse::<Adapter>(), link.mac()) else { continue };
                let port = Port { adapter, mac };
                if plan.ports.contains(&port) && is_policed(observed, &port.adapter) {
                    continue;
                }
                changes.push(format!("polices the port {} ({mac})", port.adapter));
                let adapter = port.adapter.clone();
                set(plan, port)?;
                self.police_port(plan, observed, &adapter)?;
            }
            Ok(changes)
        })
    }

    fn change(
        &self,
        name: &Adapter,
        change: impl FnOnce(&mut TrunkPlan, &Observed) -> Result<Vec<String>, TrunkError>,
    ) -> Result<Done, TrunkError> {
        let _lock = self.records.lock()?;
        let kept = self.records.get(name)?;
        let mut plan = kept.clone();
        let observed = self.observe(&plan)?;
        if plan.policing.is_none() || observed.table.is_none() {
            let what = format!("it is not policed; run `hmmgr trunk create {name}` first");
            return Err(TrunkError::InTheWay { name: name.to_string(), what });
        }
        let changes = change(&mut plan, &observed)?;
        if plan != kept {
            self.records.save(&plan)?;
        }
        Ok(Done { trunk: plan.name, changes })
    }

    pub(super) fn police_port(
        &self,
        plan: &TrunkPlan,
        observed: &Observed,
        adapter: &Adapter,
    ) -> Result<(), TrunkError> {
        let port = observed.ports(plan).into_iter().find(|(port, _)| port.adapter == *adapter);
        let Some(((port, kind), limits)) = port.zip(plan.policing.as_ref()) else { return Ok(()) };
        let script = rules::port_script(plan, limits, port, kind);
        self.programs.nft(&script).map(drop).map_err(explained)
    }

    fn forget(
        &self,
        plan: &mut TrunkPlan,
        observed: &Observed,
        adapter: &Adapter,
    ) -> Result<Vec<String>, TrunkError> {
        plan.ports.retain(|port| port.adapter != *adapter);
        if let Some(table) = &observed.table {
            let script = rules::port_removal_script(plan, adapter, &table.chains, &self.counters(plan)?);
            self.programs.nft(&script)?;
        }
        Ok(vec![format!("polices the port {adapter} no more")])
    }
}

/// The address of a macvtap is its guest's; that of a tap or veth is not.
fn own_address(link: &Link) -> Option<MacAddr> {
    link.mac().filter(|_| rules::is_macvlan(link.kind()))
}

fn is_policed(observed: &Observed, adapter: &Adapter) -> bool {
    observed.table.as_ref().is_some_and(|table| table.chains.contains(&rules::port_chain(adapter)))
}

fn set(plan: &mut TrunkPlan, port: Port) -> Result<(), TrunkError> {
    plan.ports.retain(|other| other.adapter != port.adapter);
    if plan.ports.len() >= PORTS_MAXIMUM {
        return Err(TrunkError::Usage(format!("a trunk has at most {PORTS_MAXIMUM} ports")));
    }
    plan.ports.push(port);
    Ok(())
}
