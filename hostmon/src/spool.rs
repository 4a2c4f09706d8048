//! What a host monitor does with its writes while the store fails, is slow or is gone.
//!
//! Pure. Writes go in; what is to be done with the file and with the store comes out ([`Action`]), and what the loop is to be
//! told ([`Told`]).
//!
//! ```text
//!            a statement failed, or waited 5 s
//!   GLOBAL ------------------------------------> LOCAL  --+ probes the store every second
//!      ^                                           |  ^   |
//!      |  everything that waits, and GLOBAL at its |  +---+ it fails
//!      +------ end, applied in one transaction ----+
//! ```
//! GLOBAL: writes go to the store within 20 ms. What is not committed 200 ms after it was made is kept in the file: whoever
//! waits for it can be acknowledged before he repeats himself. LOCAL: what a guest waits for is kept within 20 ms.
//!
//! The file only grows, until the store has everything that is in it; then it is emptied. When most of it was overtaken, it
//! is written anew with what still counts.
//!
//! Nothing is doubled: writes are numbered from each start on, and the store keeps the last start that it heard of and its
//! highest number. So before a transaction may make this start known, its name is in the file, if anything is.

pub mod record;
pub mod stall;

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, MessageTag, MonitorMode, QuietAnswer, StartWrites};

use crate::pending::{BATCH_MAXIMUM, Pending, Waiting, is_said_by_guest};
use record::{BootClock, Contents};

/// Between two commits: what guests say meanwhile is committed together, so that one that talks without end does not
/// keep the disk busy. Far below the retransmission timeout.
pub const COMMIT_PERIOD: Duration = Duration::from_millis(20);
/// The first write after a pause waits so long for others: what falls silent together is not judged in one instant, and a
/// thousand edges are one transaction.
pub const GATHER: Duration = Duration::from_millis(10);
/// What the store has not committed after this is kept in the file. With a sync of 200 ms that is 100 ms less than the
/// retransmission timeout of 500 ms.
pub const KEEP_AFTER: Duration = Duration::from_millis(200);
/// A statement that waited so long makes the monitor LOCAL.
pub const SLOW_AFTER: Duration = Duration::from_secs(5);
/// After a failure of the store or of the file it is tried again this late.
pub const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// A file is written anew when it is this much longer than twice what counts in it.
pub const SLACK_BYTES: usize = 1024 * 1024;

/// To be done; what came of it is said before the next one is asked for, but for the store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append this to the file and sync it: [`Spool::on_kept`].
    Append(Vec<u8>),
    /// Put this in the file's place, synced: [`Spool::on_kept`].
    Replace(Vec<u8>),
    /// Give this to the store, in one transaction: [`Spool::on_applied`] or [`Spool::on_failed`].
    Apply(Vec<StartWrites>),
    /// See whether the store answers: [`Spool::on_ready`] or [`Spool::on_failed`].
    Probe,
}

/// What the loop is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything up to this number is safe: in the store or in the file.
    Safe {
        /// The driver's number.
        up_to: u64,
    },
    /// The write of this number was not taken: too much of its kind waits.
    NotTaken {
        /// The driver's number.
        number: u64,
        /// If it is a report: of which exchange.
        report: Option<MessageTag>,
    },
    /// The store's answers to guests.
    Quiets(Vec<QuietAnswer>),
    /// It is LOCAL now, because of this.
    Local(String),
    /// It is GLOBAL again.
    Global,
}

/// What is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolView {
    /// Since when it is LOCAL, and why.
    pub local: Option<(Instant, String)>,
    /// Writes that wait, in memory and in the file.
    pub waiting: usize,
    /// Of them in the file.
    pub kept: usize,
    /// Length of the file.
    pub file_bytes: usize,
    /// Why the file could not be written last, until it can.
    pub file_error: Option<String>,
    /// Remarks that were dropped.
    pub dropped: u64,
    /// The core's loop does not turn.
    pub stalled: bool,
    /// Transactions of writes that were committed, and tries that failed, since the start.
    pub commits: u64,
    /// See `commits`.
    pub failures: u64,
    /// When the last was committed.
    pub last_commit: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Local {
    since: Instant,
    why: String,
}

/// Something is with the store.
#[derive(Clone, Copy, Debug)]
struct Flight {
    since: Instant,
    what: Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Probe,
    /// What was due.
    Some,
    /// All that waits, with GLOBAL at its end.
    All,
}

