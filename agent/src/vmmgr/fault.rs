//! Everything that can go wrong at `vmmgr`, each with its stable code.

use vmpulse_local::command::CallError;
use vmpulse_local::exit::Exit;

use super::codes::Code;
use super::completion::Shell;
use super::grammar::action::{action_words, either};
use super::grammar::{ACTIONS, Action, Class, FLAGS};
use super::keys::KeyFault;
use super::service::ServiceFault;
use crate::config::attribute::SetError;
use crate::config::{Unfit, UnfitDependency};
use crate::config_file::{self, FileError};
use crate::nearest;
use crate::settings::SettingsError;
use crate::type_check::TypeCheckError;
use vmpulse_local::errors::chain as error_chain;

/// Why a command was not done. The codes never change their meaning.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// 001.
    #[error("{}", daemon_problem(.0))]
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
    #[error("{} is missing: `vmmgr {} {} {}`", .1.name_word(), .0.name(), .1.name(), .1.name_word())]
    Name(Action, Class),
    /// 005.
    #[error(
        "\"{0}\" is not expected here; one name is given at most, and ATTRIBUTE=VALUE to add and modify only"
    )]
    Surplus(String),
    /// 005.
    #[error("nothing to modify: give ATTRIBUTE=VALUE; `vmmgr help` lists the attributes")]
    NoAttributes,
    /// 006.
    #[error("there is no attribute {name}{}; `vmmgr help {}` lists them", meant(.near.as_deref()), .class.name())]
    UnknownAttribute {
        /// As given.
        name: String,
        /// What may have been meant.
        near: Option<String>,
        /// Of which class.
        class: Class,
    },
    /// 007, 008.
    #[error("{0}; nothing was changed")]
    Attribute(#[source] SetError),
    /// 009.
    #[error("{0} is given twice; give it once")]
    Twice(String),
    /// 010.
    #[error("there is no flag {}; the flags are {}", .0, flags())]
    Flag(String),
    /// 011.
    #[error("{0} needs a value")]
    FlagValue(String),
    /// 011.
    #[error("there is no output format \"{0}\"; use text or json")]
    Format(String),
    /// 011.
    #[error("{}; give one of {}", shell_problem(.0.as_deref()), shells())]
    Shell(Option<String>),
    /// 018.
    #[error(transparent)]
    TypeCheck(TypeCheckError),
    /// 012.
    #[error("there is no application \"{name}\"{}; `vmmgr query app` lists them", meant(.near.as_deref()))]
    NoApplication {
        /// As given.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// 032.
    #[error("there is no dependency {uuid}{}; `vmmgr query dependency` lists them", meant(.near.as_deref()))]
    NoDependency {
        /// As given.
        uuid: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// 033.
    #[error(
        "application \"{name}\" is part of dependency {uuid}; `vmmgr delete dependency {uuid}`, or take it off its list, first"
    )]
    InDependency {
        /// The application.
        name: String,
        /// depuuid.
        uuid: String,
    },
    /// 015, 017, 034.
    #[error("{0}; nothing was changed")]
    Dependency(#[source] UnfitDependency),
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
    #[error(
        "Application ADD failed, Maximum count of \"{0}\" applications reached. Delete one, or raise max_apps in agent.toml"
    )]
    TooMany(usize),
    /// 016 to 018, 057.
    #[error("{0}; nothing was changed")]
    Unfit(#[source] Unfit),
    /// 019.
    #[error("user=\"{0}\" is no user of this system (/etc/passwd); nothing was changed")]
    User(String),
    /// 020, 021.
    #[error("{}", file_problem(.0))]
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
    /// 031.
    #[error("{0}; `vmmgr help quiet` says what is")]
    QuietValue(String),
    /// 035, 036.
    #[error("{}", error_chain(.0))]
    Service(#[source] ServiceFault),
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
    /// The number in `VMMGR-002(ERROR)`, and with it the exit code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Daemon(_) => Code::Daemon,
            Self::Action(_) => Code::Action,
            Self::Class { .. } => Code::Class,
            Self::Name(..) => Code::Name,
            Self::Surplus(_) | Self::NoAttributes => Code::Surplus,
            Self::UnknownAttribute { .. } | Self::Attribute(SetError::Unknown(_)) => Code::UnknownAttribute,
            Self::Attribute(SetError::ReadOnly(_)) => Code::ReadOnly,
            Self::Attribute(SetError::Invalid(_) | SetError::Parameter { .. }) => Code::Value,
            Self::Twice(_) => Code::Twice,
            Self::Flag(_) => Code::Flag,
            Self::FlagValue(_) | Self::Format(_) | Self::Shell(_) => Code::FlagValue,
            Self::NoApplication { .. } => Code::NoApplication,
            Self::NoDependency { .. } => Code::NoDependency,
            Self::InDependency { .. } => Code::InDependency,
            Self::Dependency(unfit) => dependency_code(unfit),
            Self::Exists(_) => Code::Exists,
            Self::Script { .. } => Code::Script,
            Self::TooMany(_) => Code::TooMany,
            Self::TypeCheck(_) => Code::Type,
            Self::Unfit(unfit) => unfit_code(unfit),
            Self::User(_) => Code::User,
            Self::File(error) => file_code(error),
            Self::Settings(_) => Code::Settings,
            Self::NotAllowed => Code::NotAllowed,
            Self::NotLoaded(_) => Code::NotLoaded,
            Self::OtherReply => Code::OtherReply,
            Self::NotApplied(_) => Code::NotApplied,
            Self::Output(_) => Code::Output,
            Self::Quiet(_) => Code::Quiet,
            Self::QuietValue(_) => Code::QuietValue,
            Self::NotDone(_) => Code::NotDone,
            Self::Service(fault) => fault.code(),
            Self::Key(fault) => fault.code(),
        }
    }

    /// 2 if the command line is not understood, else 1.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.code().exit()
    }
}

