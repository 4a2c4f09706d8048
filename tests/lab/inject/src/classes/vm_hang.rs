//! A VM that hangs: its kernel is there, and nothing in it does anything. Three ways, by what the kernel can.
//!
//! * `stop`: every process but this one is stopped (SIGSTOP). The kernel goes on: it answers a ping.
//! * `spin`: a loop of the highest real-time priority on each processor. No process is ever run; interrupts are.
//! * `kdb`: the kernel stops in its debugger (sysrq g by kgdboc). Nothing goes on at all. Kernels of distributions rarely can.
//!
//! The first two end by themselves: nobody inside could undo them.

mod stopped;

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use clap::Arg;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use serde::{Deserialize, Serialize};

use super::{events, kernel, targets};
use crate::class::{About, Class, Place, State};
use crate::context::Context;
use crate::error::{self, Inject, InjectError};
use crate::expect::Named;
use crate::options::{Options, flag, value};
use crate::process::{self, Life, Process};
use crate::record::Record;
use crate::wait::{self, Stopwatch};
use crate::worker;

/// The class.
pub(super) struct VmHang;

const NAME: &str = "vm-hang";
/// Long enough for a VM with the slowest detection to be called failed.
const SECONDS: u64 = 300;
/// Higher than anything that the product or the kernel runs at.
const PRIORITY: u8 = 99;
/// How much of each period real-time processes may have; -1: all.
const RT_RUNTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";
/// The console that the debugger talks on.
const KGDBOC: &str = "/sys/module/kgdboc/parameters/kgdboc";
/// Where somebody inside looks in the meantime.
const BEFORE_IT_BEGINS: Duration = Duration::from_secs(2);

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    way: Way,
    seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// Whom the worker has stopped is in a file of its own.
    Stop,
    /// The kernel's setting.
    Spin {
        rt_runtime: Option<String>,
    },
    Kdb,
}

impl Class for VmHang {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: NAME,
            what: "the guest hangs: no process in it runs (--way stop, spin or kdb)",
            places: &[Place::Guest],
            undo: "ends by itself after --seconds (stop, spin); kdb: the VM is restarted from outside",
            expected: &[events::VM_FAILURE, events::VM_RECOVERED],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            value("way", "WAY", "stop: every process is stopped; spin: real-time loops take every processor; kdb: the kernel's debugger")
                .value_parser(["stop", "spin", "kdb"])
                .default_value("spin"),
            value("seconds", "N", "how long, for stop and spin (300)").value_parser(clap::value_parser!(u64).range(1..=86_400)),
            flag("yes-really", "also on a machine that is no VM"),
        ]
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let way = match options.text("way").as_deref() {
            Some("stop") => Way::Stop,
            Some("kdb") => {
                need_debugger(context)?;
                Way::Kdb
            }
            Some(_) | None => {
                kernel::need_own(context)?;
                Way::Spin { rt_runtime: context.read(RT_RUNTIME).ok() }
            }
        };
        kernel::need_vm(context, options.flag("yes-really"))?;
        if matches!(way, Way::Spin { .. }) {
            need_real_time()?;
        }
        Ok(Before { way, seconds: options.get("seconds").unwrap_or(SECONDS) })
    }

    fn named(&self, context: &Context, _before: &Before) -> Vec<Named> {
        targets::this_vm(context)
    }

    fn apply(&self, context: &Context, _record: &mut Record<'_, Before>) -> Inject<()> {
        // Of an earlier one, whose state file was removed by hand.
        stopped::forget(context, NAME)?;
        worker::start(context, NAME).map(drop)
    }

    fn restore(&self, context: &Context, before: &Before) -> Inject<()> {
        worker::end(context, NAME)?;
        after_all(context, before)
    }

    fn state(&self, context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        if !worker::find(context, NAME)?.is_empty() {
            let begins = BEFORE_IT_BEGINS.as_secs();
            return Ok(State::On(format!(
                "hangs {begins} s after it was asked for, for {} s",
                before.seconds
            )));
        }
        Ok(match left(context, before) {
            Some(left) => State::Partly(left),
            None => State::Off,
        })
    }

    fn work(&self, context: &Context, before: &Before) -> Inject<()> {
        wait::pause(BEFORE_IT_BEGINS);
        let hung = match &before.way {
            Way::Stop => stop_all(context, before.seconds),
            Way::Spin { .. } => spin(context, before.seconds),
            Way::Kdb => kernel::write(context, kernel::SYSRQ, "g"),
        };
        // Also when nothing hung: the kernel was told something before that.
        error::all([hung, after_all(context, before)])
    }
}

fn need_debugger(context: &Context) -> Inject<()> {
    kernel::need_own(context)?;
    kernel::need_sysrq(context)?;
    match context.read(KGDBOC) {
        Ok(console) if !console.is_empty() => Ok(()),
        Ok(_) => Err(InjectError::Unsupported(format!(
            "no console is given to the kernel's debugger: echo ttyS0 > {KGDBOC} first."
        ))),
        Err(_) => Err(InjectError::Unsupported(
            "this kernel has no debugger (CONFIG_KGDB_SERIAL_CONSOLE): --way spin.".to_owned(),
        )),
    }
}

