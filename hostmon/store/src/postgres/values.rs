//! Values to and from PostgreSQL.

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::StoreError;
use crate::sql::db::{Value, storable};

type Anything = Box<dyn Error + Sync + Send>;

/// A parameter, written as the type that the server expects there.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) Value<'a>);

/// What is said of a parameter's type when a statement is prepared.
pub(super) const fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Int(_) => Type::INT8,
        Value::Null | Value::Text(_) | Value::Blob(_) => Type::UNKNOWN,
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Anything> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Int(int) => return integer(int, of, out),
            Value::Text(text) => out.extend_from_slice(storable(text).as_bytes()),
            Value::Blob(bytes) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn integer(int: i64, of: &Type, out: &mut BytesMut) -> Result<IsNull, Anything> {
    match *of {
        Type::INT8 => int.to_sql(of, out),
        Type::INT4 => i32::try_from(int)?.to_sql(of, out),
        _ => Err(format!("an integer where the server expects {of}").into()),
    }
}

struct Column<'a>(Value<'a>);

impl<'a> FromSql<'a> for Column<'a> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Anything> {
        Ok(Self(match *of {
            Type::INT8 => Value::Int(i64::from_sql(of, raw)?),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(of, raw)?)),
            Type::BOOL => Value::Int(i64::from(bool::from_sql(of, raw)?)),
            Type::BYTEA => Value::Blob(raw),
            _ => Value::Text(<&str>::from_sql(of, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Anything> {
        Ok(Self(Value::Null))
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA | Type::TEXT)
    }
}

/// A column of a row.
pub(crate) fn value(row: &tokio_postgres::Row, column: usize) -> Result<Value<'_>, StoreError> {
    Ok(row.try_get::<_, Column<'_>>(column)?.0)
}
