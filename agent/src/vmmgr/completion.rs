//! Completion of words at a shell.
//!
//! The scripts in `packaging/completions` are the same for every version: they ask this command what may come next,
//! which it reads off its own tables and the configuration file. `vmmgr completion SHELL` prints them.

mod candidates;

use std::path::{Path, PathBuf};

use super::grammar::Class;
use super::{Environment, Outcome};
use crate::config::{Configuration, command_line};
use crate::config_file;
use crate::settings::Settings;
use candidates::{Candidates, Names};

/// Behind `completion`: what the scripts ask.
const ASKED: &str = "words";

/// A shell that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash, with or without the package bash-completion.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// All of them with their names.
    pub const NAMES: [(Self, &str); 3] = [(Self::Bash, "bash"), (Self::Zsh, "zsh"), (Self::Fish, "fish")];

    /// By its name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(shell, _)| *shell)
    }

    /// What it is to run.
    #[must_use]
    pub const fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../../packaging/completions/vmmgr.bash"),
            Self::Zsh => include_str!("../../../packaging/completions/_vmmgr"),
            Self::Fish => include_str!("../../../packaging/completions/vmmgr.fish"),
        }
    }
}

/// The words that were typed, if a script asks: `completion words WORD ...`, the last being the one that is to be
/// completed; or `completion words --line LINE`, a command line up to the cursor.
pub(super) fn asked(arguments: &[String]) -> Option<Vec<String>> {
    let [action, asked, rest @ ..] = arguments else { return None };
    if action != "completion" || asked != ASKED {
        return None;
    }
    match rest {
        [flag, line] if flag == "--line" => Some(split(line)),
        words => Some(words.to_vec()),
    }
}

/// The words of a line but the first, which is this command; the last is empty if the line ends with a blank.
fn split(line: &str) -> Vec<String> {
    let plain = || line.split_whitespace().map(str::to_owned).collect();
    let mut words: Vec<String> = command_line::split(line).unwrap_or_else(|_| plain());
    if line.ends_with(' ') {
        words.push(String::new());
    }
    words.into_iter().skip(1).collect()
}

/// One line each: the word, and behind a tab what it means. `:files` if a file name is wanted.
pub(super) fn words(typed: Vec<String>, environment: &Environment) -> Outcome {
    let (current, before) =
        typed.split_last().map_or(("", [].as_slice()), |(last, rest)| (last.as_str(), rest));
    let named = settings_of(before);
    let names = File { settings: named.as_deref().or(environment.settings_variable.as_deref()) };
    let mut text = String::new();
    match candidates::find(before, current, &names) {
        Candidates::Files => text.push_str(":files\n"),
        Candidates::Words(words) => {
            for (word, about) in words {
                text.push_str(&format!("{word}\t{about}\n"));
            }
        }
    }
    Outcome::shown(text)
}

/// Behind `--settings`.
fn settings_of(words: &[String]) -> Option<PathBuf> {
    let joined = words.iter().rev().find_map(|word| word.strip_prefix("--settings="));
    let behind = words.windows(2).find_map(|pair| match pair {
        [flag, path] if flag == "--settings" => Some(path.as_str()),
        _ => None,
    });
    joined.or(behind).map(PathBuf::from)
}

/// Names that are in the file; none if it cannot be read, which is no time to complain.
struct File<'a> {
    settings: Option<&'a Path>,
}

impl File<'_> {
    fn configuration(&self) -> Option<(Settings, Configuration)> {
        let settings = Settings::load(None, self.settings).ok()?;
        let configuration = config_file::load(&settings.config, settings.max_apps).ok()?;
        Some((settings, configuration))
    }
}

impl Names for File<'_> {
    fn of(&self, class: Class) -> Vec<(String, String)> {
        let Some((settings, configuration)) = self.configuration() else { return Vec::new() };
        match class {
            Class::Vmm => Vec::new(),
            Class::App => configuration
                .applications
                .iter()
                .map(|application| (application.name.clone(), application.values.text("desc").to_owned()))
                .collect(),
            Class::Dependency => configuration
                .dependencies
                .iter()
                .map(|dependency| (dependency.uuid.clone(), super::dependency::in_words(dependency)))
                .collect(),
            // Root only, which the file sees to.
            Class::Key => crate::keys::read(&settings.key_file)
                .map(|ring| ring.ids().map(|id| (id.to_string(), String::new())).collect())
                .unwrap_or_default(),
        }
    }
}
