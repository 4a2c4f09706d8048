//! `vmmgr [FLAGS] ACTION [CLASS] [NAME] [ATTRIBUTE=VALUE ...]`
//!
//! Keys: `vmmgr ACTION key [ID] [FILE]`. The class may also stand before the action, and the id behind `--id`:
//! `vmmgr key import --id 2 FILE`.

pub mod action;
mod quiet;

use std::path::PathBuf;

use super::completion::Shell;
use super::fault::Fault;
use crate::config::attribute::{self, Attribute};
pub use action::{ACTIONS, Action, CLASSES, Class};
pub use quiet::QuietWords;

/// Form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// `-s`: make the daemon load the change.
    pub apply: bool,
    /// `-a`: only these attributes.
    pub only: Option<Vec<String>>,
    /// `-o`.
    pub format: Format,
    /// `--settings`.
    pub settings: Option<PathBuf>,
    /// What to do; [`Action::Help`] with `-h`.
    pub action: Action,
    /// What with; the action's first class if none is given, none if it takes none.
    pub class: Option<Class>,
    /// Of the application, or the key's id.
    pub name: Option<String>,
    /// `import key`: the file that holds it.
    pub file: Option<String>,
    /// To set, in the order given.
    pub attributes: Vec<(String, String)>,
    /// What follows [`Action::Quiet`].
    pub quiet: Option<QuietWords>,
    /// What [`Action::Help`] is about.
    pub topic: Topic,
    /// What follows [`Action::Completion`].
    pub shell: Option<Shell>,
}

/// What help is wanted for; everything if nothing is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Of this action.
    pub action: Option<Action>,
    /// Of this class.
    pub class: Option<Class>,
    /// Of this attribute.
    pub attribute: Option<&'static Attribute>,
    /// As the page of the documentation.
    pub markdown: bool,
}

/// The flags: as written, and what they do.
pub const FLAGS: [(&str, &str); 6] = [
    ("-s", "make the daemon load the change at once (otherwise: sync)"),
    ("-a LIST", "show only these attributes, parted by commas"),
    ("-o text|json", "form of what is shown"),
    ("-h", "help for what precedes it"),
    ("--settings PATH", "settings file (else VMPULSE_AGENT_SETTINGS, else /etc/vmpulse/agent.toml)"),
    ("--id N", "the key that is meant (or its id as NAME)"),
];

/// Understands the arguments behind the program's name.
pub fn parse(arguments: &[String]) -> Result<CommandLine, Fault> {
    let mut line = CommandLine {
        apply: false,
        only: None,
        format: Format::Text,
        settings: None,
        action: Action::Help,
        class: None,
        name: None,
        file: None,
        attributes: Vec::new(),
        quiet: None,
        topic: Topic::default(),
        shell: None,
    };
    let (mut words, help) = take_flags(arguments, &mut line)?;
    put_action_first(&mut words);
    if help {
        line.topic = topic_before(&words);
        return Ok(line);
    }
    let (action, words) = words.split_first().ok_or(Fault::Action(None))?;
    line.action = Action::named(action).ok_or_else(|| Fault::Action(Some((*action).to_owned())))?;
    match line.action {
        Action::Help => line.topic = topic(words)?,
        Action::Quiet => line.quiet = Some(quiet::words(words)?),
        Action::Health => line.name = optional_name(words)?,
        Action::Completion => line.shell = Some(shell(words)?),
        Action::Add
        | Action::Query
        | Action::Modify
        | Action::Delete
        | Action::Status
        | Action::Start
        | Action::Stop
        | Action::Suspend
        | Action::Resume
        | Action::Sync
        | Action::Import
        | Action::Export => take_words(words, &mut line)?,
    }
    Ok(line)
}

/// With `-h`: whatever of an action, a class and an attribute is among the words, other words notwithstanding.
fn topic_before(words: &[&str]) -> Topic {
    let action = words.first().and_then(|word| Action::named(word)).filter(|action| *action != Action::Help);
    let class = words.iter().take(2).find_map(|word| Class::named(word));
    let topic = Topic { action, class, ..Topic::default() };
    let last = words.get(1..).and_then(<[&str]>::last);
    Topic { attribute: last.and_then(|word| attribute(word, topic)), ..topic }
}

