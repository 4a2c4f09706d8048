//! What `-h` says. Pure.

use super::Operation;
use super::modify::Target;
use super::query::Topic;
use super::words::{Action, Class};

const FLAGS: &str = "\
Flags, anywhere on the line:
  -v                 everything there is to say, and where a setting comes from
  -t                 a time stamp before each line that says what was done
  -o text|json       for people (default) or for programs
  --store URL        the health store, as sqlite:///var/lib/vmpulse/health.db
  --settings FILE    settings of the controller, for the store's address
  -h, -?             syntax and aliases of what precedes it
";

/// The help for as much as was given.
#[must_use]
pub fn text(program: &str, action: Option<Action>, class: Option<Class>) -> String {
    let Some(action) = action else { return overview(program) };
    let mut text = match class {
        Some(class) => syntax(program, action, class),
        None => {
            let classes: Vec<_> = Class::ALL.iter().filter(|class| available(action, **class)).collect();
            if classes.is_empty() {
                format!("{program} {}: not available yet in this version.\n", action.name())
            } else {
                classes.iter().map(|class| syntax(program, action, **class)).collect()
            }
        }
    };
    text.push_str(&aliases(action.names()));
    if let Some(class) = class {
        text.push_str(&aliases(class.names()));
    }
    text
}

fn overview(program: &str) -> String {
    let (there, later): (Vec<Action>, Vec<Action>) =
        Action::ALL.iter().copied().partition(|action| exists(*action));
    format!(
        "{program} [flags] ACTION CLASS [NAME,...] [attribute=value ...]\n\
         \n\
         {}{}{}\
         A word may be abbreviated as long as it can mean one thing only (q vm, mod sys).\n\
         Names are names or UUIDs.\n\
         \n\
         {FLAGS}\
         \n\
         Exit status: 0 done, 1 refused or failed, 2 wrong command line, 78 wrong settings.\n",
        wrapped("Actions:", there.into_iter().map(|one| one.name())),
        wrapped("Not available yet:", later.into_iter().map(|one| one.name())),
        wrapped("Classes:", Class::ALL.iter().map(|one| one.name())),
    )
}

/// Words after a heading, on lines of at most 80 columns.
fn wrapped(heading: &str, words: impl Iterator<Item = &'static str>) -> String {
    let mut text = heading.to_owned();
    let mut width = heading.len();
    for word in words {
        if width + 1 + word.len() > 80 {
            text.push_str("\n ");
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
    text
}

fn exists(action: Action) -> bool {
    action == Action::Help || Class::ALL.iter().any(|class| available(action, *class))
}

fn available(action: Action, class: Class) -> bool {
    Operation::of(action, Some(class)).is_some()
}

fn syntax(program: &str, action: Action, class: Class) -> String {
    let head = format!("{program} {} {}", action.name(), class.name());
    let rest = match Operation::of(action, Some(class)) {
        None => return format!("{head}: not available yet in this version.\n"),
        Some(Operation::Modify(Target::System)) => {
            "  host_failure_detection_time=90-600 seconds (90)\n  vm_failure_detection_speed=fast|normal|slow (normal)\n  \
             none sets the default.\n"
        }
        Some(Operation::Modify(Target::Vm)) => {
            " NAME[,NAME...]\n  vm_failure_detection_speed=fast|normal|slow\n  \
             vm_failure_detection_time=0.3-3600 seconds, at least 3 heartbeat intervals\n  \
             heartbeat_interval=100-60000 milliseconds\n  \
             none inherits again. All VMs that are named are changed, or none.\n"
        }
        Some(Operation::Query(Topic::Event)) => {
            " [EVENT[,EVENT...]] [since=AGE|TIME] [count=1-100000]\n  the newest events (20), the newest last\n  \
             source=vios [vios=NAME[,NAME...]]: what host monitors recorded, in place of what the controller did\n  \
             since=15min, 2h, 7d, 2026-11-21T08:00:00Z\n"
        }
        Some(Operation::Query(Topic::System)) => "  settings, controllers, numbers\n",
        Some(Operation::Query(Topic::App | Topic::Host | Topic::Vios | Topic::Vm)) => " [NAME[,NAME...]]\n",
    };
    let gap = if rest.starts_with("  ") { "\n" } else { "" };
    format!("{head}{gap}{rest}")
}

fn aliases(names: &[&str]) -> String {
    match names {
        [name, rest @ ..] if !rest.is_empty() => format!("Aliases of {name}: {}\n", rest.join(", ")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_help_that_names_it() {
        for action in Action::ALL {
            for class in Class::ALL {
                let help = text("ksysmgr", Some(*action), Some(*class));
                assert!(help.starts_with(&format!("ksysmgr {} {}", action.name(), class.name())), "{help}");
                assert_eq!(help.contains("not available yet"), !available(*action, *class), "{help}");
            }
        }
    }

    #[test]
    fn the_overview_says_what_is_not_there() {
        let help = text("hamgr", None, None);
        assert!(help.contains("Actions: help modify query\n"), "{help}");
        assert!(help.contains("Not available yet: add cleanup delete "), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 85), "{help}");
    }

    #[test]
    fn aliases_are_listed() {
        let help = text("hamgr", Some(Action::Add), Some(Class::HostGroup));
        assert!(
            help.contains("Aliases of add: create, make, mk\n")
                && help.contains("Aliases of host_group: hg\n")
        );
        let modify = text("hamgr", Some(Action::Modify), None);
        assert!(modify.starts_with("hamgr modify system\n  host_failure_detection_time=90-600"), "{modify}");
        assert!(modify.contains("\nhamgr modify vm NAME[,NAME...]\n"), "{modify}");
    }
}
