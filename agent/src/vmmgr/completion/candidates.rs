//! What may come next on a command line that is not complete.

use crate::config::attribute::Attribute;
use crate::config::value::Kind;
use crate::vmmgr::grammar::action::action_words;
use crate::vmmgr::grammar::{ACTIONS, Action, CLASSES, Class, FLAGS, put_action_first};

use super::Shell;

/// Names of what there is.
pub(super) trait Names {
    /// With a word about each.
    fn of(&self, class: Class) -> Vec<(String, String)>;
}

/// What may come next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Candidates {
    /// One of these; those that end with `=` want more behind it.
    Words(Vec<(String, String)>),
    /// A file name, behind `ATTRIBUTE=` if the word has that.
    Files,
}

/// Behind `before`, for a word that begins with `current`.
pub(super) fn find(before: &[String], current: &str, names: &dyn Names) -> Candidates {
    let (mut words, open_flag) = plain_words(before);
    put_action_first(&mut words);
    let all = match open_flag {
        Some("-o" | "--output") => values(["text", "json"]),
        Some("-a" | "--attributes") => return Candidates::Words(attributes_listed(&words, current)),
        Some("--settings") => return Candidates::Files,
        Some("--id") => names.of(Class::Key),
        Some(_) | None if current.starts_with('-') => flags(),
        Some(_) | None => match behind(&words, current, names) {
            Candidates::Words(words) => words,
            Candidates::Files => return Candidates::Files,
        },
    };
    let fitting =
        |all: Vec<(String, String)>| all.into_iter().filter(|(word, _)| word.starts_with(current)).collect();
    let words: Vec<(String, String)> = fitting(all);
    // The aliases only for whoever types one.
    if words.is_empty() && before.iter().all(|word| word.starts_with('-')) {
        return Candidates::Words(fitting(values(action_words())));
    }
    Candidates::Words(words)
}

/// The words without flags and their values, and the flag whose value is to come.
fn plain_words(before: &[String]) -> (Vec<&str>, Option<&str>) {
    let mut words = Vec::new();
    let mut open = None;
    for word in before {
        let flag = open.take();
        if flag.is_some() {
            continue;
        }
        match word.as_str() {
            "-o" | "--output" | "-a" | "--attributes" | "--settings" | "--id" => open = Some(word.as_str()),
            flag if flag.starts_with('-') && flag != "-" => {}
            word => words.push(word),
        }
    }
    (words, open)
}

fn behind(words: &[&str], current: &str, names: &dyn Names) -> Candidates {
    let Some((first, rest)) = words.split_first() else { return Candidates::Words(actions()) };
    let Some(action) = Action::named(first) else { return Candidates::Words(Vec::new()) };
    let words = match action {
        Action::Help => [actions(), classes(CLASSES.iter().map(|(class, _)| *class))].concat(),
        Action::Completion => values(Shell::NAMES.map(|(_, name)| name)),
        Action::Quiet if rest.is_empty() => {
            vec![
                ("60s".to_owned(), "for how long".to_owned()),
                ("end".to_owned(), "heartbeats are back".to_owned()),
            ]
        }
        Action::Health if rest.is_empty() => names.of(Class::App),
        Action::Quiet | Action::Status | Action::Sync | Action::Health => Vec::new(),
        Action::Add
        | Action::Query
        | Action::Modify
        | Action::Delete
        | Action::Start
        | Action::Stop
        | Action::Suspend
        | Action::Resume
        | Action::Import
        | Action::Export => return of_class(action, rest, current, names),
    };
    Candidates::Words(words)
}

fn of_class(action: Action, rest: &[&str], current: &str, names: &dyn Names) -> Candidates {
    let default = action.classes().first().copied();
    let (class, rest) = match rest.split_first() {
        Some((word, rest)) if !word.contains('=') => (Class::named(word), rest),
        Some(_) => (default, rest),
        None => {
            let mut words = classes(action.classes().iter().copied());
            if action == Action::Modify {
                words.extend(attributes(Class::Vmm, &[]));
            }
            if current.contains('=') {
                return of_attributes(action, Class::Vmm, &[], current, names);
            }
            return Candidates::Words(words);
        }
    };
    let Some(class) = class.filter(|class| action.classes().contains(class)) else {
        return Candidates::Words(Vec::new());
    };
    let named = rest.first().is_some_and(|word| !word.contains('='));
    let takes_name = class != Class::Vmm && !(action == Action::Add && class != Class::App);
    match (named, action) {
        (true, Action::Import) => Candidates::Files,
        (false, Action::Import | Action::Add) if takes_name => Candidates::Words(Vec::new()),
        (false, _) if takes_name => Candidates::Words(names.of(class)),
        (_, _) => of_attributes(action, class, rest, current, names),
    }
}

fn of_attributes(
    action: Action,
    class: Class,
    given: &[&str],
    current: &str,
    names: &dyn Names,
) -> Candidates {
    if !action.takes_attributes(class) {
        return Candidates::Words(Vec::new());
    }
    let Some((name, value)) = current.split_once('=') else {
        return Candidates::Words(attributes(class, given));
    };
    let Some(attribute) = class.attributes().iter().find(|attribute| attribute.name == name) else {
        return Candidates::Words(Vec::new());
    };
    match attribute.kind {
        Kind::Script => Candidates::Files,
        Kind::Names => Candidates::Words(listed(name, value, names.of(Class::App))),
        Kind::OneOf(words) => {
            let words = words.iter().filter(|word| !word.is_empty());
            Candidates::Words(words.map(|word| (format!("{name}={word}"), String::new())).collect())
        }
        Kind::ReadOnly
        | Kind::Uuid
        | Kind::Number { .. }
        | Kind::Seconds { .. }
        | Kind::User
        | Kind::Text => {
            let default = if attribute.default.is_empty() { Vec::new() } else { vec![attribute.default] };
            Candidates::Words(
                values(default).into_iter().map(|(word, about)| (format!("{name}={word}"), about)).collect(),
            )
        }
    }
}