/// Tried by a thread that ends at once. In a control group without real-time budget only the worker would learn it, long after the
/// answer that the guest hangs.
fn need_real_time() -> Inject<()> {
    let tried = std::thread::spawn(|| vmpulse_link::run_in_real_time(PRIORITY)).join();
    let tried = tried.map_err(|_| InjectError::Failed("A thread of the injector broke.".to_owned()))?;
    tried.map_err(|error| {
        InjectError::Unsupported(format!(
            "nothing may run in real time here ({error}): no CAP_SYS_NICE, or a control group without real-time budget. --way stop."
        ))
    })
}

/// What is not as it was, for people.
fn left(context: &Context, before: &Before) -> Option<String> {
    match &before.way {
        Way::Spin { rt_runtime: Some(was) } => {
            let is = context.read(RT_RUNTIME).ok()?;
            (is != *was).then(|| format!("{RT_RUNTIME} is {is}, and was {was}"))
        }
        Way::Stop => {
            let stopped = match stopped::read(context, NAME) {
                Ok(all) => all.into_iter().filter(|one| one.life() == Life::Stopped).count(),
                Err(error) => return Some(error.to_string()),
            };
            (stopped > 0).then(|| format!("{stopped} processes are stopped"))
        }
        Way::Spin { rt_runtime: None } | Way::Kdb => None,
    }
}

/// Puts back what was there.
fn after_all(context: &Context, before: &Before) -> Inject<()> {
    match &before.way {
        Way::Spin { rt_runtime: Some(was) } if left(context, before).is_some() => {
            kernel::write(context, RT_RUNTIME, was)
        }
        Way::Stop => {
            // Only those: others may have been stopped meanwhile by somebody who wants them so.
            // One that waits for a disk stops only when that answers: it, too, is told to run on.
            let stopped = stopped::read(context, NAME)?.into_iter();
            error::all(stopped.map(|one| one.signal(Signal::SIGCONT).map(drop)))?;
            stopped::forget(context, NAME)
        }
        Way::Spin { .. } | Way::Kdb => Ok(()),
    }
}

/// Stops all but the first process, which cannot be, and those of this group, and then those that were begun meanwhile.
fn stop_all(context: &Context, seconds: u64) -> Inject<()> {
    let mine = getpgid(None).map(Pid::as_raw).unwrap_or_default();
    let stopwatch = Stopwatch::start();
    let mut told = HashSet::new();
    while stopwatch.seconds() < seconds {
        let is_mine = |one: &Process| one.pid == 1 || is_of_group(*one, mine) || is_kernel(*one);
        let running = process::all().into_iter().filter(|one| one.life() == Life::Running && !is_mine(one));
        let running: Vec<Process> = running.collect();
        let new: Vec<Process> = running.iter().copied().filter(|one| told.insert(*one)).collect();
        stopped::add(context, NAME, &new)?;
        for process in running {
            // It may not be ours to stop, or gone.
            let _ = process.signal(Signal::SIGSTOP);
        }
        wait::pause(Duration::from_millis(100));
    }
    Ok(())
}

fn is_of_group(process: Process, group: i32) -> bool {
    getpgid(Some(Pid::from_raw(process.pid))).is_ok_and(|its| its.as_raw() == group)
}

/// Threads of the kernel have no program and take no signals.
fn is_kernel(process: Process) -> bool {
    fs::read_link(format!("/proc/{}/exe", process.pid)).is_err() && process.words().is_empty()
}

fn spin(context: &Context, seconds: u64) -> Inject<()> {
    // Not every kernel limits real-time processes; where one does, it is told not to.
    if context.path(RT_RUNTIME).exists() {
        kernel::write(context, RT_RUNTIME, "-1")?;
    }
    let loops: Vec<_> =
        (0..kernel::processors()).map(|_| std::thread::spawn(move || spin_one(seconds))).collect();
    let ended: Vec<Inject<()>> = loops.into_iter().filter_map(|one| one.join().ok()).collect();
    ended.into_iter().collect()
}

fn spin_one(seconds: u64) -> Inject<()> {
    vmpulse_link::run_in_real_time(PRIORITY).map_err(InjectError::os("cannot run in real time"))?;
    let stopwatch = Stopwatch::start();
    while stopwatch.seconds() < seconds {
        std::hint::spin_loop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::testing::Machine;

    fn sleeper() -> (Child, Process) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        process.stop().unwrap();
        (child, process)
    }

    #[test]
    fn only_whom_the_worker_has_stopped_runs_on() {
        let context = &Machine::marked(&[]).context;
        std::fs::create_dir_all(&context.state_dir).unwrap();
        let (mut ours, mut others) = (sleeper(), sleeper());
        let before = Before { way: Way::Stop, seconds: 1 };
        stopped::add(context, NAME, &[ours.1]).unwrap();
        // The worker was killed while it wrote this one down.
        let file = context.state_dir.join("vm-hang.stopped");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{} {}", others.1.pid, others.1.started)).unwrap();
        assert_eq!(left(context, &before).as_deref(), Some("1 processes are stopped"));
        after_all(context, &before).unwrap();
        assert_eq!((ours.1.life(), others.1.life()), (Life::Running, Life::Stopped));
        assert_eq!((left(context, &before), file.exists()), (None, false));
        for (child, process) in [&mut ours, &mut others] {
            process.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
