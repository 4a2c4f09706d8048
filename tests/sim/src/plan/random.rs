//! A plan of a seed: a small cluster, faults of every kind for a while, then healing, then time enough for everything to be well.

use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::DetectionSpeed;

use super::{Action, Cluster, ControllerAction, GuestAction, MonitorAction, Plan, StoreAction, TrunkAction};
use crate::names::{Hm, Vm};
use crate::random::stream;

/// Everybody is there by then.
const WARM_UP_MS: u64 = 90_000;
/// From healing to the end: silences of long limits, polls, and a guest that is booted.
/// Not a multiple of what happens periodically: at the end nothing is to be under way.
const SETTLE_MS: u64 = 604_321;

struct Maker {
    random: fastrand::Rng,
    cluster: Cluster,
    actions: Vec<(Instant, Action)>,
    heal: u64,
}

/// See the module.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut random = stream(seed, "plan");
    let cluster = cluster(seed, &mut random);
    let length = 1000 * random.u64(200..1200);
    let mut maker = Maker { random, cluster, actions: Vec::new(), heal: WARM_UP_MS + length };
    for _ in 0..maker.random.usize(3..25) {
        let at = maker.random.u64(WARM_UP_MS..maker.heal);
        maker.add(at);
    }
    let heal = maker.heal;
    maker.put(heal, Action::Heal);
    maker.actions.sort_by_key(|(at, _)| *at);
    Plan {
        cluster: maker.cluster,
        actions: maker.actions,
        end: Instant::from_millis(heal + SETTLE_MS),
        converges: true,
    }
}

/// As [`plan`], and wider: with canaries, a second controller, guests that are started with another one's UUID, keys, which guests
/// may lose or have wrong, and snapshots of guests. What the seed gives without them stays as it is.
#[must_use]
pub fn wide(seed: u64) -> Plan {
    let mut plan = plan(seed);
    let mut random = stream(seed, "wide");
    plan.cluster.canary = random.u8(0..3) > 0;
    plan.cluster.controllers = random.usize(1..=2);
    let heal = plan.actions.last().map_or(WARM_UP_MS + 1, |(at, _)| at.as_nanos() / 1_000_000);
    let conflicts = if plan.cluster.vms > 1 { random.usize(0..3) } else { 0 };
    for _ in 0..conflicts {
        let vm = random.usize(..plan.cluster.vms);
        let other = (vm + random.usize(1..plan.cluster.vms)) % plan.cluster.vms;
        let mut at = Instant::from_millis(random.u64(WARM_UP_MS..heal));
        let copied = [GuestAction::Pretend { vm: Vm(other) }, GuestAction::Crash, GuestAction::Boot];
        for action in copied {
            plan.actions.push((at, Action::Guest(Vm(vm), action)));
            at = at + Duration::from_millis(random.u64(1..30_000));
        }
    }
    add_keys(&mut plan, seed, heal);
    add_snapshots(&mut plan, seed, heal);
    plan.actions.retain(|(at, action)| at.as_nanos() / 1_000_000 <= heal || *action == Action::Heal);
    plan.actions.sort_by_key(|(at, _)| *at);
    plan
}

/// Half of the clusters demand keys.
fn add_keys(plan: &mut Plan, seed: u64, heal: u64) {
    let mut random = stream(seed, "wide keys");
    plan.cluster.auth = random.bool();
    let changes = if plan.cluster.auth { random.usize(0..4) } else { 0 };
    for _ in 0..changes {
        let vm = Vm(random.usize(..plan.cluster.vms));
        let other = Vm(random.usize(..plan.cluster.vms));
        let key = [GuestAction::KeyNone, GuestAction::KeyWrong, GuestAction::KeyOf { vm: other }];
        let at = Instant::from_millis(random.u64(WARM_UP_MS..heal));
        let until = at + Duration::from_millis(random.u64(1..400_000));
        plan.actions.push((at, Action::Guest(vm, key[random.usize(..key.len())])));
        // Without that it goes on with the path that it has.
        let kill = at + Duration::from_millis(random.u64(1..60_000));
        if random.bool() {
            plan.actions.push((kill, Action::Guest(vm, GuestAction::AgentKill)));
        }
        plan.actions.push((until, Action::Guest(vm, GuestAction::KeyOwn)));
    }
}

