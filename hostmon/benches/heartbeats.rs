//! Heartbeats through sessions, monitor and tracker, with 10,000 open paths, timeouts included.
//!
//! `cargo bench -p vmpulse-hostmon --bench heartbeats`; docs/performance.md says what the figures mean.

#[path = "../../protocol/benches/cpu_time.rs"]
mod cpu_time;
#[path = "fleet.rs"]
mod fleet;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use cpu_time::CpuTime;
use fleet::{Fleet, Secured};

const PATHS: usize = 10_000;

fn heartbeats(criterion: &mut Criterion<CpuTime>) {
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
        bencher.iter_custom(|rounds| fleet.timed_rounds(rounds, 64, cpu_time::spent));
    });
    group.finish();
}

/// What else takes the loop's time, and so what a heartbeat may have to wait for.
fn interruptions(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("interruptions with 10,000 paths");
    let mut fleet = Fleet::beating(PATHS, 10_000, Secured::No);
    group.bench_function("copy of the status", |bencher| {
        bencher.iter(|| black_box(&fleet.monitor).paths(fleet.now).collect::<Vec<_>>());
    });
    group.bench_function("roster", |bencher| {
        bencher.iter_batched(
            || fleet::roster(PATHS),
            |roster| fleet.take_roster(roster),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("everybody falls silent", |bencher| {
        let fleet = || Fleet::beating(PATHS, 10_000, Secured::No);
        bencher.iter_batched_ref(fleet, Fleet::fall_silent, BatchSize::PerIteration);
    });
    group.bench_function("everybody is committed", |bencher| {
        let fleet = || Fleet::beating(PATHS, 10_000, Secured::No);
        bencher.iter_batched_ref(fleet, Fleet::ring_doorbells, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! {
    name = slow;
    config = Criterion::default().with_measurement(CpuTime).sample_size(10);
    targets = interruptions
}
criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = heartbeats
}
criterion_main!(benches, slow);
