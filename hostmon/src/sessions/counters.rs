//! What the sessions count. [K-1]

use std::collections::BTreeMap;

use vmpulse_protocol::path::Discard;

#[derive(Debug, Default)]
pub(super) struct Counters {
    discards: BTreeMap<Discard, u64>,
    pub(super) heartbeats: u64,
    pub(super) hellos: u64,
    pub(super) hellos_withheld: u64,
    pub(super) handshakes_failed: u64,
    pub(super) handshakes_refused: u64,
}

impl Counters {
    pub(super) fn discard(&mut self, reason: Discard) {
        let count = self.discards.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn named(&self) -> Vec<(String, u64)> {
        let discards = self.discards.iter().map(|(reason, count)| (format!("discarded_{reason}"), *count));
        let others = [
            ("heartbeats", self.heartbeats),
            ("hellos_unicast", self.hellos),
            ("hellos_withheld", self.hellos_withheld),
            ("handshakes_failed", self.handshakes_failed),
            ("handshakes_refused", self.handshakes_refused),
        ];
        discards.chain(others.map(|(name, count)| (name.to_owned(), count))).collect()
    }
}
