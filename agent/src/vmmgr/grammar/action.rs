//! The words of the grammar: actions, classes, their aliases, and which go together.

use std::iter;

use crate::config::attribute::{self, Attribute};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add to the file.
    Add,
    /// Show.
    Query,
    /// Change in the file.
    Modify,
    /// Delete from the file.
    Delete,
    /// Show the daemon.
    Status,
    /// The daemon, or an application.
    Start,
    /// The daemon, or an application.
    Stop,
    /// Monitoring of the VM, or of an application.
    Suspend,
    /// Monitoring of the VM, or of an application.
    Resume,
    /// Make the daemon load the file.
    Sync,
    /// Announce a silence, or end it.
    Quiet,
    /// Whether applications are healthy, as an exit status.
    Health,
    /// Take in a key that was made elsewhere.
    Import,
    /// Print a key.
    Export,
    /// Explain.
    Help,
    /// Print what makes a shell complete the words.
    Completion,
}

/// Actions with their names, the first being the one that is shown. A name that ends with `*` stands for everything that
/// begins so and goes on towards the first one: `mod*` for mod, modi, modif.
pub const ACTIONS: [(Action, &[&str]); 16] = [
    (Action::Add, &["add", "create"]),
    (Action::Query, &["query", "q*", "list", "get"]),
    (Action::Modify, &["modify", "mod*", "change", "set"]),
    (Action::Delete, &["delete", "del", "remove", "rm", "unregister"]),
    (Action::Status, &["status"]),
    (Action::Start, &["start", "on", "enable"]),
    (Action::Stop, &["stop", "off", "disable"]),
    (Action::Suspend, &["suspend", "unmonitor"]),
    (Action::Resume, &["resume", "monitor"]),
    (Action::Sync, &["sync", "refresh"]),
    (Action::Quiet, &["quiet"]),
    (Action::Health, &["health"]),
    (Action::Import, &["import"]),
    (Action::Export, &["export"]),
    (Action::Help, &["help"]),
    (Action::Completion, &["completion"]),
];

impl Action {
    /// By any of its names, in either case.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let exact = ACTIONS.iter().find(|(_, names)| names.contains(&text.as_str()));
        exact
            .or_else(|| ACTIONS.iter().find(|(_, names)| is_shortened(&text, names)))
            .map(|(action, _)| *action)
    }

    /// Its names, the first being the one that is shown.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        ACTIONS.iter().find(|(action, _)| *action == self).map_or(&[], |(_, names)| *names)
    }

    /// The name that is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().first().unwrap_or(&"")
    }

    /// The classes it works on, the one meant without a class first.
    #[must_use]
    pub const fn classes(self) -> &'static [Class] {
        match self {
            Self::Add | Self::Delete => &[Class::App, Class::Dependency, Class::Key],
            Self::Query => &[Class::Vmm, Class::App, Class::Dependency, Class::Key],
            Self::Modify => &[Class::Vmm, Class::App, Class::Dependency],
            Self::Import | Self::Export => &[Class::Key],
            Self::Start | Self::Stop | Self::Suspend | Self::Resume => &[Class::Vmm, Class::App],
            Self::Status | Self::Sync | Self::Quiet | Self::Health | Self::Help | Self::Completion => &[],
        }
    }

    /// One line about it.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Add => "add an application or a dependency to the file; make a key",
            Self::Query => "show what is in the file, and what the daemon says of it",
            Self::Modify => "change attributes in the file; an empty value puts the default back",
            Self::Delete => "delete from the file; forget a key",
            Self::Status => "show the daemon, its paths and what is wrong; exit 1 if it is not running",
            Self::Start => "start the daemon through systemd, or one application",
            Self::Stop => "stop the daemon through systemd, or one application",
            Self::Suspend => {
                "end the monitoring of this virtual machine, or of an application, for the time being"
            }
            Self::Resume => "go on with it; an application in a final state gets a new chance",
            Self::Sync => "make the daemon load the file, and the keys",
            Self::Quiet => "announce that heartbeats may stop for a while, or that they are back",
            Self::Health => "exit 0 if all monitored applications, or the one named, are healthy; else 1",
            Self::Import => "take in a key made elsewhere",
            Self::Export => "print a key",
            Self::Help => "explain everything, or what follows",
            Self::Completion => "print what makes a shell complete the words",
        }
    }

    /// What follows it, for help: one line for each class, or one.
    #[must_use]
    pub fn usage(self) -> Vec<(&'static str, &'static str)> {
        USAGE
            .iter()
            .filter(|(action, ..)| *action == self)
            .map(|(_, words, about)| (*words, *about))
            .collect()
    }

    /// Whether ATTRIBUTE=VALUE may follow.
    #[must_use]
    pub const fn takes_attributes(self, class: Class) -> bool {
        matches!(self, Self::Add | Self::Modify) && !matches!(class, Class::Key)
    }
}

