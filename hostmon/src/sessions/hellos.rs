//! How often strangers are answered with a Hello.

use std::collections::HashSet;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

/// Unicast Hellos in a window, over all addresses: what a flood of forged ones can make us send.
const WINDOW_MAXIMUM: usize = 1000;
const WINDOW: Duration = Duration::from_secs(1);

/// At most one unicast Hello a second per address, and 1,000 in all.
#[derive(Debug, Default)]
pub(super) struct HelloLimit {
    since: Option<Instant>,
    said: HashSet<MacAddr>,
}

impl HelloLimit {
    pub(super) fn may_say(&mut self, now: Instant, to: MacAddr) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            self.since = Some(now);
            self.said.clear();
        }
        self.said.len() < WINDOW_MAXIMUM && self.said.insert(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_each_and_a_thousand_in_all() {
        let mut limit = HelloLimit::default();
        let mac = |number: u16| MacAddr::from([2, 0, 0, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
        let mut at = |milliseconds, number| limit.may_say(Instant::from_millis(milliseconds), mac(number));
        assert!(at(0, 1));
        assert!(!at(999, 1));
        assert!(at(1000, 1));
        let said = (0..5000).filter(|number| at(1001, *number)).count();
        assert_eq!(said, 999);
    }
}
