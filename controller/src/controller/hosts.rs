//! Tells what becomes of host monitors and hosts, once per incident.
//!
//! Each host monitor has a key for every situation that is told. Entering a situation closes the keys of the others and
//! then appends its own, so a controller that is killed in between, or does not know what was told before it started,
//! does it all again without telling anything twice.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostKey, HostStatus, REASON_ISOLATED, Store, StoreError, SystemSettings};

use super::tell;
use crate::events::{self, MonitorName, incident};
use crate::fde::host::{HostMonitorCase, HostMonitorVerdict, HostVerdict, decide, decide_host};

/// What this process knows to be told already.
#[derive(Debug, Default)]
pub(super) struct HostsTold {
    monitors: BTreeMap<HostMonitorId, Situation>,
    /// Whether each was isolated when it last answered.
    isolated: BTreeMap<HostMonitorId, bool>,
    hosts: BTreeMap<HostKey, bool>,
    /// Age of each monitor's last heartbeat, and when it was that old.
    ages: BTreeMap<HostMonitorId, (Duration, Instant)>,
}

/// What is told about a host monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Answers,
    ShutDown,
    Failed,
}

impl HostsTold {
    /// How long a host monitor has not been heard at `now`, if it ever was.
    pub(super) fn silent_for(&self, monitor: HostMonitorId, now: Instant) -> Option<Duration> {
        self.ages.get(&monitor).map(|(age, at)| age.saturating_add(now.since(*at)))
    }

    /// Takes the ages of a quick query's answer that came at `now`.
    pub(super) fn observe(&mut self, hosts: &[HostStatus], now: Instant) {
        let monitors = hosts.iter().flat_map(|host| &host.host_monitors);
        self.ages =
            monitors.filter_map(|monitor| Some((monitor.id, (monitor.heartbeat_age?, now)))).collect();
    }

    /// Judges every host of a quick query's answer. `believed`: an age as far as it may be believed.
    pub(super) fn judge(
        &mut self,
        store: &mut dyn Store,
        hosts: &[HostStatus],
        system: &SystemSettings,
        believed: &dyn Fn(Duration) -> Duration,
    ) -> Result<(), StoreError> {
        for host in hosts {
            let mut verdicts = Vec::with_capacity(host.host_monitors.len());
            for status in &host.host_monitors {
                let age_ms = status.heartbeat_age.map(|age| milliseconds(believed(age)));
                let case = HostMonitorCase::new(status, age_ms, system.host_failure_detection_time_s);
                let verdict = decide(&case);
                self.tell_monitor(store, &host.key, &case, verdict)?;
                self.tell_isolation(store, &host.key, &case, verdict)?;
                verdicts.push(verdict);
            }
            self.tell_host(store, &host.key, decide_host(&verdicts))?;
        }
        let known =
            |id: &HostMonitorId| hosts.iter().flat_map(|host| &host.host_monitors).any(|it| it.id == *id);
        self.monitors.retain(|id, _| known(id));
        self.isolated.retain(|id, _| known(id));
        self.hosts.retain(|key, _| hosts.iter().any(|host| host.key == *key));
        Ok(())
    }

    fn tell_monitor(
        &mut self,
        store: &mut dyn Store,
        host: &HostKey,
        case: &HostMonitorCase,
        verdict: HostMonitorVerdict,
    ) -> Result<(), StoreError> {
        let name = MonitorName { id: case.id, trunk: case.trunk.as_deref(), host };
        let (situation, event) = match verdict {
            HostMonitorVerdict::NotWatched | HostMonitorVerdict::Late => return Ok(()),
            HostMonitorVerdict::Responding => (Situation::Answers, events::vios_answers(name)),
            HostMonitorVerdict::ShutDown => (Situation::ShutDown, events::vios_shutdown(name)),
            HostMonitorVerdict::Failed { how } => {
                let age_ms = case.heartbeat_age_ms.unwrap_or_default();
                (Situation::Failed, events::vios_failure(name, how, age_ms))
            }
        };
        if self.monitors.get(&case.id) == Some(&situation) {
            return Ok(());
        }
        for (other, key) in [
            (Situation::Answers, incident::vios_answers(case.id)),
            (Situation::ShutDown, incident::vios_shutdown(case.id)),
            (Situation::Failed, incident::vios_failed(case.id)),
        ] {
            if other != situation {
                store.incident_close(&key)?;
            }
        }
        tell(store, &event)?;
        self.monitors.insert(case.id, situation);
        Ok(())
    }

    /// Only one that answers says anything of its trunk. The return is told by whoever knows of the isolation.
    fn tell_isolation(
        &mut self,
        store: &mut dyn Store,
        host: &HostKey,
        case: &HostMonitorCase,
        verdict: HostMonitorVerdict,
    ) -> Result<(), StoreError> {
        let isolated = case.reason & REASON_ISOLATED != 0;
        let before = self.isolated.get(&case.id).copied();
        if verdict != HostMonitorVerdict::Responding || before == Some(isolated) {
            return Ok(());
        }
        let name = MonitorName { id: case.id, trunk: case.trunk.as_deref(), host };
        if isolated {
            store.incident_close(&incident::vios_isolation_over(case.id))?;
            tell(store, &events::vios_isolated(name))?;
        } else {
            if before == Some(true) {
                tell(store, &events::vios_isolation_over(name))?;
            }
            store.incident_close(&incident::vios_isolated(case.id))?;
        }
        self.isolated.insert(case.id, isolated);
        Ok(())
    }

    fn tell_host(
        &mut self,
        store: &mut dyn Store,
        host: &HostKey,
        verdict: HostVerdict,
    ) -> Result<(), StoreError> {
        let unreachable = match verdict {
            HostVerdict::Reachable => false,
            HostVerdict::Unreachable => true,
            HostVerdict::NoConclusion => return Ok(()),
        };
        if self.hosts.get(host) == Some(&unreachable) {
            return Ok(());
        }
        if unreachable {
            tell(store, &events::all_vios_unreachable(host))?;
        } else {
            store.incident_close(&incident::host_unreachable(host))?;
        }
        self.hosts.insert(host.clone(), unreachable);
        Ok(())
    }
}

/// A duration as the decisions count it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
