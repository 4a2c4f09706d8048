//! Daemon settings: `agent.toml`, everything the XML file has no attribute for.

mod guardian;
pub mod identity;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vmpulse_local::keys::deserialize_mode;
use vmpulse_local::recorder::RecorderSettings;
pub use vmpulse_local::settings::SettingsError;
use vmpulse_local::settings::{self, Checked, Fault};
use vmpulse_protocol::auth::Mode;

/// Where the settings are looked for when neither `--settings` nor [`SETTINGS_VARIABLE`] names a file.
pub const DEFAULT_SETTINGS: &str = "/etc/vmpulse/agent.toml";

/// Environment variable that names the settings file, for the daemon and for `vmmgr`.
pub const SETTINGS_VARIABLE: &str = "VMPULSE_AGENT_SETTINGS";

/// Most applications that `max_apps` may allow: their report must fit one message of 256 KiB, 1 KiB for each.
const MAX_APPS_LIMIT: usize = 256;

/// Smallest EtherType; lower values are lengths of IEEE 802.3 frames.
const MIN_ETHERTYPE: u16 = 0x0600;

/// EtherTypes that would take frames from the guest's own traffic: IPv4, ARP, VLAN tag, IPv6.
const RESERVED_ETHERTYPES: [u16; 4] = [0x0800, 0x0806, 0x8100, 0x86DD];

/// Highest VLAN id of IEEE 802.1Q.
const MAX_VLAN: u16 = 4094;

/// The settings, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Trunk adapters by name; empty means every Ethernet adapter without an IP address.
    pub adapters: Vec<String>,
    /// EtherType of the heartbeats.
    pub ethertype: u16,
    /// VLAN id; 0 means tagged and untagged are accepted and answered in kind.
    pub vlan: u16,
    /// The VM's UUID; empty means the firmware's.
    pub vm_uuid: String,
    /// The XML file of the applications.
    pub config: PathBuf,
    /// Directory of socket and lock.
    pub run_dir: PathBuf,
    /// Directory of what must outlive a restart of the guest.
    pub state_dir: PathBuf,
    /// Group that may query.
    pub query_group: String,
    /// Log file; empty means standard error.
    pub log_file: PathBuf,
    /// Most applications.
    pub max_apps: usize,
    /// Where health checks are answered over HTTP, as `127.0.0.1:9094`; empty means nowhere.
    pub health_listen: String,
    /// Where OCF resource agents are installed.
    pub ocf_root: PathBuf,
    /// What is offered to and demanded of the host monitors.
    #[serde(deserialize_with = "deserialize_mode")]
    pub authentication: Mode,
    /// The keys of this virtual machine.
    pub key_file: PathBuf,
    /// Whether a second process beats when the daemon hangs or dies.
    pub guardian: bool,
    /// The hardware watchdog that the guardian feeds; empty means none.
    pub watchdog: PathBuf,
    /// After how many seconds without being fed it resets the guest.
    pub watchdog_timeout_s: u32,
    /// The disk that the guardian reads from, or `auto`; empty means that none is.
    pub root_probe: PathBuf,
    /// How many seconds a read may take.
    pub root_probe_timeout_s: u32,
    /// Where daemon and guardian record what happens, if they do.
    pub recorder: RecorderSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            adapters: Vec::new(),
            ethertype: 0x88B5,
            vlan: 0,
            vm_uuid: String::new(),
            config: PathBuf::from("/etc/vmpulse/HAMonitoring.xml"),
            run_dir: PathBuf::from("/run/vmpulse"),
            state_dir: PathBuf::from("/var/lib/vmpulse"),
            query_group: "vmpulse".to_owned(),
            log_file: PathBuf::new(),
            max_apps: 16,
            health_listen: String::new(),
            ocf_root: PathBuf::from("/usr/lib/ocf"),
            authentication: Mode::Optional,
            key_file: PathBuf::from("/etc/vmpulse/agent.key"),
            guardian: true,
            watchdog: PathBuf::new(),
            watchdog_timeout_s: 60,
            root_probe: PathBuf::new(),
            root_probe_timeout_s: 30,
            recorder: RecorderSettings::default(),
        }
    }
}

impl Settings {
    /// Reads the file that `named` (an option), else `variable` (the environment) names, else the default one.
    /// Only the default one may be missing.
    pub fn load(named: Option<&Path>, variable: Option<&Path>) -> Result<Self, SettingsError> {
        settings::load(named, variable, Path::new(DEFAULT_SETTINGS))
    }

