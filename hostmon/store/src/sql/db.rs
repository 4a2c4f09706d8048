//! What the statements need of a back end: values in, rows out, nothing that only one of them has.
//!
//! Statements are written in what SQLite and PostgreSQL both understand, with SQLite's `?1` for parameters; hints for
//! SQLite's planner (`INDEXED BY`, `CROSS JOIN`) may stay, the other back end leaves them out.

use std::borrow::Cow;

use crate::StoreError;

/// A value of a column or a parameter. Truth values are integers, as they are in the schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A text as it is stored: PostgreSQL keeps no zero byte, and guests may send one.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// What a transaction offers.
pub(crate) trait Db {
    /// Calls `each` with every row, until it says that it has seen enough.
    fn query(&self, sql: &str, params: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError>;

    /// Runs a statement that returns nothing. Returns how many rows it changed.
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize, StoreError>;

    /// The dialect's way to read `json`, an array of flat objects, as rows with these columns: something to write
    /// after FROM.
    fn json_rows(&self, columns: &[(&str, Kind)], parameter: u8) -> String;

    /// Host monitors must read their rosters again once this is committed.
    fn roster_changes(&self) {}
}

/// Returns whether to go on.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>;

/// Of a column in [`Db::json_rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
}

/// A row of either back end.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The column as `T`; the store is called corrupt if it is of another type or out of its range.
    pub(crate) fn get<T: FromValue>(&self, column: usize) -> Result<T, StoreError> {
        let value = self.value(column)?;
        T::from_value(value).ok_or_else(|| StoreError::Corrupt {
            what: "a value",
            value: format!("{value:?} in column {column} of a row"),
        })
    }

    pub(crate) fn value(&self, column: usize) -> Result<Value<'_>, StoreError> {
        match self {
            Row::Sqlite(row) => crate::sqlite::value(row, column),
            Row::Postgres(row) => crate::postgres::value(row, column),
        }
    }
}

/// What a column can be read as.
pub(crate) trait FromValue: Sized {
    fn from_value(value: Value<'_>) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Int(int) = value { Some(int) } else { None }
    }
}

impl FromValue for u32 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for u64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Option<Self> {
        Some(i64::from_value(value)? != 0)
    }
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.to_owned()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.to_owned()) } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// What can be a parameter.
pub(crate) trait ToValue {
    fn to_value(&self) -> Value<'_>;
}

impl ToValue for Value<'_> {
    fn to_value(&self) -> Value<'_> {
        *self
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

macro_rules! to_value {
    ($($name:ty: $value:expr;)+) => {
        $(impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                let value: fn(&Self) -> Value<'_> = $value;
                value(self)
            }
        })+
    };
}

to_value! {
    i64: |int| Value::Int(*int);
    u32: |int| Value::Int(i64::from(*int));
    u16: |int| Value::Int(i64::from(*int));
    bool: |truth| Value::Int(i64::from(*truth));
    str: |text| Value::Text(text);
    String: |text| Value::Text(text);
    [u8]: |bytes| Value::Blob(bytes);
}

/// Parameters of different types.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        [$(&$value as &dyn $crate::sql::db::ToValue),*]
    };
}

pub(crate) use params;

/// No parameters.
pub(super) const NONE: [Value<'static>; 0] = [];

/// Every row of a query.
pub(super) fn all<T, P: ToValue, const N: usize>(
    db: &dyn Db,
    sql: &str,
    params: [P; N],
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    db.query(sql, &params.each_ref().map(ToValue::to_value), &mut |row| {
        found.push(read(row)?);
        Ok(true)
    })?;
    Ok(found)
}

/// The first row of a query, if there is one.
pub(super) fn first<T, P: ToValue, const N: usize>(
    db: &dyn Db,
    sql: &str,
    params: [P; N],
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let (mut read, mut found) = (Some(read), None);
    db.query(sql, &params.each_ref().map(ToValue::to_value), &mut |row| {
        found = read.take().map(|read| read(row)).transpose()?;
        Ok(false)
    })?;
    Ok(found)
}

/// The only row of a query that always has one.
pub(super) fn only<T, P: ToValue, const N: usize>(
    db: &dyn Db,
    sql: &str,
    params: [P; N],
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    first(db, sql, params, read)?
        .ok_or_else(|| StoreError::Corrupt { what: "no row where one must be", value: sql.to_owned() })
}

/// Runs a statement that returns nothing. Returns how many rows it changed.
pub(super) fn run<P: ToValue, const N: usize>(
    db: &dyn Db,
    sql: &str,
    params: [P; N],
) -> Result<usize, StoreError> {
    db.execute(sql, &params.each_ref().map(ToValue::to_value))
}
