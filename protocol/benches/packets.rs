//! What one packet costs. `cargo bench -p vmpulse-protocol --bench packets`; docs/performance.md has the figures.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use vmpulse_protocol::message::Message;
use vmpulse_protocol::wire::{Flags, Packet, Version};

/// A heartbeat in the shortest frame: 11 bytes and padding.
fn heartbeat() -> Vec<u8> {
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let mut bytes = Packet { version: Version::V2_1, number: 42, flags, payload: b"HB:" }.encode();
    bytes.resize(46, 0);
    bytes
}

fn packets(criterion: &mut Criterion) {
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
            Packet { version: Version::V2_1, number: black_box(42), flags, payload }.encode()
        });
    });
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
