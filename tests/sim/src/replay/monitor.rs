//! The record of a host monitor.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use vmpulse_hostmon::monitor::{Note, Output};
use vmpulse_hostmon::record::{Happened, Replay, ReplayError};
use vmpulse_local::recorder::{Ending, Opened};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Packet;

use super::{Names, Replayed};
use crate::event::Event;
use crate::names::Hm;
use crate::says;

/// Lateness of a turn from which it counts as a stall: what a busy machine does to everybody is less.
const STALLED: Duration = Duration::from_secs(1);

struct Teller<'a> {
    hm: Hm,
    names: &'a mut Names,
    /// By their addresses, as their paths were opened.
    guests: HashMap<MacAddr, VmUuid>,
    failing: Option<String>,
    /// A clock that is read twice in a turn may be used out of order.
    latest: Instant,
    events: Vec<(Instant, Event)>,
}

pub(super) fn replay(path: &Path, opened: Opened<'_>, names: &mut Names) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::new(opened)?;
    let opening = replay.opening().clone();
    let hm = names.monitor(replay.start().host_monitor(), &opening.boot);
    let at = replay.start().at();
    let (guests, events) = (HashMap::new(), Vec::new());
    let mut teller = Teller { hm, names, guests, failing: None, latest: at, events };
    teller.push(at, Event::MonitorUp(hm));
    while let Some(step) = replay.step() {
        let step = step?;
        teller.tell(step.at, step.happened);
    }
    let ending = replay.ending().cloned();
    match &ending {
        Some((at, Ending::Stopped)) => teller.push(*at, Event::MonitorDown(hm, "ended")),
        Some((at, why)) => teller.push(*at, Event::Monitor(hm, format!("is not recorded any more: {why}"))),
        // As far as is known: it may still run.
        None => teller.push(replay.at(), Event::MonitorDown(hm, "was killed")),
    }
    let Teller { events, .. } = teller;
    let (lines, torn_bytes) = (replay.lines(), replay.torn_bytes());
    let ending = ending.map(|(_, why)| why);
    Ok(Replayed { path: path.to_owned(), opening, lines, ending, torn_bytes, events })
}

impl Teller<'_> {
    fn push(&mut self, at: Instant, event: Event) {
        self.latest = self.latest.max(at);
        self.events.push((self.latest, event));
    }

    fn tell(&mut self, at: Instant, happened: Happened<'_>) {
        let hm = self.hm;
        match happened {
            Happened::Frame { arrived, source, payload } => self.on_frame(at, arrived, source, payload),
            Happened::Stored { up_to, in_store: true } => self.push(at, Event::Committed(hm, up_to)),
            Happened::Stored { up_to, in_store: false } => self.push(at, Event::Kept(hm, up_to)),
            Happened::StoreFailed(error) => {
                if self.failing.as_ref() != Some(&error) {
                    self.push(at, Event::StoreFailed(hm, error.clone()));
                }
                self.failing = Some(error);
            }
            Happened::StoreBack => self.failing = None,
            Happened::Roster(intervals) => self.on_intervals(at, &intervals),
            Happened::Turn(late) if late >= STALLED => self.push(at, Event::Stalled(hm, late)),
            Happened::Turn(_) | Happened::Told(_) => {}
            Happened::Outputs(outputs) => outputs.iter().for_each(|output| self.on_output(at, output)),
        }
    }

    /// A damaged frame is no heartbeat.
    fn on_frame(&mut self, at: Instant, arrived: Instant, source: MacAddr, payload: &[u8]) {
        let Some(guardian) = says::beat(payload).filter(|_| Packet::decode(payload).is_ok()) else { return };
        let vm = self.guests.get(&source).and_then(|uuid| self.names.vm(*uuid));
        if let Some(vm) = vm {
            self.push(at, Event::Beat { vm, hm: self.hm, arrived, guardian });
        }
    }

    fn on_output(&mut self, at: Instant, output: &Output) {
        let event = match output {
            Output::Store { number, write } => says::written(self.hm, *number, write),
            Output::Note(note) => {
                if let Note::Opened { vm, mac, .. } = note {
                    self.guests.insert(*mac, *vm);
                }
                says::noted(self.hm, note, |vm| self.names.vm(vm))
            }
            Output::Transmit(_) | Output::Authenticated { .. } | Output::AskCanary | Output::LogLevel(_) => {
                return;
            }
        };
        self.push(at, event);
    }

    /// Checkers know settings of VMs by the actions that make them.
    fn on_intervals(&mut self, at: Instant, intervals: &[(VmUuid, u32)]) {
        for (uuid, ms) in intervals {
            let Some(vm) = self.names.vm(*uuid) else { continue };
            if self.names.new_interval(vm, *ms) {
                self.push(at, Event::Action(format!("guest {vm} interval {ms}")));
            }
        }
    }
}
