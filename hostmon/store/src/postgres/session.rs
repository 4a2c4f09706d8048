//! One connection: transactions, deadlines, notices.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, SimpleQueryMessage, Socket, Statement};

use super::dialect::translate;
use super::target::Target;
use super::values::{Parameter, type_of};
use crate::sql::Access;
use crate::sql::db::{Db, Each, Kind, Row, Value};
use crate::{StoreError, StoreTime};

/// The server ends a statement after this, waiting for another's lock included: a host monitor counts the store as lost
/// then. Half of it for a transaction whose client says nothing: those who wait for its lock still get theirs.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that said nothing for so long is stopped, or cannot be reached.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// For a connection, from its first packet to the end of what is set in it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Names the lock under which transactions write, within the database: `vmps` in ASCII.
const WRITE_LOCK: u32 = 0x766d_7073;

/// Channels: rosters must be read again; anything but signs of life was written.
const ROSTERS: &str = "vmpulse_rosters";
const HEALTH: &str = "vmpulse_health";

const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// What a connection wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Nothing,
    Rosters,
    Everything,
}

/// See the module.
pub(super) struct Session {
    runtime: Runtime,
    client: Client,
    /// For errors.
    pub(super) server: String,
    statements: RefCell<HashMap<String, Statement>>,
    notified: Arc<AtomicBool>,
    listening: Cell<Listening>,
    /// Nothing more is said over it: something failed in a way that leaves open where the two sides stand.
    broken: Cell<bool>,
    in_transaction: Cell<bool>,
    wrote: Cell<bool>,
    rosters_changed: Cell<bool>,
}

