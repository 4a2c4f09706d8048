//! Liveness: which monitored VMs beat on this trunk, and which fell silent.
//!
//! Pure. It is told of heartbeats and of its own doubts, and gives edges: each edge once, nothing in between.
//!
//! ```text
//!            START_HB acknowledged            heartbeat (edge: detected)
//!  (unknown) ----------------------> Waiting ---------------------------> Beating
//!      |                               |                                   |   ^
//!      | in the store's roster         | 1.9 intervals                     |   | heartbeat
//!      v                               v           1.9 intervals           v   | (edge: detected)
//!   Expected ----------------------> Missing <---------------------------- + --+
//!            10 s + 1.9 intervals   (edge: missing)
//! ```
//! Before anybody is accused the tracker doubts itself: while its own loop was late, its socket lost frames or
//! its adapter was down within the last interval, it waits one interval more. After three such intervals in a row
//! the trunk is *blind*, which is said once, and nobody is accused until an interval was clean.
//!
//! Where the trunk has a canary, nobody is accused before it was heard after that guest's time was up: see [`proof`].
//!
//! A VM that announced its silence is not MISSING before that is over and 1.9 intervals more have passed.

mod common;
mod doubt;
mod lines;
mod proof;

use std::collections::HashMap;
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::schedule::Schedule;
use vmpulse_protocol::time::Instant;

use crate::by_vm::{ByVm, Hint};
use crate::queue;
use common::RecentEdges;
pub use doubt::Doubt;
use doubt::Doubts;
use lines::Lines;
pub use proof::Evidence;
use proof::Proof;

/// Silence after which a path is MISSING, in tenths of its interval. [L-3]
const MISSING_AFTER_TENTHS: u32 = 19;
/// Added to that for VMs that a starting monitor expects from the store: their agents must first hear its Hello. [L-5]
pub const START_GRACE: Duration = Duration::from_secs(10);
/// Doubtful intervals in a row after which the trunk is blind. [L-7]
const BLIND_AFTER_INTERVALS: u32 = 3;

/// What the tracker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The VM's path beats (again).
    Detected {
        /// Which VM.
        vm: VmUuid,
    },
    /// The VM's path fell silent. Said again with `common` when most of the trunk turns out to be silent too.
    Missing {
        /// Which VM.
        vm: VmUuid,
        /// Since its last heartbeat.
        age: Duration,
        /// Together with most other paths of the trunk.
        common: bool,
    },
    /// Accusations wait one interval more, because of this.
    Deferred {
        /// Why.
        doubt: Doubt,
    },
    /// Three doubtful intervals in a row: all paths are unknown until one is clean.
    Blind,
    /// An interval was clean again.
    Sighted,
}

/// A watched VM as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchView {
    /// Whether it beats.
    pub beating: bool,
    /// Whether it is MISSING.
    pub missing: bool,
    /// How long ago its last heartbeat (or what stands for it) was.
    pub silence: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Expected,
    Waiting,
    Beating,
    Missing,
}

#[derive(Debug)]
struct Watch {
    state: State,
    /// From when silence counts: the last heartbeat, or what stands for it. [L-1]
    silent_from: Instant,
    interval: Duration,
    /// Added to the deadline once.
    grace: Duration,
    /// A new path was opened: its first heartbeat is said, though the VM beat before.
    reopened: bool,
    /// It is MISSING together with most of its trunk.
    common: bool,
    /// When the schedule looks here next.
    looked_at: Option<Instant>,
}

impl Watch {
    const fn new(state: State, silent_from: Instant, interval: Duration, grace: Duration) -> Self {
        Self { state, silent_from, interval, grace, reopened: false, common: false, looked_at: None }
    }

    /// Silence after which it is MISSING.
    fn allowed(&self) -> Duration {
        if is_on(Bug::EarlyMissing) {
            return self.interval.saturating_mul(9) / 10;
        }
        self.interval.saturating_mul(MISSING_AFTER_TENTHS) / 10
    }

    fn deadline(&self) -> Instant {
        self.silent_from + self.allowed() + self.grace
    }
}

