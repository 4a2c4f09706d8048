//! What the store refuses.

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

/// What a back end said.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request to the store failed. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no back end.
    #[error(
        "store URL {url:?} is not understood: write sqlite:///absolute/path or postgresql://user@server/database"
    )]
    Url {
        /// As given.
        url: String,
    },
    /// The file cannot be opened or created.
    #[error("cannot open the store {path:?}: check that its folder exists and may be written")]
    Open {
        /// Which file.
        path: std::path::PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is something else.
    #[error("{path:?} is not a health store, and is left as it is: name another file")]
    NotAStore {
        /// Which file.
        path: std::path::PathBuf,
    },
    /// The file was written by a newer version.
    #[error("the store has schema version {found}, this program knows up to {known}: upgrade this program")]
    TooNew {
        /// The file's version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A host that is not registered.
    #[error("host {0} is not registered: register it with VIO_HS_ADD_MS")]
    UnknownHost(String),
    /// A VM that is not registered.
    #[error("VM {0} is not registered: register it with VIO_HS_ADD_VM")]
    UnknownVm(VmUuid),
    /// A host monitor that is not registered.
    #[error("host monitor {0} is not registered: register it with VIO_HS_ADD_MS")]
    UnknownHostMonitor(HostMonitorId),
    /// A host group that no host is in.
    #[error("no host is in host group {0:?}: give it to one with VIO_HS_ADD_MS")]
    UnknownHostGroup(String),
    /// An hsTag that this store never gave out.
    #[error("hsTag {0} was never given out by this store: take it from an answer")]
    UnknownTag(i64),
    /// More hosts or host monitors were ever registered than an hsTag has room for.
    #[error(
        "host or host monitor number {0} has no room in an hsTag: ask about all of them at once, or begin a new store and \
         register them there"
    )]
    TagRoom(i64),
    /// A VM that belongs to another host.
    #[error("VM {vm} is registered on host {host}: remove it there first")]
    Elsewhere {
        /// Which VM.
        vm: VmUuid,
        /// The host that has it.
        host: String,
    },
    /// A setting outside its range.
    #[error("{what} of {value} {unit} is refused: it must be {allowed}")]
    OutOfRange {
        /// Which setting.
        what: &'static str,
        /// As given.
        value: u32,
        /// Of the value.
        unit: &'static str,
        /// What is accepted.
        allowed: String,
    },
    /// Another process has started under the same host monitor UUID since.
    #[error(
        "another process has started as host monitor {0} since: nothing of this one is written any more. \
         Give each host monitor a UUID of its own, and restart this one"
    )]
    Superseded(HostMonitorId),
    /// The back end failed (locked for too long, disk full, corrupt).
    #[error("the store failed")]
    Backend(#[source] BackendError),
    /// The URL, or a file that it names, does not let us in.
    #[error("the store's URL cannot be used: {problem}")]
    Access {
        /// What is wrong, and what to write.
        problem: String,
    },
    /// The server cannot be reached, or refuses.
    #[error("cannot connect to the store at {server}: check that its server runs and lets this user in")]
    Connect {
        /// Hosts and database.
        server: String,
        /// What it said.
        source: BackendError,
    },
    /// The server did not answer in time.
    #[error("the store at {server} did not answer within {seconds} s")]
    Slow {
        /// Hosts and database.
        server: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The schema is of an older version, and this user may not bring it up to date.
    #[error(
        "the store at {server} is not of schema version {known}, and this user may not change that: let its owner \
         run any command on it once (docs/operating/postgresql.md)"
    )]
    Outdated {
        /// Hosts and database.
        server: String,
        /// The version that this program needs.
        known: u32,
        /// What the server refused.
        source: BackendError,
    },
    /// The schema was brought up to date, and the roles were not.
    #[error(
        "this user may not write {columns} of the store at {server}, which a later schema brought: run \
         packaging/postgresql/roles.sql again, and row-level-security.sql if it is used (docs/operating/postgresql.md)"
    )]
    Grants {
        /// Hosts and database.
        server: String,
        /// As `vm.suspension_at, vm.suspension_by`.
        columns: String,
    },
    /// A row that does not read back.
    #[error("the store holds {what} that cannot be read: {value:?}")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Backend(error.into())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Backend(error.into())
    }
}