/// What the write to the file that is under way will have kept.
#[derive(Clone, Copy, Debug)]
struct Keeping {
    position: u64,
    told: u64,
    file_bytes: usize,
    live_bytes: usize,
    names_start: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Spool {
    pending: Pending,
    incarnation: String,
    clock: BootClock,
    local: Option<Local>,
    /// The store is to know that it was LOCAL, and does not know yet that this is over.
    local_said: bool,
    global_said: bool,
    stalled: bool,
    commits: u64,
    failures: u64,
    last_commit: Option<Instant>,
    flight: Option<Flight>,
    /// The store answered a probe.
    ready: bool,
    next_try: Instant,
    /// Writes up to here are in the file, or were.
    kept: u64,
    /// The file's length, that of what counted in it when it was written anew, and whether it names this start.
    file_bytes: usize,
    live_bytes: usize,
    names_start: bool,
    keeping: Option<Keeping>,
    next_keep: Instant,
    file_error: Option<String>,
    told: VecDeque<Told>,
}

impl Spool {
    /// This start, with what earlier ones left. It begins GLOBAL if they left nothing: nothing is wrong yet.
    #[must_use]
    pub fn new(incarnation: &str, clock: BootClock, contents: Contents, now: Instant) -> Self {
        let (local_said, left) = (said_local(&contents.starts), !contents.starts.is_empty());
        let mut pending = Pending::new(incarnation);
        pending.load(now, contents.starts);
        let why = "what an earlier start left is not in the store yet".to_owned();
        Self {
            kept: pending.position(),
            pending,
            incarnation: incarnation.to_owned(),
            clock,
            local: left.then_some(Local { since: now, why }),
            local_said,
            global_said: false,
            stalled: false,
            commits: 0,
            failures: 0,
            last_commit: None,
            flight: None,
            ready: false,
            next_try: now,
            file_bytes: contents.sound_bytes,
            live_bytes: contents.sound_bytes,
            names_start: false,
            keeping: None,
            next_keep: now,
            file_error: None,
            told: VecDeque::new(),
        }
    }

    /// Takes a write.
    pub fn push(&mut self, waiting: Waiting) {
        let number = waiting.number;
        let report =
            if let HostMonitorWrite::Report { message, .. } = &waiting.write { Some(*message) } else { None };
        if self.flight.is_none() && self.pending.is_empty() {
            self.next_try = self.next_try.max(waiting.at + GATHER);
        }
        if !self.pending.push(waiting) {
            self.told.push_back(Told::NotTaken { number, report });
        }
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) is due; at other times it does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(flight) = self.flight else { return };
        if now.since(flight.since) >= SLOW_AFTER && self.local.is_none() {
            let why = format!("the store has not answered for {} s", SLOW_AFTER.as_secs());
            self.go_local(now, flight.since, why);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.keeping.is_some() {
            return None;
        }
        // Until then what is new goes to the store as ever: nobody would wake for it otherwise but at once, again and again.
        if self.is_over() && now >= self.next_keep {
            return Some(self.empty_file());
        }
        let may_give = self.flight.is_none() && now >= self.next_try;
        if may_give && self.local.is_none() && !self.pending.is_empty() {
            return self.give(now);
        }
        if self.keep_due().is_some_and(|due| due <= now) {
            return Some(self.keep(now));
        }
        if may_give { self.give(now) } else { None }
    }

    /// When something is due that nobody says.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let try_at = (self.flight.is_none() && (self.local.is_some() || !self.pending.is_empty()))
            .then_some(self.next_try);
        let slow_at = self.flight.filter(|_| self.local.is_none()).map(|flight| flight.since + SLOW_AFTER);
        let empty_at = self.is_over().then_some(self.next_keep);
        [try_at, slow_at, empty_at, self.keep_due()].into_iter().flatten().min()
    }

    /// What the loop is to be told next.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// The file was written, or why not.
    pub fn on_kept(&mut self, now: Instant, outcome: Result<(), String>) {
        let Some(keeping) = self.keeping.take() else { return };
        match outcome {
            Ok(()) => {
                self.kept = self.kept.max(keeping.position);
                self.file_bytes = keeping.file_bytes;
                self.live_bytes = keeping.live_bytes;
                self.names_start = keeping.names_start;
                self.file_error = None;
                self.told.push_back(Told::Safe { up_to: keeping.told });
            }
            Err(error) => {
                self.file_error = Some(error);
                self.next_keep = now + RETRY_PERIOD;
            }
        }
    }

