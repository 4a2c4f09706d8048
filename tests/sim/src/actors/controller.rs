//! The controller: its core and its schedule, in the shape of its polling thread.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use vmpulse_controller::controller::Controller;
use vmpulse_controller::polling::Polling;
use vmpulse_controller::record::Recorded;
use vmpulse_controller::schedule::{Schedule, WATCH};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{ControllerHeartbeat, StoreError};

use crate::event::Event;
use crate::names::Vm;
use crate::store::{Backing, Caller, FaultyStore, Shared, StoreNews};
use crate::{replay, says};

/// Its clock at its start.
const CLOCK_AT_START: Instant = Instant::from_millis(5_000_000);

/// What is said so much later than the time it bears is worth a word.
const LATER: Duration = Duration::from_millis(500);

struct Process {
    started: Instant,
    polling: Polling,
    store: Option<FaultyStore>,
    opened_before: bool,
    stalled: bool,
    busy_until: Instant,
    /// In fast mode: somebody wrote, and it will see that.
    look_at: Option<Instant>,
}

/// See the module.
pub(crate) struct ControllerNode {
    /// From 1.
    number: usize,
    process: Option<Process>,
    poll_interval: Duration,
    vms: usize,
    events: Vec<Event>,
    failing: bool,
    /// Where it records what happens, as its daemon does.
    records: Option<PathBuf>,
}

impl ControllerNode {
    pub(crate) const fn new(
        number: usize,
        poll_interval: Duration,
        vms: usize,
        records: Option<PathBuf>,
    ) -> Self {
        Self { number, process: None, poll_interval, vms, events: Vec::new(), failing: false, records }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stalled)
    }

    pub(crate) fn start(&mut self, now: Instant) {
        if self.process.is_some() {
            return;
        }
        let heartbeat = ControllerHeartbeat {
            name: if self.number == 1 {
                "controller".to_owned()
            } else {
                format!("controller{}", self.number)
            },
            pid: u32::try_from(self.number).unwrap_or(u32::MAX),
            version: "simulated".to_owned(),
            poll_interval_ms: u64::try_from(self.poll_interval.as_millis()).unwrap_or(u64::MAX),
        };
        let recorder = self
            .records
            .as_deref()
            .and_then(|directory| replay::controller_recorder(directory, now, &heartbeat, CLOCK_AT_START));
        self.process = Some(Process {
            started: now,
            polling: Polling::new(
                Recorded::with(Controller::new(heartbeat), recorder),
                Schedule::new(self.poll_interval, CLOCK_AT_START),
            ),
            store: None,
            opened_before: false,
            stalled: false,
            busy_until: now,
            look_at: None,
        });
        self.events.push(Event::ControllerUp);
    }

    pub(crate) fn kill(&mut self) {
        if self.process.take().is_some() {
            self.events.push(Event::ControllerDown("was killed"));
        }
    }

    pub(crate) fn set_stalled(&mut self, stalled: bool) {
        if let Some(process) = &mut self.process {
            process.stalled = stalled;
        }
    }

    pub(crate) fn stir(&mut self, now: Instant) {
        if let Some(process) = self.process.as_mut().filter(|process| process.polling.schedule().watches()) {
            process.look_at.get_or_insert(now + WATCH);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let process = self.process.as_ref().filter(|process| !process.stalled)?;
        let own = process.started + process.polling.schedule().poll_timeout().since(CLOCK_AT_START);
        Some(process.look_at.map_or(own, |look| look.min(own)).max(process.busy_until))
    }

    /// A turn of its polling thread.
    pub(crate) fn turn(&mut self, now: Instant, backing: &Backing) {
        let Some(process) = self.process.as_mut().filter(|process| !process.stalled) else { return };
        process.look_at = None;
        backing.shared.begin(now);
        let result = process.work(now, backing, Caller::Controller(self.number));
        process.busy_until = now + backing.shared.elapsed();
        for (after, news) in backing.shared.take_news() {
            if after >= LATER {
                self.events.push(Event::SaidLater(after));
            }
            self.events.push(event_of(news, self.vms));
        }
        if let Err(error) = result {
            let own = process.own(process.busy_until);
            process.store = None;
            process.polling.on_failure(own, &error);
            if !std::mem::replace(&mut self.failing, true) {
                self.events.push(Event::ControllerFailed(error.to_string()));
            }
        } else {
            self.failing = false;
        }
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl Process {
    fn own(&self, now: Instant) -> Instant {
        CLOCK_AT_START + now.since(self.started)
    }

    fn work(&mut self, now: Instant, backing: &Backing, caller: Caller) -> Result<(), StoreError> {
        let shared: Shared = backing.shared.clone();
        let (base, latest) = (self.own(now), Cell::new(self.own(now)));
        let clock = || {
            latest.set(latest.get().max(base + shared.elapsed()));
            latest.get()
        };
        self.open(backing, caller, &clock)?;
        let Some(store) = self.store.as_mut() else { return Ok(()) };
        self.polling.turn(store, &clock)
    }

    /// A store that was opened again may be another one.
    fn open(
        &mut self,
        backing: &Backing,
        caller: Caller,
        clock: &dyn Fn() -> Instant,
    ) -> Result<(), StoreError> {
        if self.store.is_some() {
            return Ok(());
        }
        self.store = Some(backing.connect(caller)?);
        if std::mem::replace(&mut self.opened_before, true) {
            self.polling.on_reopened(clock());
        }
        Ok(())
    }
}

fn event_of(news: StoreNews, vms: usize) -> Event {
    match news {
        StoreNews::Told { name, incident } => says::told(name, incident, |uuid| Vm::of(uuid, vms)),
        StoreNews::Closed(incident) => Event::Closed(incident),
        StoreNews::Phase(uuid, text) => Vm::of(uuid, vms).map_or_else(
            || Event::ControllerFailed(format!("a phase of an unknown VM {uuid}")),
            |vm| Event::Phase(vm, text),
        ),
    }
}
