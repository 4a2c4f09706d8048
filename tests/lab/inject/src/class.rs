//! What a class of failure is to the framework.
//!
//! A class answers four questions, and [`crate::engine`] asks them in the only right order: `plan` looks and changes nothing; what it
//! found is written to the state file; only then `apply` changes something; `restore` undoes it from the state file alone, also
//! when the injector was killed anywhere in between; `state` looks, and says what is.

use clap::Arg;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::expect::Named;
use crate::options::Options;
use crate::record::Record;
use crate::whose::Whose;

/// On which machine a class is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the guest.
    Guest,
    /// On the host, or in its service partition: where host monitors run.
    Host,
    /// Where the store is.
    StoreMachine,
    /// Where the controller is.
    ControllerMachine,
}

/// What `list` and the documentation say of a class.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// As on the command line: `vm-crash`.
    pub name: &'static str,
    /// One line.
    pub what: &'static str,
    /// Where it is run.
    pub places: &'static [Place],
    /// How it is undone, in one line.
    pub undo: &'static str,
    /// What the product tells of it: all that may come of it, if that depends on how and where it is made ([`Class::expected`]).
    pub expected: &'static [Expected],
}

/// Where an expected event is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An event of the controller: `hamgr query event`.
    Controller,
    /// A remark of a host monitor: `hmmgr event`.
    Monitor,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The VM that is injected into (`--expect-vm`).
    Vm,
    /// An application of it.
    App,
    /// A host monitor (`--expect-monitor`).
    Monitor,
    /// A host.
    Host,
    /// The system as a whole.
    System,
}

/// Whether it comes after `on` or after `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// After the failure was made.
    On,
    /// After it was undone.
    Off,
}

/// How long it may take. The settings it depends on are read by `--expect`, or given there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// This many seconds.
    Seconds(u32),
    /// The VM's failure detection time, and the controller's next poll.
    Vmfdt,
    /// `host_failure_detection_time`, and the controller's next poll.
    HostFdt,
    /// What the class says ([`Class::own_seconds`]).
    Own,
}

/// One event that is to come.
#[derive(Debug, Clone, Serialize)]
pub struct Expected {
    /// Its name: `VM_FAILURE_DETECTED`.
    pub event: &'static str,
    /// Where it is found.
    pub source: Source,
    /// What it is about.
    pub about: Subject,
    /// After what.
    pub after: After,
    /// How soon.
    pub within: Within,
    /// What the product does then, for people.
    pub reaction: &'static str,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "details")]
pub enum State {
    /// The failure is there: details for people.
    On(String),
    /// It is not.
    Off,
    /// It was made, and is over by itself (a service manager started the killed daemon again): what happened.
    Passed(String),
    /// Some of it is: what is, and what is not.
    Partly(String),
    /// This machine cannot: why.
    Unsupported(String),
}

/// A class of failure.
pub trait Class: Sync {
    /// What was there before, as the state file keeps it: everything that `apply` and `restore` need.
    type Before: Serialize + DeserializeOwned;

    /// What it is.
    fn about(&self) -> About;

    /// Its own options of `on`. Names must differ from the common ones (see [`crate::cli`]).
    fn arguments(&self) -> Vec<Arg> {
        Vec::new()
    }

    /// Looks what is there, checks that the kernel can, that targets named by options belong to the product and to the
    /// group ([`Context::need_target`]), and changes nothing.
    ///
    /// # Errors
    /// `Unsupported`, `Refused`, `Usage`, or what went wrong.
    fn plan(&self, context: &Context, options: &Options) -> Inject<Self::Before>;

    /// Makes the failure. The state file holds `record.before()` by now; what has to be added on the way goes there by
    /// [`Record::update`] before it is relied upon.
    ///
    /// # Errors
    /// What went wrong; the engine restores then.
    fn apply(&self, context: &Context, record: &mut Record<'_, Self::Before>) -> Inject<()>;

    /// Undoes it from the state file alone. Must be harmless when nothing or only half was applied, and when it is done twice.
    ///
    /// # Errors
    /// What could not be restored, and what to do by hand.
    fn restore(&self, context: &Context, before: &Self::Before) -> Inject<()>;

    /// Looks what is: `before` is what the state file holds, if there is one. After `restore` it must answer [`State::Off`] only
    /// if what was there before really is there again (the process runs, the file is back).
    ///
    /// # Errors
    /// When it cannot be known.
    fn state(&self, context: &Context, before: Option<&Self::Before>) -> Inject<State>;

    /// Which events come of it as it was planned.
    ///
    /// # Errors
    /// `Usage` when nobody has said what that takes.
    fn expected(&self, _before: &Self::Before) -> Inject<&'static [Expected]> {
        Ok(self.about().expected)
    }

