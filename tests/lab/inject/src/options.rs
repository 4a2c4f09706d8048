//! The options of a class, typed on the way out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::class::AnyClass;
use crate::error::{Inject, InjectError};

/// The words of each option.
pub(crate) type Told = BTreeMap<String, Vec<String>>;

/// What was given on the command line for one class. Values are `String` unless the class's [`Arg`] has another `value_parser`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    matches: ArgMatches,
}

impl Options {
    pub(crate) fn new(matches: ArgMatches) -> Options {
        Options { matches }
    }

    /// For callers of the library: `Options::of(class, ["--domain", "vm1"])`.
    ///
    /// # Errors
    /// `Usage`, with clap's text.
    pub fn of<'a>(class: &dyn AnyClass, words: impl IntoIterator<Item = &'a str>) -> Inject<Options> {
        let command = Command::new("options").no_binary_name(true).args(class.arguments());
        let matches =
            command.try_get_matches_from(words).map_err(|error| InjectError::Usage(error.to_string()))?;
        Ok(Options { matches })
    }

    /// The class's own, as they were given or are by default: for the state file.
    pub(crate) fn told(&self, class: &dyn AnyClass) -> Told {
        let words = |id: &str| {
            let raw = self.matches.try_get_raw(id).ok().flatten()?;
            Some(raw.map(|word| word.to_string_lossy().into_owned()).collect())
        };
        let arguments = class.arguments();
        arguments
            .iter()
            .filter_map(|it| Some((it.get_id().to_string(), words(it.get_id().as_str())?)))
            .collect()
    }

    /// An option's value.
    #[must_use]
    pub fn get<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Option<T> {
        self.matches.try_get_one::<T>(name).ok().flatten().cloned()
    }

    /// A text option.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get::<String>(name)
    }

    /// A file option (`value_parser!(PathBuf)`).
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get::<PathBuf>(name)
    }

    /// Every value of a text option that may be given several times.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.matches
            .try_get_many::<String>(name)
            .ok()
            .flatten()
            .map(|all| all.cloned().collect())
            .unwrap_or_default()
    }

    /// A flag (`ArgAction::SetTrue`).
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get::<bool>(name).unwrap_or(false)
    }

    /// A text option that must be there.
    ///
    /// # Errors
    /// `Usage`, naming it.
    pub fn need(&self, name: &str) -> Inject<String> {
        self.text(name).ok_or_else(|| InjectError::Usage(format!("--{name} is missing.")))
    }
}

/// A `--name VALUE` option with its help, for [`crate::class::Class::arguments`].
#[must_use]
pub fn value(name: &'static str, shape: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(shape).help(help)
}

/// A `--name` flag.
#[must_use]
pub fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(clap::ArgAction::SetTrue).help(help)
}
