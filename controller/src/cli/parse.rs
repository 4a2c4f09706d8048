//! The command line: `[flags] ACTION CLASS [NAME,...] [options] [attribute=value ...]`. Pure.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

use super::words::{Action, Class};
use crate::events::printable;

/// Arguments on one command line: more than any shell line that a person writes, fewer than what hurts.
const ARGUMENTS_LIMIT: usize = 4096;

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UsageError {
    /// No action.
    #[error("an action is missing: one of {0}")]
    NoAction(String),
    /// No class.
    #[error("{action} needs a class: one of {classes}")]
    NoClass {
        /// To do what.
        action: &'static str,
        /// Which there are.
        classes: String,
    },
    /// A word that means nothing.
    #[error("there is no {kind} {word:?}; there are: {known}")]
    UnknownWord {
        /// `action` or `class`.
        kind: &'static str,
        /// As given.
        word: String,
        /// What there is.
        known: String,
    },
    /// A word that may mean several.
    #[error("{kind} {word:?} may be one of: {known}")]
    AmbiguousWord {
        /// `action` or `class`.
        kind: &'static str,
        /// As given.
        word: String,
        /// What it may mean.
        known: String,
    },
    /// A flag that does not exist.
    #[error("there is no flag {0:?}")]
    UnknownFlag(String),
    /// A flag without its value.
    #[error("flag {0} needs a value")]
    FlagValue(&'static str),
    /// A format that does not exist.
    #[error("output format {0:?} is unknown: text or json")]
    Format(String),
    /// Not UTF-8.
    #[error("the argument {0:?} is not UTF-8 text")]
    NotText(OsString),
    /// Too many.
    #[error("more than {ARGUMENTS_LIMIT} arguments")]
    TooMany,
    /// An attribute twice.
    #[error("attribute {0} is given twice")]
    Twice(String),
    /// An attribute that the class does not have.
    #[error("{of} has no attribute {attribute:?}; it has: {known}")]
    UnknownAttribute {
        /// As `modify vm`.
        of: String,
        /// As given.
        attribute: String,
        /// Which there are.
        known: String,
    },
    /// A value that its attribute never has, whatever there is.
    #[error("{attribute}={value} is wrong: {why}")]
    Value {
        /// Which attribute.
        attribute: &'static str,
        /// As given, printable.
        value: String,
        /// What is allowed.
        why: String,
    },
    /// Names where none are allowed, or none where they are needed.
    #[error("{0}")]
    Names(String),
}

impl UsageError {
    /// A value that its attribute never has.
    #[must_use]
    pub fn value(attribute: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self::Value { attribute, value: printable(value), why: why.into() }
    }
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `-v`.
    pub verbose: bool,
    /// `-t`: time stamps before the lines that say what was done.
    pub stamps: bool,
    /// `-o`.
    pub output: Output,
    /// `--store`.
    pub store: Option<String>,
    /// `--settings`.
    pub settings: Option<PathBuf>,
    /// What is asked.
    pub request: Request,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `-h`, `-?` or `help`, after as much as was given before it.
    Help {
        /// Of this action.
        action: Option<Action>,
        /// Of this class.
        class: Option<Class>,
    },
    /// `--version`.
    Version,
    /// To do something.
    Run(Command),
}

/// To do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub action: Action,
    /// To which class; always given for query and modify.
    pub class: Option<Class>,
    /// To which of them; empty: all.
    pub names: Vec<String>,
    /// `attribute=value`, in the order given, names in lower case.
    pub attributes: Vec<(String, String)>,
}

/// Understands a command line, the program's name left out.
///
/// # Errors
/// [`UsageError`].
pub fn parse(arguments: Vec<OsString>) -> Result<Invocation, UsageError> {
    if arguments.len() > ARGUMENTS_LIMIT {
        return Err(UsageError::TooMany);
    }
    let mut words = Vec::new();
    let mut flags = Flags::default();
    let mut rest = arguments.into_iter().map(|one| one.into_string().map_err(UsageError::NotText));
    while let Some(argument) = rest.next() {
        let argument = argument?;
        if argument.starts_with('-') {
            flags.take(&argument, &mut || rest.next().transpose())?;
        } else {
            words.push(argument);
        }
    }
    let request = request(&words, &flags)?;
    let Flags { verbose, stamps, output, store, settings, .. } = flags;
    Ok(Invocation { verbose, stamps, output, store, settings, request })
}

#[derive(Default)]
struct Flags {
    verbose: bool,
    stamps: bool,
    help: bool,
    version: bool,
    output: Output,
    store: Option<String>,
    settings: Option<PathBuf>,
}

/// Yields the next argument.
type Next<'a> = &'a mut dyn FnMut() -> Result<Option<String>, UsageError>;

impl Flags {
    fn take(&mut self, flag: &str, next: Next<'_>) -> Result<(), UsageError> {
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let mut value = |name: &'static str| match inline.clone() {
            Some(value) => Ok(value),
            None => next()?.ok_or(UsageError::FlagValue(name)),
        };
        match name {
            "-o" | "--output" => self.output = format(&value("-o")?)?,
            "--store" => self.store = Some(value("--store")?),
            "--settings" => self.settings = Some(value("--settings")?.into()),
            _ if inline.is_some() => return Err(UsageError::UnknownFlag(flag.to_owned())),
            "-v" | "--verbose" => self.verbose = true,
            "-t" => self.stamps = true,
            "-h" | "-?" | "--help" => self.help = true,
            "--version" => self.version = true,
            _ => return Err(UsageError::UnknownFlag(flag.to_owned())),
        }
        Ok(())
    }
}

