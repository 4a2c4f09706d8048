//! Reading rows: texts become types or the store is called corrupt.

use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use super::db::Row;
pub(super) use super::db::{NONE, all, first, only, run};
use crate::*;

/// A type stored as text.
pub(super) trait Stored: Sized {
    /// For the error.
    const WHAT: &'static str;

    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! stored {
    ($($name:ty: $what:literal, $parse:expr;)+) => {
        $(impl Stored for $name {
            const WHAT: &'static str = $what;

            fn from_text(text: &str) -> Option<Self> {
                $parse(text)
            }
        })+
    };
}

stored! {
    VmUuid: "a VM's uuid", |text: &str| text.parse().ok();
    HostMonitorId: "a host monitor's uuid", |text: &str| text.parse().ok();
    VmState: "a VM's state", VmState::parse;
    SuspendReason: "a VM's kind of shutdown", SuspendReason::parse;
    NodeState: "a node's state", NodeState::parse;
    MonitorMode: "a host monitor's mode", MonitorMode::parse;
    Discovery: "a kind of discovery", Discovery::parse;
    MessageState: "an exchange's state", MessageState::parse;
    Severity: "a severity", Severity::parse;
    Colour: "a colour", Colour::parse;
    DetectionSpeed: "a detection speed", DetectionSpeed::parse;
    TransactionAction: "a transaction's action", TransactionAction::parse;
    TransactionState: "a transaction's state", TransactionState::parse;
}

fn parsed<T: Stored>(text: &str) -> Result<T, StoreError> {
    T::from_text(text).ok_or_else(|| StoreError::Corrupt { what: T::WHAT, value: text.to_owned() })
}

/// The column as a type that is stored as text.
pub(super) fn typed<T: Stored>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    parsed(&row.get::<String>(column)?)
}

/// The same where the column may be NULL.
pub(super) fn typed_option<T: Stored>(row: &Row<'_>, column: usize) -> Result<Option<T>, StoreError> {
    row.get::<Option<String>>(column)?.as_deref().map(parsed).transpose()
}

/// Three columns from `first` as a host's key.
pub(super) fn host_key(row: &Row<'_>, first: usize) -> Result<HostKey, StoreError> {
    Ok(HostKey { machine_type: row.get(first)?, model: row.get(first + 1)?, serial: row.get(first + 2)? })
}

/// The column as the age of a time, if it is not NULL.
pub(super) fn age(row: &Row<'_>, column: usize, now: StoreTime) -> Result<Option<Duration>, StoreError> {
    Ok(row.get::<Option<i64>>(column)?.map(|at| now.since(StoreTime(at))))
}

/// The column as a duration in microseconds.
pub(super) fn duration(row: &Row<'_>, column: usize) -> Result<Duration, StoreError> {
    Ok(Duration::from_micros(row.get::<i64>(column)?.unsigned_abs()))
}
