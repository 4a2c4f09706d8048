//! The agent's XML configuration as text: what it says, and how it is changed without touching the rest of it.
//!
//! Reading ([`Configuration::read`]) checks every value and names line and column of what is wrong. Writing
//! ([`patch`]) replaces byte ranges, so that comments, formatting and attributes of other versions stay.

pub mod attribute;
pub mod command_line;
pub mod dependency;
pub mod patch;
mod position;
mod read;
pub mod unknown;
pub mod value;

use std::sync::Arc;
use std::time::Duration;

use crate::types::{TypeError, Typed};
pub use attribute::Values;
pub use dependency::{Dependency, DependencyKind, UnfitDependency};

/// Largest configuration file, in bytes: 256 applications with every attribute at its longest are two thirds of it;
/// the rest is room for the parameters of typed ones.
pub const MAX_FILE_BYTES: usize = 2 * 1024 * 1024;

/// Most XML nodes read: far more than any configuration has, little enough memory for a small guest.
const MAX_NODES: u32 = 20_000;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Attributes of `Monitoring`.
    pub vmm: Vmm,
    /// In the order of the file.
    pub applications: Vec<Application>,
    /// In the order of the file; every name in them is an application's.
    pub dependencies: Vec<Dependency>,
    /// What this version does not know.
    pub unknown: unknown::Findings,
}

/// The engine's own attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmm {
    /// Log level, 0 errors to 3 detail.
    pub log: u32,
    /// Time between two rounds; zero: a round whenever something is due.
    pub period: Duration,
    /// Who starts the applications after a boot.
    pub boot_start: BootStart,
    /// Every attribute as text.
    pub values: Values,
}

/// Who starts the applications after a boot of the guest: `rebootappstarttype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootStart {
    /// The agent (`VMM`).
    #[default]
    Agent,
    /// The system (`OS`); the agent starts what is not up when its `start_stabilization_time` is over.
    System,
}

/// One application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Unique name.
    pub name: String,
    /// Unique number of 19 digits: the nanosecond it was added.
    pub uuid: String,
    /// False: suspended.
    pub monitored: bool,
    /// The controller acts when it is RED.
    pub critical: bool,
    /// User that runs the scripts.
    pub user: String,
    /// Monitor script with its arguments; empty if the type supplies it.
    pub monitor_script: String,
    /// Stop script with its arguments; empty if the type supplies it.
    pub stop_script: String,
    /// Start script with its arguments; empty if the type supplies it.
    pub start_script: String,
    /// From start to start of the monitor script.
    pub monitor_period: Duration,
    /// Time allowed to the monitor script.
    pub monitor_timeout: Duration,
    /// Successive failures before a restart.
    pub monitor_failure_threshold: u32,
    /// Time allowed to the stop script.
    pub stop_stabilization_time: Duration,
    /// Successive failures before NOT_STOPPABLE.
    pub stop_max_failures: u32,
    /// Time allowed to the start script.
    pub start_stabilization_time: Duration,
    /// Successive failures before NOT_STARTABLE.
    pub start_max_failures: u32,
    /// Restart cycles before FAILURE.
    pub max_restart: u32,
    /// Cycles older than this do not count; zero: see [`crate::ame`].
    pub restart_window: Duration,
    /// What stands behind its type, if it has one.
    pub typed: Option<Arc<Typed>>,
    /// Every attribute as text.
    pub values: Values,
}

impl Default for Vmm {
    fn default() -> Self {
        Self::new(Values::new(attribute::VMM))
    }
}

impl Vmm {
    /// From checked texts.
    #[must_use]
    pub fn new(values: Values) -> Self {
        let boot_start =
            if values.text("rebootappstarttype") == "OS" { BootStart::System } else { BootStart::Agent };
        Self { log: values.number("log"), period: values.seconds("period"), boot_start, values }
    }
}

