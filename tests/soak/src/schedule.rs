//! What is done when, of a seed: the same seed and cluster give the same schedule, everywhere and always.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::deed::{Deed, Hm, ToController, ToGuest, ToMonitor, ToStore, ToTrunk};

/// Faults of the infrastructure in force at once: two are what may meet in practice, and with more nobody could say any more
/// what should have been noticed.
pub const INFRASTRUCTURE_AT_ONCE: usize = 2;
/// Guests to which something is done at once, one of so many: the others are the witnesses.
pub const GUESTS_AT_ONCE_OF: usize = 3;
/// Nothing is done to anybody again before this has passed.
pub const REST: Duration = Duration::from_secs(5);
/// A first frame, an attempt, a restart: what is too short is no injection.
const SHORTEST: Duration = Duration::from_secs(1);
/// VMFDTs of guests, in milliseconds: three heartbeats of 10 s are the least that the product allows.
const DETECTION_TIMES_MS: [u32; 3] = [30_000, 45_000, 60_000];

/// Who there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many hosts.
    pub hosts: usize,
    /// Trunks of each.
    pub trunks: usize,
    /// Guests in all; the first is on the first host, the second on the second, and so on.
    pub guests: usize,
}

/// A class of injections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Class {
    GuestCrash,
    GuestFreeze,
    AgentKill,
    AgentBreak,
    AgentHang,
    AgentStop,
    Suspension,
    AnnouncedSilence,
    Application,
    PathCut,
    TrunkLoss,
    TrunkCut,
    TrunkDown,
    MonitorKill,
    MonitorStop,
    MonitorStall,
    MonitorStoreCut,
    StoreKill,
    StoreFreeze,
    ControllerKill,
    ControllerStall,
}

/// What an injection has for itself while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A guest.
    Guest(usize),
    /// A trunk.
    Trunk(Hm),
    /// A host monitor.
    Monitor(Hm),
    /// The store.
    Store,
    /// The controller.
    Controller,
}

/// Something is done to somebody, and undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What kind it is of.
    pub class: Class,
    /// To whom.
    pub target: Target,
    /// All of it, with the time since the round's beginning; the last one undoes what is left.
    pub deeds: Vec<(Duration, Deed)>,
    /// When all of it is over.
    pub until: Duration,
}

/// What is done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// To guests only: bounds hold without allowance for anything else.
    Guests,
    /// To everybody.
    Everybody,
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::GuestCrash => "guest-crash",
            Self::GuestFreeze => "guest-freeze",
            Self::AgentKill => "agent-kill",
            Self::AgentBreak => "agent-break",
            Self::AgentHang => "agent-hang",
            Self::AgentStop => "agent-stop",
            Self::Suspension => "suspension",
            Self::AnnouncedSilence => "announced-silence",
            Self::Application => "application",
            Self::PathCut => "path-cut",
            Self::TrunkLoss => "trunk-loss",
            Self::TrunkCut => "trunk-cut",
            Self::TrunkDown => "trunk-down",
            Self::MonitorKill => "monitor-kill",
            Self::MonitorStop => "monitor-stop",
            Self::MonitorStall => "monitor-stall",
            Self::MonitorStoreCut => "monitor-store-cut",
            Self::StoreKill => "store-kill",
            Self::StoreFreeze => "store-freeze",
            Self::ControllerKill => "controller-kill",
            Self::ControllerStall => "controller-stall",
        })
    }
}

impl Mix {
    /// Of a round, from 1: guests alone first, then everybody, and so on.
    #[must_use]
    pub const fn of(round: u64) -> Self {
        if round % 2 == 1 { Self::Guests } else { Self::Everybody }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Guests => "guests only",
            Self::Everybody => "everybody",
        })
    }
}

/// How long each guest may be silent.
#[must_use]
pub fn opening(seed: u64, shape: Shape) -> Vec<Deed> {
    let mut random = stream(seed, 0);
    let time = |vm| {
        let chosen = random.usize(..DETECTION_TIMES_MS.len());
        let ms = DETECTION_TIMES_MS.get(chosen).copied().unwrap_or(60_000);
        Deed::Guest(vm, ToGuest::DetectionTime(ms))
    };
    (0..shape.guests).map(time).collect()
}

