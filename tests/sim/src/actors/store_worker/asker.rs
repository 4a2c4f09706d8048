//! The thread that waits for the store. Looks that would find nothing new are left out: the world says when somebody else has
//! written.

use std::collections::VecDeque;

use vmpulse_hostmon::clock_mark::{self, ClockMark};
use vmpulse_hostmon::local_copy;
use vmpulse_hostmon::store_looks::{self, ClockReadings, LOOK_PERIOD, ROSTER_PERIOD};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{QuietAnswer, Roster, Standing, StartWrites, Store, StoreError};

use super::{Clock, Disk, Reply};
use crate::names::Hm;
use crate::store::{Backing, Caller, FaultyStore, Shared};

/// What the store is asked.
#[derive(Debug)]
pub(super) enum Job {
    Apply(Vec<StartWrites>),
    Probe,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Word {
    Ready,
    Applied(Vec<QuietAnswer>),
    Failed(String),
}

type Standings = Vec<(VmUuid, Standing)>;

/// See the module.
pub(super) struct Asker {
    hm: Hm,
    clock: Clock,
    pub(super) jobs: VecDeque<Job>,
    store: Option<FaultyStore>,
    tried: bool,
    looks: bool,
    stamp: Option<u64>,
    told: Option<Roster>,
    pub(super) roster_read: bool,
    copied: Option<Roster>,
    uncopied: Option<(Roster, Instant)>,
    readings: ClockReadings,
    mark: ClockMark,
    /// Strangers, and the last answer about them.
    guests: Vec<VmUuid>,
    ask: bool,
    answered: Option<Standings>,
    /// In the world's time.
    next_roster: Instant,
    next_copy: Instant,
    busy_until: Instant,
    look_at: Option<Instant>,
    /// The roster is read again although nobody wrote: it changes as time passes.
    ages: bool,
}

impl Asker {
    pub(super) fn new(hm: Hm, clock: Clock, now: Instant, mark: &[u8]) -> Self {
        Self {
            hm,
            clock,
            jobs: VecDeque::new(),
            store: None,
            tried: false,
            looks: false,
            stamp: None,
            told: None,
            roster_read: false,
            copied: None,
            uncopied: None,
            readings: ClockReadings::new(),
            mark: ClockMark::new(mark, clock.boot(), clock.own(now)),
            guests: Vec::new(),
            ask: false,
            answered: None,
            next_roster: now,
            next_copy: now,
            busy_until: now,
            look_at: None,
            ages: true,
        }
    }

    pub(super) fn stir(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + LOOK_PERIOD);
    }

    pub(super) const fn doubt_clock(&mut self) {
        self.ages = true;
    }

