//! The threads of a host monitor that write: what `hostmon/src/driver/spool_thread.rs` (here) and `store_thread.rs` (in
//! [`asker`]) do, as a state machine, around the product's own [`Spool`]. The one place that changes when those threads do.
//!
//! A sync of the spool's file takes time, in which its thread does nothing else.

mod asker;

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_hostmon::local_copy;
use vmpulse_hostmon::pending::Waiting;
use vmpulse_hostmon::spool::record::{self, BootClock, Contents};
use vmpulse_hostmon::spool::{Action, Spool, Told};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, MessageTag, QuietAnswer, Roster, Standing};

use super::disk::{Change, Disk};
use crate::names::Hm;
use crate::store::Backing;
use asker::{Asker, Job, Word};

/// One sync of a disk, at least and at most, in microseconds.
const SYNC_US: (u64, u64) = (500, 20_000);
/// Its clock at its start: no two processes have the same.
const CLOCK_AT_START: Instant = Instant::from_millis(1_000_000);
/// The hosts were switched on so long before the world began, and nobody switches them off.
const UP_BEFORE: Duration = Duration::from_secs(10_000);

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Up to this number all is in the store (`stored`), or in the store or in the spool's file.
    Safe {
        up_to: u64,
        stored: bool,
    },
    NotTaken {
        number: u64,
        report: Option<MessageTag>,
    },
    Quiets(Vec<QuietAnswer>),
    Roster(Roster),
    Standings(Vec<(VmUuid, Standing)>),
    ClockStepped,
    Local {
        error: String,
    },
    Global,
}

/// A process's clock, which is not the world's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) started: Instant,
}

impl Clock {
    pub(crate) fn own(self, now: Instant) -> Instant {
        CLOCK_AT_START + now.since(self.started)
    }

    pub(crate) fn world(self, own: Instant) -> Instant {
        self.started + own.since(CLOCK_AT_START)
    }

    fn boot(self) -> BootClock {
        let at_start = self.started + UP_BEFORE;
        BootClock { boot: "the only one".to_owned(), origin: at_start.since(CLOCK_AT_START) }
    }
}

/// What a file of the spool holds.
pub(crate) fn contents(disk: &Disk, clock: Clock, now: Instant) -> Contents {
    record::read(disk.spool(), &clock.boot(), clock.own(now)).unwrap_or_default()
}

/// See the module.
pub(crate) struct StoreWorker {
    clock: Clock,
    spool: Spool,
    /// Told while its thread was busy.
    channel: VecDeque<Waiting>,
    words: VecDeque<(Instant, Word)>,
    /// Until when a sync lasts.
    syncing: Option<Instant>,
    random: fastrand::Rng,
    /// Until the roster was read.
    copy: Option<Roster>,
    asker: Asker,
    /// Its last sign of life, until the store has it: nobody waits for that.
    pulse: Option<u64>,
}

impl StoreWorker {
    pub(crate) fn new(
        hm: Hm,
        incarnation: &str,
        clock: Clock,
        disk: &mut Disk,
        random: fastrand::Rng,
    ) -> Self {
        let (now, own) = (clock.started, clock.own(clock.started));
        let contents = contents(disk, clock, now);
        disk.keep_up_to(contents.sound_bytes);
        let mut copy = local_copy::decode(&disk.copy, &clock.boot(), own);
        if let Some(copy) = &mut copy {
            local_copy::put_on_top(copy, &contents.starts);
        }
        Self {
            clock,
            spool: Spool::new(incarnation, clock.boot(), contents, own),
            channel: VecDeque::new(),
            words: VecDeque::new(),
            syncing: None,
            random,
            copy,
            asker: Asker::new(hm, clock, now, &disk.mark),
            pulse: None,
        }
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        if waiting.write == HostMonitorWrite::Heartbeat {
            self.pulse = Some(waiting.number);
        }
        self.channel.push_back(waiting);
    }

