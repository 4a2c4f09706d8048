//! Writes on their way to the store, and those that wait for it while it cannot be written.
//!
//! Pure. Order is kept. What has been overtaken by a newer write of the same kind is dropped, so that a day without a store
//! holds a few writes per VM and not a day's. What a guest said is never dropped: it is overtaken only by the same said
//! again, or it is not taken, and then not acknowledged.
//!
//! Writes are numbered from each start of the host monitor on; those of earlier starts, from its spool, come first.

mod key;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, StartWrites};

pub(crate) use key::GUEST_DYING;
pub use key::is_said_by_guest;
use key::{Key, is_remark};

/// Writes in one transaction: a thousand paths that go missing together are one.
pub const BATCH_MAXIMUM: usize = 1000;
/// Node events, discoveries and conflicts that wait; more say nothing new, and the oldest are dropped.
pub const REMARKS_MAXIMUM: usize = 1000;
/// Bytes of reports that wait: 128 of the largest, or some thousands of usual ones. More are not taken; a guest says a
/// report again until it is.
pub const REPORT_BYTES_MAXIMUM: usize = 32 * 1024 * 1024;
/// Starts that may have reached the store since the oldest write that waits. A start that has nothing to give is
/// forgotten beyond that; then the store may be given again what it has, which does harm to doorbells and remarks only.
pub const STARTS_MAXIMUM: usize = 1024;
/// Doorbells of one VM that are kept apart because the store may have some of them already.
const RINGS_MAXIMUM: u8 = 8;

/// A write with its number and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Grows by one.
    pub number: u64,
    /// When it was made.
    pub at: Instant,
    /// What.
    pub write: HostMonitorWrite,
}

/// A write that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The start that made it.
    pub incarnation: Arc<str>,
    /// Its number, counted from that start on.
    pub number: u64,
    /// When it was made; its ages are as of then.
    pub at: Instant,
    /// What.
    pub write: HostMonitorWrite,
    key: Option<Key>,
    /// The lowest of the driver's numbers that it stands for: its own, and of what it overtook.
    covers: u64,
}

/// What is given to the store at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// By start, the oldest first, the present one last; ages as of now.
    pub starts: Vec<StartWrites>,
    /// The driver's number up to which it reaches.
    pub up_to: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Pending {
    /// The oldest first; the present one is the last.
    starts: VecDeque<Arc<str>>,
    incarnation: Arc<str>,
    /// Those of them that the machine was started anew after.
    of_earlier_boot: BTreeSet<Arc<str>>,
    /// By position: the order in which they were made.
    entries: BTreeMap<u64, Entry>,
    newest: HashMap<Key, u64>,
    remarks: BTreeSet<u64>,
    /// The position of the next one; of this start's writes it is the number, too.
    next: u64,
    /// The driver's number of the last one.
    told: u64,
    /// Up to where they are with the store.
    in_flight: Option<(u64, u64)>,
    /// Up to where they ever were: the store may have them.
    attempted: u64,
    report_bytes: usize,
    dropped: u64,
    /// The present start was written: another one says that the adapter's address changed, and only the last of those counts.
    began: bool,
}

impl Pending {
    /// None wait; `incarnation` is the present start.
    #[must_use]
    pub fn new(incarnation: &str) -> Self {
        let incarnation: Arc<str> = incarnation.into();
        Self {
            starts: VecDeque::from([Arc::clone(&incarnation)]),
            incarnation,
            of_earlier_boot: BTreeSet::new(),
            entries: BTreeMap::new(),
            newest: HashMap::new(),
            remarks: BTreeSet::new(),
            next: 1,
            told: 0,
            in_flight: None,
            attempted: 0,
            report_bytes: 0,
            dropped: 0,
            began: false,
        }
    }

