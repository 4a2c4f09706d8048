//! OCF resource agents: their actions, environment and exit codes, by the Open Cluster Framework's resource agent API 1.0.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Invocation, Surroundings};
use crate::ame::{Outcome, ScriptKind};

/// Below the OCF root: `PROVIDER/AGENT`.
const AGENTS: &str = "resource.d";

/// How deep a monitor looks: a variable of its own, which clusters set with the operation and not among the parameters.
pub(super) const CHECK_LEVEL: &str = "OCF_CHECK_LEVEL";

/// Longest name of a provider, an agent or a parameter.
const MAX_NAME_BYTES: usize = 64;

/// Exit codes of the standard, and those that Pacemaker added for promoted and degraded resources.
mod exit {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const ERR_ARGS: i32 = 2;
    pub(super) const ERR_UNIMPLEMENTED: i32 = 3;
    pub(super) const ERR_PERM: i32 = 4;
    pub(super) const ERR_INSTALLED: i32 = 5;
    pub(super) const ERR_CONFIGURED: i32 = 6;
    pub(super) const NOT_RUNNING: i32 = 7;
    pub(super) const RUNNING_PROMOTED: i32 = 8;
    pub(super) const DEGRADED: i32 = 190;
    pub(super) const DEGRADED_PROMOTED: i32 = 191;
}

/// A resource agent with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    provider: String,
    name: String,
    parameters: BTreeMap<String, String>,
}

impl Agent {
    /// From `ocf:PROVIDER:AGENT`. Names cannot lead out of the OCF root.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let (provider, name) = text.strip_prefix("ocf:")?.split_once(':')?;
        let good = is_name(provider) && is_name(name);
        good.then(|| Self {
            provider: provider.to_owned(),
            name: name.to_owned(),
            parameters: BTreeMap::new(),
        })
    }

    /// One of the provider heartbeat, which is the package resource-agents.
    pub(super) fn heartbeat(name: &str) -> Self {
        Self { provider: "heartbeat".to_owned(), name: name.to_owned(), parameters: BTreeMap::new() }
    }

    /// Sets a parameter, unless the value is empty.
    pub(super) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.parameters.insert(name.to_owned(), value);
        }
        self
    }

    /// Sets parameters, in the place of those that were set before.
    pub(super) fn with<'a>(self, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        parameters.fold(self, |agent, (name, value)| agent.set(name, value))
    }

    /// Parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `ocf:PROVIDER:AGENT`
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("ocf:{}:{}", self.provider, self.name)
    }

    /// Its program.
    #[must_use]
    pub fn path(&self, ocf_root: &Path) -> PathBuf {
        ocf_root.join(AGENTS).join(&self.provider).join(&self.name)
    }

    /// What every action needs.
    #[must_use]
    pub fn environment(&self, ocf_root: &Path, ocf_state: &Path, application: &str) -> Vec<(String, String)> {
        let fixed = [
            ("OCF_ROOT", ocf_root.display().to_string()),
            ("OCF_RA_VERSION_MAJOR", "1".to_owned()),
            ("OCF_RA_VERSION_MINOR", "0".to_owned()),
            ("OCF_RESOURCE_INSTANCE", application.to_owned()),
            ("OCF_RESOURCE_TYPE", self.name.clone()),
            ("OCF_RESOURCE_PROVIDER", self.provider.clone()),
            ("HA_RSCTMP", ocf_state.display().to_string()),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        let variable = |name: &str| {
            if name == CHECK_LEVEL { name.to_owned() } else { format!("OCF_RESKEY_{name}") }
        };
        let own = self.parameters.iter().map(|(name, value)| (variable(name), value.clone()));
        fixed.chain(own).collect()
    }

    pub(super) fn invocation(
        &self,
        action: ScriptKind,
        monitor_period: Duration,
        surroundings: Surroundings<'_>,
    ) -> Invocation {
        let Surroundings { ocf_root, ocf_state, application, time_limit } = surroundings;
        // With an interval of 0 an agent would take its monitor for a probe and be content with less.
        let interval = if action == ScriptKind::Monitor { monitor_period } else { Duration::ZERO };
        let mut environment = self.environment(ocf_root, ocf_state, application);
        for (name, time) in [("timeout", time_limit), ("interval", interval)] {
            environment.push((format!("OCF_RESKEY_CRM_meta_{name}"), time.as_millis().to_string()));
        }
        let path = self.path(ocf_root).display().to_string();
        Invocation { words: vec![path, action.to_string()], environment }
    }
}

/// What an exit code counts as.
///
/// What no restart can repair, because the software is not installed or its parameters are wrong, ends like a script
/// that is missing: at once, as it does in a cluster, where such a resource is not tried again on that node.
pub(super) fn judge(action: ScriptKind, code: i32) -> Outcome {
    match (code, action) {
        (exit::SUCCESS, _) => Outcome::Exit(0),
        (exit::RUNNING_PROMOTED | exit::DEGRADED | exit::DEGRADED_PROMOTED, ScriptKind::Monitor) => {
            Outcome::Exit(0)
        }
        // Stopping what is not running is no failure.
        (exit::NOT_RUNNING, ScriptKind::Stop) => Outcome::Exit(0),
        (
            exit::ERR_ARGS
            | exit::ERR_UNIMPLEMENTED
            | exit::ERR_PERM
            | exit::ERR_INSTALLED
            | exit::ERR_CONFIGURED,
            _,
        ) => Outcome::CouldNotStart,
        (other, _) => Outcome::Exit(other),
    }
}

/// The standard's name of an exit code, for the log.
#[must_use]
pub const fn exit_name(code: i32) -> Option<&'static str> {
    Some(match code {
        exit::SUCCESS => "OCF_SUCCESS",
        1 => "OCF_ERR_GENERIC",
        exit::ERR_ARGS => "OCF_ERR_ARGS",
        exit::ERR_UNIMPLEMENTED => "OCF_ERR_UNIMPLEMENTED",
        exit::ERR_PERM => "OCF_ERR_PERM",
        exit::ERR_INSTALLED => "OCF_ERR_INSTALLED",
        exit::ERR_CONFIGURED => "OCF_ERR_CONFIGURED",
        exit::NOT_RUNNING => "OCF_NOT_RUNNING",
        exit::RUNNING_PROMOTED => "OCF_RUNNING_PROMOTED",
        9 => "OCF_FAILED_PROMOTED",
        exit::DEGRADED => "OCF_DEGRADED",
        exit::DEGRADED_PROMOTED => "OCF_DEGRADED_PROMOTED",
        _ => return None,
    })
}

/// Of a provider or an agent: one component of a path.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['.', '-'])
}

/// Whether `text` may be a parameter's name: it becomes part of a variable's.
#[must_use]
pub fn is_parameter(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}
