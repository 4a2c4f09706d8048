//! `vmmgr [FLAGS] ACTION [CLASS] [NAME] [ATTRIBUTE=VALUE ...]`
//!
//! Keys: `vmmgr ACTION key [ID] [FILE]`. The class may also stand before the action, and the id behind `--id`:
//! `vmmgr key import --id 2 FILE`.

use std::path::PathBuf;

use vmpulse_protocol::message::{QUIET_REASON_MAXIMUM, is_quiet_reason};

use super::fault::Fault;

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
    /// Take in a key that was made elsewhere.
    Import,
    /// Print a key.
    Export,
    /// Show the daemon.
    Status,
    /// Make the daemon load the file.
    Sync,
    /// Not yet.
    Start,
    /// Not yet.
    Stop,
    /// Of the VM; of an application not yet.
    Suspend,
    /// Of the VM; of an application not yet.
    Resume,
    /// Announce a silence, or end it.
    Quiet,
    /// Whether applications are healthy, as an exit status.
    Health,
    /// Explain.
    Help,
}

/// Actions with their names, the first being the one that is shown.
pub const ACTIONS: [(Action, &[&str]); 15] = [
    (Action::Add, &["add", "create"]),
    (Action::Query, &["query", "q", "list", "get"]),
    (Action::Modify, &["modify", "mod", "change", "set"]),
    (Action::Delete, &["delete", "del", "remove", "rm", "unregister"]),
    (Action::Import, &["import"]),
    (Action::Export, &["export"]),
    (Action::Status, &["status"]),
    (Action::Sync, &["sync", "refresh"]),
    (Action::Start, &["start", "on", "enable"]),
    (Action::Stop, &["stop", "off", "disable"]),
    (Action::Suspend, &["suspend", "unmonitor"]),
    (Action::Resume, &["resume", "monitor"]),
    (Action::Quiet, &["quiet"]),
    (Action::Health, &["health"]),
    (Action::Help, &["help"]),
];

impl Action {
    /// By any of its names, in either case.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        ACTIONS.iter().find(|(_, names)| names.contains(&text.as_str())).map(|(action, _)| *action)
    }

    /// The name that is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        ACTIONS.iter().find(|(action, _)| *action == self).and_then(|(_, names)| names.first()).unwrap_or(&"")
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
            Self::Status | Self::Sync | Self::Quiet | Self::Health | Self::Help => &[],
        }
    }
}

/// What an action works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The engine itself.
    Vmm,
    /// Applications.
    App,
    /// Not yet.
    Dependency,
    /// Keys that heartbeats are authenticated with.
    Key,
}

impl Class {
    /// By its name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text.to_lowercase().as_str() {
            "vmm" => Some(Self::Vmm),
            "app" | "application" => Some(Self::App),
            "dependency" | "dep" => Some(Self::Dependency),
            "key" => Some(Self::Key),
            _ => None,
        }
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
}

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
}

/// `TIME REASON`, or `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuietWords {
    /// Heartbeats may stop.
    For {
        /// For so long: 1 to 600,000 milliseconds.
        ms: u32,
        /// Why: printable ASCII, not empty.
        reason: String,
    },
    /// They are back.
    End,
}

/// Longest silence that can be asked for: nobody is granted more in an hour.
const QUIET_MAXIMUM_MS: u32 = 600_000;

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
    };
    let (mut words, help) = take_flags(arguments, &mut line)?;
    put_action_first(&mut words);
    let mut words = words.into_iter();
    line.action = match words.next() {
        Some(word) => Action::named(word).ok_or_else(|| Fault::Action(Some(word.to_owned())))?,
        None if help => Action::Help,
        None => return Err(Fault::Action(None)),
    };
    if help {
        line.action = Action::Help;
    }
    take_words(words.collect(), &mut line)?;
    Ok(line)
}

