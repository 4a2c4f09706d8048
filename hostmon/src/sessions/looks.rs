//! Keeping the schedule as small as the sessions are.

use super::Sessions;
use vmpulse_protocol::schedule::Schedule;

/// Looks that are scheduled for each session at most: one that counts, and a few that earlier ones have replaced.
const LOOKS_PER_SESSION: usize = 4;
/// With few sessions it is not worth while to count so closely.
const LOOKS_MINIMUM: usize = 1024;

impl Sessions {
    /// A look stays scheduled until its time, also when its session gave way to another: a flood of forged addresses
    /// would make the schedule grow, however few of them have a session. Beyond a bound it is made anew from the sessions.
    pub(super) fn forget_looks(&mut self) {
        let bound = self.sessions.len().saturating_mul(LOOKS_PER_SESSION).max(LOOKS_MINIMUM);
        if self.schedule.len() <= bound {
            return;
        }
        self.schedule = Schedule::new();
        for (mac, session) in &self.sessions {
            if let Some(at) = session.looked_at {
                self.schedule.push(at, mac.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vmpulse_protocol::MacAddr;
    use vmpulse_protocol::auth::Mode;
    use vmpulse_protocol::id::{HostMonitorId, VmUuid};
    use vmpulse_protocol::message::VmmSyn;
    use vmpulse_protocol::path::HmIdentity;
    use vmpulse_protocol::time::Instant;
    use vmpulse_protocol::wire::{Flags, Packet, Version};

    use super::*;
    use crate::sessions::{STRANGERS_MAXIMUM, SessionsConfig};

    fn syn(number: u16) -> Vec<u8> {
        let mut uuid = [9; 16];
        uuid[..2].copy_from_slice(&number.to_be_bytes());
        let (lower, upper) = (Version::V2_0, Version::V2_1);
        let uuid = VmUuid::from_bytes(uuid).to_string();
        let syn = VmmSyn { uuid, os_type: String::new(), lower, upper, mark: None, offer: None };
        let flags = Flags::SYN | Flags::ACKR | Flags::BEG;
        Packet::plain(Version::V2_0, 1, flags, &syn.encode()).encode()
    }

    #[test]
    fn a_flood_of_addresses_leaves_no_looks_behind_and_the_last_are_looked_at() {
        let uuid = HostMonitorId::from_bytes([7; 16]);
        let mut sessions = Sessions::new(SessionsConfig {
            identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
            mac: MacAddr(2, 0, 0, 0, 0, 1),
            hello: String::new(),
            seed: 1,
            nonce_seed: [1; 32],
            authentication: Mode::Off,
        });
        let now = Instant::from_millis(1000);
        for number in 0..u16::MAX {
            let [high, low] = number.to_be_bytes();
            sessions.handle_frame(now, MacAddr(2, 1, 0, 0, high, low), None, &syn(number));
        }
        let sizes = sessions.sizes();
        assert_eq!(sizes.sessions, STRANGERS_MAXIMUM);
        assert!(sizes.looks <= LOOKS_PER_SESSION * STRANGERS_MAXIMUM, "{sizes:?}");
        // Every handshake that is left repeats its SYN when that is due.
        while sessions.poll_transmit().is_some() {}
        let due = sessions.poll_timeout().unwrap();
        sessions.handle_timeout(due);
        let repeated = std::iter::from_fn(|| sessions.poll_transmit()).count();
        assert_eq!(repeated, STRANGERS_MAXIMUM);
    }
}
