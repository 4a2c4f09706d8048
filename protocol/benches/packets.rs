//! What one packet costs. `cargo bench -p vmpulse-protocol --bench packets`; docs/performance.md has the figures.

#![allow(clippy::expect_used)] // Test code, as in a test.

#[path = "cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;

use cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use vmpulse_protocol::auth::{KeyId, Opener, Sealer};
use vmpulse_protocol::message::Message;
use vmpulse_protocol::wire::{Flags, Packet, Version};

/// A heartbeat in the shortest frame: 11 bytes and padding.
fn heartbeat() -> Vec<u8> {
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let mut bytes = Packet::plain(Version::V2_1, 42, flags, b"HB:").encode();
    bytes.resize(46, 0);
    bytes
}

fn packets(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("heartbeat");
    let bytes = heartbeat();
    group.bench_function("decode and validate", |bencher| {
        bencher.iter(|| {
            let packet = Packet::decode(black_box(&bytes)).ok()?;
            let whole = packet.has(Flags::BEG | Flags::END | Flags::PRI) && !packet.has(Flags::ACKR);
            Message::parse(packet.payload).filter(|_| whole)
        });
    });
    group.bench_function("encode", |bencher| {
        let flags = Flags::BEG | Flags::END | Flags::PRI;
        bencher.iter(|| {
            let payload = black_box(b"HB:");
            Packet::plain(Version::V2_1, black_box(42), flags, payload).encode()
        });
    });
    group.finish();
    authenticated(criterion);
}

/// Decode, validate and authenticate; each packet is another one, since a replay is refused.
fn authenticated(criterion: &mut Criterion<CpuTime>) {
    let (key, id) = ([0x5a; 32], KeyId::new(1).expect("1 to 255 are key ids"));
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let packet = Packet::plain(Version::V2_1, 42, flags, b"HB:");
    let mut group = criterion.benchmark_group("authenticated heartbeat");
    let mut sealer = Sealer::new(&key, id);
    group.bench_function("encode", |bencher| bencher.iter(|| sealer.seal(black_box(&packet))));
    group.bench_function("decode, validate and authenticate", |bencher| {
        let (mut sealer, mut opener) = (Sealer::new(&key, id), Opener::new(&key, id));
        let next = || sealer.seal(&packet);
        bencher.iter_batched_ref(
            next,
            |bytes| {
                let packet = Packet::decode(black_box(bytes)).ok()?;
                opener.open(&packet, packet.trailer.as_ref()?).ok()?;
                let beat = matches!(Message::parse(packet.payload), Some(Message::Heartbeat { .. }));
                Some(beat && packet.has(flags) && !packet.has(Flags::ACKR))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = packets
}
criterion_main!(benches);
