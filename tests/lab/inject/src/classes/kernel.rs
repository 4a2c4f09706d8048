//! What the kernel of this machine can do to itself, and whether it is this machine's alone.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{AccessFlags, access};

use crate::context::Context;
use crate::error::{Inject, InjectError};

/// Orders to the kernel.
pub(super) const SYSRQ: &str = "/proc/sysrq-trigger";
/// The process namespace that the kernel starts with has this inode on every Linux (PROC_PID_INIT_INO).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The kernel must be this machine's own: a container's is everybody's.
pub(super) fn need_own(context: &Context) -> Inject<()> {
    let inode = fs::metadata(context.path("/proc/self/ns/pid")).map(|data| data.ino());
    if inode.is_ok_and(|inode| inode == FIRST_NAMESPACE) || is_test(context) {
        return Ok(());
    }
    Err(InjectError::Unsupported(
        "this is a container: its kernel is that of the machine around it.".to_owned(),
    ))
}

/// A machine in a folder has no namespaces, and files in the place of the kernel's.
fn is_test(context: &Context) -> bool {
    context.root != std::path::Path::new("/") && !context.path("/proc/self/ns/pid").exists()
}

/// Orders by /proc/sysrq-trigger must be possible. (`kernel.sysrq` is about the keyboard alone; root's orders are always taken.)
pub(super) fn need_sysrq(context: &Context) -> Inject<()> {
    let file = context.path(SYSRQ);
    access(&file, AccessFlags::W_OK).map_err(|error| {
        InjectError::Unsupported(format!(
            "{} cannot be written ({error}): this kernel has no sysrq, or hides it.",
            file.display()
        ))
    })
}

/// Whether this is a virtual machine, by what its kernel says.
fn is_vm(context: &Context) -> bool {
    let text = |path: &str| context.read(path).unwrap_or_default();
    let flag = text("/proc/cpuinfo")
        .lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"));
    flag || !text("/sys/hypervisor/type").is_empty() || !text("/proc/device-tree/vm,uuid").is_empty()
}

/// A machine that is no VM is not broken unless that is really meant.
pub(super) fn need_vm(context: &Context, really: bool) -> Inject<()> {
    if really || is_vm(context) {
        return Ok(());
    }
    let why = "this does not look like a virtual machine: somebody would have to switch it off and on (--yes-really).";
    Err(InjectError::Refused(why.to_owned()))
}

/// Writes a setting of the kernel.
pub(super) fn write(context: &Context, path: &str, text: &str) -> Inject<()> {
    let file = context.path(path);
    fs::write(&file, text).map_err(InjectError::file("write", &file))
}

/// How many processors run.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
