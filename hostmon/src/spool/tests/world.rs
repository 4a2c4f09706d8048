//! A store, a disk and a process that is started again and again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    Now,
    /// At its next transaction, which is committed.
    InTransaction,
    /// At its next write to the file, of which so many bytes are there afterwards.
    InWrite {
        bytes: usize,
    },
}

/// As the health store does it.
#[derive(Default)]
struct Store {
    incarnation: Option<String>,
    up_to: Option<u64>,
    edges: BTreeMap<VmUuid, bool>,
    remarks: Vec<u32>,
    /// Of each bit of each VM: in which transactions it rang.
    rings: BTreeMap<(VmUuid, u32), BTreeSet<u32>>,
    modes: Vec<MonitorMode>,
    transactions: u32,
}

impl Store {
    fn replay(&mut self, starts: &[StartWrites]) {
        self.transactions += 1;
        let reached = starts.iter().position(|start| Some(&start.incarnation) == self.incarnation.as_ref());
        let up_to = self.up_to;
        for (index, start) in starts.iter().enumerate() {
            let already = match reached {
                Some(reached) if index < reached => Some(u64::MAX),
                Some(reached) if index == reached => up_to,
                _ => None,
            };
            for (number, write) in start.writes.iter().filter(|(number, _)| Some(*number) > already) {
                self.apply(write);
                self.up_to = self.up_to.max(Some(*number));
            }
        }
    }

    fn apply(&mut self, write: &HostMonitorWrite) {
        match write {
            HostMonitorWrite::Started(start) => {
                self.incarnation = Some(start.incarnation.clone());
                self.up_to = None;
            }
            HostMonitorWrite::PathDetected { vm } => drop(self.edges.insert(*vm, true)),
            HostMonitorWrite::PathMissing { vm, .. } => drop(self.edges.insert(*vm, false)),
            HostMonitorWrite::NodeEvent { text, .. } => self.remarks.push(text.parse().unwrap()),
            HostMonitorWrite::ModeChanged { mode, .. } => self.modes.push(*mode),
            HostMonitorWrite::Doorbell { vm, bits } => {
                for bit in (0..32).filter(|bit| bits & (1 << bit) != 0) {
                    self.rings.entry((*vm, bit)).or_default().insert(self.transactions);
                }
            }
            other => panic!("{other:?} is not said here"),
        }
    }
}