/// `key list` as `list key`.
fn put_action_first(words: &mut [&str]) {
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

fn take_words(words: Vec<&str>, line: &mut CommandLine) -> Result<(), Fault> {
    if line.action == Action::Help {
        return Ok(());
    }
    if line.action == Action::Quiet {
        line.quiet = Some(quiet_words(&words)?);
        return Ok(());
    }
    if line.action == Action::Health {
        let [name, surplus] = [words.first(), words.get(1)].map(|word| word.map(|word| (*word).to_owned()));
        line.name = name;
        return surplus.map_or(Ok(()), |word| Err(Fault::Surplus(word)));
    }
    let mut words = words.into_iter().peekable();
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

fn quiet_words(words: &[&str]) -> Result<QuietWords, Fault> {
    let Some((time, reason)) = words.split_first() else {
        return Err(Fault::Quiet("for how long, and why?".to_owned()));
    };
    if time.eq_ignore_ascii_case("end") {
        let surplus = reason.first().map(|word| Fault::Quiet(format!("\"{word}\" behind end is too much")));
        return surplus.map_or(Ok(QuietWords::End), Err);
    }
    let range = || Fault::Quiet(format!("\"{time}\" is no time from 1ms to 600s, as 500ms, 60s, 5m"));
    let ms = milliseconds(time).filter(|ms| (1..=QUIET_MAXIMUM_MS).contains(ms)).ok_or_else(range)?;
    let reason = reason.join(" ");
    if reason.trim().is_empty() {
        return Err(Fault::Quiet("say why; operators see it".to_owned()));
    }
    if !is_quiet_reason(&reason) {
        let bounds = format!("printable ASCII, at most {QUIET_REASON_MAXIMUM} characters");
        return Err(Fault::Quiet(format!("the reason must be {bounds}")));
    }
    Ok(QuietWords::For { ms, reason })
}

/// `500ms`, `60s`, `5m`; seconds without a unit.
fn milliseconds(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match text.strip_prefix(digits)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        _ => return None,
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse::<u32>().ok()?.checked_mul(unit_ms))?
}

fn check_attributes(line: &CommandLine) -> Result<(), Fault> {
    let takes_attributes =
        matches!(line.action, Action::Add | Action::Modify) && line.class != Some(Class::Key);
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
mod tests {
    use super::*;

    fn parse_words(text: &str) -> Result<CommandLine, Fault> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn good(text: &str) -> CommandLine {
        parse_words(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn every_alias_means_its_action() {
        for (action, names) in ACTIONS {
            for name in names {
                assert_eq!(Action::named(name), Some(action));
                assert_eq!(Action::named(&name.to_uppercase()), Some(action));
            }
        }
        assert_eq!(good("RM app a").action, Action::Delete);
    }

    #[test]
    fn flags_class_name_and_attributes() {
        let line = good("-s modify app app1 desc=a=b critical=yes -o json --settings=/x.toml");
        assert!(line.apply);
        assert_eq!(
            (line.action, line.class, line.name.as_deref()),
            (Action::Modify, Some(Class::App), Some("app1"))
        );
        assert_eq!(line.attributes, [("desc".into(), "a=b".into()), ("critical".into(), "yes".into())]);
        assert_eq!((line.format, line.settings), (Format::Json, Some(PathBuf::from("/x.toml"))));

        let line = good("-a status,desc q app app1");
        assert_eq!(line.only, Some(vec!["status".to_owned(), "desc".to_owned()]));
        assert_eq!(good("query").class, Some(Class::Vmm));
        assert_eq!(good("q app").name, None);
        let line = good("modify log=3");
        assert_eq!((line.class, line.attributes.len()), (Some(Class::Vmm), 1));
        assert_eq!(good("status").class, None);
        assert_eq!(good("delete app -- -odd").name.as_deref(), Some("-odd"));
        assert_eq!(good("add app -h").action, Action::Help);
        assert_eq!(good("-h").action, Action::Help);
    }

    #[test]
    fn an_announced_silence_has_a_time_and_a_reason() {
        for (text, ms, reason) in [
            ("quiet 60s backup", 60_000, "backup"),
            ("quiet 600 x", 600_000, "x"),
            ("-o json QUIET 500ms file system freeze: a=b", 500, "file system freeze: a=b"),
            ("quiet 5m kexec", 300_000, "kexec"),
            ("quiet 1min -- -odd", 60_000, "-odd"),
        ] {
            let wanted = QuietWords::For { ms, reason: reason.to_owned() };
            assert_eq!(good(text).quiet, Some(wanted), "{text}");
        }
        assert_eq!(good("quiet end").quiet, Some(QuietWords::End));
        assert_eq!((good("suspend").class, good("resume vmm").class), (Some(Class::Vmm), Some(Class::Vmm)));
    }

    #[test]
    fn keys_in_the_order_of_the_grammar_and_of_habit() {
        for (text, action, id, file) in [
            ("import key 2", Action::Import, Some("2"), None),
            ("import key 2 -", Action::Import, Some("2"), Some("-")),
            ("key import --id 2 /tmp/a=b", Action::Import, Some("2"), Some("/tmp/a=b")),
            ("--id=2 import", Action::Import, Some("2"), None),
            ("key create", Action::Add, None, None),
            ("add key 7", Action::Add, Some("7"), None),
            ("key remove --id 1", Action::Delete, Some("1"), None),
            ("rm key 1", Action::Delete, Some("1"), None),
            ("key export 1", Action::Export, Some("1"), None),
            ("key list -o json", Action::Query, None, None),
            ("q key", Action::Query, None, None),
        ] {
            let line = good(text);
            assert_eq!((line.action, line.class), (action, Some(Class::Key)), "{text}");
            assert_eq!((line.name.as_deref(), line.file.as_deref()), (id, file), "{text}");
        }
        assert_eq!(good("app list").class, Some(Class::App));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, code) in [
            ("", 2),
            ("frobnicate", 2),
            ("add vmm x", 3),
            ("query disk", 3),
            ("status app", 3),
            ("sync now", 3),
            ("query app a b", 5),
            ("modify vmm log", 5),
            ("query app a x=1", 5),
            ("modify app a =1", 5),
            ("modify app a x=1 x=2", 9),
            ("quiet", 29),
            ("quiet backup", 29),
            ("quiet 60s", 29),
            ("quiet 0s x", 29),
            ("quiet 601s x", 29),
            ("quiet 11m x", 29),
            ("quiet +5s x", 29),
            ("quiet 5h x", 29),
            ("quiet 9999999999s x", 29),
            ("quiet ms x", 29),
            ("quiet 60s caf\u{e9}", 29),
            ("quiet end now", 29),
            ("suspend vmm now", 5),
            ("-x query", 10),
            ("query -o", 11),
            ("query app a --id 1", 5),
            ("modify log=3 --id 1", 5),
            ("add key 1 x=1", 5),
            ("import key 1 - more", 5),
            ("export key 1 2", 5),
            ("import app 1", 3),
            ("sync key", 3),
            ("key", 2),
            ("key frobnicate", 2),
            ("-o yaml query", 11),
        ] {
            let fault = parse_words(text).unwrap_err();
            assert_eq!(fault.code(), code, "{text}: {fault}");
            assert_eq!(fault.exit(), vmpulse_local::exit::Exit::Usage, "{text}: {fault}");
        }
    }
}
