//! What 10,000 guests cost: memory of their paths, and allocations of their heartbeats.
#![allow(clippy::unwrap_used)]

#[path = "../benches/fleet.rs"]
mod fleet;

use std::time::Duration;

use allocation_counter::measure;
use fleet::{Fleet, Secured};

const PATHS: usize = 10_000;
/// Of one path, with everything that the monitor's core keeps for it.
const BYTES_MAXIMUM: usize = 1024;

/// What the monitor gives back when it goes is what it held.
fn bytes_per_path(fleet: Fleet) -> usize {
    let Fleet { monitor, .. } = fleet;
    let given_back = measure(|| drop(monitor)).bytes_current;
    usize::try_from(-given_back).unwrap() / PATHS
}

fn check(secured: Secured) {
    let fresh = bytes_per_path(Fleet::beating(PATHS, 1000, secured));
    let mut fleet = Fleet::beating(PATHS, 1000, secured);
    fleet.run(Duration::from_secs(40));
    let settled = bytes_per_path(fleet);
    eprintln!("bytes per path: {fresh} after the handshakes, {settled} after 40 s");
    assert!(settled < BYTES_MAXIMUM, "{settled} bytes per path");
    assert!(fresh < BYTES_MAXIMUM, "{fresh} bytes per path");
}

#[test]
fn a_path_takes_less_than_a_kibibyte() {
    check(Secured::No);
}

#[test]
fn an_authenticated_path_takes_less_than_a_kibibyte() {
    check(Secured::Yes);
}

fn count_allocations(secured: Secured) {
    let mut fleet = Fleet::beating(PATHS, 1000, secured);
    fleet.run(Duration::from_secs(40));
    let rounds: Vec<_> = (0..5).map(|_| fleet.heartbeats()).collect();
    let counted = measure(|| rounds.iter().for_each(|beats| fleet.interval(beats, 64)));
    assert_eq!(counted.count_total, 0, "{} allocations for {} heartbeats", counted.count_total, 5 * PATHS);
}

#[test]
fn steady_heartbeats_allocate_nothing() {
    count_allocations(Secured::No);
}

#[test]
fn steady_authenticated_heartbeats_allocate_nothing() {
    count_allocations(Secured::Yes);
}
