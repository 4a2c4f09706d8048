//! How often strangers are answered with a Hello.

use std::collections::HashSet;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

/// Unicast Hellos in a window to addresses never heard before: what a flood of forged ones can make us send.
const STRANGERS_MAXIMUM: usize = 1000;
/// And to addresses of registered VMs, which must not be shut out by strangers. More VMs than this shake hands
/// anew by the broadcast Hello.
const KNOWN_MAXIMUM: usize = 4096;
const WINDOW: Duration = Duration::from_secs(1);

/// At most one unicast Hello a second per address, and a share of its own for known addresses and for strangers. [H-9]
#[derive(Debug, Default)]
pub(super) struct HelloLimit {
    since: Option<Instant>,
    known: HashSet<MacAddr>,
    strangers: HashSet<MacAddr>,
}

impl HelloLimit {
    pub(super) fn may_say(&mut self, now: Instant, to: MacAddr, known: bool) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            self.since = Some(now);
            self.known.clear();
            self.strangers.clear();
        }
        let (said, maximum) =
            if known { (&mut self.known, KNOWN_MAXIMUM) } else { (&mut self.strangers, STRANGERS_MAXIMUM) };
        said.len() < maximum && said.insert(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u16) -> MacAddr {
        let [high, low] = number.to_be_bytes();
        MacAddr::from([2, 0, 0, 0, high, low])
    }

    /// [H-9]
    #[test]
    fn once_a_second_each_and_a_thousand_strangers_in_all() {
        let mut limit = HelloLimit::default();
        let mut at =
            |milliseconds, number| limit.may_say(Instant::from_millis(milliseconds), mac(number), false);
        assert!(at(0, 1));
        assert!(!at(999, 1));
        assert!(at(1000, 1));
        let said = (0..5000).filter(|number| at(1001, *number)).count();
        assert_eq!(said, 999);
    }

    /// [H-9]
    #[test]
    fn strangers_do_not_shut_out_those_known() {
        let mut limit = HelloLimit::default();
        let now = Instant::from_millis(5);
        for number in 0..5000 {
            limit.may_say(now, mac(number), false);
        }
        assert!(limit.may_say(now, mac(6000), true));
        assert!(!limit.may_say(now, mac(6000), true));
    }
}