/// What happens in a round (from 1) of this length, by the time at which it begins.
#[must_use]
pub fn round(seed: u64, number: u64, shape: Shape, length: Duration) -> Vec<Injection> {
    let mut maker = Maker {
        random: stream(seed, number),
        shape,
        length,
        mix: Mix::of(number),
        made: Vec::new(),
        busy: BTreeMap::new(),
    };
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(maker.random.u64(500..4500));
        if at + SHORTEST >= length {
            return maker.made;
        }
        maker.add(at);
    }
}

/// Deeds of injections, by time.
#[must_use]
pub fn deeds(injections: &[Injection]) -> Vec<(Duration, Deed)> {
    let mut all: Vec<_> = injections.iter().flat_map(|one| one.deeds.iter().copied()).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// Rounds do not change each other.
fn stream(seed: u64, round: u64) -> fastrand::Rng {
    // One round of splitmix64: neighbouring seeds and rounds have nothing in common.
    let mut mixed =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(round.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    fastrand::Rng::with_seed(mixed ^ (mixed >> 31))
}

struct Maker {
    random: fastrand::Rng,
    shape: Shape,
    length: Duration,
    mix: Mix,
    made: Vec<Injection>,
    /// Until when something is done to them, or they rest.
    busy: BTreeMap<Target, Duration>,
}

impl Maker {
    fn add(&mut self, at: Duration) {
        let infrastructure = self.mix == Mix::Everybody && self.random.u8(0..8) == 0;
        let made = if infrastructure { self.infrastructure(at) } else { self.guest(at) };
        let Some(made) = made else { return };
        self.busy.insert(made.target, made.until + REST);
        self.made.push(made);
    }

    /// Too short to be noticed as often as long enough for it.
    fn until(&mut self, at: Duration) -> Duration {
        let seconds = if self.random.bool() { 1..20 } else { 50..130 };
        let lasts = Duration::from_millis(self.random.u64(seconds.start * 1000..seconds.end * 1000));
        (at + lasts).min(self.length)
    }

    fn is_free(&self, at: Duration, target: Target) -> bool {
        self.busy.get(&target).is_none_or(|until| *until <= at)
    }

    fn in_force(&self, at: Duration, guests: bool) -> usize {
        let is_guest = |target: &Target| matches!(target, Target::Guest(_));
        self.made.iter().filter(|one| is_guest(&one.target) == guests && one.until > at).count()
    }

    fn hm(&mut self, host: usize) -> Hm {
        Hm { host, trunk: self.random.usize(..self.shape.trunks) }
    }

    fn guest(&mut self, at: Duration) -> Option<Injection> {
        let vm = self.random.usize(..self.shape.guests);
        let (which, until) = (self.random.u8(0..14), self.until(at));
        let hm = self.hm(vm % self.shape.hosts.max(1));
        let most = (self.shape.guests / GUESTS_AT_ONCE_OF).max(1);
        if !self.is_free(at, Target::Guest(vm)) || self.in_force(at, true) >= most {
            return None;
        }
        let pair = |class, on, off| (class, vec![(at, on), (until, off)]);
        let (class, deeds) = match which {
            0 | 1 => pair(Class::GuestCrash, ToGuest::Crash, ToGuest::Boot),
            2..5 => pair(Class::GuestFreeze, ToGuest::Freeze, ToGuest::Thaw),
            5 => (Class::AgentKill, vec![(at, ToGuest::AgentKill)]),
            6 => pair(Class::AgentBreak, ToGuest::AgentBreak, ToGuest::AgentStart),
            7 => pair(Class::AgentHang, ToGuest::AgentHang, ToGuest::AgentStart),
            8 => pair(Class::AgentStop, ToGuest::AgentStop, ToGuest::AgentStart),
            9 => (Class::Suspension, around(at, until, ToGuest::Suspend, ToGuest::Resume)),
            10 => {
                let asked = u32::try_from(self.random.u64(5..90) * 1000).unwrap_or(5000);
                (Class::AnnouncedSilence, around(at, until, ToGuest::Quiet(asked), ToGuest::Quiet(0)))
            }
            11 => pair(Class::Application, ToGuest::AppFail, ToGuest::AppMend),
            _ => pair(Class::PathCut, ToGuest::PathCut(hm), ToGuest::PathMend(hm)),
        };
        let until = if class == Class::AgentKill { at + REST } else { until };
        let deeds = deeds.into_iter().map(|(at, what)| (at, Deed::Guest(vm, what))).collect();
        Some(Injection { class, target: Target::Guest(vm), deeds, until })
    }

    fn infrastructure(&mut self, at: Duration) -> Option<Injection> {
        let host = self.random.usize(..self.shape.hosts.max(1));
        let hm = self.hm(host);
        let (which, until) = (self.random.u8(0..13), self.until(at));
        let permille = self.random.u16(50..400);
        let trunk = |class, what| {
            (
                class,
                Target::Trunk(hm),
                vec![(at, Deed::Trunk(hm, what)), (until, Deed::Trunk(hm, ToTrunk::Mend))],
            )
        };
        let monitor = |class, on, off| {
            (class, Target::Monitor(hm), vec![(at, Deed::Monitor(hm, on)), (until, Deed::Monitor(hm, off))])
        };
        let store = |class, what| {
            (class, Target::Store, vec![(at, Deed::Store(what)), (until, Deed::Store(ToStore::Mend))])
        };
        let ms = u64::try_from(until.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
        let (class, target, deeds) = match which {
            0 => trunk(Class::TrunkLoss, ToTrunk::Loss(permille)),
            1 => trunk(Class::TrunkCut, ToTrunk::Cut),
            2 => trunk(Class::TrunkCut, if permille < 200 { ToTrunk::CutUp } else { ToTrunk::CutDown }),
            3 => trunk(Class::TrunkDown, ToTrunk::Down),
            4 | 5 => monitor(Class::MonitorKill, ToMonitor::Kill, ToMonitor::Start),
            6 => monitor(Class::MonitorStop, ToMonitor::Stop, ToMonitor::Start),
            7 => {
                let stall = vec![(at, Deed::Monitor(hm, ToMonitor::Stall(ms)))];
                (Class::MonitorStall, Target::Monitor(hm), stall)
            }
            8 => monitor(Class::MonitorStoreCut, ToMonitor::StoreCut, ToMonitor::StoreJoin),
            9 => store(Class::StoreKill, ToStore::Refuses),
            10 => store(Class::StoreFreeze, ToStore::Hangs),
            11 => {
                let deeds = vec![
                    (at, Deed::Controller(ToController::Kill)),
                    (until, Deed::Controller(ToController::Start)),
                ];
                (Class::ControllerKill, Target::Controller, deeds)
            }
            _ => {
                let stall = vec![(at, Deed::Controller(ToController::Stall(ms)))];
                (Class::ControllerStall, Target::Controller, stall)
            }
        };
        let fits = self.is_free(at, target) && self.in_force(at, false) < INFRASTRUCTURE_AT_ONCE;
        fits.then_some(Injection { class, target, deeds, until })
    }
}

/// The guest says something, stands still for a while within it, and takes it back.
fn around(at: Duration, until: Duration, on: ToGuest, off: ToGuest) -> Vec<(Duration, ToGuest)> {
    let lasts = until.saturating_sub(at);
    if lasts < SHORTEST * 6 {
        return vec![(at, on), (until, off)];
    }
    vec![
        (at, on),
        // Until the monitors know.
        (at + SHORTEST * 3, ToGuest::Freeze),
        (until.saturating_sub(SHORTEST), ToGuest::Thaw),
        (until, off),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { hosts: 2, trunks: 2, guests: 50 };
    const LENGTH: Duration = Duration::from_secs(240);

    fn rounds() -> impl Iterator<Item = Vec<Injection>> {
        (0..40).flat_map(|seed| (1..=4).map(move |number| round(seed, number, SHAPE, LENGTH)))
    }

    // What is not listed undoes, or is over by itself.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn undoes(on: Deed) -> Option<Deed> {
        Some(match on {
            Deed::Guest(vm, what) => Deed::Guest(
                vm,
                match what {
                    ToGuest::Crash => ToGuest::Boot,
                    ToGuest::Freeze => ToGuest::Thaw,
                    ToGuest::AgentBreak | ToGuest::AgentHang | ToGuest::AgentStop => ToGuest::AgentStart,
                    ToGuest::Suspend => ToGuest::Resume,
                    ToGuest::Quiet(1..) => ToGuest::Quiet(0),
                    ToGuest::AppFail => ToGuest::AppMend,
                    ToGuest::PathCut(hm) => ToGuest::PathMend(hm),
                    _ => return None,
                },
            ),
            Deed::Trunk(hm, what) => {
                return (what != ToTrunk::Mend).then_some(Deed::Trunk(hm, ToTrunk::Mend));
            }
            Deed::Monitor(hm, ToMonitor::Kill | ToMonitor::Stop) => Deed::Monitor(hm, ToMonitor::Start),
            Deed::Monitor(hm, ToMonitor::StoreCut) => Deed::Monitor(hm, ToMonitor::StoreJoin),
            Deed::Store(ToStore::Refuses | ToStore::Hangs) => Deed::Store(ToStore::Mend),
            Deed::Controller(ToController::Kill) => Deed::Controller(ToController::Start),
            _ => return None,
        })
    }

    #[test]
    fn a_seed_is_a_schedule() {
        for (seed, number) in [(1, 1), (1, 2), (7, 2)] {
            let made = round(seed, number, SHAPE, LENGTH);
            assert_eq!(made, round(seed, number, SHAPE, LENGTH));
            assert!(made.len() > 20, "{}", made.len());
        }
        assert_ne!(round(1, 1, SHAPE, LENGTH), round(2, 1, SHAPE, LENGTH));
        assert_ne!(round(1, 1, SHAPE, LENGTH), round(1, 3, SHAPE, LENGTH));
        assert_eq!(opening(1, SHAPE), opening(1, SHAPE));
        assert_eq!(opening(1, SHAPE).len(), SHAPE.guests);
    }

    #[test]
    fn every_on_has_its_off_before_the_round_is_over() {
        for injection in rounds().flatten() {
            for (index, (at, deed)) in injection.deeds.iter().enumerate() {
                assert!(*at <= LENGTH && *at <= injection.until, "{injection:?}");
                let Some(off) = undoes(*deed) else { continue };
                let later = &injection.deeds[index + 1..];
                assert!(later.iter().any(|(then, what)| *what == off && then > at), "{injection:?}");
            }
        }
    }

    #[test]
    fn nobody_has_two_injections_at_once_and_few_are_in_force() {
        for made in rounds() {
            for (index, one) in made.iter().enumerate() {
                let from = one.deeds[0].0;
                let others: Vec<&Injection> =
                    made[..index].iter().filter(|other| other.until > from).collect();
                assert!(others.iter().all(|other| other.target != one.target), "{one:?}");
                let guests = |one: &&&Injection| matches!(one.target, Target::Guest(_));
                let of_guests = others.iter().filter(guests).count();
                assert!(of_guests < SHAPE.guests / GUESTS_AT_ONCE_OF + 1);
                assert!(others.len() - of_guests <= INFRASTRUCTURE_AT_ONCE);
            }
        }
    }

    #[test]
    fn every_class_occurs_and_a_round_of_guests_has_guests_only() {
        let classes: std::collections::BTreeSet<Class> = rounds().flatten().map(|one| one.class).collect();
        assert_eq!(classes.len(), Class::ControllerStall as usize + 1, "{classes:?}");
        for injection in round(3, 1, SHAPE, LENGTH) {
            assert!(matches!(injection.target, Target::Guest(_)), "{injection:?}");
        }
    }

    #[test]
    fn guests_alone_are_enough() {
        let shape = Shape { hosts: 1, trunks: 1, guests: 1 };
        assert!(!round(5, 2, shape, LENGTH).is_empty());
    }
}
