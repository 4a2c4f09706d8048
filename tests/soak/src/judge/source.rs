//! Where facts of the injector become events.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpulse_sim::event::{Event, FinalVm, Said};
use vmpulse_sim::names::{Hm, Vm};

use crate::deed;
use crate::fact::{self, Fact, Line};

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

/// As the checkers' events have it.
pub(super) const fn hm(hm: deed::Hm) -> Hm {
    Hm { host: hm.host, trunk: hm.trunk }
}

fn reason(text: &str) -> &'static str {
    REASONS.iter().copied().find(|known| *known == text).unwrap_or("is down")
}

/// What the injector knows.
pub(super) fn of_facts(lines: &[Line]) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    let mut told = BTreeSet::new();
    for line in lines {
        if let Fact::Told(_, incident, _) = &line.fact
            && !told.insert(incident.clone())
        {
            // The store does not keep when it was closed; that it was, its index on open incidents sees to.
            events.push((line.at, Event::Closed(incident.clone())));
        }
        events.extend(of_fact(&line.fact).map(|event| (line.at, event)));
    }
    events
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
        Fact::QuietGranted(vm, ms) => Event::QuietGranted(Vm(*vm), Duration::from_millis(*ms)),
        Fact::SuspensionHeard { vm, suspended, stored, kept } => {
            let (vm, suspended, stored, kept) = (Vm(*vm), *suspended, *stored, *kept);
            Event::SuspensionHeard { vm, suspended, stored, kept }
        }
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
        fact::Said::Quiet(ms) => Said::Quiet(Duration::from_millis(ms.into())),
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
