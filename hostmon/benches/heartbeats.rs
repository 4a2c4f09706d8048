//! Heartbeats through sessions, monitor and tracker, with 10,000 open paths, timeouts included.
//!
//! `cargo bench -p vmpulse-hostmon --bench heartbeats`; docs/performance.md says what the figures mean.

#[path = "fleet.rs"]
mod fleet;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use fleet::{Fleet, Secured};

const PATHS: usize = 10_000;

fn heartbeats(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heartbeats of 10,000 paths");
    group.throughput(Throughput::Elements(PATHS as u64));
    for (name, interval_ms, turn) in
        [("10 s, one a turn", 10_000, 1), ("100 ms, one a turn", 100, 1), ("100 ms, 64 a turn", 100, 64)]
    {
        let mut fleet = Fleet::beating(PATHS, interval_ms, Secured::No);
        let beats = fleet.heartbeats();
        group.bench_function(name, |bencher| bencher.iter(|| fleet.interval(black_box(&beats), turn)));
    }
    let mut fleet = Fleet::beating(PATHS, 100, Secured::Yes);
    group.bench_function("authenticated, 100 ms, 64 a turn", |bencher| {
        bencher.iter_custom(|rounds| fleet.timed_rounds(rounds, 64));
    });
    group.finish();
}

criterion_group!(benches, heartbeats);
criterion_main!(benches);
