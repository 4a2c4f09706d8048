//! Whether this user's role was granted what later steps of the schema added.
//!
//! Otherwise a host monitor would work until the first guest says what goes there, and then fail with everything that it has
//! to write, for ever; and a controller until the store's clock is set back.

use super::session::{Session, first_column};
use crate::StoreError;

/// Columns that `roles.sql` did not grant from the start: their table, a column of it that only whoever needs them may update,
/// and they. What host monitors get by whole tables is missed with their first write.
const LATER: &[(&str, &str, &[&str])] = &[
    ("host_monitor", "trunk", &["written_up_to", "settings_version", "isolated", "unknown_from"]),
    // Controllers.
    ("host_monitor", "host_id", &["heartbeat_at"]),
    (
        "vm",
        "silence_from",
        &["quiet_ended_at", "suspension_at", "suspension_by", "shutdown_at", "shutdown_by"],
    ),
];

/// Asks the server once.
pub(super) fn check(session: &Session) -> Result<(), StoreError> {
    let may =
        |table: &str, column: &str| format!("has_column_privilege('vmpulse.{table}', '{column}', 'UPDATE')");
    let lacks = LATER.iter().flat_map(|(table, known, later)| {
        later.iter().map(move |column| {
            format!(
                "SELECT '{table}.{column}' AS c WHERE {} AND NOT {}",
                may(table, known),
                may(table, column)
            )
        })
    });
    let lacks: Vec<_> = lacks.collect();
    let sql = format!("SELECT string_agg(c, ', ') FROM ({}) AS lacking", lacks.join(" UNION ALL "));
    let answer = session.wait(session.client().simple_query(&sql))?;
    match answer.iter().find_map(first_column) {
        Some(columns) => {
            Err(StoreError::Grants { server: session.server.clone(), columns: columns.to_owned() })
        }
        None => Ok(()),
    }
}
