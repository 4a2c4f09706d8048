//! A disk that fails: of a guest, run in the guest; of the store, run where the store is.
//!
//! | how | what it is like | what it takes |
//! |---|---|---|
//! | `error` | the disk answers every access with an I/O error | a disk that the device mapper made of pieces of others (LVM) |
//! | `error-writes` | it can be read, and not be written | the same, of one piece |
//! | `freeze` | writes never return, reads do | a file system that can be frozen (ext4, XFS, Btrfs) |

mod mounts;

use std::path::Path;

use clap::Arg;
use serde::{Deserialize, Serialize};

use crate::class::{About, Class, Expected, Place, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::{Options, value};
use crate::record::Record;
use crate::whose::{self, Whose};
use crate::wire::programs::{run, run_with};

/// Longer than any rehearsal: the table that fails writes works in turns of so many seconds.
const FAILING_S: u32 = 1_000_000;
/// Where the device mapper is, if this kernel has one.
const MAPPER: &str = "/dev/mapper/control";

/// The class.
pub(super) struct Storage;

/// What the state file keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    /// None where nobody said so.
    #[serde(default)]
    whose: Option<Whose>,
    #[serde(flatten)]
    disk: Disk,
}

/// What fails.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
enum Disk {
    /// A disk of the device mapper.
    Mapped {
        /// Its name there.
        name: String,
        /// What it was made of.
        table: String,
        /// What it is to be made of.
        failing: String,
    },
    /// A file system.
    Frozen {
        /// Where it is mounted.
        mount: String,
    },
}

impl Class for Storage {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "storage",
            what: "a disk fails: every access, writes only, or writes never return",
            places: &[Place::Guest, Place::StoreMachine],
            undo: "the disk's table is loaded again, or the file system is thawed",
            expected: whose::STORE,
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            value("disk", "NAME", "the disk's name in /dev/mapper, for error and error-writes"),
            value("mount", "FOLDER", "where the file system is mounted, for freeze"),
            value("how", "HOW", "error, error-writes or freeze [default: error]").value_parser([
                "error",
                "error-writes",
                "freeze",
            ]),
            whose::argument(&["store", "guest"]),
        ]
    }

    fn expected(&self, before: &Before) -> Inject<&'static [Expected]> {
        whose::expected(before.whose)
    }

    fn watched(&self, whose: Option<Whose>) -> Inject<&'static [Expected]> {
        whose::expected(whose)
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let disk = match options.text("how").as_deref() {
            Some("freeze") => plan_freeze(context, &options.need("mount")?),
            Some("error-writes") => plan_disk(context, &options.need("disk")?, failing_writes),
            Some(_) | None => plan_disk(context, &options.need("disk")?, failing),
        }?;
        Ok(Before { whose: Whose::told(options), disk })
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        match &record.before().disk {
            Disk::Mapped { name, failing, .. } => load(name, failing),
            Disk::Frozen { mount } => run("fsfreeze", &["--freeze", mount]).map(drop),
        }
    }

    fn restore(&self, _context: &Context, before: &Before) -> Inject<()> {
        match &before.disk {
            Disk::Mapped { name, table, .. } => {
                // A disk that was removed meanwhile is not ours to make.
                let there = run("dmsetup", &["table", name]).is_ok();
                if there && (current(name)? != *table || suspended(name)?) {
                    load(name, table)
                } else {
                    Ok(())
                }
            }
            Disk::Frozen { mount } => thaw(mount),
        }
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        match before.map(|before| &before.disk) {
            None => Ok(State::Off),
            Some(Disk::Frozen { mount }) => Ok(if is_frozen(mount)? {
                State::On(format!("writes to {mount} do not return"))
            } else {
                State::Off
            }),
            Some(Disk::Mapped { name, table, failing }) => {
                if run("dmsetup", &["table", name]).is_err() {
                    return Ok(State::Off);
                }
                let now = current(name)?;
                // The kernel does not repeat the words of a failing table as they were said.
                Ok(match (suspended(name)?, now == *table, target(&now) == target(failing)) {
                    (true, ..) => State::Partly(format!("the disk {name} is suspended")),
                    (false, true, _) => State::Off,
                    (false, false, true) => State::On(format!("I/O of the disk {name} fails: {now}")),
                    (false, false, false) => {
                        State::Partly(format!("the disk {name} is neither as it was nor failing: {now}"))
                    }
                })
            }
        }
    }
}

fn plan_disk(context: &Context, name: &str, failing: fn(&str) -> Inject<String>) -> Inject<Disk> {
    context.need_target("disk", name)?;
    if !context.path(MAPPER).exists() {
        return Err(InjectError::Unsupported(
            "this kernel has no device mapper (CONFIG_BLK_DEV_DM, module dm_mod), so no disk can be made to fail.".to_owned(),
        ));
    }
    let table = current(name)?;
    check_targets(&table)?;
    if suspended(name)? {
        return Err(InjectError::Refused(format!("the disk {name} is suspended already.")));
    }
    Ok(Disk::Mapped { name: name.to_owned(), failing: failing(&table)?, table })
}

fn plan_freeze(context: &Context, mount: &str) -> Inject<Disk> {
    context.need_target("mount", mount)?;
    let parent = context.state_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    for needed in [Path::new("/"), parent] {
        if mounts::on_the_same(needed, Path::new(mount))? {
            return Err(InjectError::Refused(format!(
                "{} is on the same file system as {mount}: the injector could not undo it. Nothing was touched.",
                needed.display()
            )));
        }
    }
    // The undo would thaw what somebody else (a backup, a snapshot) has frozen.
    if is_frozen(mount)? {
        return Err(InjectError::Refused(format!("{mount} is frozen already, and not by this injector.")));
    }
    Ok(Disk::Frozen { mount: mount.to_owned() })
}

