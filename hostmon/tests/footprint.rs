//! What 10,000 guests cost: allocations of their heartbeats.

#[path = "../benches/fleet.rs"]
mod fleet;

use std::time::Duration;

use allocation_counter::measure;
use fleet::Fleet;

const PATHS: usize = 10_000;
#[test]
fn steady_heartbeats_allocate_nothing() {
    let mut fleet = Fleet::beating(PATHS, 1000);
    fleet.run(Duration::from_secs(40));
    let beats = fleet.heartbeats();
    let counted = measure(|| {
        for _ in 0..5 {
            fleet.interval(&beats, 64);
        }
    });
    assert_eq!(counted.count_total, 0, "{} allocations for {} heartbeats", counted.count_total, 5 * PATHS);
}