    /// What earlier starts left, the oldest first, with ages as of `now`; to be said before anything is pushed. The store
    /// may have some of it.
    pub fn load(&mut self, now: Instant, starts: Vec<StartWrites>) {
        let own = self.starts.pop_back();
        for start in starts {
            let incarnation: Arc<str> = start.incarnation.into();
            self.starts.push_back(Arc::clone(&incarnation));
            if start.of_earlier_boot {
                self.of_earlier_boot.insert(Arc::clone(&incarnation));
            }
            for (number, write) in start.writes {
                self.make_room(&write);
                self.insert(Arc::clone(&incarnation), Some(number), now, write, u64::MAX);
            }
        }
        self.starts.extend(own);
        self.attempted = self.next.saturating_sub(1);
        self.forget_empty_starts();
    }

    /// Appends a write that the driver numbered. Returns whether it was taken: what a guest said is not when too much of it
    /// waits.
    pub fn push(&mut self, waiting: Waiting) -> bool {
        self.told = waiting.number;
        self.add(waiting.at, waiting.write, waiting.number)
    }

    /// Appends a write of the spool itself. Returns whether it was taken.
    pub fn append(&mut self, at: Instant, write: HostMonitorWrite) -> bool {
        self.add(at, write, u64::MAX)
    }

    fn add(&mut self, at: Instant, mut write: HostMonitorWrite, number: u64) -> bool {
        if !self.has_room(&write) {
            return false;
        }
        let overtaken = self.make_room(&write);
        let merged = self.merge_doorbell(&mut write);
        let covers = overtaken.into_iter().chain(merged).map(|entry| entry.covers).fold(number, u64::min);
        self.insert(Arc::clone(&self.incarnation), None, at, write, covers);
        true
    }

    /// The oldest writes, at most `most` of them. They are with the store until [`committed`](Self::committed) or
    /// [`failed`](Self::failed) is said.
    pub fn batch(&mut self, now: Instant, most: usize) -> Option<Batch> {
        let first = &self.entries.values().next()?.incarnation;
        // Starts that have nothing to give are named, too: the store may have heard of them.
        let named = self.starts.iter().skip_while(|start| *start != first);
        let mut starts: Vec<_> = named.map(|start| self.start_writes(start)).collect();
        let (mut of, mut reach) = (0, None);
        for (position, entry) in self.entries.iter().take(most) {
            while starts.get(of).is_some_and(|start| *start.incarnation != *entry.incarnation) {
                of += 1;
            }
            let write = aged(&entry.write, now.since(entry.at));
            starts.get_mut(of)?.writes.push((entry.number, write));
            reach = Some(*position);
        }
        let position = reach?;
        starts.iter_mut().for_each(|start| edges_by_kind(&mut start.writes));
        let left = self.entries.range(position.saturating_add(1)..).map(|(_, entry)| entry.covers).min();
        let up_to = left.map_or(self.told, |covers| self.told.min(covers.saturating_sub(1)));
        self.in_flight = Some((position, up_to));
        self.attempted = self.attempted.max(position);
        Some(Batch { starts, up_to })
    }

    /// The batch is committed. Returns the driver's number up to which everything is.
    pub fn committed(&mut self) -> Option<u64> {
        let (position, up_to) = self.in_flight.take()?;
        let left = self.entries.split_off(&position.saturating_add(1));
        for (position, entry) in std::mem::replace(&mut self.entries, left) {
            self.forget(position, &entry);
        }
        self.forget_empty_starts();
        Some(up_to)
    }

    /// The batch is not, or nobody knows; it stays the oldest.
    pub fn failed(&mut self) {
        if is_on(Bug::LostBatch) {
            let _ = self.committed();
        }
        self.in_flight = None;
    }

    /// The writes behind a position that are worth keeping over a restart: all but signs of life.
    pub fn behind(&self, position: u64) -> impl Iterator<Item = &Entry> {
        let behind = self.entries.range(position.saturating_add(1)..).map(|(_, entry)| entry);
        behind.filter(|entry| entry.write != HostMonitorWrite::Heartbeat)
    }

