//! The health store: the record between host monitors and controllers.
//!
//! Host monitors write edges here, controllers poll. One schema, one trait ([`Store`]), back ends chosen by URL
//! ([`open`]): SQLite, and PostgreSQL. Every user owns a connection of its own and calls it from a thread that may wait:
//! no core ever calls the store.
//!
//! Times are the store's own clock ([`StoreTime`], UTC, microseconds). Writers send ages measured on their
//! monotonic clock, the store writes now minus age, and every poll returns the store's now.

mod clock;
mod error;
mod mode;
#[macro_use]
mod model;
mod monitor_settings;
mod node_events;
#[cfg(test)]
mod old_rows;
mod postgres;
mod queries;
mod quiet;
pub mod report;
mod retention;
mod roster;
mod sql;
mod sqlite;
mod statements;
mod text_form;
mod transaction;
mod write;

pub use clock::{FixedClock, StoreClock, StoreTime, SystemClock};
pub use error::{BackendError, StoreError};
pub use mode::ModeNews;
pub use model::*;
pub use monitor_settings::*;
pub use node_events::{
    NODE_EVENT_KINDS, NODE_EVENTS_LIMIT, NodeEventRecord, NodeEventsWanted, Since, SinceError,
};
pub use postgres::{PostgresStore, Target};
pub use queries::*;
pub use quiet::{
    QUIET_BUDGET, QUIET_LEAST_COST, QUIET_WINDOW, Quiet, QuietAnswer, QuietChange, QuietNews, QuietView,
};
pub use report::ReportContent;
pub use retention::{PRUNE_MAXIMUM, Pruned, Retention};
pub use roster::*;
pub use sqlite::SqliteStore;
pub use statements::statements;
pub use transaction::*;
pub use write::*;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

/// Where the store is when nobody says otherwise.
pub const DEFAULT_URL: &str = "sqlite:///var/lib/vmpulse/health.db";

/// Opens (and migrates) the store at `url`.
///
/// # Errors
/// A URL of another scheme than `sqlite://` and `postgresql://`, a file that cannot be opened, is not ours or is of a newer
/// version, a server that cannot be reached.
pub fn open(url: &str) -> Result<Box<dyn Store>, StoreError> {
    if Target::is_meant(url) {
        return Ok(Box::new(PostgresStore::open(url)?));
    }
    Ok(Box::new(SqliteStore::open(file(url)?, Box::new(SystemClock))?))
}

/// Whether [`open`] understands the URL; nothing is opened, and no file that it names is read.
///
/// # Errors
/// [`StoreError::Url`] and [`StoreError::Access`].
pub fn check_url(url: &str) -> Result<(), StoreError> {
    if Target::is_meant(url) { Target::parse(url).map(drop) } else { file(url).map(drop) }
}

fn file(url: &str) -> Result<&std::path::Path, StoreError> {
    let path = url.strip_prefix("sqlite://").filter(|path| path.starts_with('/'));
    Ok(path.ok_or_else(|| StoreError::Url { url: url.to_owned() })?.as_ref())
}

/// The health store. One implementation per back end; `conformance` in the tests runs on each.
///
/// Every method is one transaction: it happened entirely or not at all.
pub trait Store: Send {
    // ---- any caller -------------------------------------------------------------------------------------

    /// The store's clock.
    fn now(&self) -> Result<StoreTime, StoreError>;

    /// Changes when somebody else has committed to the store since this connection last looked. Cheap. On PostgreSQL the
    /// heartbeats of others do not count, and to a connection through which a host monitor's start was written only what
    /// may change rosters does.
    fn change_stamp(&self) -> Result<u64, StoreError>;

    // ---- registration (passthru, later the controller's discovery) --------------------------------------

    /// Registers hosts with their host monitors. Adding twice is no error; a host monitor named by another
    /// host before moves to this one.
    fn hosts_add(&mut self, hosts: &[HostRegistration]) -> Result<(), StoreError>;

    /// Registers VMs on a host, in state ADDED. A VM already there keeps its state; one known on another host
    /// is refused as [`StoreError::Elsewhere`]; a tombstone is lifted.
    fn vms_add(&mut self, host: &HostKey, vms: &[VmRegistration]) -> Result<(), StoreError>;

    /// Starts monitoring: ADDED, STOPPED or SUSPENDED-by-shutdown become STARTING; a transaction row per host
    /// monitor of the host tells each. Returns their tags. Starting a VM that is STARTING or STARTED is no error
    /// and changes nothing. Unknown VMs are refused, all or none.
    fn vms_start(&mut self, vms: &[VmUuid]) -> Result<Vec<TransactionTag>, StoreError>;