/// What is told of these is all there is to them, so that they can be made again. Of an encrypted disk the key is not told, and others
/// have a state of their own.
fn check_targets(table: &str) -> Inject<()> {
    const PLAIN: [&str; 2] = ["linear", "striped"];
    match table.lines().map(target).find(|target| !PLAIN.contains(target)) {
        None => Ok(()),
        Some(other) => Err(InjectError::Unsupported(format!(
            "a disk of the kind {other:?} could not be made again as it was; those of the kinds linear and striped (LVM) can."
        ))),
    }
}

fn target(line: &str) -> &str {
    line.split_whitespace().nth(2).unwrap_or_default()
}

/// Every access fails.
fn failing(table: &str) -> Inject<String> {
    let sectors = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
    });
    let end = sectors.max().ok_or_else(|| unreadable(table))?;
    Ok(format!("0 {end} error"))
}

/// Writes fail: the table of the same piece of the same disk, by the target made for it.
fn failing_writes(table: &str) -> Inject<String> {
    let words: Vec<&str> = table.split_whitespace().collect();
    let [start, sectors, "linear", device, offset] = words[..] else {
        return Err(InjectError::Unsupported(format!(
            "only a disk that is one piece of another can be made to fail writes; this one is: {table}"
        )));
    };
    Ok(format!("{start} {sectors} flakey {device} {offset} 0 {FAILING_S} 1 error_writes"))
}

fn unreadable(table: &str) -> InjectError {
    InjectError::Failed(format!("what dmsetup says of the disk cannot be read: {table}"))
}

fn current(name: &str) -> Inject<String> {
    run("dmsetup", &["table", name]).map(|table| table.trim().to_owned())
}

fn suspended(name: &str) -> Inject<bool> {
    let told = run("dmsetup", &["info", "--columns", "--noheadings", "-o", "suspended", name])?;
    Ok(told.trim().eq_ignore_ascii_case("suspended"))
}

/// Another table in the place of the one in force. Accesses wait meanwhile; nothing is flushed, because it could not be.
fn load(name: &str, table: &str) -> Inject<()> {
    run("dmsetup", &["suspend", "--noflush", "--nolockfs", name])?;
    let loaded = run_with("dmsetup", &["load", name], table);
    // Resumed in any case: with the old table if the new one was refused.
    run("dmsetup", &["resume", name])?;
    loaded.map(drop)
}

/// Never asks first: what could go wrong with the question must not leave the file system frozen.
fn thaw(mount: &str) -> Inject<()> {
    match run("fsfreeze", &["--unfreeze", mount]) {
        // It was thawed already (EINVAL).
        Err(InjectError::Failed(said)) if said.contains("Invalid argument") => Ok(()),
        result => result.map(drop),
    }
}

/// The kernel tells only those who want to freeze: what is frozen is busy.
fn is_frozen(mount: &str) -> Inject<bool> {
    match run("fsfreeze", &["--freeze", mount]) {
        Ok(_) => run("fsfreeze", &["--unfreeze", mount]).map(|_| false),
        Err(InjectError::Failed(said)) if said.contains("busy") => Ok(true),
        Err(InjectError::Failed(said)) if said.contains("not supported") => {
            Err(InjectError::Unsupported(said))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn failing_tables_are_as_long_as_the_disk() {
        let two = "0 1000 linear 8:1 2048\n1000 24 linear 8:2 0";
        assert_eq!(failing(two).unwrap(), "0 1024 error");
        assert!(matches!(failing_writes(two), Err(InjectError::Unsupported(_))));
        let one = "0 1000 linear 8:1 2048";
        assert_eq!(failing_writes(one).unwrap(), "0 1000 flakey 8:1 2048 0 1000000 1 error_writes");
        assert!(failing("").is_err());
    }

    fn planned(targets: &[&str], words: &[&str]) -> Inject<Before> {
        let machine = Machine::marked(targets);
        Storage.plan(&machine.context, &Options::of(&Storage, words.iter().copied()).unwrap())
    }

    #[test]
    fn without_a_device_mapper_it_is_unsupported_and_without_a_target_refused() {
        assert!(matches!(planned(&["disk:data"], &["--disk", "data"]), Err(InjectError::Unsupported(_))));
        assert!(matches!(planned(&[], &["--disk", "data"]), Err(InjectError::Refused(_))));
        assert!(matches!(planned(&[], &[]), Err(InjectError::Usage(_))));
    }

    #[test]
    fn what_the_injector_needs_itself_is_not_frozen() {
        let words = ["--how", "freeze", "--mount", "/"];
        let refused = planned(&["mount:/"], &words).unwrap_err().to_string();
        assert!(refused.contains("could not undo"), "{refused}");
    }

    #[test]
    fn a_disk_that_cannot_be_made_again_is_left_alone() {
        assert!(check_targets("0 1000 striped 2 128 8:1 0 8:2 0").is_ok());
        for table in
            ["0 1000 crypt aes-xts-plain64 0000 0 8:1 4096", "0 9 linear 8:1 0\n9 9 thin 253:1 5", ""]
        {
            let refused = check_targets(table);
            assert!(table.is_empty() || matches!(refused, Err(InjectError::Unsupported(_))), "{table}");
        }
    }
}
