//! The daemon's side of the page: what it puts there for its guardian.

use std::sync::Arc;
use std::time::Duration;

use vmpulse_link::{Destination, MacAddr};
use vmpulse_protocol::path::{Sending, SharedDraw};
use vmpulse_protocol::time::Instant;

use super::page::{Header, Page, Session};
use super::watch::{LOOK, PATHS};
use crate::record::Draws;

/// A path: the index of its adapter, and its host monitor's address.
pub type PathName = (u32, MacAddr);

/// A guardian that did not look for so long is not there: it looks every [`LOOK`].
const GUARDIAN_GONE: Duration = LOOK.saturating_mul(4);

/// The daemon's life as its guardian sees it.
#[derive(Clone, Debug)]
pub struct Keeper {
    page: Page,
    life: u64,
    /// The page's time at the daemon's time zero.
    epoch: Duration,
}

/// The daemon's paths as its guardian sees them.
#[derive(Clone, Debug)]
pub struct PathKeeper {
    page: Page,
    life: u64,
    epoch: Duration,
    ethertype: u16,
    vlan: Option<u16>,
    /// Sees what is drawn, if that is recorded.
    draws: Option<Arc<Draws>>,
}

impl Keeper {
    /// A life begins at `now`, by the daemon's clock; `epoch`: the page's time when that clock reads zero. `by_systemd`: systemd
    /// has started the daemon. Sessions of an earlier life stay until others take their place.
    #[must_use]
    pub fn begin(page: Page, epoch: Duration, now: Instant, by_systemd: bool) -> Self {
        let life = page.get(Header::Life).wrapping_add(1);
        let keeper = Self { page, life, epoch };
        keeper.page.set(Header::BySystemd, by_systemd.into());
        keeper.page.set(Header::HoldUntil, 0);
        keeper.show_life(now);
        keeper.page.set(Header::Life, life);
        keeper.page.set(Header::Running, 1);
        keeper
    }

    /// For whoever sends. `vlan`: what packets are tagged with that say nothing else.
    #[must_use]
    pub fn paths(&self, ethertype: u16, vlan: Option<u16>) -> PathKeeper {
        PathKeeper {
            page: self.page.clone(),
            life: self.life,
            epoch: self.epoch,
            ethertype,
            vlan,
            draws: None,
        }
    }

    /// The daemon runs; to be said every [`STAMP_PERIOD`](super::watch::STAMP_PERIOD) at least.
    pub fn show_life(&self, now: Instant) {
        self.page.set(Header::Stamp, (now + self.epoch).as_nanos());
    }

    /// Until then nothing is to be sent in the daemon's place; `None`: that is over.
    pub fn hold(&self, until: Option<Instant>) {
        self.page.set(Header::HoldUntil, until.map_or(0, |until| (until + self.epoch).as_nanos()));
    }

    /// The daemon is being stopped on purpose: nobody is to beat for it. It still draws numbers.
    pub fn stop(&self) {
        self.page.set(Header::EndedLife, self.life);
        self.page.set(Header::Running, 0);
    }

    /// It has said its last: no key is left behind.
    pub fn end(&self) {
        self.stop();
        for slot in 0..PATHS {
            self.page.set_interval(slot, None);
            self.page.publish(slot, None);
        }
    }

    /// What the guardian must have been started with, so that one with other arguments gives way.
    pub fn want(&self, arguments: u64) {
        self.page.set(Header::Wanted, arguments);
    }

    /// The process id of the guardian, if there is one that looks.
    #[must_use]
    pub fn guardian(&self, now: Instant) -> Option<u32> {
        let stamp = Instant::from_nanos(self.page.get(Header::GuardianStamp));
        let looks = stamp > Instant::ZERO && (now + self.epoch).since(stamp) < GUARDIAN_GONE;
        u32::try_from(self.page.get(Header::GuardianPid)).ok().filter(|_| looks)
    }

    /// Grows whenever the guardian should look before it would by itself: a path is to beat, or by another interval.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.page.get(Header::Changes)
    }

    /// Whether the guardian found that the root disk does not answer.
    #[must_use]
    pub fn disk_gone(&self) -> bool {
        self.page.get(Header::DiskGone) != 0
    }
}

impl PathKeeper {
    /// Numbers of channels opened from now on are drawn before its eyes.
    pub fn see_draws(&mut self, draws: Arc<Draws>) {
        self.draws = Some(draws);
    }

    /// A channel was opened, from the adapter with this address. Its numbers are drawn from what is returned; `None` if there are
    /// more paths than a guardian keeps. `interval`: it goes on beating, in the place of another channel.
    pub fn open(
        &mut self,
        name: PathName,
        source: MacAddr,
        vlan: Option<u16>,
        interval: Option<Duration>,
        sending: &Sending,
    ) -> Option<SharedDraw> {
        let slot = self.slot_of(name).or_else(|| self.free_slot())?;
        let (adapter, destination) = name;
        let session = Session {
            life: self.life,
            to: Destination {
                adapter,
                source,
                destination,
                vlan: vlan.or(self.vlan),
                ethertype: self.ethertype,
            },
            version: sending.version,
            key: sending.key.as_ref().map(|(id, key)| (id.as_u8(), *key.bytes())),
            first: (sending.next_urgent, sending.next_count),
        };
        if interval.is_none() {
            self.page.set_interval(slot, None);
        }
        self.page.publish(slot, Some(&session));
        self.page.set_interval(slot, interval);
        let numbers: SharedDraw = Arc::new(self.page.numbers(slot));
        Some(match &self.draws {
            Some(draws) => draws.over(numbers, sending.next_urgent),
            None => numbers,
        })
    }

    /// A heartbeat was sent.
    pub fn on_beat(&mut self, name: PathName, now: Instant) {
        if let Some(slot) = self.slot_of(name) {
            self.page.on_daemon_beat(slot, now + self.epoch);
        }
    }

    /// Heartbeats are to be sent this often, or not at all.
    pub fn set_interval(&mut self, name: PathName, interval: Option<Duration>) {
        if let Some(slot) = self.slot_of_this_life(name) {
            self.page.set_interval(slot, interval);
        }
    }

    /// The channel is closed.
    pub fn close(&mut self, name: PathName) {
        if let Some(slot) = self.slot_of_this_life(name) {
            self.page.set_interval(slot, None);
            self.page.publish(slot, None);
        }
    }

    /// The adapter is gone, with all its paths.
    pub fn close_adapter(&mut self, adapter: u32) {
        for slot in 0..PATHS {
            if self.page.session(slot).is_some_and(|(_, session)| session.to.adapter == adapter) {
                self.page.set_interval(slot, None);
                self.page.publish(slot, None);
            }
        }
    }

    fn slot_of(&self, (adapter, destination): PathName) -> Option<usize> {
        (0..PATHS).find(|slot| {
            self.page.session(*slot).is_some_and(|(_, session)| {
                (session.to.adapter, session.to.destination) == (adapter, destination)
            })
        })
    }

    /// What another life has left is the guardian's until this one has shaken hands there.
    fn slot_of_this_life(&self, name: PathName) -> Option<usize> {
        let ours =
            |slot: &usize| self.page.session(*slot).is_some_and(|(_, session)| session.life == self.life);
        self.slot_of(name).filter(ours)
    }

    /// One that is empty, or else what another life has left.
    fn free_slot(&self) -> Option<usize> {
        let empty = (0..PATHS).find(|slot| self.page.session(*slot).is_none());
        let left =
            |slot: &usize| self.page.session(*slot).is_some_and(|(_, session)| session.life != self.life);
        empty.or_else(|| (0..PATHS).find(left))
    }
}