    pub(crate) fn ask_about(&mut self, now: Instant, guests: Vec<VmUuid>) {
        self.asker.ask_about(now, guests);
    }

    /// Somebody else has written, or the store is not as it was: seen at the next look.
    pub(crate) fn stir(&mut self, now: Instant) {
        self.asker.stir(now);
    }

    /// Its clock may not be as it was: seen when the roster is read next.
    pub(crate) fn doubt_clock(&mut self) {
        self.asker.doubt_clock();
    }

    pub(crate) fn waiting(&self) -> usize {
        (self.spool.view().waiting + self.channel.len()).saturating_sub(self.pulse.iter().count())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let spool = self.syncing.or_else(|| {
            let told = (!self.channel.is_empty()).then_some(Instant::ZERO);
            let word = self.words.front().map(|(at, _)| *at);
            let due = self.spool.poll_timeout().map(|own| self.clock.world(own));
            [told, word, due].into_iter().flatten().min()
        });
        [spool, self.asker.poll_timeout()].into_iter().flatten().min()
    }

    /// Turns of the loops of both. Returns what the core's loop is told, and when.
    pub(crate) fn turn(&mut self, now: Instant, disk: &mut Disk, store: &Backing) -> Vec<(Instant, Reply)> {
        let mut replies = Vec::new();
        self.spool_turn(now, disk, &mut replies);
        self.asker.turn(now, store, disk, &mut self.words, &mut replies);
        replies
    }

    /// The process is gone.
    pub(crate) fn crash(mut self, disk: &mut Disk) {
        disk.crash(&mut self.random);
    }

    fn spool_turn(&mut self, now: Instant, disk: &mut Disk, replies: &mut Vec<(Instant, Reply)>) {
        let own = self.clock.own(now);
        if let Some(until) = self.syncing {
            if now < until {
                return;
            }
            self.syncing = None;
            disk.finish();
            self.spool.on_kept(own, Ok(()));
            self.tell(now, false, replies);
        }
        for waiting in self.channel.drain(..) {
            self.spool.push(waiting);
        }
        while let Some((_, word)) = self.words.pop_front_if(|(at, _)| *at <= now) {
            match word {
                Word::Ready => self.spool.on_ready(own),
                Word::Applied(quiets) => self.spool.on_applied(own, quiets),
                Word::Failed(error) => self.spool.on_failed(own, error),
            }
            self.tell(now, true, replies);
        }
        self.spool.handle_timeout(own);
        while let Some(action) = self.spool.poll_action(own) {
            let change = match action {
                Action::Append(bytes) => Change::Append(bytes),
                Action::Replace(bytes) => Change::Replace(bytes),
                Action::Apply(starts) => {
                    self.asker.jobs.push_back(Job::Apply(starts));
                    continue;
                }
                Action::Probe => {
                    self.asker.jobs.push_back(Job::Probe);
                    continue;
                }
            };
            disk.begin(change);
            let (least, most) = SYNC_US;
            self.syncing = Some(now + Duration::from_micros(self.random.u64(least..=most)));
            break;
        }
        self.tell(now, false, replies);
    }

    fn tell(&mut self, now: Instant, stored: bool, replies: &mut Vec<(Instant, Reply)>) {
        while let Some(told) = self.spool.poll_told() {
            let reply = match told {
                Told::Safe { up_to } => {
                    self.pulse = self.pulse.filter(|number| !stored || *number > up_to);
                    Reply::Safe { up_to, stored }
                }
                Told::NotTaken { number, report } => Reply::NotTaken { number, report },
                Told::Quiets(quiets) => Reply::Quiets(quiets),
                Told::Global => Reply::Global,
                Told::Local(error) => {
                    // The store cannot be asked whom to monitor: the copy says it.
                    let copy = self.copy.take().filter(|_| !self.asker.roster_read);
                    replies.extend(copy.map(|copy| (now, Reply::Roster(copy))));
                    Reply::Local { error }
                }
            };
            replies.push((now, reply));
        }
    }
}
