//! Daemons that are killed: an agent, a host monitor, all of a host's, the store.

use clap::Arg;
use serde::{Deserialize, Serialize};

use super::{events, targets};
use crate::class::{About, Class, Place, State};
use crate::context::Context;
use crate::daemon::Proof;
use crate::error::{self, Inject};
use crate::expect::Named;
use crate::group::Group;
use crate::launch::Launch;
use crate::options::{Options, flag};
use crate::process::Process;
use crate::record::Record;
use crate::systemd;

/// Whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    Agent,
    Monitor,
    AllMonitors,
    Store,
}

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    victims: Vec<Victim>,
    /// Whoever starts them again may do so.
    once: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Victim {
    name: String,
    proof: Proof,
    process: Process,
    launch: Launch,
    /// Its descendants, too.
    tree: bool,
}

impl Victim {
    fn kill(&self, context: &Context, once: bool) -> Inject<()> {
        if let Some(unit) = self.launch.unit.as_deref().filter(|_| !once) {
            systemd::hold(context, unit)?;
        }
        let group = if self.tree { Group::Tree(self.process) } else { Group::One(self.process) };
        group.kill()
    }

    fn restore(&self, context: &Context) -> Inject<()> {
        if let Some(unit) = &self.launch.unit {
            systemd::release(context, unit)?;
        }
        self.launch.again(context, &self.name, &self.proof)
    }

    fn fate(&self, context: &Context) -> Fate {
        let held = self.launch.unit.as_deref().is_some_and(|unit| systemd::is_held(context, unit));
        match self.proof.holder() {
            None => Fate::Dead,
            Some(_) if held => Fate::Half,
            Some(process) if process == self.process => Fate::Alive,
            Some(_) => Fate::Again,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// As it was before.
    Alive,
    /// Killed.
    Dead,
    /// Killed, and it runs again.
    Again,
    /// It runs, and systemd is still told not to start it.
    Half,
}

impl Class for Kill {
    type Before = Before;

    fn about(&self) -> About {
        match self {
            Kill::Agent => About {
                name: "agent-kill",
                what: "the guest's agent is killed (SIGKILL) and stays dead",
                places: &[Place::Guest],
                undo: "it is started again as it was",
                expected: &[events::AGENT_FAILURE, events::AGENT_BACK],
            },
            Kill::Monitor => About {
                name: "hm-kill",
                what: "one host monitor is killed (SIGKILL) and stays dead",
                places: &[Place::Host],
                undo: "it is started again as it was",
                expected: &[events::MONITOR_FAILURE, events::MONITOR_BACK],
            },
            Kill::AllMonitors => About {
                name: "all-hm",
                what: "every host monitor of this host is killed and stays dead",
                places: &[Place::Host],
                undo: "they are started again as they were",
                expected: &[events::MONITOR_FAILURE, events::ALL_UNREACHABLE, events::MONITOR_BACK],
            },
            Kill::Store => About {
                name: "store-kill",
                what: "every process of the store's PostgreSQL server is killed (SIGKILL)",
                places: &[Place::StoreMachine],
                undo: "it is started again as it was, and replays its log",
                expected: &[events::MODE_LOCAL, events::MODE_GLOBAL, events::STORE_BACK],
            },
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        let once = flag("once", "kill it and let whoever starts it again (systemd) do so");
        let own = match self {
            Kill::Agent | Kill::AllMonitors => vec![targets::run_dir()],
            Kill::Monitor => vec![targets::run_dir(), targets::trunk()],
            Kill::Store => vec![targets::data()],
        };
        own.into_iter().chain([once]).collect()
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let named = match self {
            Kill::Agent => vec![("the agent".to_owned(), targets::agent(context, options))],
            Kill::Monitor => vec![targets::monitor(context, options)?],
            Kill::AllMonitors => targets::all_monitors(context, options)?,
            Kill::Store => vec![("the store's server".to_owned(), targets::server(context, options)?)],
        };
        let victim = |(name, proof): (String, Proof)| {
            let process = proof.need(&name)?;
            let launch = Launch::of(context, process)?;
            Ok(Victim { name, proof, process, launch, tree: *self == Kill::Store })
        };
        let victims: Inject<Vec<Victim>> = named.into_iter().map(victim).collect();
        Ok(Before { victims: victims?, once: options.flag("once") })
    }

    fn named(&self, context: &Context, before: &Before) -> Vec<Named> {
        match self {
            Kill::Agent => targets::this_vm(context),
            Kill::Monitor | Kill::AllMonitors => {
                targets::trunks(before.victims.iter().map(|victim| &victim.proof))
            }
            Kill::Store => Vec::new(),
        }
    }

    fn apply(&self, context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        let before = record.before();
        before.victims.iter().try_for_each(|victim| victim.kill(context, before.once))
    }

    fn restore(&self, context: &Context, before: &Before) -> Inject<()> {
        error::all(before.victims.iter().map(|victim| victim.restore(context)))
    }

    fn state(&self, context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let fates: Vec<(&Victim, Fate)> =
            before.victims.iter().map(|victim| (victim, victim.fate(context))).collect();
        let names = |wanted: fn(Fate) -> bool| {
            fates
                .iter()
                .filter(|(_, fate)| wanted(*fate))
                .map(|(victim, _)| victim.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let all = |wanted: fn(Fate) -> bool| fates.iter().all(|(_, fate)| wanted(*fate));
        Ok(if all(|fate| fate == Fate::Dead) {
            State::On(format!("dead: {}", names(|_| true)))
        } else if all(|fate| fate == Fate::Alive) {
            State::Off
        } else if all(|fate| matches!(fate, Fate::Alive | Fate::Again)) {
            State::Passed(format!("killed, and runs again: {}", names(|fate| fate == Fate::Again)))
        } else {
            State::Partly(format!(
                "dead: {}; running: {}",
                names(|fate| fate == Fate::Dead),
                names(|fate| fate != Fate::Dead)
            ))
        })
    }
}
