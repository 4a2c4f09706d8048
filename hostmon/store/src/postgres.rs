//! The PostgreSQL back end: one server for several hosts, one connection per user.
//!
//! The client is asynchronous and waits on a runtime of its own, within the calling thread: only so has every word with
//! the server a deadline that does not depend on the server. What fails or is late closes the connection; the next call
//! opens another. Times are the server's clock. Transactions that write run one after the other (an advisory lock,
//! held for the length of one), because numbers of the sequence must become visible in their order.

mod dialect;
mod grants;
mod migrate;
#[cfg(test)]
mod plans;
mod session;
mod target;
mod tls;
mod values;

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::sql::{Access, BackEnd, Turn};
use crate::*;
use session::{Listening, Session};
pub use target::Target;
pub(crate) use values::value;

/// A connection to a health store in a PostgreSQL database.
pub struct PostgresStore {
    target: Target,
    /// Instead of the server's.
    clock: Option<Box<dyn StoreClock>>,
    session: RefCell<Option<Session>>,
    stamp: Cell<u64>,
    incarnation: Option<String>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresStore").field("server", &self.target.name).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and brings the schema up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Access`] if the URL or a file that it names is wrong, [`StoreError::Connect`] if the server does
    /// not answer or refuses, [`StoreError::TooNew`] if a newer version wrote the store, [`StoreError::Outdated`] if
    /// this user may not bring it up to date, [`StoreError::Grants`] if it may not write what the schema has got since its
    /// roles were granted theirs.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, None)
    }

    /// The same by another clock than the server's: for tests.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub fn open_with(url: &str, clock: Option<Box<dyn StoreClock>>) -> Result<Self, StoreError> {
        let target = Target::parse(url)?;
        let session = Session::open(&target)?;
        migrate::migrate(&session)?;
        grants::check(&session)?;
        let session = RefCell::new(Some(session));
        Ok(Self { target, clock, session, stamp: Cell::new(0), incarnation: None })
    }

    /// Runs `body` with a session that works as far as is known.
    fn with<T>(&self, body: impl FnOnce(&Session) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut slot = self.session.borrow_mut();
        let session = match slot.take().filter(Session::usable) {
            Some(session) => session,
            None => {
                // What was committed meanwhile was not heard of.
                self.stamp.set(self.stamp.get().wrapping_add(1));
                Session::open(&self.target)?
            }
        };
        body(slot.insert(session))
    }

    fn set_clock(&self, of_server: StoreTime) -> StoreTime {
        self.clock.as_ref().map_or(of_server, |clock| clock.now())
    }
}

impl BackEnd for PostgresStore {
    fn time(&self) -> Result<StoreTime, StoreError> {
        Ok(self.set_clock(self.with(Session::time)?))
    }

    /// Costs no statement once the connection listens: the server tells. A host monitor hears of rosters only.
    fn stamp(&self) -> Result<u64, StoreError> {
        let what = if self.incarnation.is_some() { Listening::Rosters } else { Listening::Everything };
        let heard = self.with(|session| session.heard(what))?;
        if heard {
            self.stamp.set(self.stamp.get().wrapping_add(1));
        }
        Ok(self.stamp.get())
    }

    fn transact<T>(
        &mut self,
        access: Access,
        body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|session| {
            let now = self.set_clock(session.begin(access)?);
            match body(Turn { db: session, now }) {
                Ok(value) => session.commit(access).map(|()| value),
                Err(error) => {
                    session.roll_back();
                    Err(error)
                }
            }
        })
    }

    fn incarnation(&mut self) -> &mut Option<String> {
        &mut self.incarnation
    }
}
