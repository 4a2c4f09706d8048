//! Writes on their way to the store.
//!
//! Pure. Order is kept. While the store cannot be written they wait here; what has been overtaken by a newer
//! write of the same kind is dropped, so that a day without a store holds one edge per VM and not a day's edges.
//! They wait in memory: a monitor that is killed while the store cannot be written loses edges that nobody was
//! told of yet (never a message that was acknowledged).

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::HostMonitorWrite;

/// Writes in one transaction: a thousand paths that go missing together are one.
pub const BATCH_MAXIMUM: usize = 1000;
/// Node events, discoveries and conflicts that wait; more say nothing new, and the oldest are dropped.
pub const REMARKS_MAXIMUM: usize = 1000;

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

/// See the module.
#[derive(Debug, Default)]
pub struct Pending {
    writes: VecDeque<Waiting>,
    /// How many of the oldest are with the store.
    in_flight: usize,
    dropped: u64,
}

impl Pending {
    /// Appends a write.
    pub fn push(&mut self, mut waiting: Waiting) {
        if self.writes.len() > self.in_flight {
            self.make_room(&waiting.write);
            self.merge_doorbells(&mut waiting.write);
        }
        self.writes.push_back(waiting);
    }

    /// The oldest writes with their numbers, their ages as of `now`, and the number up to which they reach. They are with
    /// the store until [`committed`](Self::committed) or [`failed`](Self::failed) is said.
    pub fn batch(&mut self, now: Instant) -> Option<(u64, Vec<(u64, HostMonitorWrite)>)> {
        self.in_flight = self.writes.len().min(BATCH_MAXIMUM);
        let batch = self.writes.iter().take(self.in_flight);
        let up_to = batch.clone().next_back()?.number;
        Some((
            up_to,
            batch.map(|waiting| (waiting.number, aged(&waiting.write, now.since(waiting.at)))).collect(),
        ))
    }

    /// The batch is committed.
    pub fn committed(&mut self) {
        self.writes.drain(..self.in_flight.min(self.writes.len()));
        self.in_flight = 0;
    }

    /// The batch is not; it stays the oldest.
    pub fn failed(&mut self) {
        self.in_flight = 0;
    }

    /// How many writes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Remarks dropped because too many waited.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Drops what `write` overtakes.
    fn make_room(&mut self, write: &HostMonitorWrite) {
        let from = self.in_flight;
        if *write == HostMonitorWrite::Heartbeat {
            self.remove(from, |other| *other == HostMonitorWrite::Heartbeat);
        } else if let Some(vm) = edge_of(write) {
            self.remove(from, |other| edge_of(other) == Some(vm));
        } else if let HostMonitorWrite::PathOpened { vm, .. } = write {
            self.remove(
                from,
                |other| matches!(other, HostMonitorWrite::PathOpened { vm: opened, .. } if opened == vm),
            );
        } else if is_remark(write) {
            let remarks = self.writes.iter().skip(from).filter(|waiting| is_remark(&waiting.write)).count();
            if remarks >= REMARKS_MAXIMUM {
                self.dropped = self.dropped.saturating_add(1);
                let mut first = true;
                self.remove(from, |other| is_remark(other) && std::mem::take(&mut first));
            }
        }
    }

    /// A doorbell that waits is rung by the newer one: its bits are added.
    fn merge_doorbells(&mut self, write: &mut HostMonitorWrite) {
        let HostMonitorWrite::Doorbell { vm, bits } = write else { return };
        self.remove(self.in_flight, |other| {
            let HostMonitorWrite::Doorbell { vm: rung, bits: older } = other else { return false };
            let same = rung == vm;
            if same {
                *bits |= older;
            }
            same
        });
    }

    fn remove(&mut self, from: usize, mut unwanted: impl FnMut(&HostMonitorWrite) -> bool) {
        let mut at = 0;
        self.writes.retain(|waiting| {
            let in_flight = at < from;
            at = at.saturating_add(1);
            in_flight || !unwanted(&waiting.write)
        });
    }
}

/// The VM whose path a newer edge makes an older one pointless. A path's opening is no edge: it also ends a suspension.
fn edge_of(write: &HostMonitorWrite) -> Option<VmUuid> {
    match write {
        HostMonitorWrite::PathDetected { vm }
        | HostMonitorWrite::PathMissing { vm, .. }
        | HostMonitorWrite::PathQuiet { vm } => Some(*vm),
        HostMonitorWrite::Started(_)
        | HostMonitorWrite::Configured { .. }
        | HostMonitorWrite::Heartbeat
        | HostMonitorWrite::NodeChanged { .. }
        | HostMonitorWrite::NodeEvent { .. }
        | HostMonitorWrite::TrunkHeard { .. }
        | HostMonitorWrite::PathOpened { .. }
        | HostMonitorWrite::PathGuardian { .. }
        | HostMonitorWrite::PathForgotten { .. }
        | HostMonitorWrite::Suspended { .. }
        | HostMonitorWrite::Resumed { .. }
        | HostMonitorWrite::QuietAsked { .. }
        | HostMonitorWrite::QuietEnded { .. }
        | HostMonitorWrite::QuietOver { .. }
        | HostMonitorWrite::Doorbell { .. }
        | HostMonitorWrite::Report { .. }
        | HostMonitorWrite::ReportCleared { .. }
        | HostMonitorWrite::RequestDone { .. }
        | HostMonitorWrite::Discovered { .. }
        | HostMonitorWrite::Conflict { .. } => None,
    }
}

