//! What stands still and is not dead: an agent, a VM, a host, the store.

use clap::Arg;
use serde::{Deserialize, Serialize};

use super::{events, kernel, targets};
use crate::class::{About, Class, Place, State, Subject};
use crate::context::Context;
use crate::daemon::Proof;
use crate::error::{self, Inject, InjectError};
use crate::expect::Named;
use crate::group::Group;
use crate::options::{Options, flag, value};
use crate::process::Process;
use crate::record::Record;
use crate::{wait, worker};

/// Time for the answer to get out.
const BEFORE_POWER_OFF: std::time::Duration = std::time::Duration::from_secs(2);

/// What.
#[derive(Clone, Copy)]
pub(super) enum Freeze {
    Agent,
    Vm,
    Host,
    Store,
}

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    frozen: Vec<Frozen>,
    /// It is switched off as well.
    #[serde(default)]
    power_off: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Frozen {
    name: String,
    group: Group,
    /// By which it is known, where it is a daemon.
    proof: Option<Proof>,
    /// Name or UUID, where it is a VM's emulator.
    vm: Option<String>,
    /// Not ours to continue.
    stopped_before: Vec<Process>,
}

impl Frozen {
    fn of(name: String, group: Group, proof: Option<Proof>) -> Inject<Frozen> {
        let stopped_before = group.stopped();
        if stopped_before.len() == group.members().len() {
            return Err(InjectError::Failed(format!(
                "{name} stands still already, and not by this injector."
            )));
        }
        Ok(Frozen { name, group, proof, vm: None, stopped_before })
    }

    fn daemon((name, proof): (String, Proof)) -> Inject<Frozen> {
        let process = proof.need(&name)?;
        let group = match &proof {
            Proof::Lock { .. } => Group::One(process),
            Proof::Postmaster(data) => Group::Server(process, data.clone()),
        };
        Frozen::of(name, group, Some(proof))
    }

    fn vm(wanted: &str) -> Inject<Frozen> {
        let frozen = Frozen::of(format!("VM {wanted}"), Group::One(targets::emulator(wanted)?), None)?;
        Ok(Frozen { vm: Some(wanted.to_owned()), ..frozen })
    }

    fn container(file: &str) -> Inject<Frozen> {
        let group = Group::namespace_of(targets::container(file)?)?;
        Frozen::of(format!("the guest of {file}"), group, None)
    }

    /// Stopped and running processes; those that were stopped before do not count.
    fn count(&self) -> (usize, usize) {
        let members: Vec<Process> =
            self.group.members().into_iter().filter(|one| !self.stopped_before.contains(one)).collect();
        let stopped = self.group.stopped().iter().filter(|one| members.contains(one)).count();
        (stopped, members.len().saturating_sub(stopped))
    }

