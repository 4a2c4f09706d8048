//! The trunks: what becomes of a frame on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::names::{Hm, Vm};
use crate::plan::TrunkAction;

/// A frame takes this long on a trunk that is well, at least and at most.
const USUAL: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(200));

/// Faults of one trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    loss: u16,
    duplicate: u16,
    corrupt: u16,
    delay: Option<(Duration, Duration)>,
    cut_up: bool,
    cut_down: bool,
    pub(crate) down: bool,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the monitor.
    Up,
    /// To the guests.
    Down,
}

/// A frame that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) after: Duration,
    pub(crate) damaged: bool,
    pub(crate) payload: Vec<u8>,
}

/// All trunks.
#[derive(Debug)]
pub(crate) struct Network {
    random: fastrand::Rng,
    /// On a trunk that is well no frame overtakes another.
    in_order: bool,
    trunks: BTreeMap<Hm, Conditions>,
    cut_paths: BTreeSet<(Vm, Hm)>,
}

impl Network {
    pub(crate) fn new(random: fastrand::Rng, in_order: bool, hms: impl Iterator<Item = Hm>) -> Self {
        let trunks = hms.map(|hm| (hm, Conditions::default())).collect();
        Self { random, in_order, trunks, cut_paths: BTreeSet::new() }
    }

    /// How many trunks are not as they should be.
    pub(crate) fn faults(&self) -> usize {
        self.trunks.values().filter(|conditions| **conditions != Conditions::default()).count()
    }

    pub(crate) fn is_down(&self, hm: Hm) -> bool {
        self.trunks.get(&hm).is_some_and(|conditions| conditions.down)
    }

    pub(crate) fn act(&mut self, hm: Hm, action: TrunkAction) {
        let conditions = self.trunks.entry(hm).or_default();
        match action {
            TrunkAction::Loss { permille } => conditions.loss = permille,
            TrunkAction::Duplicate { permille } => conditions.duplicate = permille,
            TrunkAction::Corrupt { permille } => conditions.corrupt = permille,
            TrunkAction::Delay { from_ms, to_ms } => {
                let (from, to) = (Duration::from_millis(from_ms), Duration::from_millis(to_ms));
                conditions.delay = Some((from, to.max(from)));
            }
            TrunkAction::CutUp => conditions.cut_up = true,
            TrunkAction::CutDown => conditions.cut_down = true,
            TrunkAction::Cut => (conditions.cut_up, conditions.cut_down) = (true, true),
            TrunkAction::Down => conditions.down = true,
            TrunkAction::Mend => *conditions = Conditions::default(),
        }
    }

    pub(crate) fn set_path_cut(&mut self, vm: Vm, hm: Hm, cut: bool) {
        if cut {
            self.cut_paths.insert((vm, hm));
        } else {
            self.cut_paths.remove(&(vm, hm));
        }
    }

    pub(crate) fn mend(&mut self) {
        self.trunks.values_mut().for_each(|conditions| *conditions = Conditions::default());
        self.cut_paths.clear();
    }

    /// What arrives of a frame: nothing, it, or it twice.
    pub(crate) fn carry(&mut self, hm: Hm, vm: Vm, way: Way, payload: &[u8]) -> Vec<Arrival> {
        let Some(conditions) = self.trunks.get(&hm) else { return Vec::new() };
        let cut = match way {
            Way::Up => conditions.cut_up,
            Way::Down => conditions.cut_down,
        };
        if cut || conditions.down || self.cut_paths.contains(&(vm, hm)) {
            return Vec::new();
        }
        let copies = 1 + usize::from(happens(&mut self.random, conditions.duplicate));
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            if happens(&mut self.random, conditions.loss) {
                continue;
            }
            let usual = if self.in_order { (USUAL.1, USUAL.1) } else { USUAL };
            let (from, to) = conditions.delay.unwrap_or(usual);
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let after = Duration::from_nanos(self.random.u64(nanos(from)..=nanos(to)));
            let damaged = happens(&mut self.random, conditions.corrupt);
            let payload = if damaged { damage(&mut self.random, payload) } else { payload.to_vec() };
            arrivals.push(Arrival { after, damaged, payload });
        }
        arrivals
    }
}

fn happens(random: &mut fastrand::Rng, permille: u16) -> bool {
    permille > 0 && random.u16(0..1000) < permille
}

/// A flipped bit, or an end that is missing. What an 8-bit sum cannot see is left to the protocol's own tests: Ethernet's
/// checksum would have to miss it as well.
fn damage(random: &mut fastrand::Rng, payload: &[u8]) -> Vec<u8> {
    let mut damaged = payload.to_vec();
    if damaged.is_empty() {
        return damaged;
    }
    let at = random.usize(..damaged.len());
    if random.bool() {
        damaged[at] ^= 1 << random.u8(..8);
    } else {
        damaged.truncate(at);
    }
    damaged
}