const fn is_remark(write: &HostMonitorWrite) -> bool {
    matches!(
        write,
        HostMonitorWrite::NodeEvent { .. }
            | HostMonitorWrite::Discovered { .. }
            | HostMonitorWrite::Conflict { .. }
    )
}

fn aged(write: &HostMonitorWrite, waited: Duration) -> HostMonitorWrite {
    let mut write = write.clone();
    if let HostMonitorWrite::PathMissing { age, .. }
    | HostMonitorWrite::QuietAsked { age, .. }
    | HostMonitorWrite::QuietEnded { age, .. }
    | HostMonitorWrite::QuietOver { age, .. } = &mut write
    {
        *age = age.saturating_add(waited);
    }
    write
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(number: u8) -> VmUuid {
        VmUuid::from_bytes([number; 16])
    }

    fn push(pending: &mut Pending, number: u64, write: HostMonitorWrite) {
        pending.push(Waiting { number, at: Instant::from_millis(number * 1000), write });
    }

    fn missing(number: u8, seconds: u64) -> HostMonitorWrite {
        HostMonitorWrite::PathMissing { vm: vm(number), age: Duration::from_secs(seconds), common: false }
    }

    fn plain(batch: Vec<(u64, HostMonitorWrite)>) -> Vec<HostMonitorWrite> {
        batch.into_iter().map(|(_, write)| write).collect()
    }

    #[test]
    fn ages_grow_while_a_write_waits() {
        let mut pending = Pending::default();
        push(&mut pending, 1, missing(1, 19));
        let (up_to, batch) = pending.batch(Instant::from_millis(6000)).unwrap();
        assert_eq!((up_to, batch), (1, vec![(1, missing(1, 24))]));
        pending.failed();
        let (_, batch) = pending.batch(Instant::from_millis(11_000)).unwrap();
        assert_eq!(batch, [(1, missing(1, 29))], "given again under its number");
        pending.committed();
        assert!(pending.is_empty());
    }

    #[test]
    fn what_a_guest_said_of_its_silence_ages_too_and_is_never_dropped() {
        let (vm, reason) = (vm(1), "backup".to_owned());
        let said = |age| {
            let age = Duration::from_secs(age);
            let asked = Duration::from_secs(60);
            let ended = HostMonitorWrite::QuietEnded { vm, age };
            let over = HostMonitorWrite::QuietOver { vm, sequence: 7, age };
            [HostMonitorWrite::QuietAsked { vm, asked, age, reason: reason.clone() }, ended, over]
        };
        let mut pending = Pending::default();
        said(0).into_iter().chain(said(0)).for_each(|write| push(&mut pending, 1, write));
        let (_, batch) = pending.batch(Instant::from_millis(3000)).unwrap();
        assert_eq!(plain(batch), [said(2), said(2)].concat());
    }

    #[test]
    fn newer_edges_overtake_older_ones_but_not_those_with_the_store() {
        let mut pending = Pending::default();
        push(&mut pending, 1, missing(1, 19));
        pending.batch(Instant::ZERO);
        for number in 2..100 {
            push(&mut pending, number, missing(1, 19));
            push(&mut pending, number, HostMonitorWrite::Heartbeat);
            push(&mut pending, number, HostMonitorWrite::PathDetected { vm: vm(2) });
        }
        assert_eq!(pending.len(), 4);
        pending.committed();
        let (up_to, batch) = pending.batch(Instant::ZERO).unwrap();
        let expected =
            [missing(1, 19), HostMonitorWrite::Heartbeat, HostMonitorWrite::PathDetected { vm: vm(2) }];
        assert_eq!((up_to, plain(batch)), (99, expected.to_vec()));
    }

    #[test]
    fn doorbells_and_openings_of_a_vm_become_one_each() {
        let mut pending = Pending::default();
        let opened = |version: &str| HostMonitorWrite::PathOpened {
            vm: vm(1),
            mac: String::new(),
            version: version.to_owned(),
            authenticated: false,
        };
        for (number, bits) in [2, 8, 32].into_iter().enumerate() {
            push(&mut pending, number as u64, HostMonitorWrite::Doorbell { vm: vm(1), bits });
            push(&mut pending, number as u64, opened(&number.to_string()));
        }
        let (_, batch) = pending.batch(Instant::ZERO).unwrap();
        assert_eq!(plain(batch), [HostMonitorWrite::Doorbell { vm: vm(1), bits: 42 }, opened("2")]);
    }

    #[test]
    fn what_was_said_by_guests_is_never_dropped_and_remarks_are_bounded() {
        let mut pending = Pending::default();
        for number in 0..3000 {
            push(&mut pending, number, HostMonitorWrite::Resumed { vm: vm(1) });
            let remark = HostMonitorWrite::NodeEvent { kind: "X".to_owned(), text: number.to_string() };
            push(&mut pending, number, remark);
        }
        assert_eq!((pending.len(), pending.dropped()), (4000, 2000));
        let mut taken = 0;
        while let Some((_, batch)) = pending.batch(Instant::ZERO) {
            taken += batch.len();
            pending.committed();
        }
        assert_eq!(taken, 4000);
    }
}
