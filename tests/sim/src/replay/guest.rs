//! The records of an agent and of a guardian.

use std::path::Path;
use std::time::Duration;

use vmpulse_agent::guardian::record::{GuardianReplay, Looked};
use vmpulse_agent::record::{Happened, Output, Replay, ReplayError};
use vmpulse_local::recorder::{Ending, Opened, Opening};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::{Names, Replayed};
use crate::event::{Event, Said};
use crate::names::Vm;
use crate::says;

/// Of one that is not known, or has no UUID, nothing is said.
struct Teller {
    vm: Option<Vm>,
    /// Until when a silence was granted.
    quiet_until: Option<Instant>,
    /// A clock that is read twice in a turn may be used out of order.
    latest: Instant,
    events: Vec<(Instant, Event)>,
}

pub(super) fn replay_agent(
    path: &Path,
    opened: Opened<'_>,
    names: &mut Names,
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::new(opened)?;
    let mut teller = Teller::new(replay.start().vm(), names, replay.start().at());
    teller.tell(replay.start().at(), Event::AgentUp);
    while let Some(step) = replay.step() {
        let step = step?;
        // What was heard is answered in the same turn.
        let carried = matches!(step.happened, Happened::Outputs(_));
        teller.happened(step.at, step.happened);
        if carried {
            let quiet = replay.trunks().quiet(step.at).filter(|quiet| quiet.granted);
            teller.granted(step.at, quiet.map(|quiet| quiet.left));
        }
    }
    let ending = replay.ending().cloned();
    match &ending {
        Some((at, Ending::Stopped)) => teller.tell(*at, |vm| Event::AgentDown(vm, "ended")),
        Some((at, why)) => teller.tell(*at, |vm| no_more(vm, "agent", why)),
        // As far as is known: it may still run.
        None => teller.tell(replay.at(), |vm| Event::AgentDown(vm, "was killed")),
    }
    let (opening, lines, torn) = (replay.opening().clone(), replay.lines(), replay.torn_bytes());
    Ok(teller.replayed(path, opening, lines, ending, torn))
}

pub(super) fn replay_guardian(
    path: &Path,
    opened: Opened<'_>,
    names: &mut Names,
) -> Result<Replayed, ReplayError> {
    let mut replay = GuardianReplay::new(opened)?;
    let began = Instant::from_nanos(replay.start().at_ns);
    let mut teller = Teller::new(replay.start().vm(), names, began);
    while let Some(step) = replay.step() {
        match step? {
            (at, Looked::Outputs(outputs)) => {
                for text in outputs.iter().filter_map(says::guarded) {
                    teller.tell(at, |vm| Event::Agent(vm, text.to_owned()));
                }
            }
            (at, Looked::DiskGone(gone)) => {
                let text = if gone { "does not answer" } else { "answers again" };
                teller.tell(at, |vm| Event::Agent(vm, format!("the root disk {text}")));
            }
        }
    }
    let ending = replay.ending().cloned();
    if let Some((at, why)) = ending.as_ref().filter(|(_, why)| *why != Ending::Stopped) {
        teller.tell(*at, |vm| no_more(vm, "guardian", why));
    }
    let (opening, lines, torn) = (replay.opening().clone(), replay.lines(), replay.torn_bytes());
    Ok(teller.replayed(path, opening, lines, ending, torn))
}

fn no_more(vm: Vm, whose: &str, why: &Ending) -> Event {
    Event::Agent(vm, format!("the {whose} is not recorded any more: {why}"))
}

impl Teller {
    fn new(vm: Option<VmUuid>, names: &mut Names, latest: Instant) -> Self {
        Self { vm: vm.and_then(|vm| names.vm(vm)), quiet_until: None, latest, events: Vec::new() }
    }

    fn tell(&mut self, at: Instant, event: impl FnOnce(Vm) -> Event) {
        self.latest = self.latest.max(at);
        self.events.extend(self.vm.map(|vm| (self.latest, event(vm))));
    }

    fn happened(&mut self, at: Instant, happened: Happened) {
        let said = match happened {
            Happened::Suspended(true) => Said::Suspend,
            Happened::Suspended(false) => Said::Resume,
            Happened::Quiet(asked) => Said::Quiet(asked),
            Happened::Shutdown => Said::Shutdown,
            Happened::Told(_) => return,
            Happened::Outputs(outputs) => return outputs.iter().for_each(|output| self.output(at, output)),
        };
        self.tell(at, |vm| Event::Said(vm, said));
    }

    fn output(&mut self, at: Instant, output: &Output) {
        let Some(vm) = self.vm else { return };
        let event = match output {
            Output::Engine(output) => says::managed(vm, output),
            Output::Trunks(output) => says::connected(vm, output),
        };
        if let Some(event) = event {
            self.tell(at, |_| event);
        }
    }

    /// What is granted anew.
    fn granted(&mut self, at: Instant, left: Option<Duration>) {
        let until = left.map(|left| at + left);
        if until != self.quiet_until {
            self.quiet_until = until;
            if let Some(left) = left {
                self.tell(at, |vm| Event::QuietGranted(vm, left));
            }
        }
    }

    fn replayed(
        self,
        path: &Path,
        opening: Opening,
        lines: u64,
        ending: Option<(Instant, Ending)>,
        torn_bytes: usize,
    ) -> Replayed {
        let ending = ending.map(|(_, why)| why);
        Replayed { path: path.to_owned(), opening, lines, ending, torn_bytes, events: self.events }
    }
}