pub(super) struct World {
    now: u64,
    /// Time of the machine at the process's own zero.
    origin: u64,
    spool: Spool,
    starts: u32,
    number: u64,
    disk: Vec<u8>,
    store: Store,
    pub(super) store_up: bool,
    pub(super) lose_answer: bool,
    death: Option<Death>,
    /// With the store, until it answers.
    job: Option<(u64, Action)>,
    /// What is true of each path, and whether the present process said so.
    truth: BTreeMap<VmUuid, bool>,
    remarks: u32,
    rung: BTreeMap<VmUuid, u32>,
    /// By the process's numbers: what is not known to be safe.
    unsafe_remarks: BTreeMap<u64, u32>,
    unsafe_rings: BTreeMap<u64, (VmUuid, u32)>,
    safe_remarks: BTreeSet<u32>,
    safe_rings: BTreeSet<(VmUuid, u32)>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            now: 0,
            origin: 0,
            spool: fresh(),
            starts: 0,
            number: 0,
            disk: Vec::new(),
            store: Store::default(),
            store_up: true,
            lose_answer: false,
            death: None,
            job: None,
            truth: BTreeMap::new(),
            remarks: 0,
            rung: BTreeMap::new(),
            unsafe_remarks: BTreeMap::new(),
            unsafe_rings: BTreeMap::new(),
            safe_remarks: BTreeSet::new(),
            safe_rings: BTreeSet::new(),
        };
        world.start();
        world
    }

    fn at(&self) -> Instant {
        Instant::from_millis(self.now - self.origin)
    }

    fn start(&mut self) {
        self.starts += 1;
        self.origin = self.now;
        let clock = BootClock { boot: "one".to_owned(), origin: Duration::from_millis(self.now) };
        let contents = record::read(&self.disk, &clock, self.at()).unwrap();
        self.disk.truncate(contents.sound_bytes);
        let incarnation = format!("start {}", self.starts);
        self.spool = Spool::new(&incarnation, clock, contents, self.at());
        (self.number, self.job, self.death) = (0, None, None);
        self.unsafe_remarks.clear();
        self.unsafe_rings.clear();
        self.push(HostMonitorWrite::Started(vmpulse_store::HostMonitorStart {
            trunk: String::new(),
            mac: String::new(),
            vlan: None,
            incarnation,
            versions: String::new(),
            heartbeat_interval: Duration::ZERO,
        }));
        // A monitor finds out anew how its paths are.
        for (vm, beats) in self.truth.clone() {
            self.push(edge(vm, beats));
        }
    }

    fn push(&mut self, write: HostMonitorWrite) {
        self.number += 1;
        let waiting = Waiting { number: self.number, at: self.at(), write };
        self.spool.push(waiting);
    }

    pub(super) fn edge(&mut self, number: u8, beats: bool) {
        self.truth.insert(vm(number), beats);
        self.push(edge(vm(number), beats));
    }

    /// Each time another bit, so that every ring can be told from every other; none is left after 32.
    pub(super) fn ring(&mut self, number: u8) {
        let vm = vm(number);
        let bit = *self.rung.entry(vm).and_modify(|bit| *bit += 1).or_default();
        if bit < 32 {
            self.push(HostMonitorWrite::Doorbell { vm, bits: 1 << bit });
            self.unsafe_rings.insert(self.number, (vm, bit));
        }
    }

    pub(super) fn remark(&mut self) {
        self.remarks += 1;
        let text = self.remarks.to_string();
        self.push(HostMonitorWrite::NodeEvent { kind: "GUEST_DYING".to_owned(), text });
        self.unsafe_remarks.insert(self.number, self.remarks);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now += 10;
            self.turn();
        }
    }

    pub(super) fn die(&mut self, death: Death) {
        if let Death::Now = death { self.start() } else { self.death = Some(death) }
    }

    pub(super) fn heal(&mut self) {
        (self.store_up, self.lose_answer, self.death) = (true, false, None);
        self.pass(10_000);
        assert_eq!(self.spool.view().waiting, 0, "{:?}", self.spool);
        assert_eq!(self.disk.len().max(record::HEADER_BYTES), record::HEADER_BYTES);
    }

    fn turn(&mut self) {
        self.answer();
        self.spool.handle_timeout(self.at());
        while let Some(action) = self.spool.poll_action(self.at()) {
            match action {
                Action::Append(bytes) => self.disk_write(self.disk.len(), bytes),
                Action::Replace(bytes) => self.disk_write(0, bytes),
                job => self.job = Some((self.now + if self.store_up { 0 } else { 6000 }, job)),
            }
        }
        self.answer();
        while let Some(told) = self.spool.poll_told() {
            if let Told::Safe { up_to } = told {
                let later = self.unsafe_remarks.split_off(&(up_to + 1));
                self.safe_remarks.extend(std::mem::replace(&mut self.unsafe_remarks, later).into_values());
                let later = self.unsafe_rings.split_off(&(up_to + 1));
                self.safe_rings.extend(std::mem::replace(&mut self.unsafe_rings, later).into_values());
            }
        }
    }

    /// Of a write at the beginning either all is there or nothing: it is another file until then.
    fn disk_write(&mut self, from: usize, bytes: Vec<u8>) {
        if let Some(Death::InWrite { bytes: done }) = self.death {
            if from > 0 {
                self.disk.extend(&bytes[..done.min(bytes.len())]);
            } else if done > bytes.len() {
                self.disk = bytes;
            }
            return self.start();
        }
        self.disk.truncate(from);
        self.disk.extend(bytes);
        self.spool.on_kept(self.at(), Ok(()));
    }

    /// What the store says now, if it says anything.
    fn answer(&mut self) {
        let Some((due, job)) = self.job.take_if(|(due, _)| *due <= self.now) else { return };
        if !self.store_up || due < self.now {
            return self.spool.on_failed(self.at(), "it is gone".to_owned());
        }
        let Action::Apply(starts) = job else { return self.spool.on_ready(self.at()) };
        self.store.replay(&starts);
        if matches!(self.death, Some(Death::InTransaction)) {
            self.start();
        } else if std::mem::take(&mut self.lose_answer) {
            self.spool.on_failed(self.at(), "its answer was lost".to_owned());
        } else {
            self.spool.on_applied(self.at(), Vec::new());
        }
    }

    pub(super) fn check(&self) {
        let there: BTreeSet<u32> = self.store.remarks.iter().copied().collect();
        assert!(self.store.remarks.is_sorted_by(|one, other| one < other), "order: {:?}", self.store.remarks);
        assert!(self.safe_remarks.is_subset(&there), "lost: {:?}", self.safe_remarks.difference(&there));
        for ring in &self.safe_rings {
            assert!(self.store.rings.contains_key(ring), "lost: {ring:?}");
        }
        for (ring, transactions) in &self.store.rings {
            assert_eq!(transactions.len(), 1, "{ring:?} rang again");
        }
        assert_eq!(self.store.edges, self.truth);
        let alternate =
            self.store.modes.chunks(2).all(|pair| pair == [MonitorMode::Local, MonitorMode::Global]);
        assert!(alternate, "{:?}", self.store.modes);
    }
}

fn edge(vm: VmUuid, beats: bool) -> HostMonitorWrite {
    if beats {
        HostMonitorWrite::PathDetected { vm }
    } else {
        HostMonitorWrite::PathMissing { vm, age: Duration::from_secs(19), common: false }
    }
}