fn unfit_code(unfit: &Unfit) -> Code {
    match unfit {
        Unfit::Name { .. } => Code::BadName,
        Unfit::Missing(_) => Code::Missing,
        Unfit::Type(_) => Code::Type,
        Unfit::PeriodNotGreater { .. } => Code::Period,
    }
}

fn dependency_code(unfit: &UnfitDependency) -> Code {
    match unfit {
        UnfitDependency::Missing(_) => Code::Missing,
        UnfitDependency::TooMany => Code::TooMany,
        UnfitDependency::One(_)
        | UnfitDependency::NotTwo(_)
        | UnfitDependency::Twice(_)
        | UnfitDependency::Unknown(_)
        | UnfitDependency::Exists(_)
        | UnfitDependency::SecondLevel { .. }
        | UnfitDependency::Cycle { .. } => Code::Dependency,
    }
}

fn file_code(error: &FileError) -> Code {
    match error {
        FileError::Invalid { .. } => Code::FileInvalid,
        FileError::Locked { .. } => Code::Locked,
        FileError::Io { .. }
        | FileError::Gone { .. }
        | FileError::Changed { .. }
        | FileError::NoApplication(_) => Code::File,
    }
}

fn flags() -> String {
    FLAGS.map(|(flag, _)| flag).join(", ")
}

fn shells() -> String {
    either(&Shell::NAMES.map(|(_, name)| name))
}

fn shell_problem(word: Option<&str>) -> String {
    word.map_or_else(
        || "which shell is to complete the words?".to_owned(),
        |word| format!("\"{word}\" is no shell that is known"),
    )
}

/// ", did you mean X?" in the middle of a sentence.
fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
}

fn daemon_problem(error: &CallError) -> String {
    if let CallError::NotRunning { path } = error {
        let socket = path.display();
        return format!(
            "vmpulse-agentd is not running (nobody listens on {socket}); `vmmgr start vmm` starts it"
        );
    }
    format!("vmpulse-agentd does not answer: {}", error_chain(error))
}

fn file_problem(error: &FileError) -> String {
    let text = error_chain(error);
    match error {
        FileError::Invalid { path, .. } => match config_file::previous(path) {
            Some(previous) => {
                format!("{text}. Correct it, or take {}, the file before the last change", previous.display())
            }
            None => format!("{text}. Correct it"),
        },
        FileError::Io { .. }
        | FileError::Gone { .. }
        | FileError::Locked { .. }
        | FileError::Changed { .. }
        | FileError::NoApplication(_) => text,
    }
}

fn action_problem(word: Option<&str>) -> String {
    let unknown = |word| format!("\"{word}\" is no action{}", meant(nearest::of(word, action_words())));
    word.map_or_else(|| "An action is missing".to_owned(), unknown)
}

fn actions() -> String {
    ACTIONS.map(|(action, _)| action.name()).join(", ")
}

fn classes(action: Action) -> String {
    let names: Vec<&str> = action.classes().iter().map(|class| class.name()).collect();
    if names.is_empty() { "nothing does".to_owned() } else { format!("its classes are: {}", either(&names)) }
}
