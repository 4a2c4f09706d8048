//! What was sent, what its senders were told, and what arrived.

use vmpulse_protocol::message::{Message, Shutdown};
use vmpulse_protocol::path::Token;

use super::{Conduct, End};

/// What every byte of a message is derived from, so that a changed one is noticed.
fn content(token: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| token.wrapping_mul(31).wrapping_add(at) as u8).collect()
}

#[derive(Debug)]
struct Sent {
    from: End,
    length: usize,
    urgent: bool,
    told: bool,
    accepted: bool,
    /// Its sender was started anew and will not be told.
    orphaned: bool,
}

#[derive(Debug)]
pub(super) struct Ledger {
    conduct: Conduct,
    sent: Vec<Sent>,
    /// Of each end the latest message that it got, and whether it refused that one.
    latest: [Option<(usize, bool)>; 2],
    shutdowns_taken: usize,
    /// Channels that were replaced: a SHDN may come once more on each, which M-3 makes harmless. [N-7]
    replaced: usize,
    shutdowns_confirmed: usize,
    heartbeats_sent: usize,
    heartbeats_seen: usize,
}

impl Ledger {
    pub(super) const fn new(conduct: Conduct) -> Self {
        Self {
            conduct,
            sent: Vec::new(),
            latest: [None; 2],
            shutdowns_taken: 0,
            replaced: 0,
            shutdowns_confirmed: 0,
            heartbeats_sent: 0,
            heartbeats_seen: 0,
        }
    }

    /// A new message's token and bytes.
    pub(super) fn write(&mut self, from: End, length: usize, urgent: bool) -> (Token, Vec<u8>) {
        let token = self.sent.len();
        self.sent.push(Sent { from, length, urgent, told: false, accepted: false, orphaned: false });
        (Token(token as u64), content(token, length))
    }

    /// What a message says on the wire.
    fn encoded(&self, token: usize) -> Vec<u8> {
        let sent = &self.sent[token];
        if sent.urgent {
            return Message::Shutdown(Shutdown::Os).encode();
        }
        Message::Report { tag: token as i64, xml: &content(token, sent.length) }.encode()
    }

    /// The bytes of a message that was sent, if there is one.
    pub(super) fn any(&self, which: u8) -> Option<Vec<u8>> {
        (!self.sent.is_empty()).then(|| self.encoded(usize::from(which) % self.sent.len()))
    }

    pub(super) fn on_delivered(&mut self, at: End, token: Token) {
        let reliable = self.conduct.is_reliable();
        let sent = self.tell(at, token);
        assert!(!reliable || sent.urgent || sent.accepted, "{token:?} is confirmed and was never taken");
        if sent.urgent {
            self.shutdowns_confirmed += 1;
            assert!(!reliable || self.shutdowns_confirmed <= self.shutdowns_taken, "confirmed, not taken");
        }
    }

    pub(super) fn on_handed_back(&mut self, at: End, token: Token, payload: &[u8]) {
        assert_eq!(payload, self.encoded(token.0 as usize), "handed back changed");
        self.tell(at, token);
    }

    fn tell(&mut self, at: End, token: Token) -> &mut Sent {
        let sent = &mut self.sent[token.0 as usize];
        assert_eq!(sent.from, at, "told of somebody else's message");
        assert!(!sent.told, "{token:?} is told twice");
        assert!(!sent.orphaned, "{token:?} is told to another life");
        sent.told = true;
        sent
    }

    pub(super) fn on_replaced(&mut self) {
        self.replaced += 1;
    }

    /// A message came; which it is, if that can be said.
    pub(super) fn on_received(&mut self, at: End, payload: &[u8]) -> Option<usize> {
        if !self.conduct.is_reliable() {
            return None;
        }
        match Message::parse(payload) {
            Some(Message::Shutdown(Shutdown::Os)) => {
                assert_eq!(at, End::Hm);
                self.shutdowns_taken += 1;
                let sent = self.sent.iter().filter(|sent| sent.urgent).count();
                assert!(self.shutdowns_taken <= sent * (1 + self.replaced), "a SHDN came more often than it was sent");
                None
            }
            Some(Message::Report { tag, .. }) => {
                let token = usize::try_from(tag).expect("a tag that was sent");
                assert!(token < self.sent.len(), "nobody sent {token}");
                assert_eq!(self.sent[token].from, at.other(), "its own message came back");
                assert_eq!(payload, self.encoded(token), "{token} was changed on its way");
                let latest = self.latest[at as usize];
                let again = latest == Some((token, true));
                assert!(again || latest.is_none_or(|(latest, _)| latest < token), "{token} after {latest:?}");
                self.latest[at as usize] = Some((token, false));
                Some(token)
            }
            other => panic!("nobody sent {other:?}"),
        }
    }

    pub(super) fn on_accepted(&mut self, token: Option<usize>) {
        if let Some(token) = token {
            self.sent[token].accepted = true;
        }
    }

    /// It may come again.
    pub(super) fn on_refused(&mut self, at: End, token: Option<usize>) {
        match (token, self.latest[at as usize]) {
            (Some(token), Some((latest, _))) if token == latest => {
                self.latest[at as usize] = Some((token, true));
            }
            (Some(_), _) => {}
            (None, _) => self.shutdowns_taken = self.shutdowns_taken.saturating_sub(1),
        }
    }

    pub(super) fn on_beat_sent(&mut self) {
        self.heartbeats_sent += 1;
    }

    /// Without authentication a repeated heartbeat counts again.
    pub(super) fn on_beat_seen(&mut self) {
        self.heartbeats_seen += 1;
        let secured = self.conduct == Conduct::Secured;
        assert!(!secured || self.heartbeats_seen <= self.heartbeats_sent, "a heartbeat was replayed");
    }

    /// An end is started anew: its messages are nobody's.
    pub(super) fn on_restarted(&mut self, end: End) {
        for sent in self.sent.iter_mut().filter(|sent| sent.from == end && !sent.told) {
            sent.orphaned = true;
        }
    }

    /// Packets of this size that the messages of an end have taken, at least.
    pub(super) fn packets(&self, from: End, capacity: usize) -> usize {
        let sent = self.sent.iter().filter(|sent| sent.from == from);
        sent.map(|sent| sent.length.div_ceil(capacity.max(1)) + 1).sum()
    }

    pub(super) fn was_delivered(&self, token: Token) -> bool {
        let sent = &self.sent[token.0 as usize];
        sent.told && sent.accepted
    }

    pub(super) fn everybody_was_told(&self) {
        for (token, sent) in self.sent.iter().enumerate() {
            assert!(sent.told || sent.orphaned, "nobody was told of {token}: {sent:?}");
        }
    }
}
