//! Keys and mode: loaded at the start, and anew when somebody changed them.

use vmpulse_local::errors::chain as error_chain;
use vmpulse_protocol::auth::{Authentication, Mode};

use super::Daemon;
use crate::keys;
use crate::settings::{Settings, SettingsSource};

/// What the daemon tells of its keys.
#[derive(Debug)]
pub(super) struct Secrets {
    source: SettingsSource,
    pub(super) mode: Mode,
    /// Ids of the valid keys; the last is used.
    pub(super) ids: Vec<u8>,
    /// Why what is in the files is not what is used.
    pub(super) problem: Option<String>,
}

impl Secrets {
    /// Without a key file that can be used there are no keys, but what is demanded is demanded all the same.
    pub(super) fn load(settings: &Settings, source: SettingsSource) -> (Self, Authentication) {
        let loaded = keys::load(settings);
        let problem = loaded.as_ref().err().map(|error| error_chain(error));
        if let Some(problem) = &problem {
            tracing::error!("there are no keys: {problem}; correct the key file and run `vmmgr sync`");
        }
        let authentication = loaded.unwrap_or_else(|_| Authentication::new(settings.authentication, []));
        let mut secrets = Self { source, mode: Mode::Off, ids: Vec::new(), problem };
        secrets.take(&authentication);
        (secrets, authentication)
    }

    /// Settings and key file, read anew.
    fn reload(&self) -> Result<Authentication, String> {
        let settings = self.source.load().map_err(|error| error_chain(&error))?;
        keys::load(&settings).map_err(|error| error_chain(&error))
    }

    fn take(&mut self, authentication: &Authentication) {
        self.mode = authentication.mode;
        self.ids = authentication.ids().map(|id| id.as_u8()).collect();
        let mode = self.mode;
        match self.ids.last() {
            Some(used) => tracing::info!(key = used, "authentication is {mode}, with a key"),
            None if mode.demands() => {
                tracing::error!(
                    "authentication is {mode}, and there is no key: there can be no path to a host monitor"
                )
            }
            None => tracing::debug!("authentication is {mode}; there is no key, and nothing is offered"),
        }
    }
}

impl Daemon {
    /// Uses what the files say now, or keeps what there is and remembers what is wrong. Open paths are replaced by new
    /// handshakes beside them.
    pub(super) fn load_keys(&mut self) -> Result<(), String> {
        match self.secrets.reload() {
            Ok(authentication) => {
                self.secrets.problem = None;
                self.secrets.take(&authentication);
                self.trunks.handle_authentication(self.clock.now(), authentication);
                Ok(())
            }
            Err(problem) => {
                tracing::error!("the keys were not loaded, those that there are stay in use: {problem}");
                self.secrets.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }
}