/// Every form of every action, and what it does.
pub const USAGE: &[(Action, &str, &str)] = &[
    (Action::Add, "add app NAME ATTRIBUTE=VALUE ...", "an application; its scripts must be there"),
    (
        Action::Add,
        "add dependency dependency_type=TYPE dependency_list=NAME,NAME ...",
        "a dependency; its number is given and shown",
    ),
    (Action::Add, "add key [ID]", "make a key, with the next id unless one is given"),
    (Action::Query, "query [vmm]", "the agent's attributes"),
    (Action::Query, "query app [NAME]", "applications with their status"),
    (Action::Query, "query dependency [DEPUUID]", "dependencies"),
    (Action::Query, "query key", "ids and the paths that use them, never the keys"),
    (Action::Modify, "modify [vmm] ATTRIBUTE=VALUE ...", "the agent's attributes"),
    (Action::Modify, "modify app NAME ATTRIBUTE=VALUE ...", "those of an application"),
    (Action::Modify, "modify dependency DEPUUID ATTRIBUTE=VALUE ...", "those of a dependency"),
    (Action::Delete, "delete app NAME", "an application; not while it is part of a dependency"),
    (Action::Delete, "delete dependency DEPUUID", "a dependency"),
    (Action::Delete, "delete key ID", "a key; the one before it is used again"),
    (
        Action::Status,
        "status",
        "subsystem, process, paths, and what is wrong; exit 1 if the daemon is not running",
    ),
    (Action::Start, "start [vmm]", "have systemd start the daemon, and wait until it answers"),
    (Action::Start, "start app NAME", "run the start script now; also ends a final state"),
    (Action::Stop, "stop [vmm]", "have systemd stop the daemon; the host monitors are told"),
    (Action::Stop, "stop app NAME", "run the stop script now; it stays stopped until it is started"),
    (
        Action::Suspend,
        "suspend [vmm]",
        "silence of this virtual machine means nothing until it is resumed; outlives a reboot",
    ),
    (Action::Suspend, "suspend app NAME", "no script of it is run any more: monitored=0"),
    (Action::Resume, "resume [vmm]", "it counts again"),
    (Action::Resume, "resume app NAME", "it is monitored again: monitored=1; also ends a final state"),
    (Action::Sync, "sync", "load the file and the keys; a file that is not valid changes nothing"),
    (
        Action::Quiet,
        "quiet TIME REASON",
        "heartbeats may stop for so long (500ms, 60s, 5m; at most 600s in any hour)",
    ),
    (Action::Quiet, "quiet end", "they are back"),
    (
        Action::Import,
        "import key ID [FILE]",
        "take in a key from FILE or standard input: 64 hexadecimal digits",
    ),
    (Action::Export, "export key ID", "print a key, to be carried to the host monitors"),
    (Action::Help, "help [ACTION] [CLASS] [ATTRIBUTE]", "everything, or what is named; also -h behind it"),
    (
        Action::Completion,
        "completion bash|zsh|fish",
        "for ~/.bashrc and the like: source <(vmmgr completion bash)",
    ),
];

/// `text` begins with a name that ends with `*` and is the beginning of the first name.
fn is_shortened(text: &str, names: &[&str]) -> bool {
    let full = names.first().copied().unwrap_or_default();
    let mut stems = names.iter().filter_map(|name| name.strip_suffix('*'));
    full.starts_with(text) && stems.any(|stem| text.starts_with(stem))
}

/// What an action works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The engine itself.
    Vmm,
    /// Applications.
    App,
    /// What binds applications to each other.
    Dependency,
    /// Keys that heartbeats are authenticated with.
    Key,
}

/// Classes with their names, the first being the one that is shown.
pub const CLASSES: [(Class, &[&str]); 4] = [
    (Class::Vmm, &["vmm"]),
    (Class::App, &["app", "application"]),
    (Class::Dependency, &["dependency", "dep"]),
    (Class::Key, &["key"]),
];

impl Class {
    /// By any of its names, in either case.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        CLASSES.iter().find(|(_, names)| names.contains(&text.as_str())).map(|(class, _)| *class)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vmm => "vmm",
            Self::App => "app",
            Self::Dependency => "dependency",
            Self::Key => "key",
        }
    }

    /// One line about it.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Vmm => "the agent itself, and the virtual machine it runs in",
            Self::App => "applications",
            Self::Dependency => "in which order applications are started and stopped",
            Self::Key => "keys that heartbeats are authenticated with",
        }
    }

    /// How one of them is named at [`Action::Query`] and the like; nothing if there is only one.
    #[must_use]
    pub const fn name_word(self) -> &'static str {
        match self {
            Self::Vmm => "",
            Self::App => "NAME",
            Self::Dependency => "DEPUUID",
            Self::Key => "ID",
        }
    }

    /// Its attributes in the file; keys have none.
    #[must_use]
    pub const fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::Vmm => attribute::VMM,
            Self::App => attribute::APPLICATION,
            Self::Dependency => attribute::DEPENDENCY,
            Self::Key => &[],
        }
    }
}

/// Every word an action may be given as, without `*`: what a mistyped one is compared with.
pub(in crate::vmmgr) fn action_words() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().flat_map(|(_, names)| names.iter().copied()).filter(|name| !name.ends_with('*'))
}

/// "A, B or C".
pub(in crate::vmmgr) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => {
            iter::once(most.join(", ")).chain([(*last).to_owned()]).collect::<Vec<_>>().join(" or ")
        }
    }
}
