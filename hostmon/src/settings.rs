//! `hostmon.toml`, read by the daemon and by `hmmgr`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use vmpulse_local::keys::deserialize_mode;
use vmpulse_local::recorder::RecorderSettings;
pub use vmpulse_local::settings::SettingsError;
use vmpulse_local::settings::{self, Checked, Fault};
use vmpulse_protocol::auth::Mode;
use vmpulse_protocol::id::HostMonitorId;

/// Where the settings are looked for when neither `--settings` nor [`SETTINGS_VARIABLE`] names a file.
pub const DEFAULT_SETTINGS: &str = "/etc/vmpulse/hostmon.toml";

/// Environment variable that names the settings file, for the daemon and for `hmmgr`.
pub const SETTINGS_VARIABLE: &str = "VMPULSE_HOSTMON_SETTINGS";

/// Smallest EtherType; lower values are lengths of IEEE 802.3 frames.
const MIN_ETHERTYPE: u16 = 0x0600;

/// EtherTypes that would take frames from the host's own traffic: IPv4, ARP, VLAN tag, IPv6.
const RESERVED_ETHERTYPES: [u16; 4] = [0x0800, 0x0806, 0x8100, 0x86DD];

/// Highest VLAN id of IEEE 802.1Q.
const MAX_VLAN: u16 = 4094;

/// Longest adapter name: IFNAMSIZ without its final zero.
const MAX_ADAPTER_NAME: usize = 15;

/// What the protocol allows for a heartbeat interval, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// Longest announced silence: from none at all to all that a guest is granted in an hour.
const QUIET_MAX_MS: std::ops::RangeInclusive<u32> = 0..=600_000;

/// Priorities of SCHED_FIFO; 0: none.
const REALTIME_PRIORITY: std::ops::RangeInclusive<u8> = 0..=99;

/// From a few hundred frames to more than the largest trunk sends while a host is stopped for a minute.
const RECEIVE_BUFFER_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=256 * 1024 * 1024;

/// How frames come from the kernel; docs/performance.md has what each costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// In memory shared with the kernel.
    Ring,
    /// Many with one system call.
    Batched,
    /// One with each system call.
    Plain,
}

/// Which canary the trunk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canary {
    /// One on the guests' side of the trunk, as `hmmgr trunk create` made it.
    Auto,
    /// One on this adapter.
    On(String),
    /// None.
    Off,
}

/// The settings, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The trunk adapter; empty only where no daemon is meant (see [`Settings::load_for_daemon`]).
    pub trunk: String,
    /// This host monitor; `None`: kept in [`Settings::uuid_path`].
    #[serde(deserialize_with = "uuid_or_empty")]
    pub uuid: Option<HostMonitorId>,
    /// URL of the health store.
    pub store: String,
    /// Directory of socket and lock.
    pub run_dir: PathBuf,
    /// Directory of what must outlive a restart.
    pub state_dir: PathBuf,
    /// EtherType of the heartbeats.
    pub ethertype: u16,
    /// VLAN id; 0 means tagged and untagged are accepted and answered in kind.
    pub vlan: u16,
    /// Interval of guests' heartbeats where a VM has none of its own.
    pub heartbeat_interval_ms: u32,
    /// Longest silence that a guest may announce at once; 0: none.
    pub quiet_max_ms: u32,
    /// Interval of this host monitor's own heartbeat to the store.
    pub store_heartbeat_interval_ms: u32,
    /// Receive buffer of the trunk's socket.
    pub receive_buffer_bytes: usize,
    /// How frames come from the kernel.
    pub receive: Receive,
    /// Of the trunk's thread: SCHED_FIFO with this priority; 0: none.
    pub realtime_priority: u8,
    /// Whether the daemon's memory is locked.
    pub lock_memory: bool,
    /// Network namespace that the trunk's rules are in; empty: the daemon's own.
    pub policing_netns: PathBuf,
    /// The trunk's canary.
    #[serde(deserialize_with = "canary")]
    pub canary: Canary,
    /// Log level.
    pub log: String,
    /// What is offered to and demanded of the guests.
    #[serde(deserialize_with = "deserialize_mode")]
    pub authentication: Mode,
    /// Directory of the VMs' key files.
    pub key_dir: PathBuf,
    /// Address and port of the status endpoint; empty: on its Unix socket only.
    pub status_listen: String,
    /// Its certificate, with those in between up to its authority.
    pub status_cert: PathBuf,
    /// The certificate's key.
    pub status_key: PathBuf,
    /// The authorities whose certificates clients must have.
    pub status_client_ca: PathBuf,
    /// What happens is kept in a file.
    pub recorder: RecorderSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trunk: String::new(),
            uuid: None,
            store: vmpulse_store::DEFAULT_URL.to_owned(),
            run_dir: PathBuf::from("/run/vmpulse"),
            state_dir: PathBuf::from("/var/lib/vmpulse"),
            ethertype: 0x88B5,
            vlan: 0,
            heartbeat_interval_ms: 10_000,
            quiet_max_ms: 300_000,
            store_heartbeat_interval_ms: 30_000,
            receive_buffer_bytes: 8 * 1024 * 1024,
            receive: Receive::Ring,
            realtime_priority: 0,
            lock_memory: false,
            policing_netns: PathBuf::new(),
            canary: Canary::Auto,
            log: "info".to_owned(),
            authentication: Mode::Optional,
            key_dir: PathBuf::from("/etc/vmpulse/keys"),
            status_listen: String::new(),
            status_cert: PathBuf::new(),
            status_key: PathBuf::new(),
            status_client_ca: PathBuf::new(),
            recorder: RecorderSettings::default(),
        }
    }
}

