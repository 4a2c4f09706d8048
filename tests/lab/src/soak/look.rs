//! What the store says, read behind the product's back, put beside what is true.

use serde::Deserialize;
use vmpulse_soak::fact::{Fact, FinalMonitor, FinalVm};

use super::cluster::{Cluster, Life, StoreLife};
use crate::error::{Lab, LabError};
use crate::wait;

/// Tables whose rows wait for somebody, and must not pile up.
const WAITING_TABLES: [&str; 3] = ["request", "message", "doorbell"];
/// One row for each VM, as JSON.
const VMS: &str = "SELECT json_build_object('uuid', v.uuid, 'state', v.state, 'phase', v.phase, \
    'beating', (SELECT count(*) FROM vmpulse.path WHERE vm_id = v.id AND counted = 1 AND missing_since IS NULL), \
    'missing', (SELECT count(*) FROM vmpulse.path WHERE vm_id = v.id AND counted = 1 AND missing_since IS NOT NULL), \
    'failed', EXISTS (SELECT 1 FROM vmpulse.event WHERE open = 1 AND incident = 'vm-silent:' || v.uuid), \
    'apps', (SELECT coalesce(json_agg(a.name || '=' || a.status ORDER BY a.name), '[]') FROM vmpulse.application a \
    WHERE a.vm_id = v.id)) FROM vmpulse.vm v";
/// One for each host monitor.
const MONITORS: &str = "SELECT json_build_object('uuid', uuid, 'well', state = 'UP' AND mode = 'GLOBAL' AND blind = 0) \
    FROM vmpulse.host_monitor";
/// One for each kind of node event of each host monitor.
const NODE_EVENTS: &str = "SELECT json_build_object('uuid', uuid, 'kind', kind, 'count', count(*)) \
    FROM vmpulse.node_event JOIN vmpulse.host_monitor h ON h.id = host_monitor_id GROUP BY uuid, kind";

/// What the controller has recorded after a row, and how long ago, by the store's clock.
const EVENTS: &str = "SELECT json_build_object('id', id, 'name', name, 'incident', incident, \
    'age_us', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - recorded_at) FROM vmpulse.event WHERE id > ";

#[derive(Debug, Deserialize)]
struct EventRow {
    id: i64,
    name: String,
    incident: String,
    age_us: i64,
}

#[derive(Debug, Deserialize)]
struct VmRow {
    uuid: String,
    state: String,
    phase: String,
    beating: usize,
    missing: usize,
    failed: bool,
    apps: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MonitorRow {
    uuid: String,
    well: bool,
}

#[derive(Debug, Deserialize)]
struct NodeEventRow {
    uuid: String,
    kind: String,
    count: u64,
}

/// All of it at one time.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) facts: Vec<Fact>,
    /// What is not well yet, for people; empty when everything is.
    pub(super) unwell: Vec<String>,
}

impl Cluster {
    /// Looks at everything.
    pub(super) fn look(&mut self) -> Lab<Look> {
        let mut look = Look { facts: Vec::new(), unwell: Vec::new() };
        self.look_at_monitors(&mut look)?;
        self.look_at_vms(&mut look)?;
        look.unwell.extend(self.answers.unjudged());
        for table in WAITING_TABLES {
            let text = self.site.sql(&format!("SELECT count(*) FROM vmpulse.{table}"))?;
            let count = text.trim().parse().unwrap_or(0);
            if count > 0 {
                look.unwell.push(format!("{count} rows of {table} wait"));
            }
            look.facts.push(Fact::FinalRows(table.to_string(), count));
        }
        Ok(look)
    }

