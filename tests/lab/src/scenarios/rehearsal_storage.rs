//! The injection kit's class storage on a real kernel with a device mapper: a disk that fails, one that fails to be written, a file
//! system whose writes do not return, and each of them well again.

use std::path::{Path, PathBuf};

use super::Scenario;
use crate::error::{Lab, LabError, expect};
use crate::image::{ExtraFile, module_file};
use crate::kit::Kit;
use crate::outcome::Report;
use crate::process::{Place, Said, sh};
use crate::wait;
use crate::world::{RealGuest, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-storage",
    about: "vmpulse-inject storage in a real guest: a disk fails, or only its writes, or they never return",
    run,
};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
/// Of the machine, with what it needs there.
const PROGRAM: &str = "dmsetup";
const MODULES: [&str; 2] = ["dm_mod", "dm_flakey"];
/// The guest's disk has 1 MiB.
const TABLE: &str = "0 2048 linear /dev/vda 0";
const READ: &str =
    "echo 3 > /proc/sys/vm/drop_caches; busybox dd if=/dev/mapper/disk of=/dev/null bs=4k count=2 skip=2";
const WRITE: &str = "busybox dd if=/dev/zero of=/dev/mapper/disk bs=4k count=1 seek=200 conv=fsync";

fn run(mut world: World, report: &mut Report) -> Lab<()> {
    world.add_trunk('A')?;
    let files = files(world.kit())?;
    let mut guest = world.start_real_guest(1, &files)?;
    guest.wait_until_up()?;
    good(&guest, "insmod /modules/dm_mod.ko && insmod /modules/dm_flakey.ko")?;
    good(&guest, "ln -s busybox /bin/fsfreeze")?;
    good(&guest, &format!("dmsetup create disk --table '{TABLE}'"))?;
    good(
        &guest,
        "busybox mke2fs /dev/mapper/disk && mkdir /mnt && vmpulse-inject mark lab --target disk:disk --target mount:/mnt --yes",
    )?;
    let table = good(&guest, "dmsetup table disk")?;

    for (how, reads) in [("error", false), ("error-writes", true)] {
        let told = good(&guest, &format!("vmpulse-inject storage on --group lab --disk disk --how {how}"))?;
        report.figure(told.trim());
        expect(does(&guest, READ)? == reads, || format!("{how}: a read does not do as it should"))?;
        expect(!does(&guest, WRITE)?, || format!("{how}: a write succeeds"))?;
        good(&guest, "vmpulse-inject storage off")?;
        let after = good(&guest, "dmsetup table disk")?;
        expect(after == table, || format!("before: {table}after: {after}"))?;
        expect(does(&guest, READ)? && does(&guest, WRITE)?, || format!("{how}: the disk is not well again"))?;
    }
    writes_do_not_return(&guest, report)?;
    let refused = shell(&guest, "vmpulse-inject storage on --group lab --disk other")?;
    expect(refused.code() == Some(77), || format!("a disk of somebody else: {}", refused.text()))
}

fn writes_do_not_return(guest: &RealGuest, report: &mut Report) -> Lab<()> {
    good(guest, "mount -t ext4 /dev/mapper/disk /mnt && touch /mnt/before")?;
    let told = good(guest, "vmpulse-inject storage on --group lab --how freeze --mount /mnt")?;
    report.figure(told.trim());
    good(guest, "(touch /mnt/after; touch /run/returned) > /dev/null 2>&1 &")?;
    wait::until(LIMIT, "the write to wait for the disk", || {
        does(guest, "grep -q '^State:.D' /proc/$(pidof touch)/status").map(|waits| waits.then_some(()))
    })?;
    expect(!does(guest, "test -e /run/returned")?, || "a write to a frozen disk returned".into())?;
    good(guest, "vmpulse-inject storage off")?;
    wait::until(LIMIT, "the write to return", || {
        does(guest, "test -e /run/returned && test -e /mnt/after").map(|so| so.then_some(()))
    })
}

/// The kit as guests get it, what it needs of the distribution, and modules of the guest's kernel.
fn files(kit: &Kit) -> Lab<Vec<ExtraFile>> {
    let read = |path: &Path| std::fs::read(path).map_err(LabError::file("read", path));
    let mut files =
        vec![("/sbin/vmpulse-inject".to_string(), read(&kit.static_agent.join("vmpulse-inject"))?)];
    for name in MODULES {
        files.push((format!("/modules/{name}.ko"), module_file(&kit.kernel, name)?));
    }
    let program = ["/usr/sbin", "/sbin"].iter().map(|folder| Path::new(folder).join(PROGRAM));
    let program = program.into_iter().find(|path| path.exists());
    let program = program.ok_or_else(|| LabError::Skipped(format!("{PROGRAM} is not installed here")))?;
    for library in libraries(&program)? {
        files.push((library.display().to_string(), read(&library)?));
    }
    files.push((format!("/sbin/{PROGRAM}"), read(&program)?));
    Ok(files)
}

/// Every file that the loader takes, by its absolute name.
fn libraries(program: &Path) -> Lab<Vec<PathBuf>> {
    let told = sh(&Place::Here, &format!("ldd {}", program.display()))?;
    let names = told.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(names.map(PathBuf::from).collect())
}

/// The library for disks waits for udev otherwise, which the guest does not have.
fn shell(guest: &RealGuest, line: &str) -> Lab<Said> {
    guest.shell(&format!("export DM_DISABLE_UDEV=1; {line}"))
}

fn good(guest: &RealGuest, line: &str) -> Lab<String> {
    shell(guest, line)?.ok()
}

fn does(guest: &RealGuest, line: &str) -> Lab<bool> {
    Ok(shell(guest, line)?.status.success())
}