impl Session {
    pub(super) fn open(target: &Target) -> Result<Self, StoreError> {
        let server = target.name.clone();
        let failed = |source: super::BackendError| StoreError::Connect { server: server.clone(), source };
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| failed(error.into()))?;
        let notified = Arc::new(AtomicBool::new(false));
        let config = target.config()?;
        let connecting = async {
            match target.tls()? {
                None => connect(&config, NoTls, &notified).await.map_err(|error| failed(error.into())),
                Some(tls) => connect(&config, tls, &notified).await.map_err(|error| failed(error.into())),
            }
        };
        let late = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
        let in_time = runtime.block_on(async { tokio::time::timeout(CONNECT_TIMEOUT, connecting).await });
        let client = in_time.map_err(|_| failed(late.into()))??;
        Ok(Self {
            runtime,
            client,
            server: server.clone(),
            statements: RefCell::default(),
            notified,
            listening: Cell::new(Listening::Nothing),
            broken: Cell::new(false),
            in_transaction: Cell::new(false),
            wrote: Cell::new(false),
            rosters_changed: Cell::new(false),
        })
    }

    /// Whether it works as far as is known. One that was left within a transaction does not: its body panicked.
    pub(super) fn usable(&self) -> bool {
        self.look();
        !self.broken.get() && !self.in_transaction.get() && !self.client.is_closed()
    }

    /// Lets the connection read what has come, its end included, without waiting: the first yield looks at the socket, the
    /// second hands it to the connection's task, which is done by the third.
    fn look(&self) {
        self.runtime.block_on(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Waits for the server, but not for ever.
    pub(super) fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        self.wait_for(ANSWER_TIMEOUT, answer)
    }

    pub(super) fn wait_for<T>(
        &self,
        most: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match self.runtime.block_on(async { tokio::time::timeout(most, answer).await }) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                // What the server itself says leaves the connection as it is, unless it then closes it.
                self.broken.set(self.broken.get() || error.as_db_error().is_none());
                Err(error.into())
            }
            Err(_) => {
                self.broken.set(true);
                Err(StoreError::Slow { server: self.server.clone(), seconds: most.as_secs() })
            }
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn time(&self) -> Result<StoreTime, StoreError> {
        let answer = self.wait(self.client.simple_query(&format!("SELECT {NOW}")))?;
        time_in(&answer)
    }

    /// Begins a transaction. Its time is read before it waits for the lock: ages were measured then.
    pub(super) fn begin(&self, access: Access) -> Result<StoreTime, StoreError> {
        let begin = match access {
            Access::Read => format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT {NOW}"),
            Access::Write | Access::Heartbeat => format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT {NOW};
                 SELECT pg_advisory_xact_lock({WRITE_LOCK})"
            ),
        };
        self.wrote.set(false);
        self.rosters_changed.set(false);
        self.in_transaction.set(true);
        let now = self.wait(self.client.simple_query(&begin)).and_then(|answer| time_in(&answer));
        if now.is_err() {
            self.roll_back();
        }
        now
    }

    /// Whoever waits for what was written is told in the same transaction.
    pub(super) fn commit(&self, access: Access) -> Result<(), StoreError> {
        let tells = self.wrote.get() && access == Access::Write;
        let commit = match (tells || self.rosters_changed.get(), self.rosters_changed.get()) {
            (_, true) => format!("NOTIFY {HEALTH}; NOTIFY {ROSTERS}; COMMIT"),
            (true, false) => format!("NOTIFY {HEALTH}; COMMIT"),
            (false, false) => "COMMIT".to_owned(),
        };
        let committed = self.wait(self.client.batch_execute(&commit));
        if committed.is_err() {
            self.broken.set(true);
        }
        self.in_transaction.set(false);
        committed
    }

    /// A connection that cannot even do that is closed, which does it.
    pub(super) fn roll_back(&self) {
        if !self.broken.get() && self.wait(self.client.batch_execute("ROLLBACK")).is_err() {
            self.broken.set(true);
        }
        self.in_transaction.set(false);
    }

    /// Whether anything was told since the last call. The first call of a kind begins to listen: what was committed before
    /// counts as told. What came since was read when the session was found usable.
    pub(super) fn heard(&self, what: Listening) -> Result<bool, StoreError> {
        if self.listening.get() != what {
            let channels = match what {
                Listening::Nothing => "UNLISTEN *".to_owned(),
                Listening::Rosters => format!("UNLISTEN *; LISTEN {ROSTERS}"),
                Listening::Everything => format!("LISTEN {HEALTH}"),
            };
            self.wait(self.client.batch_execute(&channels))?;
            self.listening.set(what);
            return Ok(true);
        }
        Ok(self.notified.swap(false, Ordering::Relaxed))
    }

    /// Integers are of one type wherever they stand; the server finds out what texts are.
    fn statement(&self, sql: &str, params: &[Value<'_>]) -> Result<Statement, StoreError> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let types: Vec<_> = params.iter().map(type_of).collect();
        let statement = self.wait(self.client.prepare_typed(&translate(sql), &types))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Db for Session {
    fn query(&self, sql: &str, params: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError> {
        crate::statements::count();
        let statement = self.statement(sql, params)?;
        let params: Vec<_> = params.iter().copied().map(Parameter).collect();
        let params: Vec<_> = params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
        let rows = self.wait(self.client.query(&statement, &params))?;
        if !sql.trim_start().starts_with("SELECT") {
            self.wrote.set(true);
        }
        for row in &rows {
            if !each(&Row::Postgres(row))? {
                break;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize, StoreError> {
        crate::statements::count();
        let statement = self.statement(sql, params)?;
        let params: Vec<_> = params.iter().copied().map(Parameter).collect();
        let params: Vec<_> = params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
        let changed = self.wait(self.client.execute(&statement, &params))?;
        if changed > 0 {
            self.wrote.set(true);
        }
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    fn json_rows(&self, columns: &[(&str, Kind)], parameter: u8) -> String {
        let column = |(name, kind): &(&str, Kind)| match kind {
            Kind::Text => format!("{name} text"),
            Kind::Int => format!("{name} bigint"),
        };
        let columns: Vec<_> = columns.iter().map(column).collect();
        format!("(SELECT * FROM json_to_recordset(?{parameter}::json) AS r ({}))", columns.join(", "))
    }

    fn roster_changes(&self) {
        self.rosters_changed.set(true);
    }
}

/// The store is small enough to be in memory, and its requests look for few rows among many: a page by an index costs no more
/// than one of a scan, and to compile a plan costs more than to run it.
pub(super) const PLANNER: &str = "SET random_page_cost = 1; SET jit = off;";

/// What holds for every transaction of a connection. Its user's settings decide how safe a commit is, but not that it is
/// not: messages of guests are acknowledged on its strength.
fn settings() -> String {
    let (statement, idle) = (STATEMENT_TIMEOUT.as_millis(), STATEMENT_TIMEOUT.as_millis() / 2);
    format!(
        "SET search_path = vmpulse; SET client_min_messages = warning; {PLANNER}
         SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {idle};
         SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') = 'off';
         SELECT pg_backend_pid()"
    )
}

async fn connect<T>(
    config: &tokio_postgres::Config,
    tls: T,
    notified: &Arc<AtomicBool>,
) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: TlsConnect<Socket, Stream = T::Stream>,
{
    let (client, connection) = config.connect(tls).await?;
    let own = Arc::new(std::sync::atomic::AtomicI32::new(0));
    tokio::spawn(read(connection, Arc::clone(notified), Arc::clone(&own)));
    let answer = client.simple_query(&settings()).await?;
    let pid = answer.iter().rev().find_map(first_column).and_then(|pid| pid.parse().ok());
    own.store(pid.unwrap_or_default(), Ordering::Relaxed);
    Ok(client)
}

/// Ends with the connection. What this connection itself wrote is no news to it.
async fn read<S, T>(
    mut connection: Connection<S, T>,
    notified: Arc<AtomicBool>,
    own: Arc<std::sync::atomic::AtomicI32>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(told)) if told.process_id() == own.load(Ordering::Relaxed) => {}
            Ok(AsyncMessage::Notification(_)) => notified.store(true, Ordering::Relaxed),
            Ok(AsyncMessage::Notice(notice)) => tracing::debug!(%notice, "the store's server says"),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the connection to the store's server ended");
                return;
            }
        }
    }
}

pub(super) fn first_column(message: &SimpleQueryMessage) -> Option<&str> {
    if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None }
}

fn time_in(answer: &[SimpleQueryMessage]) -> Result<StoreTime, StoreError> {
    let text = answer.iter().find_map(first_column).unwrap_or_default();
    let parsed = text.parse().map(StoreTime);
    parsed.map_err(|_| StoreError::Corrupt { what: "the server's time", value: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use vmpulse_test_postgres::Server;

    use super::*;

    fn sessions() -> Option<(Server, Session, Session)> {
        let mut server = match Server::start() {
            Ok(server) => server,
            Err(reason) if reason.starts_with("SKIPPED") => {
                eprintln!("{reason}");
                return None;
            }
            Err(reason) => panic!("{reason}"),
        };
        let database = server.database();
        server.sql(&database, "ALTER DATABASE store1 SET synchronous_commit = off").unwrap();
        let target = Target::parse(&server.url("postgres", &database)).unwrap();
        let open = || Session::open(&target).unwrap();
        let (one, other) = (open(), open());
        Some((server, one, other))
    }

    fn shown(session: &Session, setting: &str) -> String {
        let answer = session.wait(session.client.simple_query(&format!("SHOW {setting}"))).unwrap();
        answer.iter().find_map(first_column).unwrap().to_owned()
    }

    #[test]
    fn who_freezes_within_a_transaction_holds_nobody_up_for_long() {
        let Some((_server, frozen, other)) = sessions() else { return };
        frozen.begin(Access::Write).unwrap();
        other.begin(Access::Write).unwrap();
        other.commit(Access::Write).unwrap();
        assert!(frozen.commit(Access::Write).is_err());
        assert!(!frozen.usable());
        assert!(other.usable());
    }

    #[test]
    fn settings_of_a_session() {
        let Some((_server, session, _)) = sessions() else { return };
        assert_eq!(shown(&session, "synchronous_commit"), "on", "whatever the database says");
        assert_eq!(shown(&session, "statement_timeout"), "5s");
        assert_eq!(shown(&session, "idle_in_transaction_session_timeout"), "2500ms");
        assert_eq!(shown(&session, "search_path"), "vmpulse");
        let slow = session.wait(session.client.batch_execute("SELECT pg_sleep(60)")).unwrap_err();
        assert!(matches!(slow, StoreError::Backend(_)), "the server ended it: {slow:?}");
        assert!(session.usable());
    }
}