/// Behind `help`: an action, a class, an attribute, or several of them.
fn topic(words: &[&str]) -> Result<Topic, Fault> {
    let mut topic = Topic::default();
    for word in words {
        let unfit = Err(Fault::Surplus((*word).to_owned()));
        match (Action::named(word), Class::named(word), attribute(word, topic)) {
            (Some(action), ..) if topic.action.is_none() => topic.action = Some(action),
            (None, Some(class), _) if topic.class.is_none() => topic.class = Some(class),
            (None, None, Some(found)) if topic.attribute.is_none() => topic.attribute = Some(found),
            (None, None, None) if *word == "markdown" && words.len() == 1 => topic.markdown = true,
            (None, None, None) => return Err(Fault::Action(Some((*word).to_owned()))),
            (Some(_), ..) | (None, Some(_), _) | (None, None, Some(_)) => return unfit,
        }
    }
    Ok(topic)
}

/// `NAME` or `NAME=VALUE`: of the class of the topic, or of the first class that has one of that name.
fn attribute(word: &str, topic: Topic) -> Option<&'static Attribute> {
    let name = word.split('=').next().unwrap_or_default();
    let classes = CLASSES.iter().map(|(class, _)| *class);
    let mut wanted = classes.filter(|class| topic.class.is_none_or(|named| named == *class));
    wanted.find_map(|class| attribute::find(class.attributes(), name))
}

fn optional_name(words: &[&str]) -> Result<Option<String>, Fault> {
    match words {
        [] => Ok(None),
        [name] => Ok(Some((*name).to_owned())),
        [_, surplus, ..] => Err(Fault::Surplus((*surplus).to_owned())),
    }
}

fn shell(words: &[&str]) -> Result<Shell, Fault> {
    match words {
        [] => Err(Fault::Shell(None)),
        [word] => Shell::named(word).ok_or_else(|| Fault::Shell(Some((*word).to_owned()))),
        [_, surplus, ..] => Err(Fault::Surplus((*surplus).to_owned())),
    }
}

/// `key list` as `list key`.
pub(super) fn put_action_first(words: &mut [&str]) {
    if let [first, second, ..] = words
        && Action::named(first).is_none()
        && Class::named(first).is_some()
        && Action::named(second).is_some()
    {
        std::mem::swap(first, second);
    }
}

/// Flags may stand anywhere before `--`. Returns the other words, and whether help is wanted.
fn take_flags<'a>(arguments: &'a [String], line: &mut CommandLine) -> Result<(Vec<&'a str>, bool), Fault> {
    let mut words = Vec::new();
    let mut help = false;
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let (flag, joined) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
            Some(_) | None => (argument, None),
        };
        let mut value =
            || joined.or_else(|| arguments.next()).ok_or_else(|| Fault::FlagValue(flag.to_owned()));
        match flag {
            "-s" | "--sync" => line.apply = true,
            "-h" | "--help" => help = true,
            "-a" | "--attributes" => line.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "-o" | "--output" => line.format = format(value()?)?,
            "--settings" => line.settings = Some(PathBuf::from(value()?)),
            "--id" => line.name = Some(value()?.to_owned()),
            "--" => words.extend(arguments.by_ref()),
            // Standard input.
            "-" => words.push(argument),
            _ if flag.starts_with('-') => return Err(Fault::Flag(flag.to_owned())),
            _ => words.push(argument),
        }
    }
    Ok((words, help))
}

fn format(text: &str) -> Result<Format, Fault> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(Fault::Format(text.to_owned())),
    }
}

fn take_words(words: &[&str], line: &mut CommandLine) -> Result<(), Fault> {
    let mut words = words.iter().copied().peekable();
    let classes = line.action.classes();
    let given = words.next_if(|word| !word.contains('='));
    line.class = match given {
        None => classes.first().copied(),
        Some(word) => {
            let class = Class::named(word).filter(|class| classes.contains(class));
            Some(class.ok_or_else(|| Fault::Class { action: line.action, class: word.to_owned() })?)
        }
    };
    if line.name.is_some() && line.class != Some(Class::Key) {
        return Err(Fault::Surplus("--id".to_owned()));
    }
    if line.name.is_none() && line.class != Some(Class::Vmm) {
        line.name = words.next_if(|word| !word.contains('=')).map(str::to_owned);
    }
    if line.action == Action::Import {
        line.file = words.next().map(str::to_owned);
    }
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| Fault::Surplus(word.to_owned()))?;
        line.attributes.push((name.to_owned(), value.to_owned()));
    }
    check_attributes(line)
}

fn check_attributes(line: &CommandLine) -> Result<(), Fault> {
    let takes_attributes = line.class.is_some_and(|class| line.action.takes_attributes(class));
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in &line.attributes {
        if !takes_attributes || name.is_empty() {
            return Err(Fault::Surplus(format!("{name}=")));
        }
        if seen.contains(&name.as_str()) {
            return Err(Fault::Twice(name.clone()));
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
