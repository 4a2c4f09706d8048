//! `vmmgr help markdown`: the page docs/reference/vmmgr.md, made from the same tables that the command works by.

use super::codes::{Code, Level};
use super::grammar::action::USAGE;
use super::grammar::{ACTIONS, Action, CLASSES, Class, FLAGS};
use super::help::range;
use super::query::LIVE;
use crate::config::attribute::Attribute;
use crate::config::value::Kind;

/// What precedes the tables.
const BEGINNING: &str = include_str!("reference/beginning.md");

/// What follows them.
const END: &str = include_str!("reference/end.md");

/// What the name of an application may be.
const NAME: &str = " NAME is 1 to 64 of letters, digits and `_.-`. monitor_period must be greater than monitor_timeout. \
                    Scripts must be there and executable, the user must exist.";

pub(super) fn markdown() -> String {
    let classes: String = CLASSES.iter().map(|(class, _)| attributes(*class)).collect();
    format!("{BEGINNING}\n{}{}{classes}{}{END}", flags(), actions(), codes())
}

fn flags() -> String {
    let rows: String =
        FLAGS.iter().map(|(flag, about)| format!("| `{}` | {about} |\n", cell(flag))).collect();
    format!("## Flags\nThey may stand anywhere before `--`.\n\n| flag | |\n|---|---|\n{rows}\n")
}

fn actions() -> String {
    let mut text =
        "## Actions\nIn either case.\n\n| action | aliases | classes | |\n|---|---|---|---|\n".to_owned();
    for (action, names) in ACTIONS {
        let classes: Vec<&str> = action.classes().iter().map(|class| class.name()).collect();
        let aliases = names.get(1..).unwrap_or_default().join(", ").replace('*', "\\*");
        text.push_str(&format!(
            "| `{}` | {aliases} | {} | {} |\n",
            action.name(),
            classes.join(", "),
            action.about()
        ));
    }
    text.push_str("\nThe first class is meant where none is given. An alias with `*` may be any beginning of the action's name.\n");
    text.push_str("\n| form | |\n|---|---|\n");
    for (_, words, about) in USAGE {
        text.push_str(&format!("| `{}` | {about} |\n", cell(words)));
    }
    text.push('\n');
    text
}

fn attributes(class: Class) -> String {
    if class.attributes().is_empty() {
        return String::new();
    }
    let add = if Action::Add.classes().contains(&class) { "add and modify" } else { "modify" };
    let mut rows: String = class.attributes().iter().map(row).collect();
    if class == Class::Vmm {
        LIVE.iter()
            .for_each(|(name, about)| rows.push_str(&format!("| `{name}` | read-only | | {about} |\n")));
    }
    format!(
        "## Attributes of {}\nSet by {add}; read-only ones are shown by query.{}\n\n\
         | attribute | takes | default | |\n|---|---|---|---|\n{rows}\n",
        class.name(),
        if class == Class::App { NAME } else { "" }
    )
}

fn row(attribute: &Attribute) -> String {
    let takes = match attribute.kind {
        Kind::Script | Kind::Names | Kind::User | Kind::Text => attribute.kind.expected(),
        Kind::ReadOnly | Kind::Uuid | Kind::OneOf(_) | Kind::Number { .. } | Kind::Seconds { .. } => {
            cell(&range(attribute))
        }
    };
    let default =
        if attribute.default.is_empty() { String::new() } else { format!("`{}`", attribute.default) };
    format!("| `{}` | {takes} | {default} | {} |\n", attribute.name, cell(attribute.help))
}

fn codes() -> String {
    let row = |code: &Code| {
        let level = match code.level() {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "information",
        };
        format!("| {:03} | {level} | {} | {} |\n", code.number(), code.exit().code(), code.meaning())
    };
    let rows: String = Code::ALL.iter().map(row).collect();
    format!(
        "## Messages and exit codes\n`VMMGR-057(ERROR): ...` on standard error; `KSYSVMMGR-057(ERROR): ...` when called as \
         `ksysvmmgr`. A number never changes its meaning.\n\n| exit | |\n|---|---|\n| 0 | done |\n| 1 | understood, and \
         refused or failed; or the answer is no |\n| 2 | the command line is not understood |\n\n| code | | exit | \
         |\n|---|---|---|---|\n{rows}\n"
    )
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
