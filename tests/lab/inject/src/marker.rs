//! The mark of a test group: a file that says that this machine may be broken, for which group and until when.
//!
//! It counts on the machine it was made on only. A clone of the machine has another identity; a file that came back out of a backup
//! was changed at another time than the one inside; and every mark runs out by itself.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use serde::{Deserialize, Serialize};

use crate::context::{Context, read};
use crate::error::{Inject, InjectError};
use crate::wait;

/// How long a mark holds unless said otherwise: a working day.
pub const HOURS: u64 = 8;
/// And at most: what is marked for longer is forgotten.
pub const MOST_HOURS: u64 = 168;
/// A mark is written within this of the time inside.
const WRITTEN_WITHIN_S: u64 = 60;
/// Names of groups: they are typed on command lines and stand in titles of domains.
const NAME_LIMIT: usize = 64;

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The group's name.
    pub group: String,
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// When it runs out.
    pub until: u64,
    /// The machine it was made on.
    pub machine: Identity,
    /// What may be touched beside the product's own daemons, as `KIND:NAME`.
    pub targets: BTreeSet<String>,
}

/// What tells a machine from its clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `/etc/machine-id`; copied with an image.
    pub machine_id: Option<String>,
    /// The UUID that the firmware tells; another one in a clone.
    pub dmi_uuid: Option<String>,
    /// The UUID in the agent's settings, in guests whose firmware tells none.
    pub vm_uuid: Option<String>,
}

impl Identity {
    /// Of this machine.
    #[must_use]
    pub fn here(context: &Context) -> Identity {
        let text = |path: &str| context.read(path).ok().filter(|text| !text.is_empty());
        Identity {
            machine_id: text("/etc/machine-id"),
            dmi_uuid: text("/sys/class/dmi/id/product_uuid").map(|uuid| uuid.to_lowercase()),
            vm_uuid: agent_uuid(context),
        }
    }

    fn is_known(&self) -> bool {
        self.machine_id.is_some() || self.dmi_uuid.is_some() || self.vm_uuid.is_some()
    }
}

fn agent_uuid(context: &Context) -> Option<String> {
    let text = context.read("/etc/vmpulse/agent.toml").ok()?;
    let settings: toml::Table = text.parse().ok()?;
    let uuid = settings.get("vm_uuid")?.as_str()?.to_lowercase();
    Some(uuid).filter(|uuid| !uuid.is_empty())
}

/// What is to be marked.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The group's name.
    pub group: String,
    /// How long; none for [`HOURS`].
    pub hours: Option<u64>,
    /// `KIND:NAME`.
    pub targets: Vec<String>,
}

/// Marks this machine, in the place of an older mark.
///
/// # Errors
/// `Usage` for names and times that cannot be, `Unsupported` where nothing tells this machine from another, the system's.
pub fn mark(context: &Context, wanted: &Wanted) -> Inject<Marker> {
    check_name(&wanted.group)?;
    let hours = wanted.hours.unwrap_or(HOURS);
    if hours == 0 || hours > MOST_HOURS {
        return Err(InjectError::Usage(format!("--hours {hours} is not in 1 to {MOST_HOURS}.")));
    }
    for target in &wanted.targets {
        check_target(target)?;
    }
    let machine = Identity::here(context);
    if !machine.is_known() {
        let why = "neither /etc/machine-id, nor the firmware, nor vm_uuid in agent.toml says which machine this is, so a mark would \
                   hold in every copy of it. Set one of them.";
        return Err(InjectError::Unsupported(why.to_owned()));
    }
    let made = wait::now();
    let targets = wanted.targets.iter().cloned().collect();
    let marker = Marker { group: wanted.group.clone(), made, until: made + hours * 3600, machine, targets };
    write(context, &marker)?;
    Ok(marker)
}

/// Takes the mark away. `false` if there was none.
///
/// # Errors
/// The system's.
pub fn unmark(context: &Context) -> Inject<bool> {
    match fs::remove_file(&context.marker) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(InjectError::file("remove", &context.marker)(error)),
    }
}

/// The mark of this machine, if it is for `group` and counts.
///
/// # Errors
/// `Refused`, saying how to mark it.
pub fn check(context: &Context, group: &str) -> Inject<Marker> {
    check_name(group)?;
    let refuse = |why: &str| {
        InjectError::Refused(format!(
            "{why} Nothing was touched. If this machine may be broken for a rehearsal: vmpulse-inject mark {group} --yes"
        ))
    };
    if !context.marker.exists() {
        return Err(refuse(&format!(
            "this machine is not marked as a test group ({} is not there).",
            context.marker.display()
        )));
    }
    let text = read(&context.marker)?;
    let Ok(marker) = serde_json::from_str::<Marker>(&text) else {
        return Err(refuse(&format!(
            "{} is no mark made by `vmpulse-inject mark`.",
            context.marker.display()
        )));
    };
    if marker.group != group {
        let why = format!("this machine is marked for the group {}, not for {group}.", marker.group);
        return Err(InjectError::Refused(format!("{why} Nothing was touched.")));
    }
    if marker.machine != Identity::here(context) {
        return Err(refuse(
            "the mark was made on another machine: this is a copy of it, or its identity was changed.",
        ));
    }
    let metadata = fs::metadata(&context.marker).map_err(InjectError::file("look at", &context.marker))?;
    if metadata.ctime().unsigned_abs().abs_diff(marker.made) > WRITTEN_WITHIN_S {
        return Err(refuse("the mark was copied, changed or restored after it was made."));
    }
    if wait::now() >= marker.until {
        return Err(refuse("the mark has run out."));
    }
    Ok(marker)
}

