//! One poll, from the store's answer to what is written back. Time is an argument.
//!
//! Hosts are judged before VMs. Everything written may be written again: a turn that fails half way, or a process that
//! is killed, is made good by the next turn. What is remembered here only saves repetition, except the age guard,
//! which must see every poll.

mod fleet;
mod hosts;
mod modes;
mod quiet;
mod vms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{ControllerHeartbeat, Discovery, NewEvent, Store, StoreError, StoreTime, VmState};

use crate::age_guard::{AgeGuard, ClockVerdict};
use crate::events::{self, incident};
use crate::exchange::Exchange;
use crate::schedule::Poll;
use fleet::Fleet;
use hosts::HostsTold;

/// The controller's own heartbeat: often enough for an operator, seldom enough not to wake host monitors for it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// Hosts are asked about at most this often, however often edges wake the controller.
const QUICK_QUERY_EVERY: Duration = Duration::from_secs(1);

/// A store that stepped or was gone is told again only after it was well for this long.
const STORE_WELL_AFTER: Duration = Duration::from_secs(60);

/// Discovered guests remembered as logged; beyond that the oldest memory is dropped and may be logged again.
const DISCOVERIES_REMEMBERED: usize = 1024;

/// What the driver does after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When the next silence reaches its VMFDT, or work was left over.
    pub again_in: Option<Duration>,
    /// Some VM is to be called failed after less than 10 s.
    pub fast: bool,
    /// The shortest VMFDT that a VM has of its own.
    pub shortest: Option<Duration>,
    /// Reports were asked for and are still to come; `None`: nobody looked.
    pub reports_pending: Option<bool>,
}

/// Where a turn reads the monotonic clock.
pub type Clock<'a> = &'a dyn Fn() -> Instant;

/// See the module.
#[derive(Debug)]
pub struct Controller {
    heartbeat: ControllerHeartbeat,
    guard: AgeGuard,
    store_incident: StoreIncident,
    memory: Memory,
}

/// What saves repetition. May be forgotten at any time.
#[derive(Debug, Default)]
struct Memory {
    fleet: Fleet,
    hosts: HostsTold,
    exchange: Exchange,
    failures_told: BTreeSet<VmUuid>,
    starts_told: BTreeSet<VmUuid>,
    states_logged: BTreeMap<VmUuid, VmState>,
    discoveries_logged: BTreeSet<(String, Discovery)>,
    heartbeat_at: Option<Instant>,
    quick_query_at: Option<Instant>,
}

/// Whether an event about the store itself may be open.
#[derive(Debug)]
struct StoreIncident {
    open: bool,
    well_since: Option<Instant>,
}

impl Controller {
    /// A controller that says of itself what `heartbeat` says.
    #[must_use]
    pub fn new(heartbeat: ControllerHeartbeat) -> Self {
        Self {
            heartbeat,
            guard: AgeGuard::default(),
            // One that was open when the process before ended is closed when the store was well for a while.
            store_incident: StoreIncident { open: true, well_since: None },
            memory: Memory::default(),
        }
    }

    /// One poll.
    ///
    /// # Errors
    /// What the store says; call [`on_failure`](Self::on_failure) then, and poll again later.
    pub fn turn(
        &mut self,
        store: &mut dyn Store,
        clock: Clock<'_>,
        poll: Poll,
    ) -> Result<Outcome, StoreError> {
        let fleet = &self.memory.fleet;
        let mut outcome = Outcome { fast: fleet.fast(), shortest: fleet.shortest(), ..Outcome::default() };
        let lately = self.memory.quick_query_at.is_some_and(|at| clock().since(at) < QUICK_QUERY_EVERY);
        if poll == Poll::Quick || !lately {
            self.quick_query(store, clock)?;
        }
        if poll == Poll::Attention {
            outcome = self.needs_attention(store, clock)?;
        }
        self.heartbeat(store, clock())?;
        Ok(outcome)
    }

    /// Takes reports that arrived. Returns whether some are still to come.
    ///
    /// # Errors
    /// What the store says.
    pub fn reports(&mut self, store: &mut dyn Store, now: Instant) -> Result<bool, StoreError> {
        let fleet = &self.memory.fleet;
        let (taken, pending) = self.memory.exchange.collect(store, now, &|vm| fleet.name_of(vm))?;
        if taken > 0 {
            tracing::debug!(taken, "application reports taken");
        }
        Ok(pending)
    }

    /// The store could not be asked, or was replaced. What was remembered of it may not hold any more.
    pub fn on_failure(&mut self, now: Instant) {
        self.guard.on_unreachable(now);
        self.memory = Memory::default();
    }

    fn quick_query(&mut self, store: &mut dyn Store, clock: Clock<'_>) -> Result<(), StoreError> {
        let asked = clock();
        let answer = store.quick_query()?;
        let answered = clock();
        self.observe(store, answer.now, asked, answered)?;
        self.memory.quick_query_at = Some(answered);
        let system = store.system_settings()?;
        let guard = &self.guard;
        let believed = |age: Duration| guard.bound(age, answered);
        self.memory.hosts.observe(&answer.hosts, answered);
        self.memory.hosts.judge(store, &answer.hosts, &system, &believed)
    }

    fn observe(
        &mut self,
        store: &mut dyn Store,
        now: StoreTime,
        asked: Instant,
        answered: Instant,
    ) -> Result<(), StoreError> {
        let event = match self.guard.observe(now, asked, answered) {
            ClockVerdict::Steady => return self.store_incident.on_well(store, answered),
            ClockVerdict::Stepped { by_ms } => events::store_clock_stepped(by_ms),
            ClockVerdict::Back { unreachable_for } => events::store_unreachable(unreachable_for.as_secs()),
        };
        self.store_incident = StoreIncident { open: true, well_since: None };
        tell(store, &event).map(drop)
    }

    fn heartbeat(&mut self, store: &mut dyn Store, now: Instant) -> Result<(), StoreError> {
        if self.memory.heartbeat_at.is_some_and(|at| now.since(at) < HEARTBEAT_EVERY) {
            return Ok(());
        }
        self.memory.heartbeat_at = Some(now);
        store.controller_heartbeat(&self.heartbeat)
    }
}

impl StoreIncident {
    fn on_well(&mut self, store: &mut dyn Store, now: Instant) -> Result<(), StoreError> {
        let since = *self.well_since.get_or_insert(now);
        if self.open && now.since(since) >= STORE_WELL_AFTER {
            store.incident_close(incident::STORE_CLOCK)?;
            store.incident_close(incident::STORE_UNREACHABLE)?;
            self.open = false;
        }
        Ok(())
    }
}

/// Records an event once per incident, and logs it then. Returns whether it is new.
fn tell(store: &mut dyn Store, event: &NewEvent) -> Result<bool, StoreError> {
    let new = store.event_append(event)?;
    if new {
        tracing::info!(event = event.name, severity = %event.severity, "{}: {}", event.resource, event.description);
    }
    Ok(new)
}
