//! Stores in memory with their connections, which run after run uses again: to open them and to make their statements anew would
//! take a third of a run. What a run finds is the same: every table as the migrations leave it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use vmpulse_store::{FixedClock, SqliteStore, StoreError};

use super::look::Look;
use super::{EPOCH_US, Shared};

/// Those that no run uses.
static IDLE: Mutex<Vec<Arena>> = Mutex::new(Vec::new());

/// A store and its connections.
pub(super) struct Arena {
    path: PathBuf,
    pub(super) clock: Arc<AtomicI64>,
    /// Without it the store would be gone with the last other connection.
    keeper: Connection,
    reset: String,
    idle: Vec<SqliteStore>,
    pub(super) look: Option<Look>,
}

impl fmt::Debug for Arena {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arena").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Arena {
    /// An empty store.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn take() -> Result<Self, StoreError> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(arena) = idle else { return Self::new() };
        arena.clock.store(EPOCH_US, Ordering::Relaxed);
        arena.keeper.execute_batch(&arena.reset)?;
        Ok(arena)
    }

    /// The run is over.
    pub(super) fn put_back(self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    fn new() -> Result<Self, StoreError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // One store for all connections of this process that name it.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("file:/vmpulse-sim-{number}?vfs=memdb"));
        let keeper = Connection::open(&path)?;
        let clock = Arc::new(AtomicI64::new(EPOCH_US));
        let first = SqliteStore::open(&path, Box::new(FixedClock(Arc::clone(&clock))))?;
        // Otherwise a random number.
        keeper.execute("UPDATE cluster SET tag_salt = 4711", [])?;
        let reset = reset(&keeper)?;
        let look = Some(Look::open(&path)?);
        Ok(Self { path, clock, keeper, reset, idle: vec![first], look })
    }

    fn connection(&mut self) -> Result<SqliteStore, StoreError> {
        let clock = Box::new(FixedClock(Arc::clone(&self.clock)));
        match self.idle.pop() {
            Some(store) => Ok(store.into_new(clock)),
            None => SqliteStore::open(&self.path, clock),
        }
    }
}

/// Keeps what the migrations wrote, and returns what brings it back.
fn reset(keeper: &Connection) -> Result<String, StoreError> {
    keeper.execute_batch("PRAGMA foreign_keys = 0; ATTACH ':memory:' AS kept")?;
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY name";
    let tables: Vec<String> =
        keeper.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut reset = "BEGIN IMMEDIATE;".to_owned();
    for table in tables {
        reset += &format!("DELETE FROM main.{table};");
        let rows: i64 =
            keeper.query_row(&format!("SELECT count(*) FROM main.{table}"), [], |row| row.get(0))?;
        if rows > 0 {
            let kept = format!("kept_{table}");
            keeper.execute_batch(&format!("CREATE TABLE kept.{kept} AS SELECT * FROM main.{table}"))?;
            reset += &format!("INSERT INTO main.{table} SELECT * FROM kept.{kept};");
        }
    }
    Ok(reset + "COMMIT")
}

/// A connection, until it is dropped.
pub(crate) struct Lease {
    // Always there, until it is dropped.
    store: Option<SqliteStore>,
    shared: Shared,
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn new(shared: &Shared) -> Result<Self, StoreError> {
        let store = shared.lock().arena().connection()?;
        Ok(Self { store: Some(store), shared: shared.clone() })
    }
}

impl Deref for Lease {
    type Target = SqliteStore;

    fn deref(&self) -> &SqliteStore {
        self.store.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut SqliteStore {
        self.store.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.lock().arena().idle.extend(self.store.take());
    }
}