/// Whether the mark names a target.
///
/// # Errors
/// `Refused`, saying how to add it.
pub fn check_named(marker: &Marker, kind: &str, name: &str) -> Inject<()> {
    let target = format!("{kind}:{name}");
    if marker.targets.contains(&target) {
        return Ok(());
    }
    let others: String = marker.targets.iter().map(|target| format!(" --target {target}")).collect();
    Err(InjectError::Refused(format!(
        "the {kind} {name} is not among the targets of the test group {0}. Nothing was touched. If it belongs to it: \
         vmpulse-inject mark {0}{others} --target {target} --yes",
        marker.group
    )))
}

fn check_name(group: &str) -> Inject<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if group.is_empty() || group.len() > NAME_LIMIT || !group.chars().all(good) {
        let problem =
            format!("\"{group}\" is no name of a group: 1 to {NAME_LIMIT} letters, digits, - _ and .");
        return Err(InjectError::Usage(problem));
    }
    Ok(())
}

fn check_target(target: &str) -> Inject<()> {
    match target.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(()),
        Some(_) | None => {
            Err(InjectError::Usage(format!("\"{target}\" is no target: KIND:NAME, as domain:vm1.")))
        }
    }
}

/// A new file each time, so that its times are those of the mark.
fn write(context: &Context, marker: &Marker) -> Inject<()> {
    let path = &context.marker;
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(InjectError::file("make", folder))?;
    let scratch = path.with_extension("part");
    let text = serde_json::to_string_pretty(marker)
        .map_err(|error| InjectError::Failed(format!("The mark has no JSON form: {error}.")))?;
    let _ = fs::remove_file(&scratch);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch);
    let mut file = file.map_err(InjectError::file("write", &scratch))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(InjectError::file("write", &scratch))?;
    fs::rename(&scratch, path).map_err(InjectError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{GROUP, Machine};

    fn refused(machine: &Machine, group: &str) -> String {
        match check(&machine.context, group) {
            Err(InjectError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_mark_the_refusal_says_how_to_mark() {
        let machine = Machine::unmarked();
        assert!(refused(&machine, GROUP).contains("vmpulse-inject mark rehearsal --yes"));
        assert!(!unmark(&machine.context).unwrap());
    }

    #[test]
    fn a_mark_counts_for_its_group_only_and_until_it_is_taken_away() {
        let machine = Machine::marked(&[]);
        assert_eq!(check(&machine.context, GROUP).unwrap().group, GROUP);
        assert!(refused(&machine, "production").contains("marked for the group rehearsal"));
        assert!(unmark(&machine.context).unwrap());
        refused(&machine, GROUP);
    }

    #[test]
    fn a_mark_in_a_clone_does_not_count() {
        let machine = Machine::marked(&[]);
        machine.write("/sys/class/dmi/id/product_uuid", "7e57ab1e-0001-4000-8000-000000000001");
        assert!(refused(&machine, GROUP).contains("another machine"));
        machine.write("/etc/vmpulse/agent.toml", "vm_uuid = \"7E57\"");
        assert_eq!(Identity::here(&machine.context).vm_uuid.as_deref(), Some("7e57"));
    }

    #[test]
    fn a_mark_written_at_another_time_than_it_says_does_not_count() {
        let machine = Machine::marked(&[]);
        let mut old = check(&machine.context, GROUP).unwrap();
        old.made -= WRITTEN_WITHIN_S * 2;
        write(&machine.context, &old).unwrap();
        assert!(refused(&machine, GROUP).contains("restored"));
    }

    #[test]
    fn a_mark_runs_out() {
        let machine = Machine::marked(&[]);
        let mut old = check(&machine.context, GROUP).unwrap();
        old.until = wait::now();
        write(&machine.context, &old).unwrap();
        assert!(refused(&machine, GROUP).contains("run out"));
    }

    #[test]
    fn anything_else_in_its_place_is_no_mark() {
        let machine = Machine::unmarked();
        for text in ["", "rehearsal", "{\"group\": \"rehearsal\"}"] {
            machine.write("/etc/vmpulse/test-group", text);
            assert!(refused(&machine, GROUP).contains("no mark"), "{text}");
        }
    }

    #[test]
    fn targets_are_named_in_the_mark_and_the_refusal_keeps_the_others() {
        let machine = Machine::marked(&["domain:vm1"]);
        machine.context.need_target("domain", "vm1").unwrap();
        let why = machine.context.need_target("domain", "vm2").unwrap_err().to_string();
        assert!(why.contains("mark rehearsal --target domain:vm1 --target domain:vm2 --yes"), "{why}");
    }

    #[test]
    fn a_machine_without_identity_is_not_marked() {
        let machine = Machine::unmarked();
        fs::remove_file(machine.context.path("/etc/machine-id")).unwrap();
        let wanted = Wanted { group: GROUP.to_owned(), ..Wanted::default() };
        assert!(matches!(mark(&machine.context, &wanted), Err(InjectError::Unsupported(_))));
        for (group, hours) in [("", None), ("a b", None), ("a", Some(0)), ("a", Some(MOST_HOURS + 1))] {
            let wanted = Wanted { group: group.to_owned(), hours, targets: Vec::new() };
            assert!(
                matches!(mark(&machine.context, &wanted), Err(InjectError::Usage(_))),
                "{group} {hours:?}"
            );
        }
    }
}