    /// The same for who watches from elsewhere, and knows what he is told alone.
    ///
    /// # Errors
    /// As [`Class::expected`].
    fn watched(&self, _whose: Option<Whose>) -> Inject<&'static [Expected]> {
        Ok(self.about().expected)
    }

    /// Whom events name: VMs, host monitors, applications. None where the class does not know; one event of anybody counts then.
    fn named(&self, _context: &Context, _before: &Self::Before) -> Vec<Named> {
        Vec::new()
    }

    /// How long [`Within::Own`] is.
    fn own_seconds(&self, _before: &Self::Before) -> u64 {
        0
    }

    /// The long-running part in a process of its own, started by [`crate::worker::start`]. Returns when it is to end.
    ///
    /// # Errors
    /// What ended it.
    fn work(&self, _context: &Context, _before: &Self::Before) -> Inject<()> {
        Err(InjectError::Usage(format!("{} has no worker.", self.about().name)))
    }
}

/// A [`Class`] whose state file is any JSON: what the engine and the list of classes work with.
pub trait AnyClass: Sync {
    /// See [`Class::about`].
    fn about(&self) -> About;
    /// See [`Class::arguments`].
    fn arguments(&self) -> Vec<Arg>;
    /// See [`Class::plan`].
    ///
    /// # Errors
    /// As there.
    fn plan(&self, context: &Context, options: &Options) -> Inject<Value>;
    /// See [`Class::apply`].
    ///
    /// # Errors
    /// As there, and when the state file is not of this class.
    fn apply(&self, context: &Context, before: Value) -> Inject<()>;
    /// See [`Class::restore`].
    ///
    /// # Errors
    /// As there, and when the state file is not of this class.
    fn restore(&self, context: &Context, before: Value) -> Inject<()>;
    /// See [`Class::state`].
    ///
    /// # Errors
    /// As there, and when the state file is not of this class.
    fn state(&self, context: &Context, before: Option<Value>) -> Inject<State>;
    /// See [`Class::expected`].
    ///
    /// # Errors
    /// As there, and when the state file is not of this class.
    fn expected(&self, before: Value) -> Inject<&'static [Expected]>;
    /// See [`Class::watched`].
    ///
    /// # Errors
    /// As there.
    fn watched(&self, whose: Option<Whose>) -> Inject<&'static [Expected]>;
    /// See [`Class::named`].
    ///
    /// # Errors
    /// When the state file is not of this class.
    fn named(&self, context: &Context, before: Value) -> Inject<Vec<Named>>;
    /// See [`Class::own_seconds`].
    ///
    /// # Errors
    /// When the state file is not of this class.
    fn own_seconds(&self, before: Value) -> Inject<u64>;
    /// See [`Class::work`].
    ///
    /// # Errors
    /// As there, and when the state file is not of this class.
    fn work(&self, context: &Context, before: Value) -> Inject<()>;
}

fn typed<C: Class>(class: &C, before: Value) -> Inject<C::Before> {
    serde_json::from_value(before).map_err(|error| {
        InjectError::Failed(format!("The state file of {} cannot be read: {error}.", class.about().name))
    })
}

impl<C: Class> AnyClass for C {
    fn about(&self) -> About {
        Class::about(self)
    }

    fn arguments(&self) -> Vec<Arg> {
        Class::arguments(self)
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Value> {
        let before = Class::plan(self, context, options)?;
        serde_json::to_value(before)
            .map_err(|error| InjectError::Failed(format!("The state has no JSON form: {error}.")))
    }

    fn apply(&self, context: &Context, before: Value) -> Inject<()> {
        let name = Class::about(self).name;
        Class::apply(self, context, &mut Record::new(context, name, typed(self, before)?))
    }

    fn restore(&self, context: &Context, before: Value) -> Inject<()> {
        Class::restore(self, context, &typed(self, before)?)
    }

    fn state(&self, context: &Context, before: Option<Value>) -> Inject<State> {
        let before = before.map(|value| typed(self, value)).transpose()?;
        Class::state(self, context, before.as_ref())
    }

    fn expected(&self, before: Value) -> Inject<&'static [Expected]> {
        Class::expected(self, &typed(self, before)?)
    }

    fn watched(&self, whose: Option<Whose>) -> Inject<&'static [Expected]> {
        Class::watched(self, whose)
    }

    fn named(&self, context: &Context, before: Value) -> Inject<Vec<Named>> {
        Ok(Class::named(self, context, &typed(self, before)?))
    }

    fn own_seconds(&self, before: Value) -> Inject<u64> {
        Ok(Class::own_seconds(self, &typed(self, before)?))
    }

    fn work(&self, context: &Context, before: Value) -> Inject<()> {
        Class::work(self, context, &typed(self, before)?)
    }
}