    pub(super) fn ask_about(&mut self, now: Instant, guests: Vec<VmUuid>) {
        (self.guests, self.answered, self.ask) = (guests, None, true);
        self.stir(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let job = (!self.jobs.is_empty() || !self.tried).then_some(Instant::ZERO);
        let roster = self.ages.then_some(self.next_roster);
        let copy = self.uncopied.is_some().then_some(self.next_copy);
        let looks = [self.look_at, roster, copy].into_iter().flatten().min().filter(|_| self.looks);
        [job, looks].into_iter().flatten().min().map(|due| due.max(self.busy_until))
    }

    pub(super) fn turn(
        &mut self,
        now: Instant,
        backing: &Backing,
        disk: &mut Disk,
        words: &mut VecDeque<(Instant, Word)>,
        replies: &mut Vec<(Instant, Reply)>,
    ) {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        let shared = &backing.shared;
        shared.begin(now);
        let mut say = |word: Word| words.push_back((now + shared.elapsed(), word));
        if !std::mem::replace(&mut self.tried, true)
            && let Err(error) = self.open(backing)
        {
            say(Word::Failed(error.to_string()));
        }
        if let Some(job) = self.jobs.pop_front() {
            match self.answer(now, job, backing) {
                Ok(word) => say(word),
                Err(error) => say(self.fail(now, disk, &error)),
            }
        }
        if self.looks
            && let Err(error) = self.look(now, shared, disk, replies)
        {
            say(self.fail(now, disk, &error));
        }
        self.busy_until = now + shared.elapsed();
    }

    fn open(&mut self, backing: &Backing) -> Result<(), StoreError> {
        self.store = Some(backing.connect(Caller::Monitor(self.hm))?);
        Ok(())
    }

    fn answer(&mut self, now: Instant, job: Job, backing: &Backing) -> Result<Word, StoreError> {
        if self.store.is_none() {
            self.open(backing)?;
        }
        let Some(store) = &mut self.store else { return Ok(Word::Ready) };
        match job {
            Job::Probe => store.now().map(|_| Word::Ready),
            Job::Apply(starts) => {
                let applied = store.host_monitor_replay(self.hm.id(), &starts)?;
                if store_looks::change_roster(&starts) {
                    self.next_roster = now;
                }
                self.looks = true;
                Ok(Word::Applied(applied.quiets))
            }
        }
    }

    fn look(
        &mut self,
        now: Instant,
        shared: &Shared,
        disk: &mut Disk,
        replies: &mut Vec<(Instant, Reply)>,
    ) -> Result<(), StoreError> {
        self.look_at = None;
        let asked = now + shared.elapsed();
        let Some(store) = &mut self.store else { return Ok(()) };
        let stamp = store.change_stamp()?;
        if self.stamp != Some(stamp) || now >= self.next_roster {
            let mut roster = store.roster(self.hm.id())?;
            let read = store.now()?;
            let answered = now + shared.elapsed();
            let stepped = self.readings.steps(read, asked, answered);
            if stepped {
                replies.push((answered, Reply::ClockStepped));
            }
            let (own_asked, own_answered) = (self.clock.own(asked), self.clock.own(answered));
            let judgement = self.mark.judge(read, own_asked, own_answered, stepped);
            let doubted = judgement.bound.is_some_and(|bound| clock_mark::bound_ages(&mut roster, bound));
            self.roster_read = true;
            self.stamp = Some(stamp);
            self.next_roster = now + ROSTER_PERIOD;
            self.take_roster(answered, asked, roster, replies);
            if doubted {
                replies.push((answered, Reply::ClockStepped));
            }
            if let Some(bytes) = judgement.keep {
                disk.mark = bytes;
            }
            self.ask = true;
        }
        self.ask_store(now, shared, replies)?;
        self.copy(now, disk, false);
        Ok(())
    }

    fn take_roster(
        &mut self,
        answered: Instant,
        asked: Instant,
        roster: Roster,
        replies: &mut Vec<(Instant, Reply)>,
    ) {
        self.ages = ages(&roster) || self.mark.waits();
        let ageless = store_looks::without_ages(&roster);
        if self.copied.as_ref() != Some(&ageless) {
            self.copied = Some(ageless);
            let copy = Roster { requests: Vec::new(), ..roster.clone() };
            self.uncopied = Some((copy, self.clock.own(asked)));
        }
        if self.told.as_ref() != Some(&roster) || !roster.requests.is_empty() {
            self.told = Some(roster.clone());
            replies.push((answered, Reply::Roster(roster)));
        }
    }

    fn ask_store(
        &mut self,
        now: Instant,
        shared: &Shared,
        replies: &mut Vec<(Instant, Reply)>,
    ) -> Result<(), StoreError> {
        if self.ask
            && !self.guests.is_empty()
            && let Some(store) = &mut self.store
        {
            let standings = store.standings(self.hm.id(), &self.guests)?;
            if self.answered.as_ref() != Some(&standings) {
                self.answered = Some(standings.clone());
                replies.push((now + shared.elapsed(), Reply::Standings(standings)));
            }
        }
        self.ask = false;
        Ok(())
    }

    fn copy(&mut self, now: Instant, disk: &mut Disk, at_once: bool) {
        if !at_once && now < self.next_copy {
            return;
        }
        if let Some((roster, read_at)) = self.uncopied.take() {
            self.next_copy = now + store_looks::copy_period(&roster);
            disk.copy = local_copy::encode(&roster, &self.clock.boot(), read_at);
        }
    }

    fn fail(&mut self, now: Instant, disk: &mut Disk, error: &StoreError) -> Word {
        self.looks = false;
        self.copy(now, disk, true);
        Word::Failed(error.to_string())
    }
}

fn ages(roster: &Roster) -> bool {
    let paths = roster.vms.iter().chain(&roster.visiting).filter_map(|vm| vm.path.as_ref());
    !roster.requests.is_empty()
        || !roster.quiet.is_empty()
        || paths.into_iter().any(|path| path.missed.is_some())
}
