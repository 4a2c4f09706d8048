//! The exchange of one VM, interrupted wherever it can be.

use vmpulse_store::*;

use crate::bench::*;

/// The same on every run.
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// An agent with its host monitors: what they know of the exchange, which a restart takes away.
struct Guest {
    incarnation: u64,
    sequence: i64,
    /// Grows with each change in the guest; a report says the one at the moment it is built.
    state: u64,
    /// State of each report that was built and not lost, by its exchange.
    told: Vec<(MessageTag, u32, ReportContent)>,
}

impl Guest {
    fn report(&mut self, tag: MessageTag, from: u32) {
        self.sequence += 1;
        let application = ApplicationReport {
            name: format!("state{:06}", self.state),
            uuid: "1234567890123456789".into(),
            status: "NORMAL".into(),
            colour: Colour::Green,
            critical: false,
            monitored: true,
            max_restart: 3,
            restarted: 0,
            version: String::new(),
            last_result: "NORMAL".into(),
            last_change_age_s: 0,
        };
        let incarnation = format!("{:016x}", self.incarnation);
        let content = ReportContent { incarnation, sequence: self.sequence, applications: vec![application] };
        self.told.push((tag, from, content));
    }
}

/// Whatever is lost, doubled or late: no more than three rows, a report is applied once, an older one never replaces a
/// newer one, and in quiet times the exchange completes with the guest's last state.
pub(crate) fn interrupted_anywhere_it_completes(bench: &mut Bench) {
    bench.started();
    let mut chance = Chance(17);
    let mut guest = Guest { incarnation: 1, sequence: 0, state: 1, told: vec![] };
    let mut applied: Vec<String> = Vec::new();
    for round in 0..300 {
        step(bench, &mut guest, &mut applied, chance.below(12), &mut chance);
        if round % 60 == 59 {
            completes(bench, &mut guest, &mut applied);
        }
        let open = bench.store.messages(&MessagesWanted { vms: vec![], after: None, limit: 100 }).unwrap();
        assert!(open.messages.len() <= 3, "{open:?}");
        let requests = bench.requests(11).len() + bench.requests(12).len();
        assert!(requests <= 6, "{requests} requests");
    }
    assert!(applied.len() > 8, "{} were applied", applied.len());
    assert!(applied.is_sorted(), "an older one replaced a newer one: {applied:?}");
}

fn step(bench: &mut Bench, guest: &mut Guest, applied: &mut Vec<String>, what: u64, chance: &mut Chance) {
    let from = 11 + u32::try_from(chance.below(2)).unwrap();
    match what {
        // The guest changes, and rings.
        0 => {
            guest.state += 1;
            bench.write(from, &[doorbell(1, 0x20)]);
        }
        // A controller asks, sees the doorbell or not, and may be gone before it knows the tag.
        1 | 2 => {
            let attention = bench.store.needs_attention().unwrap().tag;
            bench.store.message_put(vm(1), attention).unwrap();
        }
        3 => drop(bench.store.messages_sync(None).unwrap()),
        // A host monitor asks the guest, and forgets or not that it did.
        4..=6 => ask_guest(bench, guest, from, chance.below(3) > 0),
        // Its answer comes, perhaps twice, perhaps by a store that was away, or never.
        7 | 8 => deliver(bench, guest, chance),
        9 => take(bench, guest, applied, chance.below(2)),
        // The agent is started anew: it shakes hands on both paths. What was under way of the old one may still come.
        10 => {
            guest.incarnation += 1;
            guest.sequence = 0;
            bench.write(11, &[opened(1), detected(1)]);
            bench.write(12, &[opened(1), detected(1)]);
        }
        // A path goes and comes.
        _ => {
            bench.write(from, &[missing(1, 19)]);
            bench.write(from, &[detected(1)]);
        }
    }
}

fn ask_guest(bench: &mut Bench, guest: &mut Guest, from: u32, done: bool) {
    for request in bench.requests(from) {
        match request.what {
            RequestKind::AskReport { message, .. } => guest.report(message, from),
            RequestKind::ReportTaken { message, .. } => {
                bench.write(from, &[HostMonitorWrite::ReportCleared { vm: vm(1), message }]);
            }
            RequestKind::Reconsider(_) => {}
        }
        if done {
            bench.write(from, &[HostMonitorWrite::RequestDone { tag: request.tag }]);
        }
    }
}

fn deliver(bench: &mut Bench, guest: &mut Guest, chance: &mut Chance) {
    let Some(last) = guest.told.len().checked_sub(1) else { return };
    let which = usize::try_from(chance.below(3)).unwrap().min(last);
    let (tag, from, content) = guest.told[last - which].clone();
    let payload = as_sent(&content);
    let report = HostMonitorWrite::Report { vm: vm(1), message: tag, payload };
    bench.write(from, std::slice::from_ref(&report));
    if chance.below(3) == 0 {
        bench.write(from, &[report]);
    }
    if chance.below(4) > 0 {
        guest.told.remove(last - which);
    }
}

/// What was built, to be found again when it is taken.
fn as_sent(content: &ReportContent) -> Vec<u8> {
    format!("{} {} {}", content.incarnation, content.sequence, content.applications[0].name).into_bytes()
}

fn content_of(payload: &[u8], guest: &mut Guest) -> ReportContent {
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let words: Vec<_> = text.split(' ').collect();
    guest.report(0, 0);
    guest.sequence -= 1;
    let (_, _, mut content) = guest.told.pop().unwrap();
    content.incarnation = words[0].to_owned();
    content.sequence = words[1].parse().unwrap();
    content.applications[0].name = words[2].to_owned();
    content
}

/// A controller takes what arrived; one that is killed just then leaves it for the next.
fn take(bench: &mut Bench, guest: &mut Guest, applied: &mut Vec<String>, times: u64) {
    for arrived in bench.store.reports_arrived().unwrap() {
        let content = content_of(&arrived.payload, guest);
        let is_new = bench.store.report_apply(&arrived, Some(&content)).unwrap();
        if is_new {
            applied.push(content.applications[0].name.clone());
        }
        for _ in 0..times {
            assert!(!bench.store.report_apply(&arrived, Some(&content)).unwrap(), "twice");
        }
        let known = bench.store.applications().unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(Some(&known[0].report.name), applied.last());
    }
}

/// Nothing is lost for a while: the next ring brings the guest's state.
fn completes(bench: &mut Bench, guest: &mut Guest, applied: &mut Vec<String>) {
    guest.told.clear();
    bench.write(11, &[doorbell(1, 0x20)]);
    let attention = bench.store.needs_attention().unwrap().tag;
    let put = bench.store.message_put(vm(1), attention).unwrap().unwrap();
    for from in [11, 12] {
        ask_guest(bench, guest, from, true);
    }
    let (tag, from, content) = guest.told.pop().unwrap();
    assert_eq!(tag, put.tag);
    let report = HostMonitorWrite::Report { vm: vm(1), message: tag, payload: as_sent(&content) };
    bench.write(from, &[report]);
    take(bench, guest, applied, 1);
    assert_eq!(applied.last(), Some(&format!("state{:06}", guest.state)));
    ask_guest(bench, guest, from, true);
    let open = bench.store.messages(&MessagesWanted { vms: vec![], after: None, limit: 9 }).unwrap();
    assert_eq!(open.messages, [], "no row is left");
}
