//! What a running host monitor says of itself on its command socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmpulse_store::{MonitorMode, SuspendReason};

use crate::policing::PolicingStatus;

/// A request on the command socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum CommandRequest {
    /// Answered with [`Status`].
    Status,
    /// Read the keys anew. Answered with [`KeysLoaded`]. Root only.
    LoadKeys,
    /// Do not demand any more that this VM is authenticated, and read the keys anew. Answered with [`KeysLoaded`]. Root
    /// only.
    RelaxKey {
        /// Its UUID.
        vm: String,
    },
}

/// The answer to [`CommandRequest::LoadKeys`]: they are in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysLoaded {
    /// The host monitor's trunk adapter.
    pub trunk: String,
    /// Its mode of authentication.
    pub authentication: String,
    /// Where it reads keys.
    pub key_dir: String,
    /// VMs that have keys.
    pub vms: usize,
    /// What cannot be used.
    pub problems: Vec<String>,
}

/// The answer to [`CommandRequest::Status`]. `P`: a path; whoever answers may have it in a form that takes less memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status<P = PathStatus> {
    /// Its trunk adapter.
    pub trunk: String,
    /// Whether it can hear it: the adapter is up and not too much is lost. Otherwise its paths are unknown.
    pub trunk_heard: bool,
    /// Whether it says that it is isolated: its adapter is down, or its canary is silent.
    #[serde(default)]
    pub isolated: bool,
    /// The trunk's canary.
    #[serde(default)]
    pub canary: CanaryStatus,
    /// The host monitor.
    pub uuid: String,
    /// MAC address of the trunk adapter; empty while there is none.
    pub mac: String,
    /// Process id.
    pub pid: u32,
    /// How it works.
    pub mode: MonitorMode,
    /// Since when it is LOCAL, RFC 3339.
    #[serde(default)]
    pub mode_since: Option<String>,
    /// Why it is.
    #[serde(default)]
    pub mode_reason: Option<String>,
    /// This start, as its Hello says it.
    pub incarnation: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// URL of its store.
    pub store: String,
    /// Whether its writes reach the store.
    pub store_ok: bool,
    /// Writes that wait for the store, those in the spool's file included.
    pub pending_writes: u64,
    /// Of them in the spool's file.
    pub spool: u64,
    /// Length of the spool's file.
    #[serde(default)]
    pub spool_bytes: u64,
    /// Why the spool's file cannot be written, if it cannot.
    #[serde(default)]
    pub spool_error: Option<String>,
    /// Its guests, by VM.
    pub paths: Vec<P>,
    /// Registered VMs that have no open path, by VM.
    #[serde(default)]
    pub without_path: Vec<AbsentStatus>,
    /// Announced silences in force, by VM; also of guests that have no open path now.
    pub quiet: Vec<QuietStatus>,
    /// What it counts, by name.
    pub counters: BTreeMap<String, u64>,
    /// Frames that the kernel dropped because the receive buffer was full.
    pub kernel_drops: u64,
    /// Times its loop was late.
    pub late: u64,
    /// What the kernel drops before it gets here.
    #[serde(default)]
    pub policing: PolicingStatus,
    /// What it works by now.
    #[serde(default)]
    pub settings: SettingsStatus,
    /// Whether it was taken out of the store (VIO_HS_REMOVE_VIOS): what it sees is ignored.
    #[serde(default)]
    pub removed: bool,
    /// What it did at the store.
    #[serde(default)]
    pub store_work: StoreWork,
}

impl<P> Status<P> {
    /// The same with its paths in another form.
    pub fn map_paths<Q>(self, form: impl FnMut(P) -> Q) -> Status<Q> {
        Status {
            paths: self.paths.into_iter().map(form).collect(),
            trunk: self.trunk,
            trunk_heard: self.trunk_heard,
            uuid: self.uuid,
            mac: self.mac,
            pid: self.pid,
            mode: self.mode,
            mode_since: self.mode_since,
            mode_reason: self.mode_reason,
            incarnation: self.incarnation,
            started: self.started,
            store: self.store,
            store_ok: self.store_ok,
            pending_writes: self.pending_writes,
            spool: self.spool,
            spool_bytes: self.spool_bytes,
            spool_error: self.spool_error,
            without_path: self.without_path,
            quiet: self.quiet,
            counters: self.counters,
            kernel_drops: self.kernel_drops,
            late: self.late,
            policing: self.policing,
            canary: self.canary,
            isolated: self.isolated,
            store_work: self.store_work,
            settings: self.settings,
            removed: self.removed,
        }
    }
}