    /// The file is not there any more, and nothing of what was kept in it: everything that waits is kept anew, at once.
    pub fn on_file_gone(&mut self, now: Instant) {
        self.keeping = None;
        (self.kept, self.file_bytes, self.live_bytes) = (0, 0, 0);
        self.names_start = false;
        self.next_keep = now;
    }

    /// Whether something is in the file, as far as is known.
    #[must_use]
    pub const fn has_file(&self) -> bool {
        self.file_bytes > 0
    }

    /// The store answers.
    pub fn on_ready(&mut self, now: Instant) {
        self.flight = None;
        self.ready = true;
        self.next_try = now;
    }

    /// What was given to the store is committed.
    pub fn on_applied(&mut self, now: Instant, quiets: Vec<QuietAnswer>) {
        let flight = self.flight.take();
        (self.commits, self.last_commit) = (self.commits.saturating_add(1), Some(now));
        if let Some(up_to) = self.pending.committed() {
            self.told.push_back(Told::Safe { up_to });
        }
        if !quiets.is_empty() {
            self.told.push_back(Told::Quiets(quiets));
        }
        self.next_try = now + COMMIT_PERIOD;
        if self.local.is_none() {
            return;
        }
        if flight.is_some_and(|flight| flight.what == Sent::All) {
            self.local = None;
            (self.local_said, self.global_said, self.ready) = (false, false, false);
            self.told.push_back(Told::Global);
        } else {
            // Late, but it came: the rest may follow.
            self.ready = true;
            self.next_try = now;
        }
    }

    /// The store failed, with what was given to it or on another occasion.
    pub fn on_failed(&mut self, now: Instant, error: String) {
        let since = self.flight.take().map_or(now, |flight| flight.since);
        self.pending.failed();
        self.failures = self.failures.saturating_add(1);
        self.ready = false;
        self.next_try = now + RETRY_PERIOD;
        self.go_local(now, since, error);
    }

    /// The core's loop does not turn any more, for so long; or turns again.
    pub fn on_stall(&mut self, now: Instant, stood: Option<Duration>) {
        if stood.is_some() == self.stalled {
            return;
        }
        self.stalled = stood.is_some();
        let at = now.back(stood.unwrap_or_default());
        if self.stalled {
            let text = "its loop does not turn: nothing is heard and nobody judged".to_owned();
            self.say_mode(at, MonitorMode::Down, text);
        } else if !self.local_said || self.global_said {
            // While LOCAL is the last word but DOWN, the end of that says GLOBAL.
            self.say_mode(at, MonitorMode::Global, "its loop turns again".to_owned());
        }
    }

    /// What is shown of it.
    #[must_use]
    pub fn view(&self) -> SpoolView {
        let unkept = self.pending.behind(self.kept).count();
        SpoolView {
            local: self.local.as_ref().map(|local| (local.since, local.why.clone())),
            waiting: self.pending.len(),
            kept: self.pending.worth_keeping().saturating_sub(unkept),
            file_bytes: self.file_bytes,
            file_error: self.file_error.clone(),
            dropped: self.pending.dropped(),
            stalled: self.stalled,
            commits: self.commits,
            failures: self.failures,
            last_commit: self.last_commit,
        }
    }

    fn go_local(&mut self, now: Instant, since: Instant, why: String) {
        if !self.local_said {
            (self.local_said, self.global_said) = (true, false);
            self.say_mode(since, MonitorMode::Local, format!("the store cannot be written: {why}"));
        }
        let before = self.local.as_ref().map_or(since.min(now), |local| local.since);
        self.told.push_back(Told::Local(why.clone()));
        self.local = Some(Local { since: before, why });
    }

    fn say_mode(&mut self, at: Instant, mode: MonitorMode, text: String) {
        let _ = self.pending.append(at, HostMonitorWrite::ModeChanged { mode, age: Duration::ZERO, text });
    }

    /// When what waits is to be kept.
    fn keep_due(&self) -> Option<Instant> {
        let mut unkept = self.pending.behind(self.kept);
        let oldest = unkept.next()?;
        let due = oldest.at + KEEP_AFTER;
        // Of what a guest waits for the oldest is looked for only where it makes a difference.
        let said = if self.local.is_some() {
            std::iter::once(oldest).chain(unkept).find(|entry| is_said_by_guest(&entry.write))
        } else {
            None
        };
        let due = said.map_or(due, |entry| due.min(entry.at + COMMIT_PERIOD));
        Some(due.max(self.next_keep))
    }

