//! The schema's steps.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::session::{Session, first_column};
use crate::StoreError;

/// In order. Step n brings version n - 1 to n; a step that was ever released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_health.sql"),
    include_str!("../../migrations/postgres/0002_quiet.sql"),
    include_str!("../../migrations/postgres/0003_writes_once.sql"),
    include_str!("../../migrations/postgres/0004_requests.sql"),
    include_str!("../../migrations/postgres/0005_retention.sql"),
    include_str!("../../migrations/postgres/0006_modes.sql"),
    include_str!("../../migrations/postgres/0007_queries.sql"),
    include_str!("../../migrations/postgres/0008_isolated.sql"),
    include_str!("../../migrations/postgres/0009_unknown.sql"),
    include_str!("../../migrations/postgres/0010_words.sql"),
];

/// For all steps together, another process's included: a step may touch every row.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Names the lock under which one migrates: `vmpm` in ASCII. Whoever waits for it finds the work done.
const LOCK: u32 = 0x766d_706d;

/// Brings the schema up to date if it is not.
pub(super) fn migrate(session: &Session) -> Result<(), StoreError> {
    if version(session)? == MIGRATIONS.len() {
        return Ok(());
    }
    let done = steps(session, MIGRATIONS.len());
    if done.is_err() {
        session.roll_back();
    }
    let Err(StoreError::Backend(source)) = done else { return done };
    if !may_not(&source) {
        return Err(StoreError::Backend(source));
    }
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    Err(StoreError::Outdated { server: session.server.clone(), known, source })
}

fn steps(session: &Session, up_to: usize) -> Result<(), StoreError> {
    let timeout = TIMEOUT.as_millis();
    let run = |sql: &str| session.wait_for(TIMEOUT, session.client().batch_execute(sql));
    run(&format!("BEGIN; SET LOCAL statement_timeout = {timeout}; SELECT pg_advisory_xact_lock({LOCK})"))?;
    let found = version(session)?;
    if found < up_to {
        run("CREATE SCHEMA IF NOT EXISTS vmpulse;
             CREATE TABLE IF NOT EXISTS vmpulse.schema_version (
                 id INT PRIMARY KEY CHECK (id = 1), version INT NOT NULL
             )")?;
        for step in MIGRATIONS.iter().take(up_to).skip(found) {
            run(step)?;
        }
        run(&format!(
            "INSERT INTO vmpulse.schema_version (id, version) VALUES (1, {up_to})
             ON CONFLICT (id) DO UPDATE SET version = excluded.version"
        ))?;
    }
    run("COMMIT")
}

/// The database's schema version, 0 if there is none.
fn version(session: &Session) -> Result<usize, StoreError> {
    let number = |sql: &str| -> Result<Option<u32>, StoreError> {
        let answer = session.wait(session.client().simple_query(sql))?;
        Ok(answer.iter().find_map(first_column).and_then(|number| number.parse().ok()))
    };
    // By the catalog: whoever may not look into the schema is told so by the second question.
    let there = "SELECT count(*) FROM pg_catalog.pg_tables
                 WHERE schemaname = 'vmpulse' AND tablename = 'schema_version'";
    if number(there)? != Some(1) {
        return Ok(0);
    }
    let found = number("SELECT version FROM vmpulse.schema_version")?.unwrap_or(0);
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    Ok(usize::try_from(found).unwrap_or(usize::MAX))
}

fn may_not(source: &crate::BackendError) -> bool {
    let error = source.downcast_ref::<tokio_postgres::Error>();
    error.and_then(tokio_postgres::Error::code) == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

#[cfg(test)]
mod tests {
    use vmpulse_test_postgres::Server;

    use super::super::{PostgresStore, Target};
    use super::*;

    #[test]
    fn every_old_schema_is_brought_up_to_date_with_what_it_holds() {
        let mut server = match Server::start() {
            Ok(server) => server,
            Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
            Err(reason) => panic!("{reason}"),
        };
        for released in 1..MIGRATIONS.len() {
            let database = server.database();
            let url = server.url("postgres", &database);
            let session = Session::open(&Target::parse(&url).unwrap()).unwrap();
            steps(&session, released).unwrap();
            let held = format!("SET search_path = vmpulse;\n{}", crate::old_rows::sql(released));
            session.wait(session.client().batch_execute(&held)).unwrap();
            let mut store = PostgresStore::open(&url).unwrap();
            let version = server.sql(&database, "SELECT version FROM vmpulse.schema_version").unwrap();
            assert_eq!(version, MIGRATIONS.len().to_string());
            crate::old_rows::check(&mut store, released);
        }
    }
}