    /// Every start that something waits of, or that may have reached the store since; the oldest first.
    pub fn starts(&self) -> impl Iterator<Item = &str> {
        self.starts.iter().map(|start| &**start)
    }

    /// Whether what waits of that start is older than it seems.
    #[must_use]
    pub fn is_of_earlier_boot(&self, start: &str) -> bool {
        self.of_earlier_boot.contains(start)
    }

    fn start_writes(&self, start: &str) -> StartWrites {
        let of_earlier_boot = self.is_of_earlier_boot(start);
        StartWrites { incarnation: start.to_owned(), writes: Vec::new(), of_earlier_boot }
    }

    /// Position of the newest write.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether anything waits that is worth keeping, at this position or before.
    #[must_use]
    pub fn any_up_to(&self, position: u64) -> bool {
        let mut up_to = self.entries.range(..=position);
        up_to.any(|(_, entry)| entry.write != HostMonitorWrite::Heartbeat)
    }

    /// The driver's number of the newest write.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// How many writes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are more than a sign of life.
    #[must_use]
    pub fn worth_keeping(&self) -> usize {
        self.entries.len().saturating_sub(usize::from(self.newest.contains_key(&Key::Heartbeat)))
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Remarks dropped because too many waited.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What a guest said that cannot be taken is refused; anything else has room or makes it.
    fn has_room(&self, write: &HostMonitorWrite) -> bool {
        if let HostMonitorWrite::Report { payload, .. } = write {
            return self.report_bytes.saturating_add(payload.len()) <= REPORT_BYTES_MAXIMUM;
        }
        let full = || {
            let said = |position: &u64| {
                self.entries.get(position).is_some_and(|entry| is_said_by_guest(&entry.write))
            };
            self.remarks.len() >= REMARKS_MAXIMUM && self.remarks.iter().all(said)
        };
        !(is_remark(write) && full())
    }

    /// Drops what `write` overtakes, and returns it.
    fn make_room(&mut self, write: &HostMonitorWrite) -> Option<Entry> {
        let newest = self.key(write).and_then(|key| self.newest.get(&key).copied());
        let overtaken = newest.and_then(|position| self.remove(position));
        if is_remark(write) && self.remarks.len() >= REMARKS_MAXIMUM {
            let unsaid = |position: &&u64| {
                self.entries.get(*position).is_some_and(|entry| !is_said_by_guest(&entry.write))
            };
            if let Some(oldest) = self.remarks.iter().find(unsaid).copied() {
                self.dropped = self.dropped.saturating_add(1);
                self.remove(oldest);
            }
        }
        overtaken
    }

    /// A doorbell that waits is rung by the newer one: its bits are added. Not one that the store may have: it would ring
    /// again.
    fn merge_doorbell(&mut self, write: &mut HostMonitorWrite) -> Option<Entry> {
        let HostMonitorWrite::Doorbell { vm, bits } = write else { return None };
        let last = RINGS_MAXIMUM.saturating_sub(1);
        for ring in 0..RINGS_MAXIMUM {
            let position = self.newest.get(&Key::Doorbell(*vm, ring)).copied()?;
            if position > self.attempted || ring == last {
                let merged = self.remove(position)?;
                if let HostMonitorWrite::Doorbell { bits: older, .. } = merged.write {
                    *bits |= older;
                }
                return Some(merged);
            }
        }
        None
    }

    fn insert(
        &mut self,
        incarnation: Arc<str>,
        number: Option<u64>,
        at: Instant,
        write: HostMonitorWrite,
        covers: u64,
    ) {
        let position = self.next;
        self.next = self.next.saturating_add(1);
        let key = self.key(&write).or_else(|| self.free_ring(&write));
        self.began |= number.is_none() && write.start().is_some();
        if let Some(key) = key {
            self.newest.insert(key, position);
        }
        if is_remark(&write) {
            self.remarks.insert(position);
        }
        self.report_bytes = self.report_bytes.saturating_add(report_bytes(&write));
        let number = number.unwrap_or(position);
        self.entries.insert(position, Entry { incarnation, number, at, write, key, covers });
    }

    fn key(&self, write: &HostMonitorWrite) -> Option<Key> {
        let again = self.began && write.start().is_some();
        if again { Some(Key::Readdressed) } else { Key::of(write) }
    }

    fn free_ring(&self, write: &HostMonitorWrite) -> Option<Key> {
        let HostMonitorWrite::Doorbell { vm, .. } = write else { return None };
        (0..RINGS_MAXIMUM).map(|ring| Key::Doorbell(*vm, ring)).find(|key| !self.newest.contains_key(key))
    }

    fn remove(&mut self, position: u64) -> Option<Entry> {
        let entry = self.entries.remove(&position)?;
        self.forget(position, &entry);
        Some(entry)
    }

    /// It is not among the entries any more.
    fn forget(&mut self, position: u64, entry: &Entry) {
        if let Some(key) = entry.key
            && self.newest.get(&key) == Some(&position)
        {
            self.newest.remove(&key);
        }
        self.remarks.remove(&position);
        self.report_bytes = self.report_bytes.saturating_sub(report_bytes(&entry.write));
    }

    /// Before the first that something waits of, a start is of no account; the present one is, always.
    fn forget_empty_starts(&mut self) {
        let first = self.entries.values().next().map_or(&self.incarnation, |entry| &entry.incarnation);
        while self.starts.len() > 1 && self.starts.front().is_some_and(|start| start != first) {
            self.starts.pop_front();
        }
        if self.starts.len() == 1 {
            self.of_earlier_boot.clear();
        }
        if self.starts.len() > STARTS_MAXIMUM {
            let used: BTreeSet<_> =
                self.entries.values().map(|entry| Arc::clone(&entry.incarnation)).collect();
            let mut surplus = self.starts.len().saturating_sub(STARTS_MAXIMUM);
            self.starts.retain(|start| {
                let keep = surplus == 0 || used.contains(start) || *start == self.incarnation;
                surplus = surplus.saturating_sub(usize::from(!keep));
                keep
            });
        }
    }
}

/// Of edges in a row no two are of one path, so their order says nothing: those of a kind come together, because the store
/// takes any number of them in as many statements as one.
fn edges_by_kind(writes: &mut [(u64, HostMonitorWrite)]) {
    let kind = |(_, write): &(u64, HostMonitorWrite)| {
        let missing = matches!(write, HostMonitorWrite::PathMissing { .. });
        (missing || matches!(write, HostMonitorWrite::PathDetected { .. })).then_some(missing)
    };
    for edges in writes.chunk_by_mut(|one, other| kind(one).is_some() == kind(other).is_some()) {
        edges.sort_by_key(kind);
    }
}

fn report_bytes(write: &HostMonitorWrite) -> usize {
    if let HostMonitorWrite::Report { payload, .. } = write { payload.len() } else { 0 }
}

/// The write as it is after it waited for so long.
#[must_use]
pub fn aged(write: &HostMonitorWrite, waited: Duration) -> HostMonitorWrite {
    let mut write = write.clone();
    if let HostMonitorWrite::PathMissing { age, .. }
    | HostMonitorWrite::PathOpened { age, .. }
    | HostMonitorWrite::Suspended { age, .. }
    | HostMonitorWrite::Resumed { age, .. }
    | HostMonitorWrite::QuietAsked { age, .. }
    | HostMonitorWrite::QuietEnded { age, .. }
    | HostMonitorWrite::QuietOver { age, .. } = &mut write
    {
        *age = age.saturating_add(waited);
    }
    // When it is GLOBAL again is when the store says so.
    if let HostMonitorWrite::ModeChanged { age, mode, .. } = &mut write
        && *mode != vmpulse_store::MonitorMode::Global
    {
        *age = age.saturating_add(waited);
    }
    write
}

#[cfg(test)]
mod tests;