    /// Whether the store has everything that is in the file.
    fn is_over(&self) -> bool {
        self.file_bytes > record::HEADER_BYTES && self.local.is_none() && !self.pending.any_up_to(self.kept)
    }

    fn empty_file(&mut self) -> Action {
        let header = record::header();
        let (position, told) = (self.kept, 0);
        let length = header.len();
        self.keeping =
            Some(Keeping { position, told, file_bytes: length, live_bytes: length, names_start: false });
        Action::Replace(header)
    }

    /// Everything that is not in the file yet; or the file anew, if most of it counts no more.
    fn keep(&mut self, now: Instant) -> Action {
        let fresh = self.file_bytes < record::HEADER_BYTES;
        let anew = fresh || self.file_bytes > self.live_bytes.saturating_mul(2).saturating_add(SLACK_BYTES);
        let bytes = if anew { self.whole_file() } else { self.addition() };
        let file_bytes = if anew { bytes.len() } else { self.file_bytes.saturating_add(bytes.len()) };
        self.next_keep = now + COMMIT_PERIOD;
        self.keeping = Some(Keeping {
            position: self.pending.position(),
            told: self.pending.told(),
            file_bytes,
            live_bytes: if anew { bytes.len() } else { self.live_bytes },
            names_start: true,
        });
        if anew { Action::Replace(bytes) } else { Action::Append(bytes) }
    }

    fn addition(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.names_start {
            bytes.extend(record::start(&self.incarnation, false, &self.clock));
        }
        // What earlier starts left is in the file from the beginning.
        for entry in self.pending.behind(self.kept) {
            bytes.extend(record::write(entry, &self.clock));
        }
        bytes
    }

    fn whole_file(&self) -> Vec<u8> {
        let mut bytes = record::header();
        let mut waiting = self.pending.behind(0).peekable();
        for start in self.pending.starts() {
            bytes.extend(record::start(start, self.pending.is_of_earlier_boot(start), &self.clock));
            while let Some(entry) = waiting.next_if(|entry| *entry.incarnation == *start) {
                bytes.extend(record::write(entry, &self.clock));
            }
        }
        bytes
    }

    /// What is due to the store.
    fn give(&mut self, now: Instant) -> Option<Action> {
        let what = match (&self.local, self.ready) {
            (None, _) => Sent::Some,
            (Some(_), true) => Sent::All,
            (Some(_), false) => {
                self.flight = Some(Flight { since: now, what: Sent::Probe });
                return Some(Action::Probe);
            }
        };
        if what == Sent::All {
            self.say_global(now);
        }
        // Once this start may be known to the store, the file must say so, and that it is GLOBAL; unless it cannot be
        // written at all.
        let unnamed = self.file_bytes > record::HEADER_BYTES && !self.names_start;
        let unkept = what == Sent::All && self.pending.behind(self.kept).next().is_some();
        if (unnamed || unkept) && self.file_error.is_none() && !self.pending.is_empty() {
            return Some(self.keep(now));
        }
        let most = if what == Sent::All { usize::MAX } else { BATCH_MAXIMUM };
        let Some(batch) = self.pending.batch(now, most) else {
            // Nothing was left to give: the last word was.
            if what == Sent::All {
                self.local = None;
                self.told.push_back(Told::Global);
            }
            return None;
        };
        self.flight = Some(Flight { since: now, what });
        Some(Action::Apply(batch.starts))
    }

    /// At the end of all that waits; once, also if it has to be given again.
    fn say_global(&mut self, now: Instant) {
        if !self.local_said || std::mem::replace(&mut self.global_said, true) {
            return;
        }
        self.say_mode(
            now,
            MonitorMode::Global,
            "its writes reach the store again; nothing was lost".to_owned(),
        );
        if self.stalled {
            self.say_mode(now, MonitorMode::Down, "its loop does not turn".to_owned());
        }
    }
}

/// Whether the last word about the mode is LOCAL.
fn said_local(starts: &[StartWrites]) -> bool {
    let writes = starts.iter().flat_map(|start| &start.writes).rev();
    let mode = |(_, write): &(u64, HostMonitorWrite)| {
        if let HostMonitorWrite::ModeChanged { mode, .. } = write { Some(*mode) } else { None }
    };
    writes.filter_map(mode).find(|mode| *mode != MonitorMode::Down) == Some(MonitorMode::Local)
}

#[cfg(test)]
mod tests;
