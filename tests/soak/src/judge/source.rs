//! Where events come from.

use std::path::Path;

use vmpulse_sim::event::{Event, FinalVm, Said};
use vmpulse_sim::names::{Hm, Vm};

use super::JudgeError;
use crate::deed;
use crate::fact::{self, Cast, Fact, Line};

/// Tables that may have waiting rows, as the checkers' events name them.
const TABLES: [&str; 3] = ["request", "message", "doorbell"];
/// Words of the injector, as the checkers' events have them.
const REASONS: [&str; 8] = [
    "is gone with its guest",
    "was killed",
    "was killed for good",
    "hangs",
    "ended",
    "is killed for its restart",
    "stopped",
    "ended by itself",
];

const fn hm(hm: deed::Hm) -> Hm {
    Hm { host: hm.host, trunk: hm.trunk }
}

fn reason(text: &str) -> &'static str {
    REASONS.iter().copied().find(|known| *known == text).unwrap_or("is down")
}

/// What the injector knows.
pub(super) fn of_facts(lines: &[Line]) -> Vec<(u64, Event)> {
    lines.iter().filter_map(|line| Some((line.at, of_fact(&line.fact)?))).collect()
}

fn of_fact(fact: &Fact) -> Option<Event> {
    Some(match fact {
        Fact::Action(text) => Event::Action(text.clone()),
        Fact::Faults(count) => Event::Faults(*count),
        Fact::Started(vm, host) => Event::InstanceStarted(Vm(*vm), *host),
        Fact::Stopped(vm, host) => Event::InstanceStopped(Vm(*vm), *host),
        Fact::Frozen(vm) => Event::Frozen(Vm(*vm)),
        Fact::Thawed(vm) => Event::Thawed(Vm(*vm)),
        Fact::AgentUp(vm) => Event::AgentUp(Vm(*vm)),
        Fact::AgentDown(vm, why) => Event::AgentDown(Vm(*vm), reason(why)),
        Fact::Said(vm, said) => Event::Said(Vm(*vm), announced(*said)),
        Fact::MonitorUp(of) => Event::MonitorUp(hm(*of)),
        Fact::MonitorDown(of, why) => Event::MonitorDown(hm(*of), reason(why)),
        Fact::ControllerUp => Event::ControllerUp,
        Fact::ControllerDown(why) => Event::ControllerDown(reason(why)),
        Fact::Told(name, incident, vm) => {
            Event::Told { name: name.clone(), incident: incident.clone(), vm: vm.map(Vm) }
        }
        Fact::Round(number) => Event::Action(format!("round {number}")),
        Fact::Late(ms) => Event::Action(format!("the injector was not scheduled for {ms} ms")),
        Fact::FinalVm(end) => Event::FinalVm(of_final(end)),
        Fact::FinalMonitor(end) => Event::FinalMonitor {
            hm: hm(end.hm),
            runs: end.runs,
            well: end.well,
            pending: end.pending,
            spooled: end.spooled,
        },
        Fact::FinalNodeEvents(of, kind, count) => Event::FinalNodeEvents(hm(*of), kind.clone(), *count),
        Fact::FinalRows(table, count) => {
            Event::FinalRows(TABLES.iter().copied().find(|known| known == table)?, *count)
        }
    })
}

fn announced(said: fact::Said) -> Said {
    match said {
        fact::Said::Suspend => Said::Suspend,
        fact::Said::Resume => Said::Resume,
        fact::Said::Quiet(ms) => Said::Quiet(std::time::Duration::from_millis(ms.into())),
        fact::Said::Shutdown => Said::Shutdown,
    }
}

fn of_final(end: &fact::FinalVm) -> FinalVm {
    FinalVm {
        vm: Vm(end.vm),
        runs: end.runs,
        suspended: end.suspended,
        state: end.state.clone(),
        phase: end.phase.clone(),
        beating: end.beating,
        missing: end.missing,
        failed: end.failed,
        apps: end.apps.clone(),
        stored_apps: end.stored_apps.clone(),
    }
}

/// What daemons recorded.
pub(super) fn of_records(
    _folder: &Path,
    _cast: &Cast,
    _events: &mut Vec<(u64, Event)>,
    _judged: &mut Vec<String>,
) -> Result<(), JudgeError> {
    Ok(())
}
