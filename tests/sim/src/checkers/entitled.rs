//! Where host monitors demand keys, nobody speaks for a VM without its key: no path is opened, no heartbeat found and nothing
//! that an agent says is written, unless it had that key when it shook hands; and nobody else is told that he was heard.
//!
//! A path that is open stays so when its guest's key is changed. It ends with the agent or with the monitor.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::{Event, Held};
use crate::names::{Hm, Vm};
use crate::plan::Plan;

/// A handshake with all its repetitions, and how long its frames are on their way.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// What is written about a VM by its own word alone.
const WORDS: [&str; 8] =
    ["OPENED", "DETECTED", "SUSPENDED", "RESUMED", "QUIET_ASKED", "QUIET_ENDED", "DOORBELL", "REPORT"];

/// See the module.
#[derive(Debug)]
pub(super) struct Entitled {
    demanded: bool,
    /// Guests that have the key of the VM that they say they are.
    holders: BTreeMap<Vm, Vm>,
    /// When a VM lost the last of them.
    lost: BTreeMap<Vm, Instant>,
    /// Whom a guest spoke for, and when its instance ended: one that moves is there again at once.
    moves: BTreeMap<Vm, (Vm, Instant)>,
    /// Paths that were opened in this life of the monitor.
    opened: BTreeSet<(Vm, Hm)>,
    /// Paths that a guest opened with a VM's key in this life of its agent, and of which VM.
    standing: BTreeMap<(Vm, Hm), Vm>,
    /// When a guest lost a key or such a path, and whose it was.
    ended: BTreeMap<Vm, (Vm, Instant)>,
    /// Until when what a monitor does comes of what it read late.
    stalled: BTreeMap<Hm, (Instant, Duration)>,
}

