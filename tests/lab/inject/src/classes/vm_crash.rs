//! A VM whose kernel dies: it panics, and stays so.

use std::fs;

use clap::Arg;
use serde::{Deserialize, Serialize};

use super::{events, kernel, targets};
use crate::class::{About, Class, Place, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::expect::Named;
use crate::options::{Options, flag, value};
use crate::record::Record;
use crate::{wait, worker};

/// The class.
pub(super) struct VmCrash;

/// What was there before. It dies with the kernel, unless the crash never came.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    /// `kernel.panic`: seconds until a panicked kernel reboots.
    panic: String,
    /// Until it happens.
    seconds: u64,
}

const PANIC: &str = "/proc/sys/kernel/panic";
/// A kernel for crashes is loaded: it would boot instead of this one's staying dead.
const CRASH_KERNEL: &str = "/sys/kernel/kexec_crash_loaded";
/// Time for the answer to get out of the guest.
const SECONDS: u64 = 2;

impl Class for VmCrash {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "vm-crash",
            what: "the guest's kernel panics (sysrq c) and stays dead: no reboot, no crash dump",
            places: &[Place::Guest],
            undo: "the VM is restarted from outside; then `off` finds nothing to undo",
            expected: &[events::VM_FAILURE, events::VM_RECOVERED],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            value("seconds", "N", "how soon, so that this answer gets out (2)")
                .value_parser(clap::value_parser!(u64)),
            flag("yes-really", "also on a machine that is no VM, and has to be switched off and on by hand"),
        ]
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        kernel::need_own(context)?;
        kernel::need_sysrq(context)?;
        kernel::need_vm(context, options.flag("yes-really"))?;
        if context.read(CRASH_KERNEL).is_ok_and(|loaded| loaded == "1") {
            let why = "a crash kernel is loaded and would boot in this one's place: `systemctl stop kdump` (or kdump-tools) first, and \
                       start it again afterwards.";
            return Err(InjectError::Failed(why.to_owned()));
        }
        Ok(Before { panic: context.read(PANIC)?, seconds: options.get("seconds").unwrap_or(SECONDS) })
    }

    fn named(&self, context: &Context, _before: &Before) -> Vec<Named> {
        targets::this_vm(context)
    }

    fn apply(&self, context: &Context, _record: &mut Record<'_, Before>) -> Inject<()> {
        kernel::write(context, PANIC, "0")?;
        worker::start(context, "vm-crash").map(drop)
    }

    /// Only a crash that has not come yet can be undone.
    fn restore(&self, context: &Context, before: &Before) -> Inject<()> {
        worker::end(context, "vm-crash")?;
        kernel::write(context, PANIC, &before.panic)
    }

    fn state(&self, context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let coming = !worker::find(context, "vm-crash")?.is_empty();
        let is_set = context.read(PANIC)? == "0" && before.panic != "0";
        Ok(match (coming, is_set) {
            (true, _) => State::On(format!("the kernel panics within {} s, and stays so", before.seconds)),
            (false, true) => State::Partly("kernel.panic is 0, and nothing is going to panic".to_owned()),
            (false, false) => State::Off,
        })
    }

    fn work(&self, context: &Context, before: &Before) -> Inject<()> {
        wait::pause(std::time::Duration::from_secs(before.seconds));
        let file = context.path(kernel::SYSRQ);
        // What the kernel takes as an order to die, and a test as a line in a file.
        fs::write(&file, "c").map_err(InjectError::file("write", &file))
    }
}
