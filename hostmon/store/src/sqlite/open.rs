//! Opening a store's file: whose it is, its schema, its settings.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::StoreError;

/// `vmps` in ASCII: marks a SQLite file as a health store.
const APPLICATION_ID: i32 = 0x766d_7073;

/// A transaction waits this long for another's lock before it fails: a host monitor counts the store as lost
/// after that.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept prepared; more than there are.
const STATEMENT_CACHE: usize = 128;

/// The schema's steps, in order. Step n brings version n - 1 to n; a step that was ever released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_health.sql"),
    include_str!("../../migrations/sqlite/0002_quiet.sql"),
    include_str!("../../migrations/sqlite/0003_writes_once.sql"),
    include_str!("../../migrations/sqlite/0004_requests.sql"),
    include_str!("../../migrations/sqlite/0005_retention.sql"),
    include_str!("../../migrations/sqlite/0006_modes.sql"),
    include_str!("../../migrations/sqlite/0007_queries.sql"),
    include_str!("../../migrations/sqlite/0008_isolated.sql"),
    include_str!("../../migrations/sqlite/0009_unknown.sql"),
    include_str!("../../migrations/sqlite/0010_words.sql"),
];

/// Tries to switch to WAL, [`WAL_PAUSE`] apart: together [`BUSY_TIMEOUT`].
const WAL_TRIES: u32 = 250;
const WAL_PAUSE: Duration = Duration::from_millis(20);

/// Opens, checks and migrates.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path).map_err(|source| open_error(path, source))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // A plan depends on the statement alone. Otherwise this library, which is built with STAT4, makes most plans anew at
    // every execution, because a parameter was bound. With 10,000 VMs (bench fleet) it saves about 7 % of the processor time of
    // questions, and none that could be seen of edges.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(|source| open_error(path, source))?;
    migrate(&mut connection, path)?;
    switch_to_wal(&connection)?;
    Ok(connection)
}

/// SQLite reads a file at the first statement, not when it is opened.
fn open_error(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotAStore { path },
        _ => StoreError::Open { path, source },
    }
}

/// Under the write lock, so of several that start at once one migrates and the others find it done.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    // One snapshot: between two reads of its own another process may have made the store.
    let snapshot = connection.transaction().map_err(|source| open_error(path, source))?;
    let found = version(&snapshot, path)?;
    drop(snapshot);
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|source| open_error(path, source))?;
    let found = version(&transaction, path)?;
    for step in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    Ok(())
}

/// The file's schema version, 0 for an empty file; refuses files that are not ours or newer than we.
fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let pragma = |name: &str| -> Result<i64, StoreError> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|source| open_error(path, source))
    };
    let application_id = pragma("application_id")?;
    let found = pragma("user_version")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = application_id == 0 && found == 0 && tables == 0;
    if application_id != i64::from(APPLICATION_ID) && !empty {
        return Err(StoreError::NotAStore { path: path.to_owned() });
    }
    let known = MIGRATIONS.len();
    usize::try_from(found).ok().filter(|version| *version <= known).ok_or_else(|| StoreError::TooNew {
        found: u32::try_from(found).unwrap_or(u32::MAX),
        known: u32::try_from(known).unwrap_or(u32::MAX),
    })
}

/// The switch needs the file for itself and does not wait for it; several that open a new store at once get in
/// each other's way.
// An edge that has nothing else to wait on: SQLite offers no notice of a lock that is let go.
#[allow(clippy::disallowed_methods)]
fn switch_to_wal(connection: &Connection) -> Result<(), StoreError> {
    let mut tries = 1;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < WAL_TRIES => {
                tries += 1;
                std::thread::sleep(WAL_PAUSE);
            }
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connect(&folder.path().join("health.db")).unwrap();
        let pragma = |name: &str| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2");
        assert_eq!(pragma("foreign_keys"), "1");
        let busy_ms: i64 = connection.pragma_query_value(None, "busy_timeout", |row| row.get(0)).unwrap();
        assert_eq!(busy_ms, 5000);
        assert_eq!(pragma("user_version"), MIGRATIONS.len().to_string());
    }

    #[test]
    fn strangers_and_newer_stores_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let stranger = folder.path().join("stranger.db");
        Connection::open(&stranger).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(connect(&stranger), Err(StoreError::NotAStore { .. })));
        let tables: i64 = Connection::open(&stranger)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);

        let text = folder.path().join("text.db");
        std::fs::write(&text, "this is no database, but it is long enough to be looked at. ".repeat(9))
            .unwrap();
        assert!(matches!(connect(&text), Err(StoreError::NotAStore { .. })));

        let newer = folder.path().join("newer.db");
        connect(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let newest = u32::try_from(MIGRATIONS.len()).unwrap();
        assert!(matches!(connect(&newer), Err(StoreError::TooNew { found: 99, known }) if known == newest));
    }

    #[test]
    fn every_old_schema_is_brought_up_to_date_with_what_it_holds() {
        for (released, _) in MIGRATIONS.iter().enumerate().skip(1) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("health.db");
            let old = Connection::open(&path).unwrap();
            MIGRATIONS.iter().take(released).for_each(|step| old.execute_batch(step).unwrap());
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", i64::try_from(released).unwrap()).unwrap();
            old.execute_batch(&format!("BEGIN; {} COMMIT", crate::old_rows::sql(released))).unwrap();
            drop(old);
            let new = connect(&path).unwrap();
            let version: i64 = new.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(version, i64::try_from(MIGRATIONS.len()).unwrap());
            let mut store = crate::SqliteStore::open(&path, Box::new(crate::SystemClock)).unwrap();
            crate::old_rows::check(&mut store, released);
        }
    }

    #[test]
    fn a_missing_folder_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = connect(&folder.path().join("no/health.db")).unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }));
        assert!(error.to_string().contains("check that its folder exists"), "{error}");
    }

    #[test]
    fn many_open_a_new_store_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.db");
        let openers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || connect(&path).map(drop))
            })
            .collect();
        for opener in openers {
            opener.join().unwrap().unwrap();
        }
        let rows: i64 =
            connect(&path).unwrap().query_row("SELECT count(*) FROM cluster", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }
}