    /// The same; a VM that is not registered on the host that its list names is refused as
    /// [`StoreError::Elsewhere`], all or none. STOPPING becomes STARTING too, and the stop's transactions are replaced.
    fn vms_start_listed(&mut self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError>;

    /// Stops monitoring: STARTING, STARTED and SUSPENDED become STOPPING, and STOPPED once every host monitor that has
    /// to do with the VM has answered. One that is not UP or not responsive is not waited for, nor is any for longer
    /// than 10 minutes. From the first moment on its paths are of no account, and a suspension is over. Others stay as
    /// they are. Returns the tags of the requests; unknown VMs are refused, all or none.
    fn vms_stop(&mut self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError>;

    /// Removes VMs, and leaves a tombstone of each: a monitored one is REMOVING first, until its host monitors have
    /// answered as in [`Self::vms_stop`]. While there is a tombstone the guest is not reported as UNMANAGED.
    fn vms_remove(&mut self, lists: &[VmList]) -> Result<VmsRemoved, StoreError>;

    /// As [`Self::hosts_add`], with host groups.
    fn hosts_add_grouped(&mut self, hosts: &[GroupedHost]) -> Result<(), StoreError>;

    /// Removes hosts: their host monitors are REMOVED, their VMs tombstones at once. Returns those that are not
    /// registered, which are skipped.
    fn hosts_remove(&mut self, hosts: &[HostKey]) -> Result<Vec<HostKey>, StoreError>;

    /// Removes every host of a group as [`Self::hosts_remove`] does. Returns which they were; a group without hosts is
    /// refused as [`StoreError::UnknownHostGroup`].
    fn host_group_remove(&mut self, group: &str) -> Result<Vec<HostKey>, StoreError>;

    /// As [`Self::hosts_add`], for hosts that are registered already.
    fn host_monitors_add(&mut self, hosts: &[HostRegistration]) -> Result<(), StoreError>;

    /// Takes host monitors out: REMOVED, without paths, not waited for. One that still runs, or is started again, has an
    /// empty roster, and what it writes is ignored but for its signs of life, until it is registered again. Returns
    /// those that are not known, which are skipped.
    fn host_monitors_remove(&mut self, monitors: &[HostMonitorId]) -> Result<Vec<HostMonitorId>, StoreError>;

    /// Changes settings of host monitors; they learn of it through their rosters. Returns the new settings' version.
    fn host_monitors_configure(
        &mut self,
        scope: &SettingsScope,
        change: &SettingsChange,
    ) -> Result<i64, StoreError>;

    /// The protocol versions of the whole system.
    fn protocol_versions(&mut self) -> Result<ProtocolVersions, StoreError>;

    /// What became of requests about VMs, oldest first. The newest [`MAX_TRANSACTIONS`] are kept.
    fn transactions(&mut self, wanted: &TransactionsWanted) -> Result<Vec<Transaction>, StoreError>;

    // ---- polling ----------------------------------------------------------------------------------------

    /// Every host with its host monitors, ordered by host key and host monitor uuid.
    fn quick_query(&mut self) -> Result<QuickQuery, StoreError>;

    /// Host monitors that started before anybody registered them with a host: they have no VMs, and wait for
    /// [`Self::hosts_add`] to adopt them.
    fn host_monitors_unassigned(&mut self) -> Result<Vec<HostMonitorStatus>, StoreError>;

    /// Every VM that needs attention, grouped by host: an entry per host that has monitored VMs, empty when all
    /// is well. When something in it can be acknowledged the answer carries a tag. It writes nothing, and a tag
    /// never expires.
    fn needs_attention(&mut self) -> Result<NeedsAttention, StoreError>;

    /// The same of one host only. Its tag acknowledges nothing of other hosts.
    fn needs_attention_of(&mut self, host: &HostKey) -> Result<NeedsAttention, StoreError>;

    /// What was reported under this tag is not reported again, unless it changed since. Returns whether the
    /// tag was known; acknowledging twice is no error.
    fn acknowledge(&mut self, tag: AttentionTag) -> Result<bool, StoreError>;

    // ---- views for people (hamgr, hmmgr) ----------------------------------------------------------------

    /// Every VM with its paths, ordered by name then uuid.
    fn vms(&mut self) -> Result<Vec<VmView>, StoreError>;

    /// Every application of every VM as last reported, ordered by VM name, then application name.
    fn applications(&mut self) -> Result<Vec<ApplicationView>, StoreError>;

    /// The newest node events and conflicts that are `wanted`, oldest of them first, acknowledged or not. Nothing is
    /// acknowledged by it.
    fn node_events(&mut self, wanted: &NodeEventsWanted) -> Result<Vec<NodeEventRecord>, StoreError>;

    // ---- questions of people and scripts (passthru) ------------------------------------------------------

    /// Node events that nobody acknowledged, of all host monitors or of one: the oldest `limit`, at most
    /// [`ANSWER_LIMIT`]. [`Self::acknowledge`] of its tag clears exactly those.
    fn node_data(&mut self, of: Option<HostMonitorId>, limit: u32) -> Result<NodeData, StoreError>;

    /// Conflicts that nobody acknowledged: the oldest `limit`, at most [`ANSWER_LIMIT`].
    fn conflicts(&mut self, limit: u32) -> Result<Conflicts, StoreError>;

    /// VMs with all that is known of them, page by page.
    fn vms_page(&mut self, wanted: &VmsWanted) -> Result<VmPage, StoreError>;

    /// Which hosts have these VMs, ordered by host key and UUID. Those that are not registered are left out.
    fn vm_homes(&mut self, vms: &[VmUuid]) -> Result<Vec<VmHome>, StoreError>;

    /// Says whether the VM is kept from running: shown as `isFenced` until it is not.
    fn vm_fence(&mut self, vm: VmUuid, fenced: bool) -> Result<(), StoreError>;

    // ---- settings ---------------------------------------------------------------------------------------

    /// The system's settings.
    fn system_settings(&mut self) -> Result<SystemSettings, StoreError>;

    /// Replaces the system's settings.
    fn system_settings_replace(&mut self, settings: &SystemSettings) -> Result<(), StoreError>;

    /// Replaces the settings of one VM; the host monitors of its host are told when its interval changes. Values
    /// outside their ranges are refused ([`StoreError::OutOfRange`]); a detection time is held against three
    /// intervals only if the VM has an interval of its own: the host monitors' default is not known here.
    fn vm_settings_replace(&mut self, vm: VmUuid, settings: &VmSettings) -> Result<(), StoreError>;

    // ---- application reports: the controller's side -----------------------------------------------------

    /// Asks for the VM's report (PUT_MSG), and acknowledges its doorbell as reported under `acknowledge`, in
    /// one transaction. A request of the VM not answered yet is replaced. The request goes to the host
    /// monitor of its most recently heard path. Returns the request's tag; `None` if no counted and known path is
    /// without a silence.
    fn report_request(
        &mut self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageTag>, StoreError>;

    /// The same, with what is known of the new exchange.
    fn message_put(
        &mut self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageView>, StoreError>;

    /// Exchanges that are open, page by page (QUERY_MSG).
    fn messages(&mut self, wanted: &MessagesWanted) -> Result<MessagePage, StoreError>;

    /// An exchange, and its report while it waits to be taken (GET_MSG).
    fn message(&mut self, tag: MessageTag) -> Result<Option<Message>, StoreError>;

    /// What was asked of this host monitor, or of all, and is not answered is asked again, by whichever path is the best
    /// now; what was taken is said again (SYNC_MSG). The oldest [`ANSWER_LIMIT`]. Returns the tags of the requests.
    fn messages_sync(&mut self, of: Option<HostMonitorId>) -> Result<Vec<TransactionTag>, StoreError>;

    /// Ends every exchange of these VMs, or of all (REMOVE_ALL_MSG). Returns how many there were. What was applied stays.
    fn messages_remove(&mut self, of: Option<&[VmUuid]>) -> Result<u64, StoreError>;

    /// The reports that arrived and were not taken yet (QUERY_MSG and GET_MSG), oldest first.
    fn reports_arrived(&mut self) -> Result<Vec<ArrivedReport>, StoreError>;

    /// Requests still waiting for their report, oldest first.
    fn reports_pending(&mut self) -> Result<Vec<PendingReport>, StoreError>;

    /// The controller has the report (ACK_MSG), and the host monitor is asked to send GMSG. The applications' rows of the
    /// VM become exactly those of `content`, unless a newer report was applied before; `None`: it cannot be read, and
    /// they stay. A report is newer if its agent's incarnation shook hands later, or is the same and its number higher.
    /// Returns whether it was applied.
    fn report_apply(
        &mut self,
        report: &ArrivedReport,
        content: Option<&ReportContent>,
    ) -> Result<bool, StoreError>;

    // ---- the controller's findings ----------------------------------------------------------------------

    /// Records an event once per incident key. Returns whether it is new.
    fn event_append(&mut self, event: &NewEvent) -> Result<bool, StoreError>;

    /// Closes an incident: its key may be used again. The event itself stays.
    fn incident_close(&mut self, incident: &str) -> Result<(), StoreError>;

    /// The newest `limit` events, oldest of them first.
    fn events(&mut self, limit: u32) -> Result<Vec<EventRecord>, StoreError>;

    /// Announced silences that began, ended or were refused, and of which nobody was told yet; oldest first.
    fn quiet_news(&mut self) -> Result<Vec<QuietNews>, StoreError>;

    /// Records `event` for `news`, closed at once, in the transaction that marks it as told: exactly once, however
    /// often it is called. Returns whether it is new.
    fn quiet_tell(&mut self, news: &QuietNews, event: &NewEvent) -> Result<bool, StoreError>;

    /// Changes of host monitors' modes that nobody was told of yet; oldest first.
    fn mode_news(&mut self) -> Result<Vec<ModeNews>, StoreError>;

    /// Records `event` for `news`, closed at once, in the transaction that marks it as told: exactly once, however
    /// often it is called. Returns whether it is new.
    fn mode_tell(&mut self, news: &ModeNews, event: &NewEvent) -> Result<bool, StoreError>;

    /// What the controller says of a VM, shown as Restart_phase.
    fn vm_phase_replace(&mut self, vm: VmUuid, phase: &str) -> Result<(), StoreError>;

    /// The controller's own heartbeat, shown by `hamgr query system`.
    fn controller_heartbeat(&mut self, controller: &ControllerHeartbeat) -> Result<(), StoreError>;

    /// The last heartbeat of each controller with its age.
    fn controllers(&mut self) -> Result<Vec<ControllerView>, StoreError>;

    /// Removes at most `most` rows that are older than `keep` says, oldest first. In small steps, so that writers need
    /// not wait: [`PRUNE_MAXIMUM`], again while there is more. Nobody is told that something changed.
    fn prune(&mut self, keep: &Retention, most: u32) -> Result<Pruned, StoreError>;

    // ---- the host monitor's side ------------------------------------------------------------------------

    /// Applies a host monitor's writes in order, in one transaction, and returns what the guests are to be answered. A host monitor that is not registered gets a
    /// row without a host ([`Self::host_monitors_unassigned`]); writes about unregistered VMs are ignored, but for
    /// what makes them discovered.
    ///
    /// A connection through which a start was written writes for that start only: once another process has started
    /// under the same UUID, everything of this one is refused as [`StoreError::Superseded`].
    fn host_monitor_apply(
        &mut self,
        host_monitor: HostMonitorId,
        writes: &[HostMonitorWrite],
    ) -> Result<Applied, StoreError>;

    /// The same for what several starts of a host monitor wrote, the oldest first and the present one last, in one
    /// transaction. Writes are numbered from each start on, growing: what is not above the highest number applied since that
    /// start was applied, and is not applied again. So a batch whose commit was not answered is given again, with or
    /// without what came since. The store knows the last start that it heard of, and the highest number of it: what earlier starts
    /// wrote, and that one up to there, was applied. So whoever gives writes of an earlier start must name every
    /// later start that may have been heard of, also if it has nothing of it.
    fn host_monitor_replay(
        &mut self,
        host_monitor: HostMonitorId,
        starts: &[StartWrites],
    ) -> Result<Applied, StoreError>;

    /// What this host monitor is to do: the VMs of its host, its paths as the store knows them, and open
    /// requests to it of the last 10 minutes. Also VMs of other hosts with a counted path here, so that a restarted host
    /// monitor expects them.
    fn roster(&mut self, host_monitor: HostMonitorId) -> Result<Roster, StoreError>;

    /// What each of `guests` is, in their order: guests that shook hands with this host monitor and are not in its
    /// roster. A guest of another host is MOVED, not unknown. The cost follows their number, not the fleet's.
    fn standings(
        &mut self,
        host_monitor: HostMonitorId,
        guests: &[VmUuid],
    ) -> Result<Vec<(VmUuid, Standing)>, StoreError>;
}
