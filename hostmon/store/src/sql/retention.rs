//! Old rows are removed here, and nowhere else by age.

use std::time::Duration;

use super::Turn;
use super::db::{ToValue, Value};
use crate::*;

/// Rows of one kind.
struct Rule {
    table: &'static str,
    /// Which column names a row.
    key: &'static str,
    /// Which column says how old a row is; there is an index by it.
    age: &'static str,
    /// Which rows may go.
    may_go: &'static str,
    keep: fn(&Retention) -> Duration,
}

const fn rule(
    table: &'static str,
    key: &'static str,
    age: &'static str,
    may_go: &'static str,
    keep: fn(&Retention) -> Duration,
) -> Rule {
    Rule { table, key, age, may_go, keep }
}

const RULES: [Rule; 10] = [
    rule("event", "id", "recorded_at", "open = 0", |keep| keep.events),
    rule("node_event", "id", "happened_at", "1 = 1", |keep| keep.node_events),
    rule("conflict", "id", "first_seen_at", "1 = 1", |keep| keep.conflicts),
    rule("discovered", "id", "recorded_at", "sequence IS NULL", |keep| keep.discoveries),
    rule("removed_vm", "uuid", "removed_at", "1 = 1", |keep| keep.removed_vms),
    rule("request", "tag", "created_at", "1 = 1", |keep| keep.exchanges),
    rule("message", "tag", "asked_at", "state <> 'ARRIVED'", |keep| keep.exchanges),
    rule("quiet", "id", "ended_at", "told = 2", |keep| keep.exchanges),
    rule("quiet_refusal", "vm_id", "refused_at", "told = 1", |keep| keep.exchanges),
    rule("host_monitor", "id", "heartbeat_at", "host_id IS NULL", |keep| keep.unregistered_monitors),
];

impl Turn<'_> {
    pub(super) fn prune(self, keep: &Retention, most: u32) -> Result<Pruned, StoreError> {
        let pruned = self.prune_rows(keep, most)?;
        if pruned.rows > 0 {
            // Requests may be among them.
            self.progress_give_up()?;
        }
        Ok(pruned)
    }

    fn prune_rows(self, keep: &Retention, most: u32) -> Result<Pruned, StoreError> {
        let mut left = most;
        for rule in &RULES {
            let kept = (rule.keep)(keep).max(QUIET_WINDOW);
            let values = [Value::Int(self.now.back(kept).0), left.to_value()];
            let gone = self.db.execute(&prune_sql(rule), &values)?;
            left = left.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(Pruned { rows: most, more: true });
            }
        }
        Ok(Pruned { rows: most - left, more: false })
    }
}

/// The oldest first.
fn prune_sql(Rule { table, key, age, may_go, keep: _ }: &Rule) -> String {
    format!(
        "DELETE FROM {table} WHERE {key} IN
         (SELECT {key} FROM {table} WHERE {may_go} AND {age} < ?1 ORDER BY {age} LIMIT ?2)"
    )
}

/// Every statement, for a look at its plan.
#[cfg(test)]
pub(crate) fn prunes() -> Vec<String> {
    RULES.iter().map(prune_sql).collect()
}
