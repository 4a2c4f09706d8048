//! Everything that can go wrong at `vmmgr`, each with its stable code.

use vmpulse_local::command::CallError;
use vmpulse_local::exit::Exit;

use super::grammar::{ACTIONS, Action, Class};
use super::keys::KeyFault;
use crate::config::Unfit;
use crate::config::attribute::SetError;
use crate::config_file::FileError;
use crate::settings::SettingsError;
use crate::type_check::TypeCheckError;
use vmpulse_local::errors::chain as error_chain;

/// Why a command was not done. The codes never change their meaning.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// 001.
    #[error("vmpulse-agentd does not answer: {}", error_chain(.0))]
    Daemon(#[source] CallError),
    /// 002.
    #[error("{}. The actions are: {}. `vmmgr help` explains them", action_problem(.0.as_deref()), actions())]
    Action(Option<String>),
    /// 003.
    #[error("\"{class}\" cannot follow {}; {}", .action.name(), classes(*.action))]
    Class {
        /// The action.
        action: Action,
        /// What followed it.
        class: String,
    },
    /// 004.
    #[error("{} is missing: `vmmgr {} {} {}`", if *.1 == Class::Key { "the id of a key" } else { "a name" }, .0.name(), .1.name(), if *.1 == Class::Key { "ID" } else { "NAME" })]
    Name(Action, Class),
    /// 005.
    #[error("\"{0}\" is not expected here; attributes are given as ATTRIBUTE=VALUE to add and modify only")]
    Surplus(String),
    /// 005.
    #[error("nothing to modify: give ATTRIBUTE=VALUE; `vmmgr help` lists the attributes")]
    NoAttributes,
    /// 006, 007, 008.
    #[error("{0}; `vmmgr help` lists the attributes")]
    Attribute(#[source] SetError),
    /// 009.
    #[error("{0} is given twice; give it once")]
    Twice(String),
    /// 010.
    #[error("there is no flag {0}; the flags are -s, -a LIST, -h, -o text|json, --settings PATH, --id N")]
    Flag(String),
    /// 011.
    #[error("{0} needs a value")]
    FlagValue(String),
    /// 011.
    #[error("there is no output format \"{0}\"; use text or json")]
    Format(String),
    /// 018.
    #[error(transparent)]
    TypeCheck(TypeCheckError),
    /// 012.
    #[error("there is no application \"{0}\"; `vmmgr query app` lists them")]
    NoApplication(String),
    /// 013.
    #[error("application \"{0}\" exists already; use modify, or another name")]
    Exists(String),
    /// 014.
    #[error("{attribute}: {path} {problem}; nothing was changed")]
    Script {
        /// Which script.
        attribute: &'static str,
        /// Its path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// 015.
    #[error("Application ADD failed, Maximum count of \"{0}\" applications reached.")]
    TooMany(usize),
    /// 016 to 018, 057.
    #[error("{0}; nothing was changed")]
    Unfit(#[source] Unfit),
    /// 019.
    #[error("user=\"{0}\" is no user of this system (/etc/passwd); nothing was changed")]
    User(String),
    /// 020, 021.
    #[error("{}", error_chain(.0))]
    File(#[source] FileError),
    /// 022.
    #[error("{}", error_chain(.0))]
    Settings(#[source] SettingsError),
    /// 023.
    #[error("not permitted; only root may change anything. Nothing was changed")]
    NotAllowed,
    /// 024.
    #[error("vmpulse-agentd keeps its last good configuration: {0}; correct the file and run `vmmgr sync`")]
    NotLoaded(String),
    /// 025.
    #[error("`vmmgr {0}` is not there yet in this version; nothing was changed")]
    NotYet(String),
    /// 026.
    #[error("vmpulse-agentd gave an answer of another kind; are vmmgr and the daemon of one version?")]
    OtherReply,
    /// 027.
    #[error(
        "the change is in the file, but vmpulse-agentd did not load it: {0}. It does at its next start, or run `vmmgr sync`"
    )]
    NotApplied(Box<Fault>),
    /// 029.
    #[error("{0}: `vmmgr quiet TIME REASON` announces that heartbeats may stop, `vmmgr quiet end` ends that")]
    Quiet(String),
    /// 030.
    #[error("vmpulse-agentd did nothing: {0}")]
    NotDone(String),
    /// 028.
    #[error("cannot write the answer: {0}")]
    Output(#[source] std::io::Error),
    /// 070 and behind.
    #[error("{}", error_chain(.0))]
    Key(#[source] KeyFault),
}

impl Fault {
    /// The number in `VMMGR-002(ERROR)`.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Daemon(_) => 1,
            Self::Action(_) => 2,
            Self::Class { .. } => 3,
            Self::Name(..) => 4,
            Self::Surplus(_) | Self::NoAttributes => 5,
            Self::Attribute(SetError::Unknown(_)) => 6,
            Self::Attribute(SetError::ReadOnly(_)) => 7,
            Self::Attribute(SetError::Invalid(_) | SetError::Parameter { .. }) => 8,
            Self::Twice(_) => 9,
            Self::Flag(_) => 10,
            Self::FlagValue(_) | Self::Format(_) => 11,
            Self::NoApplication(_) => 12,
            Self::Exists(_) => 13,
            Self::Script { .. } => 14,
            Self::TooMany(_) => 15,
            Self::Unfit(Unfit::Name { .. }) => 16,
            Self::Unfit(Unfit::Missing(_)) => 17,
            Self::Unfit(Unfit::Type(_)) | Self::TypeCheck(_) => 18,
            Self::Unfit(Unfit::PeriodNotGreater { .. }) => 57,
            Self::User(_) => 19,
            Self::File(FileError::Invalid { .. }) => 20,
            Self::File(FileError::Io { .. } | FileError::Gone { .. } | FileError::NoApplication(_)) => 21,
            Self::Settings(_) => 22,
            Self::NotAllowed => 23,
            Self::NotLoaded(_) => 24,
            Self::NotYet(_) => 25,
            Self::OtherReply => 26,
            Self::NotApplied(_) => 27,
            Self::Output(_) => 28,
            Self::Quiet(_) => 29,
            Self::NotDone(_) => 30,
            Self::Key(fault) => fault.code(),
        }
    }

    /// 2 if the command line is wrong, else 1.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.code() {
            2..=11 | 16 | 17 | 29 | 70 => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

fn action_problem(word: Option<&str>) -> String {
    word.map_or_else(|| "An action is missing".to_owned(), |word| format!("\"{word}\" is no action"))
}

fn actions() -> String {
    ACTIONS.map(|(action, _)| action.name()).join(", ")
}

fn classes(action: Action) -> String {
    let names: Vec<&str> = action.classes().iter().map(|class| class.name()).collect();
    if names.is_empty() {
        "nothing does".to_owned()
    } else {
        format!("its classes are: {}", names.join(", "))
    }
}
