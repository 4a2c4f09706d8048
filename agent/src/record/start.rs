//! What an agent's cores were made from.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::Draws;
use super::configuration::{Concealed, Configured};
use crate::ame::{Ame, Past};
use crate::config::Configuration;
use crate::guardian::keeper::Keeper;
use crate::guardian::page::Page;
use crate::trunks::{Trunks, TrunksConfig};

/// What the cores are about to be made from.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// When.
    pub at: Instant,
    /// The trunks.
    pub trunks: &'a TrunksConfig,
    /// Whether a guardian keeps the paths as well.
    pub kept: bool,
    /// The engine.
    pub configuration: &'a Configuration,
    /// And its past.
    pub past: &'a Past,
}

/// The same without secrets: the source of nonces, and what of the configuration [`Configured`] leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    at_ns: u64,
    vm: String,
    seed: u64,
    unheard_suspension: Option<bool>,
    kept: bool,
    configuration: Configured,
    booted: bool,
    suspended: bool,
    stopped: Vec<String>,
}

impl Start {
    pub(super) fn of(beginning: &Beginning<'_>, concealed: &mut Concealed) -> Self {
        let Beginning { at, trunks, kept, configuration, past } = *beginning;
        Self {
            at_ns: at.as_nanos(),
            vm: trunks.vm.clone(),
            seed: trunks.incarnation_seed,
            unheard_suspension: trunks.unheard_suspension,
            kept,
            configuration: Configured::of(configuration, concealed),
            booted: past.booted,
            suspended: past.suspended,
            stopped: past.stopped.clone(),
        }
    }

    /// When they were made.
    #[must_use]
    pub const fn at(&self) -> Instant {
        Instant::from_nanos(self.at_ns)
    }

    /// Of which virtual machine, if it has a UUID.
    #[must_use]
    pub fn vm(&self) -> Option<VmUuid> {
        self.vm.parse().ok()
    }

    /// The same cores again; `None` if what was recorded cannot be.
    pub(super) fn cores(&self, draws: &Arc<Draws>) -> Option<(Trunks, Ame)> {
        let config = TrunksConfig {
            vm: self.vm.clone(),
            incarnation_seed: self.seed,
            nonce_seed: [0; 32],
            unheard_suspension: self.unheard_suspension,
        };
        let mut trunks = Trunks::new(config, self.at());
        if self.kept {
            // A page of its own: what another life left there takes no place away from this one.
            let keeper = Keeper::begin(Page::in_memory(), Duration::ZERO, self.at(), false);
            let mut paths = keeper.paths(0, None);
            paths.see_draws(Arc::clone(draws));
            trunks.keep_with(paths);
        }
        let past = Past { booted: self.booted, suspended: self.suspended, stopped: self.stopped.clone() };
        Some((trunks, Ame::new(self.configuration.configuration()?, &past, self.at())))
    }
}