/// A row of doubtful intervals.
#[derive(Clone, Copy, Debug)]
struct Deferral {
    since: Instant,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Tracker {
    watches: ByVm<Watch>,
    /// When to look at those that beat.
    lines: Lines,
    /// When to look at the others.
    schedule: Schedule<Hint>,
    doubts: Doubts,
    recent: RecentEdges,
    beating: usize,
    /// Until when VMs announced to be silent, as long as that matters: the few that did.
    quiet: HashMap<VmUuid, Instant>,
    /// Judgements that wait.
    deferral: Option<Deferral>,
    blind: bool,
    proof: Proof,
    edges: std::collections::VecDeque<Edge>,
}

impl Tracker {
    /// Watches nobody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            watches: ByVm::new(),
            lines: Lines::default(),
            schedule: Schedule::new(),
            doubts: Doubts::default(),
            recent: RecentEdges::default(),
            beating: 0,
            quiet: HashMap::new(),
            deferral: None,
            blind: false,
            proof: Proof::default(),
            edges: std::collections::VecDeque::new(),
        }
    }

    /// At the monitor's start: the store says that this VM had a path here. An open silence goes on.
    pub fn expect(&mut self, now: Instant, vm: VmUuid, interval: Duration, silent_for: Option<Duration>) {
        if self.watches.contains_key(&vm) {
            return;
        }
        let watch = match silent_for {
            Some(age) => Watch::new(State::Missing, now.back(age), interval, Duration::ZERO),
            None => Watch::new(State::Expected, now, interval, START_GRACE),
        };
        self.watch(vm, watch);
    }

    /// The VM acknowledged `START_HB` with this interval.
    pub fn handle_started(&mut self, now: Instant, vm: VmUuid, interval: Duration) {
        let mut at = Hint::default();
        let Some(watch) = self.watches.get_near_mut(&vm, &mut at) else {
            return self.watch(vm, Watch::new(State::Waiting, now, interval, Duration::ZERO));
        };
        if watch.interval != interval || watch.state == State::Expected {
            // Counting goes on from here: by the new interval the old silence would already be too long.
            watch.interval = interval;
            if watch.state != State::Missing {
                watch.silent_from = now;
                watch.grace = Duration::ZERO;
                self.lines.leave(at);
                self.schedule_look(at);
            }
        }
    }

    /// The VM is being told to beat less often: from now on it may. [L-4]
    pub fn handle_telling(&mut self, vm: VmUuid, interval: Duration) {
        if let Some(watch) = self.watches.get_mut(&vm) {
            watch.interval = watch.interval.max(interval);
        }
    }

    /// Says the VM's present state once more, for a store that was told to forget it.
    pub fn repeat(&mut self, now: Instant, vm: VmUuid) {
        let Some(watch) = self.watches.get(&vm) else { return };
        match watch.state {
            State::Beating => self.edges.push_back(Edge::Detected { vm }),
            State::Missing => {
                let age = now.since(watch.silent_from);
                self.edges.push_back(Edge::Missing { vm, age, common: watch.common });
            }
            State::Expected | State::Waiting => {}
        }
    }

    /// A new path to the VM was opened: its first heartbeat is an edge for whoever must know that it works.
    pub fn handle_opened(&mut self, vm: VmUuid) {
        if let Some(watch) = self.watches.get_mut(&vm) {
            watch.reopened = true;
        }
    }

    /// A valid heartbeat arrived at `arrived`.
    pub fn handle_heartbeat(&mut self, arrived: Instant, vm: VmUuid) {
        self.handle_heartbeat_near(arrived, vm, &mut Hint::default());
    }

    /// The same, for one that keeps in mind where the VM was found. Allocates nothing while the VM beats.
    pub fn handle_heartbeat_near(&mut self, arrived: Instant, vm: VmUuid, hint: &mut Hint) {
        let Some(watch) = self.watches.get_near_mut(&vm, hint) else { return };
        watch.silent_from = watch.silent_from.max(arrived);
        watch.grace = Duration::ZERO;
        watch.common = false;
        let reopened = std::mem::take(&mut watch.reopened);
        let before = std::mem::replace(&mut watch.state, State::Beating);
        if !self.lines.enter(*hint, watch.silent_from, watch.allowed()) {
            self.schedule_look(*hint);
        }
        if before == State::Beating {
            if reopened {
                self.edges.push_back(Edge::Detected { vm });
            }
            return;
        }
        self.beating = self.beating.saturating_add(1);
        self.recent.forget(vm);
        self.edges.push_back(Edge::Detected { vm });
    }

    /// The VM announced to be silent until `until`; or not beyond it, if that is earlier than it said before. Silence
    /// counts again from there; what is MISSING is not, until it has lasted for 1.9 intervals more. [Q-6]
    pub fn handle_quiet(&mut self, now: Instant, vm: VmUuid, until: Instant) {
        self.quiet.insert(vm, until);
        let mut at = Hint::default();
        let Some(watch) = self.watches.get_near_mut(&vm, &mut at) else { return };
        let mut again = until + watch.allowed();
        if watch.state == State::Missing && until > now {
            watch.state = State::Waiting;
            watch.common = false;
            again = now + watch.allowed();
            self.recent.forget(vm);
        }
        self.schedule_look_at(at, again);
    }

    /// The VM's announced silence is over. Of a VM that is watched it is remembered until it beats or is MISSING.
    pub fn handle_quiet_over(&mut self, vm: VmUuid) {
        let Some(at) = self.watches.hint(&vm) else {
            self.quiet.remove(&vm);
            return;
        };
        let again =
            self.quiet.get(&vm).zip(self.watches.get(&vm)).map(|(over, watch)| *over + watch.allowed());
        if let Some(again) = again {
            self.schedule_look_at(at, again);
        }
    }

    /// The VM is not monitored any more.
    pub fn forget(&mut self, vm: VmUuid) {
        if let Some(at) = self.watches.hint(&vm) {
            self.lines.leave(at);
        }
        if self.watches.remove(&vm).is_some_and(|watch| watch.state == State::Beating) {
            self.beating = self.beating.saturating_sub(1);
        }
        self.recent.forget(vm);
        self.quiet.remove(&vm);
    }

    /// The monitor itself may have missed heartbeats up to `now`.
    pub fn handle_doubt(&mut self, now: Instant, doubt: Doubt) {
        self.doubts.push(now, doubt);
    }

    /// Judges what is due. The socket must have been found empty in this turn.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_cut() {
            return;
        }
        for at in self.take_proved() {
            self.judge(now, at, true);
        }
        while let Some(at) = self.schedule.pop_due(now) {
            self.look(now, at);
        }
        while let Some(at) = self.lines.pop_due(now) {
            self.judge(now, at, false);
        }
        self.on_clean_interval(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_cut() {
            return None;
        }
        let proved = self.has_proved().then_some(Instant::ZERO);
        self.schedule.next().into_iter().chain(self.lines.next()).chain(proved).min()
    }

    /// The next finding.
    pub fn poll_edge(&mut self) -> Option<Edge> {
        queue::pop(&mut self.edges)
    }

    /// Whether the VM is watched and beats.
    #[must_use]
    pub fn is_beating(&self, vm: VmUuid) -> bool {
        self.watches.get(&vm).is_some_and(|watch| watch.state == State::Beating)
    }

    /// Whether the VM is watched and its last heartbeat is older than its interval.
    #[must_use]
    pub fn is_overdue(&self, now: Instant, vm: VmUuid) -> bool {
        self.watches.get(&vm).is_some_and(|watch| now.since(watch.silent_from) > watch.interval)
    }

    /// Whether the VM is watched and MISSING.
    #[must_use]
    pub fn is_missing(&self, vm: VmUuid) -> bool {
        self.watches.get(&vm).is_some_and(|watch| watch.state == State::Missing)
    }

    /// Whether the VM is watched at all.
    #[must_use]
    pub fn is_watched(&self, vm: VmUuid) -> bool {
        self.watches.contains_key(&vm)
    }

    /// A watched VM as shown, looked for first where the hint says.
    #[must_use]
    pub fn view_near(&self, now: Instant, vm: VmUuid, hint: Hint) -> Option<WatchView> {
        self.watches.get_near(&vm, hint).map(|watch| WatchView {
            beating: watch.state == State::Beating,
            missing: watch.state == State::Missing,
            silence: now.since(watch.silent_from),
        })
    }

    /// Whether three doubtful intervals in a row have passed, and none that was clean since.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        self.blind
    }

    /// How many VMs are watched, and how many of them beat.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.watches.len(), self.beating)
    }

    fn watch(&mut self, vm: VmUuid, watch: Watch) {
        self.watches.insert(vm, watch);
        if let Some(at) = self.watches.hint(&vm) {
            self.schedule_look(at);
        }
    }

    /// At its deadline, unless it is looked at before that anyway, or nothing more can come of it.
    fn schedule_look(&mut self, at: Hint) {
        if let Some((_, watch)) = self.watches.at(at).filter(|(_, watch)| watch.state != State::Missing) {
            self.schedule_look_at(at, watch.deadline());
        }
    }

    fn schedule_look_at(&mut self, at: Hint, when: Instant) {
        let Some((_, watch)) = self.watches.at_mut(at) else { return };
        if watch.looked_at.is_none_or(|looked_at| when < looked_at) {
            watch.looked_at = Some(when);
            self.schedule.push(when, at);
        }
    }

    fn look(&mut self, now: Instant, at: Hint) {
        let Some((_, watch)) = self.watches.at_mut(at) else { return };
        // Otherwise an entry that another has replaced, or that was meant for who had this place before.
        if watch.looked_at.take_if(|looked_at| *looked_at <= now).is_some() {
            self.judge(now, at, false);
        }
    }

    /// `proved`: the trunk is known to have worked after its time was up.
    fn judge(&mut self, now: Instant, at: Hint, proved: bool) {
        let Some((vm, watch)) = self.watches.at_mut(at) else { return };
        if watch.state == State::Missing {
            return;
        }
        let deadline = watch.deadline();
        if deadline > now {
            let until = self.quiet.get(&vm).filter(|over| **over > watch.silent_from);
            match until.map(|over| *over + watch.allowed()).filter(|until| *until > now) {
                Some(until) => self.schedule_look_at(at, until),
                // It matters no more.
                None => drop(self.quiet.remove(&vm)),
            }
            // Whoever beats again stands in line.
            if !self.lines.contains(at) {
                self.schedule_look(at);
            }
            return;
        }
        self.lines.leave(at);
        if let Some(until) =
            self.quiet.get(&vm).map(|over| *over + watch.allowed()).filter(|until| *until > now)
        {
            // Looked at as often as any other: it may be ended before its time.
            let again = until.min(now + watch.allowed());
            return self.schedule_look_at(at, again);
        }
        if let Some((again, doubt)) = self.doubts.defer(now, watch.interval) {
            let interval = watch.interval;
            watch.looked_at = Some(again);
            self.schedule.push(again, at);
            return self.on_deferred(now, again, interval, doubt);
        }
        if !proved && self.waits_for_proof(now, at) {
            return;
        }
        let Some((_, watch)) = self.watches.at_mut(at) else { return };
        if watch.state == State::Beating {
            self.beating = self.beating.saturating_sub(1);
        }
        watch.state = State::Missing;
        self.quiet.remove(&vm);
        let (age, interval) = (now.since(watch.silent_from), watch.interval);
        self.accuse(now, at, age, interval);
    }

    fn accuse(&mut self, now: Instant, at: Hint, age: Duration, interval: Duration) {
        let Some((vm, _)) = self.watches.at(at) else { return };
        self.recent.push(now, vm, interval);
        let common = self.recent.is_common(now, interval, self.beating);
        if let Some((_, watch)) = self.watches.at_mut(at) {
            watch.common = common;
        }
        self.edges.push_back(Edge::Missing { vm, age, common });
        if common {
            for other in self.recent.mark_common() {
                if other != vm
                    && let Some(watch) = self.watches.get_mut(&other)
                {
                    watch.common = true;
                    let age = now.since(watch.silent_from);
                    self.edges.push_back(Edge::Missing { vm: other, age, common: true });
                }
            }
        }
    }

    fn on_deferred(&mut self, now: Instant, until: Instant, interval: Duration, doubt: Doubt) {
        let deferral = self.deferral.get_or_insert_with(|| {
            self.edges.push_back(Edge::Deferred { doubt });
            Deferral { since: now, until }
        });
        deferral.until = deferral.until.max(until);
        let in_a_row = interval.saturating_mul(BLIND_AFTER_INTERVALS.saturating_sub(1));
        if !self.blind && now.since(deferral.since) >= in_a_row {
            self.blind = true;
            self.edges.push_back(Edge::Blind);
        }
    }

    /// The row of doubtful intervals ends when the last judgement that waited was made.
    fn on_clean_interval(&mut self, now: Instant) {
        if self.deferral.take_if(|deferral| deferral.until <= now).is_some()
            && std::mem::take(&mut self.blind)
        {
            self.edges.push_back(Edge::Sighted);
        }
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