impl Settings {
    /// For `hmmgr`: reads the file that `named` (an option), else `variable` (the environment) names, else the
    /// default one. Only the default one may be missing, and no trunk need be named.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(named: Option<&Path>, variable: Option<&Path>) -> Result<Self, SettingsError> {
        settings::load(named, variable, Path::new(DEFAULT_SETTINGS))
    }

    /// For the daemon: the file must be there and name the trunk.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load_for_daemon(named: Option<&Path>, variable: Option<&Path>) -> Result<Self, SettingsError> {
        let path = named.or(variable).unwrap_or(Path::new(DEFAULT_SETTINGS));
        let settings: Self = settings::read(path)?;
        if settings.trunk.is_empty() {
            let problem = "name the trunk adapter, as trunk = \"eth1\"".to_owned();
            return Err(SettingsError::Invalid { path: path.to_owned(), key: "trunk", problem });
        }
        Ok(settings)
    }

    /// Checks `text`; `path` is for the error.
    ///
    /// # Errors
    /// [`SettingsError::Parse`] and [`SettingsError::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        settings::parse(text, path)
    }

    /// The name becomes part of file names.
    fn trunk_fault(&self) -> Option<Fault> {
        adapter_fault("trunk", &self.trunk)
    }

    fn canary_fault(&self) -> Option<Fault> {
        match &self.canary {
            Canary::Auto | Canary::Off => None,
            Canary::On(adapter) if adapter.is_empty() || adapter.starts_with('-') => {
                Some(("canary", format!("{adapter:?} is no adapter name; say \"auto\", \"off\" or one")))
            }
            Canary::On(adapter) => adapter_fault("canary", adapter),
        }
    }

    fn wire_fault(&self) -> Option<Fault> {
        let (ethertype, vlan, buffer) = (self.ethertype, self.vlan, self.receive_buffer_bytes);
        if ethertype < MIN_ETHERTYPE || RESERVED_ETHERTYPES.contains(&ethertype) {
            let problem =
                format!("{ethertype:#06x} is taken; use one of 0x88B5 and 0x88B6 (local experiments)");
            return Some(("ethertype", problem));
        }
        if vlan > MAX_VLAN {
            return Some(("vlan", format!("{vlan} is not in 0 to {MAX_VLAN}")));
        }
        let (least, most) = (RECEIVE_BUFFER_BYTES.start(), RECEIVE_BUFFER_BYTES.end());
        (!RECEIVE_BUFFER_BYTES.contains(&buffer))
            .then(|| ("receive_buffer_bytes", format!("{buffer} is not in {least} to {most}")))
    }

    fn priority_fault(&self) -> Option<Fault> {
        let (priority, least, most) =
            (self.realtime_priority, REALTIME_PRIORITY.start(), REALTIME_PRIORITY.end());
        (!REALTIME_PRIORITY.contains(&priority))
            .then(|| ("realtime_priority", format!("{priority} is not in {least} to {most}")))
    }

    fn place_fault(&self) -> Option<Fault> {
        if let Err(error) = vmpulse_store::check_url(&self.store) {
            return Some(("store", error.to_string()));
        }
        let netns = &self.policing_netns;
        let netns = (!netns.as_os_str().is_empty()).then_some(("policing_netns", netns));
        let places = [("run_dir", &self.run_dir), ("state_dir", &self.state_dir), ("key_dir", &self.key_dir)];
        let (key, path) = places.into_iter().chain(netns).find(|(_, path)| !path.is_absolute())?;
        Some((key, format!("{:?} is not an absolute path", path.display().to_string())))
    }

    /// The daemon's command socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.run_dir.join(format!("hostmon-{}.sock", self.trunk))
    }

    /// The lock against a second daemon on the trunk.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.run_dir.join(format!("hostmon-{}.lock", self.trunk))
    }

    /// Where the host monitor's UUID is kept when the settings have none.
    #[must_use]
    pub fn uuid_path(&self) -> PathBuf {
        self.state_dir.join(format!("{}.uuid", self.trunk))
    }

    /// Where it is kept what the store does not have yet.
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        self.state_dir.join(format!("{}.spool", self.trunk))
    }

    /// Where the copy of the roster is kept, for a start while the store is away.
    #[must_use]
    pub fn roster_path(&self) -> PathBuf {
        self.state_dir.join(format!("{}.roster", self.trunk))
    }

    /// Where it is kept which VMs were authenticated, and must be from then on.
    #[must_use]
    pub fn marks_dir(&self) -> PathBuf {
        self.state_dir.join("authenticated")
    }

    /// The VLAN that is demanded, if one is.
    #[must_use]
    pub fn vlan_id(&self) -> Option<u16> {
        (self.vlan != 0).then_some(self.vlan)
    }

    /// Network namespace that the trunk's rules are in, if it is not the daemon's own.
    #[must_use]
    pub fn policing_netns(&self) -> Option<PathBuf> {
        (!self.policing_netns.as_os_str().is_empty()).then(|| self.policing_netns.clone())
    }

    /// Interval of guests' heartbeats where a VM has none of its own.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms.into())
    }

    /// Longest silence that a guest may announce at once.
    #[must_use]
    pub fn quiet_max(&self) -> Duration {
        Duration::from_millis(self.quiet_max_ms.into())
    }

    /// Interval of this host monitor's own heartbeat to the store.
    #[must_use]
    pub fn store_heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.store_heartbeat_interval_ms.into())
    }
}

