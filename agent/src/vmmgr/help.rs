//! What `vmmgr help` prints: everything, or what is asked about.

use super::grammar::action::USAGE;
use super::grammar::{ACTIONS, Action, CLASSES, Class, FLAGS, Topic};
use super::query::LIVE;
use super::reference;
use crate::config::attribute::Attribute;
use crate::config::value::Kind;

/// How wide the first column is.
const COLUMN: usize = 44;

/// Actions, attributes with ranges and defaults, exit codes; `topic` chooses among them.
pub(super) fn text(topic: Topic, prefix: &str) -> String {
    let program = prefix.to_lowercase();
    if topic.markdown {
        return reference::markdown();
    }
    if let Some(attribute) = topic.attribute {
        return of_attribute(attribute);
    }
    match (topic.action, topic.class) {
        (None, None) => everything(&program),
        (Some(action), None) => {
            format!("{}{}", of_action(&program, action, None), default_attributes(action))
        }
        (Some(action), Some(class)) => {
            let attributes = if action.takes_attributes(class) { of_class(class) } else { String::new() };
            format!("{}{attributes}", of_action(&program, action, Some(class)))
        }
        (None, Some(class)) => format!("{}\n{}{}", class_usage(&program, class), of_class(class), exits()),
    }
}

fn everything(program: &str) -> String {
    let mut text = format!("{program} [FLAGS] ACTION [CLASS] [NAME] [ATTRIBUTE=VALUE ...]\n\n{}\n", flags());
    text.push_str("Actions (aliases)\n");
    for (action, _) in ACTIONS {
        text.push_str(&row(&format!("{}{}", action.name(), aliases(action)), action.about()));
    }
    text.push_str("\nForms\n");
    USAGE.iter().for_each(|(_, words, about)| text.push_str(&row(words, about)));
    for (class, _) in CLASSES {
        text.push('\n');
        text.push_str(&of_class(class));
    }
    text.push_str(&exits());
    text
}

fn flags() -> String {
    let rows: String = FLAGS.iter().map(|(flag, about)| row(flag, about)).collect();
    format!("Flags\n{rows}")
}

fn exits() -> String {
    "\nAn empty value puts the default back. What is changed in the file the daemon loads with -s, or at sync.\n\
     Exit: 0 done, 1 refused or failed, 2 the command line is not understood.\n"
        .to_owned()
}

/// One action: its forms, those of one class only if one is named.
fn of_action(program: &str, action: Action, class: Option<Class>) -> String {
    let mut text = format!("{}{}: {}\n\n", action.name(), aliases(action), action.about());
    let usage = action.usage();
    let of_class = |words: &str| class.is_none_or(|class| mentions(words, class));
    for (words, about) in usage.iter().filter(|(words, _)| of_class(words)) {
        text.push_str(&row(&format!("{program} {words}"), about));
    }
    if usage.is_empty() || !usage.iter().any(|(words, _)| of_class(words)) {
        let class = class.map_or("", Class::name);
        text.push_str(&format!("  There is no {} {class}.\n", action.name()));
    }
    text.push('\n');
    text.push_str(&flags());
    text
}

/// Those of the only class that an action without a class can mean.
fn default_attributes(action: Action) -> String {
    let classes: Vec<Class> =
        action.classes().iter().copied().filter(|class| action.takes_attributes(*class)).collect();
    classes.into_iter().map(|class| format!("\n{}", of_class(class))).collect()
}

fn class_usage(program: &str, class: Class) -> String {
    let mut text = format!("{}: {}\n\n", class.name(), class.about());
    for (_, words, about) in USAGE.iter().filter(|(_, words, _)| mentions(words, class)) {
        text.push_str(&row(&format!("{program} {words}"), about));
    }
    text
}

/// `query app [NAME]` is about applications.
fn mentions(words: &str, class: Class) -> bool {
    let second = words.split(' ').nth(1).unwrap_or_default();
    second.trim_matches(['[', ']']) == class.name()
}

fn of_class(class: Class) -> String {
    let title = match class {
        Class::Vmm => "Attributes of vmm\n",
        Class::App => "Attributes of app (NAME: 1 to 64 of letters, digits and _.-)\n",
        Class::Dependency => "Attributes of dependency (DEPUUID: its number, as query dependency shows it)\n",
        Class::Key => {
            "Keys (ID: 1 to 255; the key that was added last is the one in use)\n  \
             A third key takes the place of the oldest. The daemon uses a change at once, and no heartbeat is missed.\n"
        }
    };
    let mut rows: String = class.attributes().iter().map(line).collect();
    if class == Class::Vmm {
        LIVE.iter().for_each(|(name, about)| rows.push_str(&columns(name, "read-only", "-", about)));
    }
    format!("{title}{rows}")
}

fn of_attribute(attribute: &Attribute) -> String {
    let rows = [("takes", attribute.kind.expected()), ("default", attribute.default.to_owned())];
    let rows = rows.iter().filter(|(_, text)| !text.is_empty());
    let rows: String = rows.map(|(title, text)| format!("  {title:<9}{text}\n")).collect();
    format!("{}: {}\n{rows}", attribute.name, attribute.help)
}

fn aliases(action: Action) -> String {
    let aliases = action.names().get(1..).unwrap_or_default().join(", ");
    if aliases.is_empty() { aliases } else { format!(" ({aliases})") }
}

fn row(left: &str, right: &str) -> String {
    if left.len() > COLUMN {
        return format!("  {left}\n  {:COLUMN$}  {right}\n", "");
    }
    format!("  {left:<COLUMN$}  {right}\n")
}

/// What it takes, in a word.
pub(super) fn range(attribute: &Attribute) -> String {
    match attribute.kind {
        Kind::ReadOnly | Kind::Uuid => "read-only".to_owned(),
        Kind::OneOf(words) => {
            let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
            words.join("|")
        }
        Kind::Number { min, max } => format!("{min}-{max}"),
        Kind::Seconds { min, max } => format!("{min}-{max} s"),
        Kind::Script => "path [arguments]".to_owned(),
        Kind::User => "user".to_owned(),
        Kind::Names => "name,name,...".to_owned(),
        Kind::Text => "text".to_owned(),
    }
}

fn line(attribute: &Attribute) -> String {
    let default = if attribute.default.is_empty() { "-" } else { attribute.default };
    columns(attribute.name, &range(attribute), default, attribute.help)
}

fn columns(name: &str, takes: &str, default: &str, about: &str) -> String {
    format!("  {name:<26} {takes:<17} {default:<8} {about}\n")
}
