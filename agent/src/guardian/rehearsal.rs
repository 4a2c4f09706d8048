//! Everything that a guardian does when it is needed, done once before: what it uses of its program and of its memory is then in
//! memory, and stays there, since memory is locked from its first use on. A disk that is gone cannot hold it up.

use std::time::Duration;

use vmpulse_link::{Destination, MacAddr, Transmitter};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use super::driver::beat;
use super::page::{Header, Page, Session};
use super::watch::{Watch, WatchOutput};

/// No adapter has this index: what is sent there goes nowhere.
const NO_ADAPTER: u32 = 0;
const INTERVAL: Duration = Duration::from_millis(100);

/// A daemon of its own that beats, hangs and comes back. Returns how many heartbeats it would have sent.
pub(super) fn rehearse(transmitter: &Transmitter) -> usize {
    let page = Page::in_memory();
    let mut now = Instant::from_millis(1000);
    let mut watch = Watch::new(now);
    let mut beats = 0;
    for (slot, key) in [None, Some((1, [1; 32]))].into_iter().enumerate() {
        page.publish(slot, Some(&session(key)));
        page.set_interval(slot, Some(INTERVAL));
    }
    page.set(Header::Running, 1);
    page.set(Header::Life, 1);
    for turn in 0..60_u64 {
        now = now + INTERVAL;
        if !(20..50).contains(&turn) {
            page.set(Header::Stamp, now.as_nanos());
            page.on_daemon_beat(0, now);
        }
        watch.handle_seen(now, &page.seen());
        while let Some(output) = watch.poll_output() {
            if let WatchOutput::Beat { slot, generation, as_guardian } = output {
                // The kernel refuses it: there is no such adapter.
                let _ = beat(&page, transmitter, now, (slot, generation), as_guardian);
                beats += 1;
            }
        }
    }
    beats
}

fn session(key: Option<(u8, [u8; 32])>) -> Session {
    let mac = MacAddr(2, 0, 0, 0, 0, 1);
    let to = Destination {
        adapter: NO_ADAPTER,
        source: mac,
        destination: mac,
        vlan: Some(1),
        ethertype: vmpulse_link::DEFAULT_ETHERTYPE,
    };
    Session { life: 1, to, version: Version::V2_1, key, first: (0, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_and_a_heartbeat_allocate_nothing() {
        match Transmitter::open() {
            Ok(transmitter) => {
                let mut beats = 0;
                let used = allocation_counter::measure(|| beats = rehearse(&transmitter));
                assert!(beats > 60, "{beats}");
                // The page and the queue of a decision; sixty turns and their heartbeats allocate nothing.
                assert!(used.count_total <= 4, "{used:?}");
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED: raw sockets are not allowed here");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