fn format(text: &str) -> Result<Output, UsageError> {
    match text {
        "text" => Ok(Output::Text),
        "json" => Ok(Output::Json),
        _ => Err(UsageError::Format(text.to_owned())),
    }
}

fn request(words: &[String], flags: &Flags) -> Result<Request, UsageError> {
    if flags.version {
        return Ok(Request::Version);
    }
    let Some((first, rest)) = words.split_first() else {
        return if flags.help {
            Ok(Request::Help { action: None, class: None })
        } else {
            Err(UsageError::NoAction(Action::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")))
        };
    };
    let action = Action::resolve(first)?;
    if action == Action::Help {
        return help(rest);
    }
    if flags.help {
        return help(words);
    }
    let Some((class, rest)) = rest.split_first() else {
        return if matches!(action, Action::Query | Action::Modify) {
            Err(UsageError::NoClass { action: action.name(), classes: classes() })
        } else {
            Ok(Request::Run(Command { action, class: None, names: Vec::new(), attributes: Vec::new() }))
        };
    };
    let class = Class::resolve(class)?;
    let (names, attributes) = operands(rest)?;
    Ok(Request::Run(Command { action, class: Some(class), names, attributes }))
}

fn help(words: &[String]) -> Result<Request, UsageError> {
    let mut words = words.iter();
    let action = words.next().map(|word| Action::resolve(word)).transpose()?;
    let class = words.next().map(|word| Class::resolve(word)).transpose()?;
    Ok(Request::Help { action, class })
}

fn classes() -> String {
    Class::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
}

type Operands = (Vec<String>, Vec<(String, String)>);

/// What follows the class. A name with `=` in it must be written as a UUID.
fn operands(words: &[String]) -> Result<Operands, UsageError> {
    let (mut names, mut attributes) = (Vec::new(), Vec::<(String, String)>::new());
    for word in words {
        match word.split_once('=') {
            Some((attribute, value)) => {
                let attribute = attribute.to_lowercase();
                if attributes.iter().any(|(given, _)| *given == attribute) {
                    return Err(UsageError::Twice(attribute));
                }
                attributes.push((attribute, value.to_owned()));
            }
            // The word may stand between names and attributes and says nothing.
            None if word.eq_ignore_ascii_case("options") => {}
            None => names.extend(word.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned)),
        }
    }
    Ok((names, attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, UsageError> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn command(line: &str) -> Command {
        match parsed(line).unwrap().request {
            Request::Run(command) => command,
            other @ (Request::Help { .. } | Request::Version) => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_and_attributes_in_any_place_after_the_class() {
        let command =
            command("mod vm vm1,vm2 options VM_failure_detection_speed=slow vm3 heartbeat_interval=none");
        assert_eq!((command.action, command.class), (Action::Modify, Some(Class::Vm)));
        assert_eq!(command.names, ["vm1", "vm2", "vm3"]);
        let attributes: Vec<_> =
            command.attributes.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(attributes, ["vm_failure_detection_speed slow", "heartbeat_interval none"]);
    }

    #[test]
    fn flags_stand_anywhere() {
        let one = parsed("-v -t -o json --store sqlite:///a q vm").unwrap();
        assert_eq!(one, parsed("q -o=json vm --store=sqlite:///a -t -v").unwrap());
        assert!(one.verbose && one.stamps && one.output == Output::Json);
        assert_eq!(one.store.as_deref(), Some("sqlite:///a"));
        assert_eq!(parsed("q vm --settings f").unwrap().settings, Some(PathBuf::from("f")));
    }

    #[test]
    fn help_is_for_what_was_given() {
        let help = |action, class| Request::Help { action, class };
        for (line, expected) in [
            ("-h", help(None, None)),
            ("-?", help(None, None)),
            ("help", help(None, None)),
            ("q -h", help(Some(Action::Query), None)),
            ("help q vm", help(Some(Action::Query), Some(Class::Vm))),
            ("mod vm a=b -?", help(Some(Action::Modify), Some(Class::Vm))),
        ] {
            assert_eq!(parsed(line).unwrap().request, expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, expected) in [
            ("", "an action is missing: one of add, "),
            ("query", "query needs a class: one of app, "),
            ("frobnicate vm", "there is no action \"frobnicate\""),
            ("query guest", "there is no class \"guest\""),
            ("-x query vm", "there is no flag \"-x\""),
            ("-v=1 query vm", "there is no flag \"-v=1\""),
            ("query vm -o", "flag -o needs a value"),
            ("query vm -o yaml", "output format \"yaml\" is unknown: text or json"),
            ("mod vm a x=1 X=2", "attribute x is given twice"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }

    #[test]
    fn actions_of_later_versions_need_no_class() {
        assert_eq!(command("recover").class, None);
        assert_eq!(command("recover vm a").names, ["a"]);
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_answered(words in proptest::collection::vec(".{0,12}", 0..8)) {
            let _ = parse(words.into_iter().map(OsString::from).collect());
        }
    }
}
