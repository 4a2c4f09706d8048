//! The command `hamgr`, which also answers to `ksysmgr`.
//!
//! * [`words`]: actions and classes with their abbreviations;
//! * [`parse`]: the command line;
//! * [`help`]: what `-h` says;
//! * [`block`](mod@block): `Key:<padding>value`;
//! * [`query`], [`modify`]: what is done.

pub mod block;
pub mod help;
pub mod modify;
pub mod parse;
pub mod query;
pub mod words;

use std::ffi::OsString;
use std::path::Path;

use jiff::tz::TimeZone;
use thiserror::Error;
use vmpulse_local::exit::Exit;
use vmpulse_store::{Store, StoreError};

use crate::settings::{Settings, SettingsError};
use crate::store_link::{LinkError, StoreLink};
use parse::{Command, Invocation, Request, UsageError};
use words::{Action, Class};

/// What a command has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Data, for stdout.
    pub data: String,
    /// A remark, for stderr.
    pub note: Option<String>,
}

/// Why a command was not carried out. Nothing was changed unless the text says so.
#[derive(Debug, Error)]
pub enum CliError {
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The store refused or failed.
    #[error("the health store could not do it")]
    Store(#[from] StoreError),
    /// An action or class of a later version.
    #[error("{what} is not available yet in this version")]
    NotYet {
        /// As `recover vm`.
        what: String,
    },
    /// A name that nothing has.
    #[error("there is no {class} {name:?}; `{query}` lists those there are")]
    NoSuch {
        /// Of which class.
        class: &'static str,
        /// As given.
        name: String,
        /// The query that lists what there is.
        query: &'static str,
    },
    /// A name that several have.
    #[error("{name:?} is the name of several VMs ({uuids}): give the UUID")]
    Ambiguous {
        /// As given.
        name: String,
        /// Theirs.
        uuids: String,
    },
    /// A value that is allowed, but not together with what is set already.
    #[error("{attribute}={value} is refused{of}: {why}")]
    Refused {
        /// Which attribute.
        attribute: &'static str,
        /// As given.
        value: String,
        /// Of what, with a blank before it, or empty.
        of: String,
        /// What is allowed.
        why: String,
    },
    /// A change of several failed on the way.
    #[error("VM {vm} could not be changed; {state}")]
    Incomplete {
        /// Where it failed.
        vm: String,
        /// What became of the others.
        state: String,
        /// Why.
        source: Box<StoreError>,
    },
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Settings(_) => Exit::Config,
            Self::Link(_)
            | Self::Store(_)
            | Self::NotYet { .. }
            | Self::NoSuch { .. }
            | Self::Ambiguous { .. }
            | Self::Refused { .. }
            | Self::Incomplete { .. } => Exit::Failed,
        }
    }
}

/// Runs `hamgr` with the arguments after the program's name, which is `program`.
///
/// # Errors
/// [`CliError`].
pub fn run(program: &str, arguments: Vec<OsString>) -> Result<Answer, CliError> {
    let invocation = parse::parse(arguments)?;
    let command = match &invocation.request {
        Request::Help { action, class } => return Ok(data(help::text(program, *action, *class))),
        Request::Version => return Ok(data(format!("{program} {}\n", env!("CARGO_PKG_VERSION")))),
        Request::Run(command) => command,
    };
    // Before the store is looked for: the answer does not depend on it.
    operation(command)?;
    let url = match &invocation.store {
        Some(url) => url.clone(),
        None => Settings::load(invocation.settings.as_deref())?.store,
    };
    let mut link = StoreLink::new(url);
    execute(&invocation, command, link.existing()?, &TimeZone::system())
}

/// Carries out a command that this version has.
///
/// # Errors
/// [`CliError`].
pub fn execute(
    invocation: &Invocation,
    command: &Command,
    store: &mut dyn Store,
    zone: &TimeZone,
) -> Result<Answer, CliError> {
    match operation(command)? {
        Operation::Query(topic) => query::run(topic, invocation, command, store, zone),
        Operation::Modify(target) => modify::run(target, invocation, command, store, zone),
    }
}

/// What this version can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Query(query::Topic),
    Modify(modify::Target),
}

impl Operation {
    fn of(action: Action, class: Option<Class>) -> Option<Self> {
        if action == Action::Query {
            class.and_then(query::Topic::of).map(Self::Query)
        } else if action == Action::Modify {
            class.and_then(modify::Target::of).map(Self::Modify)
        } else {
            None
        }
    }
}

fn operation(command: &Command) -> Result<Operation, CliError> {
    let class = command.class.map_or("", Class::name);
    let what = || format!("{} {class}", command.action.name()).trim_end().to_owned();
    Operation::of(command.action, command.class).ok_or_else(|| CliError::NotYet { what: what() })
}

/// The name this program was called by.
#[must_use]
pub fn program_name(argument: Option<&OsString>) -> &'static str {
    let called = argument.and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == "ksysmgr");
    if called { "ksysmgr" } else { "hamgr" }
}

fn data(data: String) -> Answer {
    Answer { data, note: None }
}
