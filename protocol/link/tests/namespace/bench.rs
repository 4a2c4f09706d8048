//! The benchmarks' sender sends what it says it does.

use std::collections::BTreeSet;

use vmpulse_link::bench::{Load, Wire, heartbeats, source};
use vmpulse_link::{LinkConfig, PacketSocket, ReceiveMethod, RingConfig};

use crate::harness::{eventually, namespace_test};

namespace_test! {
    async fn a_load_of_many_senders_is_received_or_counted() {
        let wire = Wire::new(1500).unwrap();
        let ring = ReceiveMethod::Ring(RingConfig::default());
        let config = LinkConfig { receive: ring, ..LinkConfig::new(wire.receiver.clone()) };
        let mut socket = PacketSocket::open(&config).unwrap();
        for rate in [Some(20_000), None] {
            let load = Load { interface: wire.sender.clone(), core: 0, rate };
            let running = load.start(heartbeats(wire.receiver_mac().unwrap(), 100, Some(7))).unwrap();
            let (mut sources, mut received) = (BTreeSet::new(), 0);
            let mut read = |socket: &mut PacketSocket| {
                socket
                    .receive_batch(10_000, |frame| {
                        assert_eq!((frame.vlan, &frame.payload[8..11]), (Some(7), &b"HB:"[..]));
                        sources.insert(frame.source.octets());
                        received += 1;
                    })
                    .unwrap();
                received
            };
            let before = socket.drops();
            eventually("frames come", || read(&mut socket) > 1000).await;
            let sent = running.stop();
            eventually("all are accounted for", || {
                read(&mut socket) + socket.drops() - before == sent.frames
            })
            .await;
            let expected: BTreeSet<_> = (0..100).map(|number| source(number).octets()).collect();
            assert_eq!(sources, expected);
        }
    }
}
