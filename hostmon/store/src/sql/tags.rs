//! hsTags: what an answer reported, and acknowledging it.
//!
//! Everything that is reported until it is acknowledged (a doorbell bit, a state change, a discovery, a node event, a
//! conflict) carries a number of one growing sequence. An answer reports everything pending of its kind up to some
//! number, so its tag need only name the kind and the highest number in it: acknowledging clears what is not above.
//! Asking therefore writes nothing, no list of answers is kept, and no tag ever expires.

use super::Turn;
use super::db::params;
use super::rows::{NONE, first, only, run};
use crate::*;

/// Low bits of a tag: the sequence number. 2^44 numbers last 500 years at 1,000 a second.
const SEQUENCE_BITS: u32 = 44;

/// Above them: the host or host monitor if the answer was about one, else 0. 2^18 are 100 times more than ever meant.
const SCOPE_BITS: u32 = 18;

/// What an answer reported; above the scope in its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// What needs attention: of one host (its row), or of all (0).
    Attention { host: i64 },
    /// Node events: of one host monitor (its row), or of all (0).
    NodeData { host_monitor: i64 },
    /// Conflicts.
    Conflicts,
}

impl Reported {
    const fn parts(self) -> (i64, i64) {
        match self {
            Self::Attention { host } => (0, host),
            Self::NodeData { host_monitor } => (1, host_monitor),
            Self::Conflicts => (2, 0),
        }
    }

    const fn from_parts(kind: u64, scope: i64) -> Option<Self> {
        match (kind, scope) {
            (0, host) => Some(Self::Attention { host }),
            (1, host_monitor) => Some(Self::NodeData { host_monitor }),
            (2, 0) => Some(Self::Conflicts),
            _ => None,
        }
    }
}

impl Turn<'_> {
    /// The next number, for something that has just become reportable, or that needs a name.
    pub(super) fn next_sequence(self) -> Result<i64, StoreError> {
        let sql = "UPDATE cluster SET change_sequence = change_sequence + 1 RETURNING change_sequence";
        only(self.db, sql, NONE, |row| row.get(0))
    }

    /// Error: the number of the host or host monitor has no room in it. It would be taken for another one's, and what nobody
    /// has seen be acknowledged.
    pub(super) fn tag(self, what: Reported, sequence: i64) -> Result<AttentionTag, StoreError> {
        let (_, salt) = self.sequence_and_salt()?;
        let (kind, scope) = what.parts();
        if scope >= 1 << SCOPE_BITS {
            return Err(StoreError::TagRoom(scope));
        }
        Ok(salt.wrapping_add((kind << (SEQUENCE_BITS + SCOPE_BITS)) | (scope << SEQUENCE_BITS) | sequence))
    }

    /// What a tag names, and up to which number; `None` if it is none of ours.
    pub(super) fn reported_under(self, tag: AttentionTag) -> Result<Option<(Reported, i64)>, StoreError> {
        let (newest, salt) = self.sequence_and_salt()?;
        let plain = tag.wrapping_sub(salt);
        let scope = (plain >> SEQUENCE_BITS) & ((1 << SCOPE_BITS) - 1);
        let sequence = plain & ((1 << SEQUENCE_BITS) - 1);
        let kind = plain.cast_unsigned() >> (SEQUENCE_BITS + SCOPE_BITS);
        let Some(what) = Reported::from_parts(kind, scope).filter(|_| (1..=newest).contains(&sequence))
        else {
            return Ok(None);
        };
        let sql = match what {
            Reported::NodeData { .. } => "SELECT 1 FROM host_monitor WHERE id = ?1 AND ?2 > 0",
            // A host with the same id may have been there before: what was said of that one is not above this.
            Reported::Attention { .. } | Reported::Conflicts => {
                "SELECT 1 FROM host WHERE id = ?1 AND created_sequence < ?2"
            }
        };
        let known = scope == 0 || first(self.db, sql, [scope, sequence], |_| Ok(()))?.is_some();
        Ok(known.then_some((what, sequence)))
    }

    fn sequence_and_salt(self) -> Result<(i64, i64), StoreError> {
        let sql = "SELECT change_sequence, tag_salt FROM cluster";
        only(self.db, sql, NONE, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    pub(super) fn acknowledge(self, tag: AttentionTag) -> Result<bool, StoreError> {
        let Some((what, sequence)) = self.reported_under(tag)? else {
            return Ok(false);
        };
        match what {
            Reported::Attention { host } => self.attention_acknowledge(host, sequence)?,
            Reported::NodeData { host_monitor } => {
                let sql = "UPDATE node_event SET acknowledged_at = ?3
                           WHERE acknowledged_at IS NULL AND sequence <= ?1 AND ?2 IN (0, host_monitor_id)";
                run(self.db, sql, [sequence, host_monitor, self.now.0])?;
            }
            Reported::Conflicts => {
                let sql = "UPDATE conflict SET acknowledged_at = ?2 WHERE acknowledged_at IS NULL AND sequence <= ?1";
                run(self.db, sql, [sequence, self.now.0])?;
            }
        }
        Ok(true)
    }

    /// The part of [`Self::acknowledge`] that a report's request includes.
    pub(super) fn doorbell_acknowledge(self, vm: i64, tag: AttentionTag) -> Result<(), StoreError> {
        let reported = self.reported_under(tag)?.ok_or(StoreError::UnknownTag(tag))?;
        if let (Reported::Attention { host }, sequence) = reported {
            let sql = "DELETE FROM doorbell WHERE vm_id = ?1 AND sequence <= ?2
                       AND EXISTS (SELECT 1 FROM vm WHERE id = ?1 AND ?3 IN (0, host_id))";
            run(self.db, sql, params![vm, sequence, host])?;
        }
        Ok(())
    }
}