/// In half of the clusters guests go back to what they were a moment or minutes ago, some of them twice.
fn add_snapshots(plan: &mut Plan, seed: u64, heal: u64) {
    let mut random = stream(seed, "wide snapshots");
    for _ in 0..random.usize(0..6).saturating_sub(2) {
        let vm = Vm(random.usize(..plan.cluster.vms));
        let mut at = Instant::from_millis(random.u64(WARM_UP_MS..heal));
        plan.actions.push((at, Action::Guest(vm, GuestAction::Snapshot)));
        for _ in 0..random.usize(1..=2) {
            let longest = if random.bool() { 20_000 } else { 300_000 };
            at = at + Duration::from_millis(random.u64(1..longest));
            plan.actions.push((at, Action::Guest(vm, GuestAction::Revert)));
        }
    }
}

/// An undisturbed cluster for so long.
#[must_use]
pub fn quiet(cluster: Cluster, minutes: u64) -> Plan {
    Plan { cluster, actions: Vec::new(), end: Instant::from_millis(minutes * 60_000), converges: true }
}

fn cluster(seed: u64, random: &mut fastrand::Rng) -> Cluster {
    let speeds = [DetectionSpeed::Fast, DetectionSpeed::Fast, DetectionSpeed::Normal];
    let hosts = random.usize(1..=3);
    Cluster {
        seed,
        hosts,
        trunks: random.usize(1..=2),
        vms: random.usize(1..=5),
        apps: random.usize(0..=1),
        guardian: random.u8(0..5) > 0,
        detection: speeds[random.usize(..speeds.len())],
        poll_interval_ms: 20_000,
        controllers: 1,
        canary: false,
        auth: false,
    }
}

impl Maker {
    fn put(&mut self, at_ms: u64, action: Action) {
        // What is mended late is mended by the healing.
        if at_ms <= self.heal {
            self.actions.push((Instant::from_millis(at_ms), action));
        }
    }

    fn vm(&mut self) -> Vm {
        Vm(self.random.usize(..self.cluster.vms))
    }

    fn hm(&mut self) -> Hm {
        Hm { host: self.random.usize(..self.cluster.hosts), trunk: self.random.usize(..self.cluster.trunks) }
    }

    /// Short ones are as likely as long ones.
    fn time(&mut self) -> u64 {
        match self.random.u8(0..4) {
            0 => self.random.u64(10..2000),
            1 => self.random.u64(2000..30_000),
            2 => self.random.u64(30_000..150_000),
            _ => self.random.u64(150_000..400_000),
        }
    }

    fn add(&mut self, at: u64) {
        match self.random.u8(0..20) {
            0..8 => self.add_guest(at),
            8..12 => self.add_trunk(at),
            12..16 => self.add_monitor(at),
            16..19 => self.add_store(at),
            _ => self.add_controller(at),
        }
    }

