//! The SQLite back end: one file, WAL, one connection per user.
//!
//! A write is committed and synced before its method returns (`synchronous=FULL`), because host monitors
//! acknowledge guests' messages on its strength. The clock is read before a transaction waits for its lock:
//! ages were measured then.

#[cfg(test)]
mod bounds;
mod open;
#[cfg(test)]
mod plans;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior};

use crate::sql::db::{Db, Each, Kind, Row, Value, storable};
use crate::sql::{Access, BackEnd, Turn};
use crate::*;

/// A connection to a health store in a SQLite file.
pub struct SqliteStore {
    connection: Connection,
    clock: Box<dyn StoreClock>,
    incarnation: Option<String>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SqliteStore").field("path", &self.connection.path()).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store at `path`, creates it if there is none, and brings its schema up to date. Several
    /// processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file cannot be opened or made (its folder must exist),
    /// [`StoreError::NotAStore`] if it is something else, [`StoreError::TooNew`] if a newer version wrote it.
    pub fn open(path: &Path, clock: Box<dyn StoreClock>) -> Result<Self, StoreError> {
        Ok(Self { connection: open::connect(path)?, clock, incarnation: None })
    }

    /// The same connection as one that was just opened would be, for somebody else: what the simulator saves time with.
    #[doc(hidden)]
    #[must_use]
    pub fn into_new(self, clock: Box<dyn StoreClock>) -> Self {
        Self { connection: self.connection, clock, incarnation: None }
    }
}

impl BackEnd for SqliteStore {
    fn time(&self) -> Result<StoreTime, StoreError> {
        Ok(self.clock.now())
    }

    fn stamp(&self) -> Result<u64, StoreError> {
        let version: i64 = self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(version.unsigned_abs())
    }

    /// One that writes holds the write lock from its start, so it never fails half way for want of it.
    fn transact<T>(
        &mut self,
        access: Access,
        body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            Access::Write | Access::Heartbeat => TransactionBehavior::Immediate,
        };
        let now = self.clock.now();
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let db: &Connection = &transaction;
        let value = body(Turn { db, now })?;
        transaction.commit()?;
        Ok(value)
    }

    fn incarnation(&mut self) -> &mut Option<String> {
        &mut self.incarnation
    }
}

impl Db for Connection {
    fn query(&self, sql: &str, params: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError> {
        crate::statements::count();
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(params))?;
        while let Some(row) = rows.next()? {
            if !each(&Row::Sqlite(row))? {
                break;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize, StoreError> {
        crate::statements::count();
        Ok(self.prepare_cached(sql)?.execute(rusqlite::params_from_iter(params))?)
    }

    fn json_rows(&self, columns: &[(&str, Kind)], parameter: u8) -> String {
        let columns: Vec<_> =
            columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}")).collect();
        format!("(SELECT {} FROM json_each(?{parameter}))", columns.join(", "))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match *self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Int(int) => ToSqlOutput::Borrowed(ValueRef::Integer(int)),
            Value::Text(text) => match storable(text) {
                Cow::Borrowed(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
                Cow::Owned(text) => ToSqlOutput::Owned(text.into()),
            },
            Value::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// A column of a row.
pub(crate) fn value<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<Value<'a>, StoreError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text).map_err(|_| StoreError::Corrupt {
            what: "text that is no UTF-8",
            value: String::from_utf8_lossy(text).into_owned(),
        })?),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
        ValueRef::Real(real) => {
            return Err(StoreError::Corrupt { what: "a fraction", value: real.to_string() });
        }
    })
}