/// One more name behind those of the list.
fn listed(name: &str, list: &str, all: Vec<(String, String)>) -> Vec<(String, String)> {
    let before = list.rfind(',').map_or("", |comma| list.get(..=comma).unwrap_or_default());
    let free = |word: &str| !list.split(',').any(|taken| taken == word);
    let free = all.into_iter().filter(|(word, _)| free(word));
    free.map(|(word, about)| (format!("{name}={before}{word}"), about)).collect()
}

/// Those that may be set and are not yet.
fn attributes(class: Class, given: &[&str]) -> Vec<(String, String)> {
    let free = |attribute: &&Attribute| {
        let taken =
            given.iter().any(|word| word.split_once('=').is_some_and(|(name, _)| name == attribute.name));
        attribute.is_settable() && !taken
    };
    let word = |attribute: &Attribute| (format!("{}=", attribute.name), attribute.help.to_owned());
    class.attributes().iter().filter(free).map(word).collect()
}

/// Behind `-a`: one more name behind those that are there.
fn attributes_listed(words: &[&str], current: &str) -> Vec<(String, String)> {
    let class = words.iter().find_map(|word| Class::named(word));
    // The class is often given behind the flag only.
    let tables = class.map_or_else(|| vec![Class::Vmm, Class::App, Class::Dependency], |class| vec![class]);
    let prefix = current.rfind(',').map_or("", |comma| current.get(..=comma).unwrap_or_default());
    let mut found: Vec<(String, String)> = tables
        .iter()
        .flat_map(|class| class.attributes())
        .filter(|attribute| !current.split(',').any(|taken| taken == attribute.name))
        .map(|attribute| (format!("{prefix}{}", attribute.name), attribute.help.to_owned()))
        .filter(|(word, _)| word.starts_with(current))
        .collect();
    found.sort();
    found.dedup_by(|one, other| one.0 == other.0);
    found
}

fn actions() -> Vec<(String, String)> {
    ACTIONS.iter().map(|(action, _)| (action.name().to_owned(), action.about().to_owned())).collect()
}

fn classes(classes: impl Iterator<Item = Class>) -> Vec<(String, String)> {
    classes.map(|class| (class.name().to_owned(), class.about().to_owned())).collect()
}

fn flags() -> Vec<(String, String)> {
    let flag = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    FLAGS.iter().map(|(text, about)| (flag(text), (*about).to_owned())).collect()
}

fn values<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<(String, String)> {
    words.into_iter().map(|word| (word.to_owned(), String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apps;

    impl Names for Apps {
        fn of(&self, class: Class) -> Vec<(String, String)> {
            match class {
                Class::Vmm => Vec::new(),
                Class::App => values(["shop", "db"]),
                Class::Dependency => values(["1542239347575681000"]),
                Class::Key => values(["1", "2"]),
            }
        }
    }

    fn find_in(line: &str) -> Candidates {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, before) = words.split_last().unwrap();
        find(before, current, &Apps)
    }

    fn words(line: &str) -> Vec<String> {
        match find_in(line) {
            Candidates::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            Candidates::Files => panic!("{line}: files"),
        }
    }

    #[test]
    fn each_place_has_its_words() {
        for (line, expected) in [
            ("sta", vec!["status", "start"]),
            ("unm", vec!["unmonitor"]),
            ("add ", vec!["app", "dependency", "key"]),
            ("add d", vec!["dependency"]),
            ("-s delete app ", vec!["shop", "db"]),
            ("q app s", vec!["shop"]),
            ("rm dep ", vec!["1542239347575681000"]),
            ("export key ", vec!["1", "2"]),
            ("key export --id ", vec!["1", "2"]),
            ("-o ", vec!["text", "json"]),
            ("query -o j", vec!["json"]),
            ("add app new critical=", vec!["critical=yes", "critical=no"]),
            ("add app new critical=y", vec!["critical=yes"]),
            ("modify log=", vec!["log=2"]),
            ("modify app shop max_r", vec!["max_restart="]),
            ("modify app shop max_restart=4 max_r", vec![]),
            ("add dependency dependency_list=", vec!["dependency_list=shop", "dependency_list=db"]),
            ("add dependency dependency_list=shop,", vec!["dependency_list=shop,db"]),
            ("-a crit", vec!["critical"]),
            ("q app -a status,des", vec!["status,desc"]),
            ("completion ", vec!["bash", "zsh", "fish"]),
            ("help ap", vec!["app"]),
            ("start ", vec!["vmm", "app"]),
            ("start app ", vec!["shop", "db"]),
            ("start app shop ", vec![]),
            ("frobnicate ", vec![]),
            ("add vmm ", vec![]),
            ("status ", vec![]),
            ("add app ", vec![]),
            ("--set", vec!["--settings"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        assert!(words("modify ").contains(&"log=".to_owned()));
        assert!(!words("modify app shop ").iter().any(|word| word == "uuid=" || word == "status="));
    }

    #[test]
    fn files_where_files_are_wanted() {
        for line in ["add app x monitor_script=", "import key 3 ", "--settings "] {
            assert_eq!(find_in(line), Candidates::Files, "{line}");
        }
    }
}