/// What a host monitor did at its store since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreWork {
    /// Transactions of writes that were committed.
    pub commits: u64,
    /// Times that the store could not be reached.
    pub failures: u64,
    /// Statements given to it.
    pub statements: u64,
    /// Age of the last commit; none before the first.
    pub last_commit_age_ms: Option<u64>,
}

/// The settings that VIO_HS_CONFIGURE_HM changes, as they are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsStatus {
    /// Version of the store's settings; 0: all are its own file's.
    pub version: i64,
    /// Log level.
    pub log_level: String,
    /// Interval of guests' heartbeats where a VM has none of its own.
    pub heartbeat_interval_ms: u32,
    /// Interval of its own heartbeat to the store.
    pub store_heartbeat_interval_ms: u64,
    /// Protocol versions that it accepts in new handshakes.
    pub versions: String,
}

/// The trunk's canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// One word: `beating`, `silent` (the trunk is not trusted), `broken` (it is silent, and the trunk works), `starting`, `off`.
    pub state: String,
    /// Why it is broken or off.
    pub reason: Option<String>,
    /// What it was told to beat at.
    pub interval_ms: Option<u32>,
    /// Age of its last heartbeat; `None` before the first.
    pub last_heartbeat_age_ms: Option<u64>,
    /// Its heartbeats since the start.
    pub heartbeats: u64,
}

impl Default for CanaryStatus {
    /// Switched off.
    fn default() -> Self {
        Self {
            state: "off".to_owned(),
            reason: None,
            interval_ms: None,
            last_heartbeat_age_ms: None,
            heartbeats: 0,
        }
    }
}

/// An announced silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietStatus {
    /// Which VM.
    pub vm: String,
    /// How much longer.
    pub left_ms: u64,
    /// Why, in the guest's words.
    pub reason: String,
}

/// A registered VM without an open path: of this host, or of another one and heard here before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentStatus {
    /// Which VM.
    pub vm: String,
    /// As the host monitor sees it: one word.
    pub state: String,
    /// Why it is suspended, if the store says so: `ADMINISTRATOR`, `DAEMON` or `OS`.
    pub suspended: Option<SuspendReason>,
    /// Since its last heartbeat or, where none was heard, since it was expected here; `None` if it never was.
    pub silent_ms: Option<u64>,
}

/// One guest's path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Which VM.
    pub vm: String,
    /// The guest's MAC address.
    pub mac: String,
    /// As the host monitor sees it: one word.
    pub state: String,
    /// Why its VM is suspended, if the store says so; its silence is nobody's concern then.
    #[serde(default)]
    pub suspended: Option<SuspendReason>,
    /// Running protocol version.
    pub version: String,
    /// Heartbeat interval.
    pub interval_ms: u64,
    /// Age of the last heartbeat; `None` before the first.
    pub last_heartbeat_age_ms: Option<u64>,
    /// Heartbeats of this path since the start.
    pub heartbeats: u64,
    /// Whether what the guest sends is authenticated.
    pub authenticated_in: bool,
    /// Whether what is sent to it is.
    pub authenticated_out: bool,
    /// The key behind that.
    pub key_id: Option<u8>,
    /// Whether the guest's guardian beats, because its agent hangs or died.
    #[serde(default)]
    pub guardian: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_what_scripts_send() {
        let sent = serde_json::to_string(&CommandRequest::Status).unwrap();
        assert_eq!(sent, r#"{"action":"status"}"#);
        let sent = serde_json::to_string(&CommandRequest::LoadKeys).unwrap();
        assert_eq!(sent, r#"{"action":"load_keys"}"#);
        assert!(serde_json::from_str::<CommandRequest>(r#"{"action":"stop"}"#).is_err());
    }
}