    /// Checks `text`; `path` is for the error.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        settings::parse(text, path)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.ethertype < MIN_ETHERTYPE || RESERVED_ETHERTYPES.contains(&self.ethertype) {
            let problem =
                format!("{:#06x} is taken; use one of 0x88B5 and 0x88B6 (local experiments)", self.ethertype);
            return Err(("ethertype", problem));
        }
        if self.vlan > MAX_VLAN {
            return Err(("vlan", format!("{} is not in 0 to {MAX_VLAN}", self.vlan)));
        }
        if self.max_apps == 0 || self.max_apps > MAX_APPS_LIMIT {
            return Err(("max_apps", format!("{} is not in 1 to {MAX_APPS_LIMIT}", self.max_apps)));
        }
        if let Some(name) = self.adapters.iter().find(|name| name.is_empty() || name.len() > 15) {
            return Err(("adapters", format!("\"{name}\" is no adapter name (1 to 15 characters)")));
        }
        if !self.health_listen.is_empty() && self.health_address().is_none() {
            let problem =
                format!("\"{}\" is no ADDRESS:PORT, as 127.0.0.1:9094 or [::1]:9094", self.health_listen);
            return Err(("health_listen", problem));
        }
        self.check_guardian()?;
        self.recorder.fault().map_or(Ok(()), Err)?;
        self.check_paths()
    }

    /// Where health checks are answered, if they are. An address, not a name: names are not looked up.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_listen.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
    }

    fn check_paths(&self) -> Result<(), Fault> {
        for (key, path) in [
            ("config", &self.config),
            ("run_dir", &self.run_dir),
            ("state_dir", &self.state_dir),
            ("log_file", &self.log_file),
            ("key_file", &self.key_file),
            ("ocf_root", &self.ocf_root),
        ] {
            let unused = key == "log_file" && path.as_os_str().is_empty();
            if !unused && !path.is_absolute() {
                return Err((key, format!("\"{}\" is not an absolute path", path.display())));
            }
        }
        Ok(())
    }

    /// The command socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// The lock against a second daemon.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("agent.lock")
    }

    /// The VLAN that is demanded, if one is.
    #[must_use]
    pub fn vlan_id(&self) -> Option<u16> {
        (self.vlan != 0).then_some(self.vlan)
    }

    /// The group that may query, if one is named.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        (!self.query_group.is_empty()).then_some(self.query_group.as_str())
    }
}

/// Where settings were read from, for reading them again.
#[derive(Clone, Debug, Default)]
pub struct SettingsSource {
    /// Named by an option.
    pub named: Option<PathBuf>,
    /// Named by the environment.
    pub variable: Option<PathBuf>,
}

impl SettingsSource {
    /// As [`Settings::load`].
    pub fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.named.as_deref(), self.variable.as_deref())
    }
}

impl Checked for Settings {
    fn first_fault(&self) -> Option<Fault> {
        self.check().err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../packaging/agent.toml");

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(text, Path::new("agent.toml"))
    }

    #[test]
    fn the_shipped_sample_has_every_key_with_its_default() {
        assert_eq!(parse(SAMPLE).unwrap(), Settings::default());
        let table: toml::Table = SAMPLE.parse().unwrap();
        let keys: Vec<&str> = table.keys().map(String::as_str).collect();
        let mut expected = vec![
            "adapters",
            "ethertype",
            "vlan",
            "vm_uuid",
            "config",
            "run_dir",
            "state_dir",
            "query_group",
            "log_file",
            "max_apps",
            "health_listen",
            "ocf_root",
            "authentication",
            "key_file",
            "guardian",
            "watchdog",
            "watchdog_timeout_s",
            "root_probe",
            "root_probe_timeout_s",
            "recorder",
        ];
        let mut found = keys.clone();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_with_their_name() {
        for (text, word) in [
            ("adaptors = []", "adaptors"),
            ("ethertype = 0x0800", "ethertype"),
            ("ethertype = 5", "ethertype"),
            ("vlan = 4095", "vlan"),
            ("max_apps = 0", "max_apps"),
            ("max_apps = 257", "max_apps"),
            ("config = \"relative.xml\"", "config"),
            ("state_dir = \"lib\"", "state_dir"),
            ("adapters = [\"\"]", "adapters"),
            ("log_file = \"agent.log\"", "log_file"),
            ("key_file = \"\"", "key_file"),
            ("authentication = \"on\"", "receive-only"),
            ("ocf_root = \"ocf\"", "ocf_root"),
            ("health_listen = \"localhost:80\"", "health_listen"),
            ("health_listen = \"127.0.0.1\"", "health_listen"),
            ("health_listen = \"127.0.0.1:0\"", "health_listen"),
            ("watchdog = \"watchdog0\"", "watchdog"),
            ("watchdog_timeout_s = 1", "watchdog_timeout_s"),
            ("root_probe = \"vda\"", "root_probe"),
            ("root_probe_timeout_s = 0", "root_probe_timeout_s"),
            ("[recorder]\ndirectory = \"records\"", "recorder.directory"),
            ("[recorder]\nmax_mib = 0", "recorder.max_mib"),
            ("guardian = false\nwatchdog = \"/dev/watchdog\"", "watchdog"),
        ] {
            let error = parse(text).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error} {source}").contains(word), "{text}: {error} {source}");
        }
    }

    #[test]
    fn as_many_applications_as_a_report_takes() {
        assert_eq!(parse("max_apps = 256").unwrap().max_apps, 256);
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.toml");
        assert!(matches!(Settings::load(Some(&missing), None), Err(SettingsError::Read { .. })));
        assert!(matches!(Settings::load(None, Some(&missing)), Err(SettingsError::Read { .. })));
        let present = directory.path().join("agent.toml");
        std::fs::write(&present, "max_apps = 3\nvlan = 7").unwrap();
        let settings = Settings::load(Some(&present), Some(&missing)).unwrap();
        assert_eq!((settings.max_apps, settings.vlan_id()), (3, Some(7)));
    }
}