    fn add_guest(&mut self, at: u64) {
        let (vm, after) = (self.vm(), at + self.time());
        let pair = |first, second| (first, Some(second));
        let (first, second) = match self.random.u8(0..14) {
            0 => pair(GuestAction::Crash, GuestAction::Boot),
            1 | 2 => pair(GuestAction::Freeze, GuestAction::Thaw),
            3 => pair(GuestAction::Shutdown, GuestAction::Boot),
            4 => pair(GuestAction::AgentStop, GuestAction::AgentStart),
            5 => (GuestAction::AgentKill, None),
            6 => (GuestAction::AgentHang, None),
            7 => pair(GuestAction::AgentBreak, GuestAction::AgentStart),
            8 => pair(GuestAction::Suspend, GuestAction::Resume),
            9 => (GuestAction::Quiet { ms: self.random.u32(1000..300_000) }, None),
            10 if self.cluster.apps > 0 => {
                pair(GuestAction::AppFail { app: 1 }, GuestAction::AppMend { app: 1 })
            }
            11 => {
                let host = self.random.usize(1..=self.cluster.hosts);
                (GuestAction::Migrate { host, ms: self.random.u64(20..20_000) }, None)
            }
            _ => {
                let hm = self.hm();
                pair(GuestAction::PathCut { hm }, GuestAction::PathMend { hm })
            }
        };
        self.put(at, Action::Guest(vm, first));
        if let Some(second) = second {
            self.put(after, Action::Guest(vm, second));
        }
    }

    fn add_trunk(&mut self, at: u64) {
        let (hm, after) = (self.hm(), at + self.time());
        let permille = self.random.u16(20..400);
        let action = match self.random.u8(0..8) {
            0 => TrunkAction::Loss { permille },
            1 => TrunkAction::Duplicate { permille },
            2 => TrunkAction::Corrupt { permille },
            3 => TrunkAction::Delay { from_ms: self.random.u64(0..50), to_ms: self.random.u64(50..3000) },
            4 => TrunkAction::CutUp,
            5 => TrunkAction::CutDown,
            6 => TrunkAction::Cut,
            _ => TrunkAction::Down,
        };
        self.put(at, Action::Trunk(hm, action));
        self.put(after, Action::Trunk(hm, TrunkAction::Mend));
    }

    fn add_monitor(&mut self, at: u64) {
        let (hm, time) = (self.hm(), self.time());
        let pair = |first, second| (first, Some(second));
        let (first, second) = match self.random.u8(0..6) {
            0 | 1 => pair(MonitorAction::Kill, MonitorAction::Start),
            2 => pair(MonitorAction::Stop, MonitorAction::Start),
            3 | 4 => (MonitorAction::Stall { ms: time }, None),
            _ => pair(MonitorAction::StoreCut, MonitorAction::StoreJoin),
        };
        self.put(at, Action::Monitor(hm, first));
        if let Some(second) = second {
            self.put(at + time, Action::Monitor(hm, second));
        }
    }

    fn add_store(&mut self, at: u64) {
        let after = at + self.time();
        let action = match self.random.u8(0..5) {
            0 => StoreAction::Refuses,
            1 => StoreAction::Hangs,
            2 => StoreAction::Slow,
            3 => StoreAction::LosesAnswers { permille: self.random.u16(20..500) },
            _ => StoreAction::ClockStep { ms: self.random.i64(-400_000..400_000) },
        };
        self.put(at, Action::Store(action));
        if !matches!(action, StoreAction::ClockStep { .. }) {
            self.put(after, Action::Store(StoreAction::Mend));
        }
    }

    fn add_controller(&mut self, at: u64) {
        let time = self.time();
        let (first, second) = match self.random.u8(0..3) {
            0 => (ControllerAction::Kill, Some(ControllerAction::Start)),
            1 => (ControllerAction::Stall { ms: time }, None),
            _ => (ControllerAction::StoreCut, Some(ControllerAction::StoreJoin)),
        };
        self.put(at, Action::Controller(first));
        if let Some(second) = second {
            self.put(at + time, Action::Controller(second));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_reads_back() {
        for seed in 0..50 {
            let made = plan(seed);
            assert_eq!(Plan::parse(&made.to_string()), Ok(made.clone()), "{made}");
            assert_eq!(plan(seed), made);
        }
        for seed in 0..50 {
            let made = wide(seed);
            assert_eq!(Plan::parse(&made.to_string()), Ok(made.clone()), "{made}");
        }
        assert_ne!(plan(1).to_string(), plan(2).to_string().replace("seed=2", "seed=1"));
    }
}
