//! The numbers of the messages, with what they mean and the exit code that goes with them.

use vmpulse_local::exit::Exit;

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing was done, or not what was wanted.
    Error,
    /// Done, and there is something to look at.
    Warning,
    /// Done.
    Info,
}

impl Level {
    /// As in `VMMGR-002(ERROR)`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Info => "INFO",
        }
    }
}

/// Each line is a number that never changes its meaning, its level, the exit code of a command that ends with it, and
/// what it means. Exit 2 is for a command line that is not understood, exit 1 for one that is, and is refused or fails.
macro_rules! codes {
    ($($name:ident = $number:literal, $level:ident, $exit:ident, $meaning:literal;)*) => {
        /// What a message is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Code {
            /// Every code, by its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How serious it is.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            /// How a command ends that ends with this message.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Daemon = 1, Error, Failed, "the daemon does not answer, or is not running";
    Action = 2, Error, Usage, "the action is missing or unknown; lists the actions";
    Class = 3, Error, Usage, "this class cannot follow this action; lists those that can";
    Name = 4, Error, Usage, "a name or id is missing";
    Surplus = 5, Error, Usage, "a word that is not expected, or nothing to modify";
    UnknownAttribute = 6, Error, Usage, "no such attribute; names the nearest one";
    ReadOnly = 7, Error, Failed, "the attribute is read-only";
    Value = 8, Error, Failed, "the attribute does not take this value; says what it takes";
    Twice = 9, Error, Usage, "an attribute is given twice";
    Flag = 10, Error, Usage, "no such flag; lists the flags";
    FlagValue = 11, Error, Usage, "the value of a flag is missing or unknown";
    NoApplication = 12, Error, Failed, "no such application; names the nearest one";
    Exists = 13, Error, Failed, "an application of that name exists already";
    Script = 14, Error, Failed, "a script does not exist, is no file, or cannot be executed by its user";
    TooMany = 15, Error, Failed, "the maximum count of applications or dependencies is reached";
    BadName = 16, Error, Failed, "no name for an application";
    Missing = 17, Error, Failed, "an attribute that must be given is not";
    Type = 18, Error, Failed, "the type of application, or what it needs, is not there";
    User = 19, Error, Failed, "no such user on this system";
    FileInvalid = 20, Error, Failed, "the configuration file is not valid; gives line and column, and the file before the last change";
    File = 21, Error, Failed, "the configuration file cannot be read or written";
    Settings = 22, Error, Failed, "the settings file agent.toml cannot be read or is not valid";
    NotAllowed = 23, Error, Failed, "not permitted: only root may change anything";
    NotLoaded = 24, Error, Failed, "the daemon keeps its last good configuration; says what is wrong with the file";
    OtherReply = 26, Error, Failed, "the daemon's answer is of another kind: vmmgr and daemon are of different versions";
    NotApplied = 27, Error, Failed, "the change is in the file, but the daemon did not load it";
    Output = 28, Error, Failed, "the answer cannot be written";
    Quiet = 29, Error, Usage, "time or reason of an announced silence is missing";
    NotDone = 30, Error, Failed, "the daemon did nothing; says why";
    QuietValue = 31, Error, Failed, "time or reason of an announced silence is not allowed";
    NoDependency = 32, Error, Failed, "no such dependency";
    InDependency = 33, Error, Failed, "the application is part of a dependency";
    Dependency = 34, Error, Failed, "the dependency is not allowed; says why";
    NoSystemd = 35, Error, Failed, "no systemd here that could start or stop the daemon";
    Systemctl = 36, Error, Failed, "systemd did not start or stop the daemon";
    Locked = 37, Error, Failed, "another process is changing the configuration file and does not come to an end";
    Period = 57, Error, Failed, "monitor_period must be greater than monitor_timeout";
    KeyId = 70, Error, Failed, "no key id";
    KeyFile = 71, Error, Failed, "the key file cannot be used";
    KeyAdd = 72, Error, Failed, "another key has that id, or it is the same key";
    NoKey = 73, Error, Failed, "no such key";
    KeySource = 74, Error, Failed, "no key was read";
    KeyNotLoaded = 75, Error, Failed, "the daemon keeps the keys that it had";
    KeyNotTold = 76, Error, Failed, "the key file is changed, and the daemon was not told";
    Random = 77, Error, Failed, "the system gave no random numbers";
    Done = 100, Info, Done, "what was done";
    NotSynced = 101, Info, Done, "the change is in the file only: -s was not given, or the daemon is not running";
    NotAsWanted = 102, Warning, Failed, "done, but not as it was wanted";
    UnknownKept = 103, Warning, Done, "the file has an attribute or element that this version does not know; it is kept";
    KeyDone = 110, Info, Done, "what was done with a key";
    KeyTold = 111, Info, Done, "what the daemon made of the keys";
}

impl Code {
    /// As in `VMMGR-002`.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_errors_do_not_end_with_success() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for code in Code::ALL {
            assert_eq!(code.level() == Level::Error, code.number() < 100, "{code:?}");
            assert!(code.level() != Level::Error || code.exit() != Exit::Done, "{code:?}");
            assert!(matches!(code.exit(), Exit::Done | Exit::Failed | Exit::Usage), "{code:?}");
        }
    }
}