impl Entitled {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            demanded: plan.cluster.auth,
            holders: BTreeMap::new(),
            lost: BTreeMap::new(),
            moves: BTreeMap::new(),
            opened: BTreeSet::new(),
            standing: BTreeMap::new(),
            ended: BTreeMap::new(),
            stalled: BTreeMap::new(),
        }
    }

    fn leave(&mut self, at: Instant, guest: Vm) {
        if let Some(vm) = self.holders.remove(&guest) {
            self.lost.insert(vm, at);
            self.ended.insert(guest, (vm, at));
        }
    }

    /// Those that have the VM's key, or had it when the handshake began, may be who opened it.
    fn stand(&mut self, at: Instant, vm: Vm, hm: Hm, allowed: Duration) {
        self.standing.retain(|(_, there), of| *there != hm || *of != vm);
        let had = self.ended.iter().filter(|(_, (of, ended))| *of == vm && at.since(*ended) <= allowed);
        let has = self.holders.iter().filter(|(_, of)| **of == vm);
        let guests = has.map(|(guest, _)| *guest).chain(had.map(|(guest, _)| *guest));
        self.standing.extend(guests.map(|guest| ((guest, hm), vm)));
    }

    /// What was acknowledged on them before may still be on its way.
    fn fall(&mut self, at: Instant, falls: impl Fn(Vm, Hm, Vm) -> bool) {
        let fallen = self.standing.extract_if(.., |(guest, hm), of| falls(*guest, *hm, *of));
        self.ended.extend(fallen.map(|((guest, _), of)| (guest, (of, at))));
    }

    /// A guest was told that it was heard.
    fn on_heard(&self, at: Instant, guest: Vm) -> Result<(), String> {
        let stands = self.standing.keys().any(|(of, _)| *of == guest);
        let ended = self.ended.get(&guest).is_some_and(|(_, ended)| at.since(*ended) <= UNDER_WAY);
        if self.holders.contains_key(&guest) || stands || ended {
            return Ok(());
        }
        Err(format!("the guest of {guest} is told that it was heard, and has no key"))
    }

    fn on_opened(&mut self, at: Instant, vm: Vm, hm: Hm) -> Result<(), String> {
        self.opened.insert((vm, hm));
        let late = self.stalled.get(&hm).filter(|(until, _)| at <= *until).map(|(_, late)| *late);
        let allowed = UNDER_WAY + late.unwrap_or_default();
        self.stand(at, vm, hm, allowed);
        if self.holders.values().any(|of| *of == vm) {
            return Ok(());
        }
        if self.lost.get(&vm).is_some_and(|lost| at.since(*lost) <= allowed) {
            return Ok(());
        }
        Err(format!("{hm} opened a path to {vm}, and nobody has its key"))
    }

    /// Its writes about a VM bear the end of its UUID, which is its number.
    fn on_written(&self, hm: Hm, text: &str) -> Result<(), String> {
        let mut words = text.split(' ');
        let said = words.next().is_some_and(|kind| WORDS.contains(&kind));
        let number = words.next().and_then(|uuid| usize::from_str_radix(uuid, 16).ok());
        match number.and_then(|number| number.checked_sub(1)).map(Vm).filter(|_| said) {
            Some(vm) if !self.opened.contains(&(vm, hm)) => {
                Err(format!("{hm} writes {text:?}, and {vm} has not proved there who it is"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for Entitled {
    fn name(&self) -> &'static str {
        "entitled"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        if !self.demanded {
            return Ok(());
        }
        match event {
            Event::Credentials { guest, claims, key } if *key == Held::Of(*claims) => {
                self.holders.insert(*guest, *claims);
            }
            Event::Credentials { guest, .. } => self.leave(at, *guest),
            Event::InstanceStopped(guest, _) => {
                if let Some(vm) = self.holders.get(guest) {
                    self.moves.insert(*guest, (*vm, at));
                }
                self.leave(at, *guest);
            }
            Event::InstanceStarted(guest, _) => {
                if let Some((vm, _)) = self.moves.remove(guest).filter(|(_, ended)| *ended == at) {
                    self.holders.insert(*guest, vm);
                }
            }
            Event::AgentUp(guest) => self.fall(at, |of, _, _| of == *guest),
            Event::MonitorUp(hm) => {
                self.opened.retain(|(_, of)| of != hm);
                self.fall(at, |_, there, _| there == *hm);
            }
            Event::PathClosed(vm, hm, _) => self.fall(at, |_, there, of| there == *hm && of == *vm),
            Event::Stalled(hm, late) => {
                self.stalled.insert(*hm, (at + UNDER_WAY, *late));
            }
            Event::Opened(vm, hm) => return self.on_opened(at, *vm, *hm),
            Event::Detected(vm, hm) if !self.opened.contains(&(*vm, *hm)) => {
                return Err(format!("{hm} finds that {vm} beats, which has not proved there who it is"));
            }
            Event::Written(hm, _, text) => return self.on_written(*hm, text),
            Event::SuspensionHeard { vm, .. } => return self.on_heard(at, *vm),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cluster;

    const HM: Hm = Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn says(guest: usize, claims: usize, key: Held) -> Event {
        Event::Credentials { guest: Vm(guest), claims: Vm(claims), key }
    }

    fn written(text: &str) -> Event {
        Event::Written(HM, 1, text.to_owned())
    }

    /// Whether the last of these is found; the others are in order.
    fn is_found(events: &[(u64, Event)]) -> bool {
        let cluster = Cluster { auth: true, ..Cluster::default() };
        let mut checker = Entitled::new(&crate::plan::random::quiet(cluster, 60));
        let (last, before) = events.split_last().unwrap();
        for (when, event) in before {
            assert_eq!(checker.on_event(at(*when), event), Ok(()));
        }
        checker.on_event(at(last.0), &last.1).is_err()
    }

    #[test]
    fn a_path_of_a_vm_whose_key_nobody_has_is_found() {
        let (own, opened) = ((1, says(0, 0, Held::Of(Vm(0)))), Event::Opened(Vm(0), HM));
        assert!(!is_found(&[own.clone(), (2, opened.clone())]));
        for without in [
            says(0, 0, Held::None),
            says(0, 0, Held::Wrong),
            says(0, 0, Held::Of(Vm(1))),
            Event::InstanceStopped(Vm(0), 0),
        ] {
            assert!(!is_found(&[own.clone(), (100, without.clone()), (101, opened.clone())]), "under way");
            let lost = [own.clone(), (100, without)];
            assert!(is_found(&[&lost[..], &[(200, opened.clone())]].concat()));
            // Another one says that it is the VM, with its own key; or with the VM's.
            let other = (150, says(1, 0, Held::Of(Vm(1))));
            assert!(is_found(&[&lost[..], &[other, (200, opened.clone())]].concat()));
            let stolen = (150, says(1, 0, Held::Of(Vm(0))));
            assert!(!is_found(&[&lost[..], &[stolen, (200, opened.clone())]].concat()));
            let read_late = (200, Event::Stalled(HM, Duration::from_secs(90)));
            assert!(!is_found(&[&lost[..], &[read_late, (200, opened.clone())]].concat()));
        }
    }

    #[test]
    fn what_is_believed_without_a_path_is_found() {
        let open = [(1, says(0, 0, Held::Of(Vm(0)))), (2, Event::Opened(Vm(0), HM))];
        let restarted = (100, Event::MonitorUp(HM));
        for believed in [
            Event::Detected(Vm(0), HM),
            written("DETECTED 0001"),
            written("SUSPENDED 0001 ADMINISTRATOR"),
            written("REPORT 0001"),
        ] {
            assert!(!is_found(&[&open[..], &[(101, believed.clone())]].concat()));
            assert!(is_found(&[&open[..], &[restarted.clone(), (101, believed)]].concat()));
        }
        assert!(!is_found(&[&open[..], &[restarted, (101, written("MISSING 0001"))]].concat()));
        let heard = Event::SuspensionHeard { vm: Vm(0), suspended: true, stored: true, kept: false };
        assert!(!is_found(&[open[0].clone(), (2, heard.clone())]));
        assert!(is_found(&[(1, says(0, 0, Held::Wrong)), (2, heard)]));
    }
    /// A path that is open stays open when its guest's key is changed.
    #[test]
    fn who_is_heard_on_a_path_that_he_opened_with_his_key_is_not_found() {
        let open = [
            (1, says(0, 0, Held::Of(Vm(0)))),
            (2, Event::Opened(Vm(0), HM)),
            (50, says(0, 0, Held::Of(Vm(1)))),
        ];
        let heard =
            |at| (at, Event::SuspensionHeard { vm: Vm(0), suspended: true, stored: true, kept: false });
        let after = |event: &Event, at| is_found(&[&open[..], &[(100, event.clone()), heard(at)]].concat());
        assert!(!is_found(&[&open[..], &[heard(1000)]].concat()));
        for end in [
            Event::AgentUp(Vm(0)),
            Event::MonitorUp(HM),
            Event::PathClosed(Vm(0), HM, "the peer does not answer".to_owned()),
        ] {
            assert!(!after(&end, 101), "it was acknowledged before");
            assert!(after(&end, 200));
        }
        assert!(!after(&Event::AgentUp(Vm(1)), 200), "another one's");
        assert!(!after(&Event::MonitorUp(Hm { host: 0, trunk: 1 }), 200));
        // Another guest, which has the key, is who opened it.
        let stolen = (100, says(1, 0, Held::Of(Vm(0))));
        let other = [&open[..], &[stolen, (101, Event::Opened(Vm(0), HM)), heard(1000)]].concat();
        assert!(is_found(&other));
        // One that says that it is another VM loses that one's key.
        let own = (1, says(0, 1, Held::Of(Vm(1))));
        let under_way = [own.clone(), (50, says(0, 1, Held::None)), heard(60)];
        assert!(!is_found(&under_way));
        assert!(is_found(&[own, (50, says(0, 1, Held::None)), heard(100)]));
    }
}
