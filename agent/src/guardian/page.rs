//! The page of memory that daemon and guardian share, and what its words mean.
//!
//! Every word is written and read whole, by either process at any time. What belongs together is a [`Session`]: it stands in
//! one of two places of its slot, and the slot's generation says in which. The daemon, the only writer, fills the other place
//! first and then counts the generation up: so one that dies half-way leaves what was there, and a reader that sees the same
//! generation before and after it copied has not copied a mixture.
//!
//! ```text
//! header: layout | life, state, stamp of the daemon | until when to hold | pid, stamp of the guardian | ...
//! slot 0: generation | last beats | interval | session (even generations) | session (odd generations)
//! slot 1: ...
//! ```
//! The numbers of a session stand in its place as well, and are not copied to a later one: it has its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vmpulse_link::Destination;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::path::Draw;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use super::watch::{PATHS, PathSeen, Seen};

/// Words of the page: 4,096 bytes, the smallest piece of memory that there is.
pub const PAGE_WORDS: usize = 512;
/// "VMPULSEG": whether it is such a page at all.
const MAGIC: u64 = u64::from_be_bytes(*b"VMPULSEG");
/// Changes with every change of what follows: a guardian of another version leaves such a page alone.
const LAYOUT: u64 = 1;

const HEADER_WORDS: usize = 32;
const SLOT_WORDS: usize = 32;
const SESSION_WORDS: usize = 14;

/// Words of the header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header {
    Magic = 0,
    Layout = 1,
    /// Counts the daemon's starts.
    Life = 2,
    /// 1 while the daemon runs, or hangs, or died without having said that it would end.
    Running = 3,
    /// When the daemon last showed life.
    Stamp = 4,
    /// The last life that ended on purpose.
    EndedLife = 5,
    /// Until when nothing is to be sent in the daemon's place; all ones: without end.
    HoldUntil = 6,
    /// 1: systemd started the daemon, and can start it again.
    BySystemd = 7,
    /// What the guardian is to be started with, as a number; 0: not said yet.
    Wanted = 8,
    GuardianPid = 9,
    GuardianStamp = 10,
    /// 1: the root disk does not answer.
    DiskGone = 11,
    /// Counts the changes of intervals.
    Changes = 12,
}

/// Words of a slot.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Generation = 0,
    DaemonBeat = 1,
    GuardianBeat = 2,
    /// Milliseconds; 0: no heartbeats are wanted.
    Interval = 3,
    Sessions = 4,
}

/// Words of a session.
#[derive(Clone, Copy, Debug)]
enum Field {
    Flags = 0,
    Life = 1,
    Adapter = 2,
    Source = 3,
    Destination = 4,
    Vlan = 5,
    Version = 6,
    /// Four words.
    Key = 7,
    NextUrgent = 11,
    NextCount = 12,
}

const IN_USE: u64 = 1;
const AUTHENTICATED: u64 = 2;
/// Beside the TCI: there is a tag.
const TAGGED: u64 = 1 << 16;

/// Whatever holds the words: mapped memory, or a test's.
pub trait Words: fmt::Debug + Send + Sync {
    /// All of them; fewer than [`PAGE_WORDS`] are as if the missing ones were zero for ever.
    fn words(&self) -> &[AtomicU64];
}

impl Words for vmpulse_link::SharedWords {
    fn words(&self) -> &[AtomicU64] {
        self.words()
    }
}

impl Words for Vec<AtomicU64> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

/// What is needed to beat on an open channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The daemon's life in which it was opened.
    pub life: u64,
    /// To whom and how.
    pub to: Destination,
    /// Running version.
    pub version: Version,
    /// The key's id and the key, if it is authenticated.
    pub key: Option<(u8, [u8; 32])>,
    /// The first urgent number, and the first count.
    pub first: (u8, u64),
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.map(|(id, _)| id);
        write!(out, "Session({:?}, life {}, version {}, key {key:?})", self.to, self.life, self.version)
    }
}

/// The shared page.
#[derive(Clone, Debug)]
pub struct Page(Arc<dyn Words>);

/// Where the numbers of one session are drawn.
#[derive(Debug)]
pub struct Numbers {
    page: Page,
    session: usize,
}

impl Page {
    /// These words, whatever is in them.
    #[must_use]
    pub fn new(words: Arc<dyn Words>) -> Self {
        Self(words)
    }