    fn look_at_monitors(&self, look: &mut Look) -> Lab<()> {
        let (rows, events): (Vec<MonitorRow>, Vec<NodeEventRow>) =
            (self.rows(MONITORS)?, self.rows(NODE_EVENTS)?);
        for node in &self.nodes {
            let uuid = node.monitor.uuid();
            let runs = node.life == Life::Up;
            let status = if runs { node.monitor.status()? } else { None };
            let well = rows.iter().any(|row| row.uuid == uuid && row.well);
            let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            let pending = status.as_ref().map_or(0, |status| count(status.pending_writes));
            let spooled = status.as_ref().map_or(0, |status| count(status.spool));
            if !runs || !well || pending > 0 || spooled > 0 || status.is_none() {
                look.unwell.push(format!("{} well {well} pending {pending} spooled {spooled}", node.hm));
            }
            look.facts.push(Fact::FinalMonitor(FinalMonitor { hm: node.hm, runs, well, pending, spooled }));
            for event in events.iter().filter(|event| event.uuid == uuid) {
                look.facts.push(Fact::FinalNodeEvents(node.hm, event.kind.clone(), event.count));
            }
        }
        Ok(())
    }

    fn look_at_vms(&self, look: &mut Look) -> Lab<()> {
        let rows: Vec<VmRow> = self.rows(VMS)?;
        for (vm, guest) in self.guests.iter().enumerate() {
            let row = rows.iter().find(|row| row.uuid.eq_ignore_ascii_case(guest.uuid()));
            let row =
                row.ok_or_else(|| LabError::Unexpected(format!("the store has no {}", guest.name())))?;
            let apps = if guest.runs() { guest.applications()? } else { Vec::new() };
            let well = row.state == "STARTED" && row.phase.is_empty() && row.missing == 0 && row.beating > 0;
            if !well || row.failed || !guest.runs() || apps != row.apps {
                look.unwell.push(format!(
                    "vm{} {} {}/{} paths failed {} phase {:?} apps {apps:?} stored {:?}",
                    vm + 1,
                    row.state,
                    row.beating,
                    row.beating + row.missing,
                    row.failed,
                    row.phase,
                    row.apps
                ));
            }
            look.facts.push(Fact::FinalVm(FinalVm {
                vm,
                runs: guest.runs(),
                suspended: guest.suspended(),
                state: row.state.clone(),
                phase: row.phase.clone(),
                beating: row.beating,
                missing: row.missing,
                failed: row.failed,
                apps,
                stored_apps: row.apps.clone(),
            }));
        }
        Ok(())
    }

    /// Whether the administrator has suspended a VM, by the store; nothing while that does not answer.
    pub(super) fn is_suspended(&self, uuid: &str) -> Lab<Option<bool>> {
        if self.store != StoreLife::Up {
            return Ok(None);
        }
        let sql = format!("SELECT suspended_by_administrator FROM vmpulse.vm WHERE uuid = '{uuid}'");
        Ok(Some(self.site.sql(&sql)?.trim() == "1"))
    }

    /// Whether any host monitor has writes that the store does not have yet, or cannot say so: then it may.
    pub(super) fn keeps_writes(&self) -> Lab<bool> {
        for node in &self.nodes {
            let status = if node.life == Life::Up { node.monitor.status()? } else { None };
            if status.is_none_or(|status| status.spool > 0 || status.pending_writes > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the controller has recorded since the last call, with the time of the machine's clock.
    pub(super) fn told(&mut self) -> Lab<Vec<(u64, Fact)>> {
        let rows: Vec<EventRow> = self.rows(&format!("{EVENTS}{} ORDER BY id", self.last_event))?;
        let now = wait::monotonic_nanos();
        self.last_event = rows.last().map_or(self.last_event, |row| row.id);
        let told = rows.into_iter().map(|row| {
            let uuid = row.incident.split(':').nth(1).unwrap_or_default();
            let vm = self.guests.iter().position(|guest| guest.uuid().eq_ignore_ascii_case(uuid));
            let age = u64::try_from(row.age_us).unwrap_or(0).saturating_mul(1000);
            (now.saturating_sub(age), Fact::Told(row.name, row.incident, vm))
        });
        Ok(told.collect())
    }

    /// Rows of one column of JSON.
    fn rows<T: for<'de> Deserialize<'de>>(&self, sql: &str) -> Lab<Vec<T>> {
        let text = self.site.sql(sql)?;
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_str(line)
                    .map_err(|error| LabError::Unexpected(format!("the store's answer {line:?}: {error}")))
            })
            .collect()
    }
}