fn adapter_fault(key: &'static str, name: &str) -> Option<Fault> {
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    let wrong = name.len() > MAX_ADAPTER_NAME || name.contains(bad) || name == "." || name == "..";
    wrong.then(|| (key, format!("{name:?} is no adapter name (1 to {MAX_ADAPTER_NAME} characters)")))
}

fn canary<'de, D: Deserializer<'de>>(from: D) -> Result<Canary, D::Error> {
    let text = String::deserialize(from)?;
    Ok(match text.as_str() {
        "auto" => Canary::Auto,
        "off" => Canary::Off,
        _ => Canary::On(text),
    })
}

fn uuid_or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HostMonitorId>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

fn within(key: &'static str, value: u32, allowed: &std::ops::RangeInclusive<u32>) -> Option<Fault> {
    let problem = || format!("{value} is not in {} to {}", allowed.start(), allowed.end());
    (!allowed.contains(&value)).then(|| (key, problem()))
}

impl Checked for Settings {
    fn first_fault(&self) -> Option<Fault> {
        let interval = |key, value: u32| within(key, value, &INTERVAL_MS);
        self.trunk_fault()
            .or_else(|| self.canary_fault())
            .or_else(|| self.wire_fault())
            .or_else(|| interval("heartbeat_interval_ms", self.heartbeat_interval_ms))
            .or_else(|| interval("store_heartbeat_interval_ms", self.store_heartbeat_interval_ms))
            .or_else(|| within("quiet_max_ms", self.quiet_max_ms, &QUIET_MAX_MS))
            .or_else(|| self.priority_fault())
            .or_else(|| self.place_fault())
            .or_else(|| endpoint::fault(self))
            .or_else(|| self.recorder.fault())
    }
}

mod endpoint;
#[cfg(test)]
mod tests;