    fn fate(&self) -> Fate {
        match self.count() {
            (0, 0) if self.proof.as_ref().is_some_and(|proof| proof.holder().is_some()) => Fate::Again,
            // Nothing starts a VM or a guest again in the same processes: there is nothing to wait for, and nothing to undo.
            (0, 0) if self.proof.is_none() => Fate::Over,
            (0, 0) => Fate::Gone,
            (0, _) => Fate::Runs,
            (_, 0) => Fate::Still,
            (_, _) => Fate::Half,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    Still,
    Half,
    /// A daemon that ended while it stood still: by a watchdog, by somebody.
    Gone,
    /// The same of a VM or a guest made of namespaces: `virsh destroy` is what an operator does to one that hangs.
    Over,
    /// The same, and another process is it now.
    Again,
}

impl Class for Freeze {
    type Before = Before;

    fn about(&self) -> About {
        match self {
            Freeze::Agent => About {
                name: "agent-hang",
                what: "the guest's agent hangs (SIGSTOP)",
                places: &[Place::Guest],
                undo: "it goes on (SIGCONT)",
                expected: &[events::AGENT_FAILURE, events::AGENT_BACK],
            },
            Freeze::Vm => About {
                name: "vm-freeze",
                what: "a whole VM stands still: its emulator is stopped (SIGSTOP)",
                places: &[Place::Host],
                undo: "it goes on (SIGCONT)",
                expected: &[events::VM_FAILURE, events::VM_RECOVERED],
            },
            Freeze::Host => About {
                name: "host",
                what: "a whole host stands still: its host monitors and the VMs that the mark names",
                places: &[Place::Host],
                undo: "all goes on (SIGCONT)",
                expected: &[events::MONITOR_FAILURE, events::ALL_UNREACHABLE, events::MONITOR_BACK],
            },
            Freeze::Store => About {
                name: "store-freeze",
                what: "every process of the store's PostgreSQL server stands still (SIGSTOP): it takes connections and never answers",
                places: &[Place::StoreMachine],
                undo: "it goes on (SIGCONT)",
                expected: &[events::MODE_LOCAL, events::MODE_GLOBAL, events::STORE_BACK],
            },
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        match self {
            Freeze::Agent => vec![targets::run_dir()],
            Freeze::Host => vec![
                targets::run_dir(),
                flag(
                    "power-off",
                    "and 2 s later this machine is switched off, at once and for good; the mark must say so (host:power-off)",
                ),
            ],
            Freeze::Vm => vec![
                value(
                    "domain",
                    "NAME|UUID",
                    "the VM as its emulator names it; the mark must name it (domain:...)",
                ),
                value(
                    "guest-pid-file",
                    "FILE",
                    "instead: a guest made of namespaces, by a file with the number of its first process",
                )
                .conflicts_with("domain"),
            ],
            Freeze::Store => vec![targets::data()],
        }
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let frozen = match self {
            Freeze::Agent => {
                vec![Frozen::daemon(("the agent".to_owned(), targets::agent(context, options)))?]
            }
            Freeze::Store => {
                vec![Frozen::daemon(("the store's server".to_owned(), targets::server(context, options)?))?]
            }
            Freeze::Vm => vec![one_vm(context, options)?],
            Freeze::Host => whole_host(context, options)?,
        };
        let power_off = options.flag("power-off");
        if power_off {
            context.need_target("host", "power-off")?;
            kernel::need_own(context)?;
            kernel::need_sysrq(context)?;
        }
        Ok(Before { frozen, power_off })
    }

    fn named(&self, context: &Context, before: &Before) -> Vec<Named> {
        match self {
            Freeze::Agent => targets::this_vm(context),
            // VMs are named as their emulators name them, which is how they are most often registered.
            Freeze::Vm => {
                before.frozen.iter().filter_map(|one| one.vm.clone()).map(|vm| (Subject::Vm, vm)).collect()
            }
            Freeze::Host => targets::trunks(before.frozen.iter().filter_map(|one| one.proof.as_ref())),
            Freeze::Store => Vec::new(),
        }
    }

    fn apply(&self, context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        record.before().frozen.iter().try_for_each(|one| one.group.stop())?;
        if record.before().power_off {
            worker::start(context, self.about().name)?;
        }
        Ok(())
    }

    fn restore(&self, context: &Context, before: &Before) -> Inject<()> {
        let worker = worker::end(context, self.about().name);
        let resumed = before.frozen.iter().map(|one| one.group.resume(&one.stopped_before));
        error::all(std::iter::once(worker).chain(resumed))
    }

    /// No service is stopped, no file system synced: that is what a power cut is.
    fn work(&self, context: &Context, _before: &Before) -> Inject<()> {
        wait::pause(BEFORE_POWER_OFF);
        kernel::write(context, kernel::SYSRQ, "o")
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let fates: Vec<(&str, Fate)> =
            before.frozen.iter().map(|one| (one.name.as_str(), one.fate())).collect();
        let names = |wanted: fn(Fate) -> bool| {
            fates
                .iter()
                .filter(|(_, fate)| wanted(*fate))
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let all = |wanted: fn(Fate) -> bool| fates.iter().all(|(_, fate)| wanted(*fate));
        Ok(if all(|fate| fate == Fate::Still) {
            State::On(format!("stands still: {}", names(|_| true)))
        } else if all(|fate| fate == Fate::Runs) {
            State::Off
        } else if all(|fate| matches!(fate, Fate::Runs | Fate::Again | Fate::Over)) {
            let again = names(|fate| fate == Fate::Again);
            let over = names(|fate| fate == Fate::Over);
            let told =
                [("ended while it stood still, and runs again", again), ("ended while it stood still", over)];
            let told = told.iter().filter(|(_, names)| !names.is_empty());
            State::Passed(told.map(|(what, names)| format!("{what}: {names}")).collect::<Vec<_>>().join("; "))
        } else {
            let still = names(|fate| matches!(fate, Fate::Still | Fate::Half));
            let gone = names(|fate| matches!(fate, Fate::Gone | Fate::Over));
            State::Partly(format!("stands still: {still}; gone: {gone}"))
        })
    }
}

fn one_vm(context: &Context, options: &Options) -> Inject<Frozen> {
    if let Some(file) = options.text("guest-pid-file") {
        context.need_target(targets::CONTAINER, &file)?;
        return Frozen::container(&file);
    }
    let wanted = options.need("domain")?;
    context.need_target(targets::DOMAIN, &wanted)?;
    Frozen::vm(&wanted)
}

/// The VMs first: what is heard last of the host is that they beat.
fn whole_host(context: &Context, options: &Options) -> Inject<Vec<Frozen>> {
    let mut frozen = Vec::new();
    for target in &context.mark()?.targets {
        match target.split_once(':') {
            Some((targets::DOMAIN, name)) => frozen.push(Frozen::vm(name)?),
            Some((targets::CONTAINER, file)) => frozen.push(Frozen::container(file)?),
            Some(_) | None => {}
        }
    }
    for monitor in targets::all_monitors(context, options)? {
        frozen.push(Frozen::daemon(monitor)?);
    }
    Ok(frozen)
}