    /// An empty page in memory of its own, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        let page = Self(Arc::new((0..PAGE_WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>()));
        page.begin();
        page
    }

    /// Every word as it is now: a page is part of what a snapshot of a guest holds.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        self.0.words().iter().map(|word| word.load(Ordering::SeqCst)).collect()
    }

    /// Puts back what [`words`](Self::words) gave.
    pub fn set_words(&self, words: &[u64]) {
        words.iter().enumerate().for_each(|(at, word)| self.store(at, *word));
    }

    /// Makes an all-zero page one of this layout.
    pub(super) fn begin(&self) {
        self.set(Header::Layout, LAYOUT);
        self.set(Header::Magic, MAGIC);
    }

    /// Whether its words mean what this program thinks that they mean.
    #[must_use]
    pub fn is_of_this_layout(&self) -> bool {
        (self.get(Header::Magic), self.get(Header::Layout)) == (MAGIC, LAYOUT)
    }

    pub(super) fn get(&self, word: Header) -> u64 {
        self.load(word as usize)
    }

    pub(super) fn set(&self, word: Header, value: u64) {
        self.store(word as usize, value);
    }

    /// What the guardian looks at in every turn.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let mut paths = [None; PATHS];
        for (slot, path) in paths.iter_mut().enumerate() {
            *path = self.path_seen(slot);
        }
        Seen {
            life: self.get(Header::Life),
            ended_life: self.get(Header::EndedLife),
            running: self.get(Header::Running) != 0,
            stamp: instant(self.get(Header::Stamp)),
            hold_until: instant(self.get(Header::HoldUntil)),
            paths,
        }
    }

    fn path_seen(&self, slot: usize) -> Option<PathSeen> {
        let word = |word: Slot| self.load(slot_at(slot, word));
        let interval = Duration::from_millis(word(Slot::Interval));
        let (generation, session) = self.session(slot)?;
        (!interval.is_zero()).then(|| PathSeen {
            generation,
            life: session.life,
            interval,
            daemon_beat: instant(word(Slot::DaemonBeat)),
            guardian_beat: instant(word(Slot::GuardianBeat)),
            knows_guardians: session.version >= Version::V2_1,
        })
    }

    /// The session of a slot and its generation; `None` without one, or while it is being replaced.
    #[must_use]
    pub fn session(&self, slot: usize) -> Option<(u64, Session)> {
        let generation = self.load(slot_at(slot, Slot::Generation));
        let session = self.copy(session_at(slot, generation));
        let same = self.load(slot_at(slot, Slot::Generation)) == generation;
        session.filter(|_| same && generation > 0).map(|session| (generation, session))
    }

    /// Puts a session into a slot, or none. Only the daemon does. Its numbers begin where it says.
    pub(super) fn publish(&self, slot: usize, session: Option<&Session>) {
        let generation = self.load(slot_at(slot, Slot::Generation)).wrapping_add(1);
        let next = session_at(slot, generation);
        // Nothing of the one before last is left, its key least of all.
        (0..SESSION_WORDS).for_each(|word| self.store(next + word, 0));
        if let Some(session) = session {
            self.write(next, session);
        }
        self.store(slot_at(slot, Slot::Generation), generation);
        // The one just replaced is of no use to anybody; its numbers may still be drawn by a guardian in the middle of its turn.
        let old = session_at(slot, generation.wrapping_add(1));
        (0..Field::NextUrgent as usize).for_each(|word| self.store(old + word, 0));
    }

    /// Where the session of a slot draws.
    pub(super) fn numbers(&self, slot: usize) -> Numbers {
        let generation = self.load(slot_at(slot, Slot::Generation));
        Numbers { page: self.clone(), session: session_at(slot, generation) }
    }

    /// The same of the session that was read with this generation.
    #[must_use]
    pub fn numbers_of(&self, slot: usize, generation: u64) -> Numbers {
        Numbers { page: self.clone(), session: session_at(slot, generation) }
    }

    pub(super) fn set_interval(&self, slot: usize, interval: Option<Duration>) {
        let ms = interval.map_or(0, |interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        let at = slot_at(slot, Slot::Interval);
        if self.load(at) != ms {
            self.store(at, ms);
            self.draw(Header::Changes as usize);
        }
    }

    pub(super) fn on_daemon_beat(&self, slot: usize, now: Instant) {
        self.store(slot_at(slot, Slot::DaemonBeat), now.as_nanos());
    }

    pub(super) fn on_guardian_beat(&self, slot: usize, now: Instant) {
        self.store(slot_at(slot, Slot::GuardianBeat), now.as_nanos());
    }

    fn write(&self, at: usize, session: &Session) {
        let put = |field: Field, value: u64| self.store(at + field as usize, value);
        let Destination { adapter, source, destination, vlan, ethertype } = session.to;
        put(Field::Life, session.life);
        put(Field::Adapter, u64::from(adapter) | u64::from(ethertype) << 32);
        put(Field::Source, mac_word(source));
        put(Field::Destination, mac_word(destination));
        put(Field::Vlan, vlan.map_or(0, |tci| u64::from(tci) | TAGGED));
        let Version { major, minor } = session.version;
        let key_id = session.key.map_or(0, |(id, _)| id);
        put(Field::Version, u64::from_be_bytes([0, 0, 0, 0, 0, major, minor, key_id]));
        if let Some((_, key)) = &session.key {
            for (word, bytes) in key.as_chunks::<8>().0.iter().enumerate() {
                self.store(at + Field::Key as usize + word, u64::from_be_bytes(*bytes));
            }
        }
        put(Field::NextUrgent, session.first.0.into());
        put(Field::NextCount, session.first.1);
        put(Field::Flags, if session.key.is_some() { IN_USE | AUTHENTICATED } else { IN_USE });
    }

    fn copy(&self, at: usize) -> Option<Session> {
        let take = |field: Field| self.load(at + field as usize);
        let flags = take(Field::Flags);
        if flags & IN_USE == 0 {
            return None;
        }
        let adapter = take(Field::Adapter);
        let [.., major, minor, key_id] = take(Field::Version).to_be_bytes();
        let vlan = take(Field::Vlan);
        let mut key = [0; 32];
        for (word, bytes) in key.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *bytes = self.load(at + Field::Key as usize + word).to_be_bytes();
        }
        Some(Session {
            life: take(Field::Life),
            to: Destination {
                adapter: low(adapter),
                source: mac(take(Field::Source)),
                destination: mac(take(Field::Destination)),
                vlan: (vlan & TAGGED != 0).then_some(low(vlan) as u16),
                ethertype: low(adapter >> 32) as u16,
            },
            version: Version { major, minor },
            key: (flags & AUTHENTICATED != 0).then_some((key_id, key)),
            first: (low(take(Field::NextUrgent)) as u8, take(Field::NextCount)),
        })
    }

    // Sequentially consistent throughout: some ten words a turn, and two processes that nobody wants to reason about twice.
    fn load(&self, at: usize) -> u64 {
        self.0.words().get(at).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.0.words().get(at) {
            word.store(value, Ordering::SeqCst);
        }
    }

    fn draw(&self, at: usize) -> u64 {
        self.0.words().get(at).map_or(0, |word| word.fetch_add(1, Ordering::SeqCst))
    }
}

/// [N-1] [X-12]
impl Draw for Numbers {
    fn next_urgent(&self) -> u8 {
        low(self.page.draw(self.session + Field::NextUrgent as usize)) as u8
    }

    fn next_count(&self) -> u64 {
        self.page.draw(self.session + Field::NextCount as usize)
    }
}

const fn slot_at(slot: usize, word: Slot) -> usize {
    HEADER_WORDS + slot * SLOT_WORDS + word as usize
}

const fn session_at(slot: usize, generation: u64) -> usize {
    let second = if generation % 2 == 1 { SESSION_WORDS } else { 0 };
    slot_at(slot, Slot::Sessions) + second
}

const fn instant(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// The lower half.
const fn low(word: u64) -> u32 {
    (word & 0xFFFF_FFFF) as u32
}

fn mac_word(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn mac(word: u64) -> MacAddr {
    let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
    MacAddr(a, b, c, d, e, f)
}

const _: () = assert!(HEADER_WORDS + PATHS * SLOT_WORDS <= PAGE_WORDS);
const _: () = assert!(Slot::Sessions as usize + 2 * SESSION_WORDS <= SLOT_WORDS);

#[cfg(test)]
mod tests;