impl Application {
    /// From checked texts, if they fit together.
    pub fn new(name: &str, values: Values) -> Result<Self, Unfit> {
        value::check_name(name).map_err(|expected| Unfit::Name { name: name.to_owned(), expected })?;
        let application = Self {
            name: name.to_owned(),
            uuid: values.text("uuid").to_owned(),
            monitored: values.text("monitored") == "1",
            critical: values.text("critical") == "yes",
            user: values.text("user").to_owned(),
            monitor_script: values.text("monitor_script").to_owned(),
            stop_script: values.text("stop_script").to_owned(),
            start_script: values.text("start_script").to_owned(),
            monitor_period: values.seconds("monitor_period"),
            monitor_timeout: values.seconds("monitor_timeout"),
            monitor_failure_threshold: values.number("monitor_failure_threshold"),
            stop_stabilization_time: values.seconds("stop_stabilization_time"),
            stop_max_failures: values.number("stop_max_failures"),
            start_stabilization_time: values.seconds("start_stabilization_time"),
            start_max_failures: values.number("start_max_failures"),
            max_restart: values.number("max_restart"),
            restart_window: values.seconds("restart_window"),
            typed: Typed::new(&values).map_err(Unfit::Type)?.map(Arc::new),
            values,
        };
        application.check()?;
        Ok(application)
    }

    fn check(&self) -> Result<(), Unfit> {
        let supplied = self.typed.as_ref().is_some_and(|typed| typed.kind().supplies_scripts());
        for attribute in ["monitor_script", "start_script", "stop_script"] {
            if self.values.text(attribute).is_empty() && !supplied {
                return Err(Unfit::Missing(attribute));
            }
        }
        if self.uuid.is_empty() {
            return Err(Unfit::Missing("uuid"));
        }
        if self.monitor_period <= self.monitor_timeout {
            return Err(Unfit::PeriodNotGreater {
                period_s: self.monitor_period.as_secs(),
                timeout_s: self.monitor_timeout.as_secs(),
            });
        }
        Ok(())
    }
}

/// Why the attributes of an application, each good by itself, make no application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No name for an application.
    #[error("\"{name}\" is no application name: {expected}")]
    Name {
        /// As given.
        name: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A mandatory attribute is not there.
    #[error("{0} must be given")]
    Missing(&'static str),
    /// What type, instancename, database and the parameters say does not fit together.
    #[error(transparent)]
    Type(TypeError),
    /// The monitor could still run when its next run is due.
    #[error("monitor_period ({period_s} s) must be greater than monitor_timeout ({timeout_s} s)")]
    PeriodNotGreater {
        /// monitor_period.
        period_s: u64,
        /// monitor_timeout.
        timeout_s: u64,
    },
}

/// Why a file is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ConfigError {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not well-formed, or more than is accepted.
    #[error("{0}")]
    Xml(String),
    /// Larger than [`MAX_FILE_BYTES`].
    #[error("the file is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// Another document element.
    #[error("the document element is {0}, not Monitoring")]
    Root(String),
    /// A value out of its range.
    #[error("{0}")]
    Value(value::InvalidValue),
    /// Attributes that do not fit together.
    #[error("application {name}: {unfit}")]
    Unfit {
        /// Of the application.
        name: String,
        /// Why.
        unfit: Unfit,
    },
    /// A dependency that is none.
    #[error("dependency {uuid}: {unfit}")]
    UnfitDependency {
        /// Its depuuid.
        uuid: String,
        /// Why.
        unfit: UnfitDependency,
    },
    /// A name or uuid for the second time.
    #[error("another element has {attribute}=\"{text}\" already")]
    Duplicate {
        /// `name`, `uuid` or `depuuid`.
        attribute: &'static str,
        /// What both have.
        text: String,
    },
    /// More than `max_apps`.
    #[error("more than {0} applications; raise max_apps in agent.toml or remove some")]
    TooMany(usize),
}

impl Configuration {
    /// Reads a file of at most `max_apps` applications. Elements and attributes that are not known are ignored.
    pub fn read(text: &str, max_apps: usize) -> Result<Self, ConfigError> {
        read::read(text, max_apps)
    }

    /// The application of that name.
    #[must_use]
    pub fn application(&self, name: &str) -> Option<&Application> {
        self.applications.iter().find(|application| application.name == name)
    }
}
