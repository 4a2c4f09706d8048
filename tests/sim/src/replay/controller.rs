//! The record of a controller.

use std::path::Path;

use vmpulse_controller::record::{Finding, Replay, ReplayError};
use vmpulse_local::recorder::{Ending, Opened};
use vmpulse_protocol::time::Instant;

use super::{Names, Replayed};
use crate::event::Event;
use crate::says;

struct Teller<'a> {
    names: &'a mut Names,
    failing: bool,
    latest: Instant,
    events: Vec<(Instant, Event)>,
}

pub(super) fn replay(path: &Path, opened: Opened<'_>, names: &mut Names) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::new(opened)?;
    let opening = replay.opening().clone();
    let at = Instant::from_nanos(replay.start().at_ns);
    let mut teller = Teller { names, failing: false, latest: at, events: Vec::new() };
    teller.push(at, Event::ControllerUp);
    while let Some(findings) = replay.step() {
        for (at, finding) in findings? {
            teller.tell(at, finding);
        }
    }
    let ending = replay.ending();
    match &ending {
        Some((at, Ending::Stopped)) => teller.push(*at, Event::ControllerDown("ended")),
        Some((at, why)) => {
            teller.push(*at, Event::ControllerFailed(format!("it is not recorded any more: {why}")))
        }
        // As far as is known: it may still run.
        None => teller.push(replay.at(), Event::ControllerDown("was killed")),
    }
    let (lines, torn_bytes) = (replay.lines(), replay.torn_bytes());
    let ending = ending.map(|(_, why)| why);
    Ok(Replayed { path: path.to_owned(), opening, lines, ending, torn_bytes, events: teller.events })
}

impl Teller<'_> {
    fn push(&mut self, at: Instant, event: Event) {
        self.latest = self.latest.max(at);
        self.events.push((self.latest, event));
    }

    fn tell(&mut self, at: Instant, finding: Finding) {
        match finding {
            Finding::Told { name, incident } => {
                let event = says::told(name, incident, |vm| self.names.vm(vm));
                self.push(at, event);
            }
            Finding::Closed(incident) => self.push(at, Event::Closed(incident)),
            Finding::Phase(vm, text) => {
                if let Some(vm) = self.names.vm(vm) {
                    self.push(at, Event::Phase(vm, text));
                }
            }
            Finding::Failed(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.push(at, Event::ControllerFailed(error));
                }
            }
            Finding::Turned => self.failing = false,
        }
    }
}
