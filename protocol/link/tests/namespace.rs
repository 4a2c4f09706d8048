//! The socket on real adapters: veth pairs and macvlans in a network namespace of each test's own.
//!
//! Each test runs itself again inside `unshare`, so it needs no root where the kernel allows user namespaces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may panic, its helper functions too.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, UNIX_EPOCH};

use pnet_datalink::{Channel, DataLinkReceiver, DataLinkSender};
use vmpulse_link::{
    Link, LinkChanges, LinkConfig, LinkError, MacAddr, PacketSocket, ReceiveBuffer, interfaces,
};

#[path = "namespace/bench.rs"]
mod bench;
#[path = "namespace/capture.rs"]
mod capture;
#[path = "namespace/harness.rs"]
mod harness;
#[path = "namespace/methods.rs"]
mod methods;
#[path = "namespace/stacked.rs"]
mod stacked;
#[path = "namespace/whole.rs"]
mod whole;

use harness::{
    Frame, PATIENCE, Wire, config, eventually, ip, namespace_test, next, next_error, open, try_next,
};

const ALL: MacAddr = MacAddr(0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF);
const STRANGER: MacAddr = MacAddr(0x02, 0, 0, 0, 0, 0x99);
/// Priority 5, VLAN 100.
const TCI: u16 = 0xA064;

namespace_test! {
    async fn untagged_frames_pass_both_ways() {
        let Wire { a, b } = Wire::new().await;
        a.send(b.mac(), None, b"to one").unwrap();
        let frame = next(&b).await;
        assert_eq!((frame.source, frame.destination, frame.vlan), (a.mac(), b.mac(), None));
        assert_eq!(frame.payload[..6], *b"to one");
        assert_eq!(frame.payload.len(), 46, "padded to the shortest frame");
        b.send(ALL, None, b"to all").unwrap();
        let frame = next(&a).await;
        assert_eq!((frame.source, frame.destination), (b.mac(), ALL));
        let largest = vec![0x5A; a.mtu()];
        a.send(b.mac(), None, &largest).unwrap();
        assert_eq!(next(&b).await.payload, largest);
    }
}

namespace_test! {
    async fn the_kernel_tells_of_adapters_that_change() {
        let changes = LinkChanges::open().unwrap();
        for change in [
            "link add va type veth peer name vb",
            "link set va up",
            "link set va mtu 1400",
            "link set va address 02:00:00:00:00:05",
            "link set vb up",
            "link del va",
        ] {
            ip(change);
            tokio::time::timeout(PATIENCE, changes.changed()).await.expect(change).unwrap();
            // What else was said of it is taken, so that the next word is of the next change.
            while futures_ready(changes.changed()) {}
        }
    }
}

/// Whether it is ready at once.
fn futures_ready<T>(future: impl Future<Output = T>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

// [C-4]
namespace_test! {
    async fn a_tag_arrives_whole_and_is_answered_in_kind() {
        let Wire { a, b } = Wire::new().await;
        for tci in [TCI, 0xA000, 0x0FFE] {
            a.send(b.mac(), Some(tci), b"question").unwrap();
            let frame = next(&b).await;
            assert_eq!((frame.vlan, frame.destination), (Some(tci), b.mac()));
            b.send(frame.source, frame.vlan, b"answer").unwrap();
            assert_eq!(next(&a).await.vlan, Some(tci));
        }
        let largest = vec![0x5A; a.mtu()];
        a.send(b.mac(), Some(TCI), &largest).unwrap();
        assert_eq!(next(&b).await.payload, largest, "the tag takes nothing from the payload");
    }
}

namespace_test! {
    async fn the_bytes_on_the_wire_are_as_the_standard_says() {
        let Wire { a, .. } = Wire::new().await;
        let (_, mut witness) = raw("vb");
        a.send(ALL, None, b"short").unwrap();
        let head = [ALL.octets(), a.mac().octets()].concat();
        let expected = [&head[..], &[0x88, 0xB5], b"short", &[0; 41]].concat();
        assert_eq!(witness_next(&mut *witness, a.mac(), 0x88B5), expected);
    }
}

// [C-5]
namespace_test! {
    async fn a_configured_vlan_tags_what_is_sent_and_drops_all_others() {
        let Wire { a, b } = Wire::new().await;
        let member = open(&LinkConfig { vlan: Some(100), ..config("vb") });
        for vlan in [None, Some(0xA000), Some(0xA065), Some(TCI)] {
            a.send(ALL, vlan, b"which?").unwrap();
        }
        assert_eq!(next(&member).await.vlan, Some(TCI), "the other three came before it");
        let heard = [next(&b).await.vlan, next(&b).await.vlan, next(&b).await.vlan, next(&b).await.vlan];
        assert_eq!(heard, [None, Some(0xA000), Some(0xA065), Some(TCI)], "without a VLAN all are taken");
        member.send(ALL, None, b"hello").unwrap();
        assert_eq!(next(&a).await.vlan, Some(100));
        member.send(ALL, Some(TCI), b"answer").unwrap();
        assert_eq!(next(&a).await.vlan, Some(TCI));
    }
}

namespace_test! {
    async fn foreign_types_strangers_frames_and_odd_tags_do_not_arrive() {
        let Wire { a, b } = Wire::new().await;
        let foreign = open(&LinkConfig { ethertype: 0x88B6, ..config("va") });
        foreign.send(b.mac(), None, b"other type").unwrap();
        a.send(STRANGER, None, b"to another").unwrap();
        a.send(STRANGER, Some(TCI), b"to another, tagged").unwrap();
        let (mut sender, _) = raw("va");
        let tail = |tags: &[u8]| [&b.mac().octets()[..], &a.mac().octets(), tags, &[0x88, 0xB5], &[0; 46]].concat();
        for tags in [&[0x88, 0xA8, 0, 5][..], &[0x81, 0, 0, 5, 0x81, 0, 0, 6], &[0x88, 0xA8, 0, 5, 0x81, 0, 0, 6]] {
            sender.send_to(&tail(tags), None).unwrap().unwrap();
        }
        a.send(b.mac(), None, b"marker").unwrap();
        assert_eq!(next(&b).await.payload[..6], *b"marker");
        assert_eq!(try_next(&b).unwrap(), None);
    }
}

namespace_test! {
    async fn the_kernel_keeps_foreign_frames_out_of_the_queue() {
        let Wire { a, b } = Wire::new().await;
        // A queue for some ten frames: it would overflow if they were only sorted out after it.
        let small = LinkConfig { receive_buffer_bytes: 4096, ..config("vb") };
        let (any, member) = (open(&small), open(&LinkConfig { vlan: Some(100), ..small }));
        let foreign = open(&LinkConfig { ethertype: 0x88B6, ..config("va") });
        for _ in 0..200 {
            foreign.send(b.mac(), None, b"other type").unwrap();
            a.send(STRANGER, Some(TCI), b"to another").unwrap();
        }
        a.send(b.mac(), Some(TCI), b"marker").unwrap();
        assert_eq!(next(&any).await.payload[..6], *b"marker");
        for _ in 0..200 {
            a.send(b.mac(), None, b"untagged").unwrap();
            a.send(b.mac(), Some(0xA065), b"other VLAN").unwrap();
        }
        // The queue of the other link is full by now, so only this one tells.
        assert_eq!(next(&member).await.payload[..6], *b"marker");
        a.send(b.mac(), Some(TCI), b"again").unwrap();
        assert_eq!(next(&member).await.payload[..5], *b"again");
        assert_eq!(member.drops(), 0);
        assert!(any.drops() > 0, "the flood was one");
    }
}

// [C-6]
namespace_test! {
    async fn own_frames_are_not_seen_sent_or_echoed() {
        let Wire { a, b } = Wire::new().await;
        a.send(ALL, None, b"own").unwrap();
        next(&b).await;
        assert_eq!(try_next(&a).unwrap(), None, "what goes out does not come in");
        // An echo: a frame comes in that has our own source address.
        let (mut sender, _) = raw("vb");
        let echo = [&ALL.octets()[..], &a.mac().octets(), &[0x88, 0xB5], &[0; 46]].concat();
        sender.send_to(&echo, None).unwrap().unwrap();
        b.send(ALL, None, b"marker").unwrap();
        assert_eq!(next(&a).await.payload[..6], *b"marker");
    }
}

namespace_test! {
    async fn a_link_works_again_after_its_adapter_was_down() {
        let Wire { a, b } = Wire::new().await;
        ip("link set vb down");
        assert!(matches!(next_error(&b).await, LinkError::InterfaceDown { interface } if interface == "vb"));
        assert_eq!(try_next(&b).unwrap(), None, "said once");
        assert!(matches!(b.send(ALL, None, b"lost"), Err(LinkError::InterfaceDown { .. })));
        b.check().unwrap();
        ip("link set vb up");
        eventually("frames pass again", || {
            // The adapter needs a moment; until then it refuses or swallows.
            let _ = a.send(ALL, None, b"back");
            matches!(try_next(&b), Ok(Some(_)))
        })
        .await;
        eventually("and the other way", || {
            let _ = b.send(ALL, None, b"back");
            matches!(try_next(&a), Ok(Some(_)))
        })
        .await;
    }
}

namespace_test! {
    async fn an_adapter_that_is_down_can_be_opened() {
        ip("link add va type veth peer name vb");
        let a = open(&config("va"));
        assert!(matches!(next_error(&a).await, LinkError::InterfaceDown { .. }));
        let b = open(&config("vb"));
        ip("link set va up");
        ip("link set vb up");
        eventually("frames pass", || {
            let _ = b.send(ALL, None, b"first");
            matches!(try_next(&a), Ok(Some(_)))
        })
        .await;
    }
}

namespace_test! {
    async fn a_removed_adapter_is_gone_and_its_successor_is_opened_anew() {
        let Wire { a, b } = Wire::new().await;
        ip("link del vb");
        assert!(matches!(next_error(&b).await, LinkError::InterfaceGone { interface } if interface == "vb"));
        assert!(matches!(a.send(ALL, None, b"lost"), Err(LinkError::InterfaceGone { .. })), "its peer went with it");
        let missing = PacketSocket::open(&config("vb")).unwrap_err();
        assert!(matches!(missing, LinkError::NoSuchInterface { .. }), "{missing}");

        let Wire { a, b: successor } = Wire::new().await;
        assert_ne!(successor.index(), b.index());
        assert!(matches!(b.send(ALL, None, b"lost"), Err(LinkError::InterfaceGone { .. })));
        assert!(matches!(b.check(), Err(LinkError::InterfaceGone { .. })));
        a.send(ALL, None, b"again").unwrap();
        next(&successor).await;
        assert_eq!(try_next(&b).unwrap(), None, "the old link stays dead");
    }
}

namespace_test! {
    async fn an_adapter_removed_while_it_is_down_is_found_out() {
        let Wire { b, .. } = Wire::new().await;
        ip("link set vb down");
        assert!(matches!(next_error(&b).await, LinkError::InterfaceDown { .. }));
        // The kernel says nothing about this one; asking for a frame is enough to be told.
        ip("link del vb");
        assert!(matches!(try_next(&b), Err(LinkError::InterfaceGone { .. })));
    }
}

namespace_test! {
    ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    async fn without_the_permission_the_error_says_what_to_grant() {
        ip("link add va type veth peer name vb");
        let refused = PacketSocket::open(&config("va")).unwrap_err();
        assert!(matches!(refused, LinkError::NoPermission { .. }), "{refused:?}");
        assert!(refused.to_string().contains("CAP_NET_RAW"), "{refused}");
    }
}

namespace_test! {
    ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    async fn raw_permission_alone_is_enough() {
        let loopback = PacketSocket::open(&config("lo")).unwrap_err();
        assert!(matches!(loopback, LinkError::NotEthernet { .. }), "{loopback:?}");
        assert!(matches!(PacketSocket::open(&config("none")), Err(LinkError::NoSuchInterface { .. })));
        let long = PacketSocket::open(&config("a-name-no-interface-can-have"));
        assert!(matches!(long, Err(LinkError::NoSuchInterface { .. })), "{long:?}");
    }
}

namespace_test! {
    async fn a_payload_beyond_the_mtu_is_refused() {
        let Wire { a, b } = Wire::new().await;
        let long = vec![0; a.mtu() + 1];
        let refused = a.send(ALL, None, &long).unwrap_err();
        assert!(matches!(refused, LinkError::TooLong { length: 1501, mtu: 1500 }), "{refused}");
        ip("link set va mtu 1400");
        let refused = a.send(ALL, None, &[0; 1500]).unwrap_err();
        assert!(matches!(refused, LinkError::TooLong { length: 1500, mtu: 1400 }), "{refused}");
        assert_eq!(a.mtu(), 1400, "the new MTU is known from now on");
        a.send(ALL, None, &[1; 1400]).unwrap();
        assert_eq!(next(&b).await.payload, [1; 1400]);
    }
}

namespace_test! {
    async fn drops_of_a_small_queue_are_counted_and_never_forgotten() {
        let Wire { a, b } = Wire::new().await;
        let small = open(&LinkConfig { receive_buffer_bytes: 4096, ..config("vb") });
        assert_eq!(small.drops(), 0);
        let sent = 200;
        for _ in 0..sent {
            a.send(ALL, None, b"flood").unwrap();
        }
        for _ in 0..sent {
            next(&b).await;
        }
        let mut taken = 0;
        eventually("each frame is either taken or counted", || {
            taken += u64::from(try_next(&small).unwrap().is_some());
            small.drops() + taken == sent
        })
        .await;
        assert!(taken > 0 && taken < sent, "{taken}");
        assert_eq!(small.drops() + taken, sent, "reading the count does not reset it");
        assert_eq!(b.drops(), 0, "the default queue holds all");
    }
}

namespace_test! {
    #[allow(clippy::disallowed_methods)] // The stamp is compared with the real wall clock.
    async fn the_kernel_stamps_when_a_frame_came() {
        let now = || std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let Wire { a, b } = Wire::new().await;
        let before = now();
        a.send(ALL, None, b"1").unwrap();
        a.send(ALL, Some(TCI), b"2").unwrap();
        let (first, second) = (next(&b).await.stamp.unwrap(), next(&b).await.stamp.unwrap());
        // The kernel's wall clock may be read a tick apart from ours.
        let tick = Duration::from_millis(20);
        assert!(before.saturating_sub(tick) <= first && first <= second && second <= now() + tick, "{first:?}");
    }
}

// [C-8]
namespace_test! {
    async fn guests_on_one_trunk_reach_the_monitor_but_not_each_other() {
        ip("link add trunk type veth peer name monitor");
        ip("link add link trunk name x1 type macvlan mode vepa");
        ip("link add link trunk name x2 type macvlan mode vepa");
        for adapter in ["trunk", "monitor", "x1", "x2"] {
            ip(&format!("link set {adapter} up"));
        }
        let [monitor, x1, x2] = ["monitor", "x1", "x2"].map(|name| open(&config(name)));
        for guest in [&x1, &x2] {
            Wire::settle(guest, &monitor).await;
            Wire::settle(&monitor, guest).await;
        }
        for guest in [&x1, &x2] {
            while try_next(guest).unwrap().is_some() {}
        }
        x1.send(ALL, None, b"to all").unwrap();
        x1.send(x2.mac(), None, b"to the other").unwrap();
        x1.send(monitor.mac(), None, b"to the monitor").unwrap();
        let heard = [next(&monitor).await, next(&monitor).await];
        assert_eq!(heard.map(|frame| frame.destination), [ALL, monitor.mac()], "nothing meant for a guest");
        monitor.send(x2.mac(), None, b"marker").unwrap();
        assert_eq!(next(&x2).await.payload[..6], *b"marker", "and nothing of the other guest before it");
        monitor.send(ALL, None, b"hello").unwrap();
        assert_eq!([next(&x1).await.source, next(&x2).await.source], [monitor.mac(); 2]);
        assert_eq!((try_next(&x1).unwrap(), try_next(&x2).unwrap()), (None, None));
    }
}

namespace_test! {
    async fn an_emptied_link_lets_its_reader_sleep() {
        let Wire { a, b } = Wire::new().await;
        a.send(ALL, None, b"frame").unwrap();
        next(&b).await;
        assert!(try_next(&b).unwrap().is_none() && sleeps(&b));
        ip("link set vb down");
        next_error(&b).await;
        assert!(try_next(&b).unwrap().is_none() && sleeps(&b));
    }
}

namespace_test! {
    async fn a_reader_that_was_stopped_finds_what_waits_without_the_reactor() {
        let Wire { a, b } = Wire::new().await;
        a.send(ALL, None, b"waiting").unwrap();
        // No await since the last empty read: the reactor cannot know of the frame.
        eventually_now(|| matches!(try_next(&b), Ok(Some(_))));
    }
}

namespace_test! {
    async fn interfaces_are_listed_with_what_a_daemon_chooses_by() {
        ip("link add va type veth peer name vb");
        ip("link set va mtu 1400");
        let find = |name: &str| interfaces().unwrap().into_iter().find(|interface| interface.name == name);
        let a = find("va").unwrap();
        assert!(a.ethernet && !a.up && !a.running && !a.has_ip, "{a:?}");
        assert_eq!((a.mtu, a.mac, a.index), (1400, open(&config("va")).mac(), open(&config("va")).index()));
        ip("link set va up");
        eventually("up without a carrier", || find("va").is_some_and(|a| a.up && !a.running)).await;
        ip("link set vb up");
        eventually("running", || find("va").is_some_and(|a| a.running)).await;
        ip("address add fe80::1/64 dev va nodad");
        assert!(!find("va").unwrap().has_ip, "a link-local address is no purpose");
        ip("address add 192.0.2.1/24 dev va label va:web");
        assert!(find("va").unwrap().has_ip && find("va:web").is_none(), "a label is no interface");
        ip("address add 2001:db8::1/64 dev vb nodad");
        assert!(find("vb").unwrap().has_ip);
        ip("link del va");
        assert_eq!((find("va"), find("vb")), (None, None));
    }
}

/// Whether waiting for the link does wait. Asked without giving the reactor a turn.
pub(crate) fn sleeps(socket: &PacketSocket) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(socket.readable()).poll(&mut context).is_pending()
}

/// Looks again until `seen`, without giving the reactor a turn.
fn eventually_now(seen: impl Fn() -> bool) {
    assert!((0..1_000_000).any(|_| seen()), "the frame was not found");
}

/// An independent way to the wire, to send what our socket cannot and to see what it sends.
pub(crate) fn raw(name: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let interface = pnet_datalink::interfaces().into_iter().find(|interface| interface.name == name).unwrap();
    let config =
        pnet_datalink::Config { promiscuous: false, read_timeout: Some(PATIENCE), ..Default::default() };
    match pnet_datalink::channel(&interface, config).unwrap() {
        Channel::Ethernet(sender, receiver) => (sender, receiver),
        _ => panic!("no Ethernet channel"),
    }
}

/// The next frame of that source and type; the kernel's own chatter is passed over.
fn witness_next(witness: &mut dyn DataLinkReceiver, source: MacAddr, ethertype: u16) -> Vec<u8> {
    loop {
        let frame = witness.next().unwrap();
        if frame[6..12] == source.octets() && frame[12..14] == ethertype.to_be_bytes() {
            return frame.to_vec();
        }
    }
}

#[test]
fn a_fake_link_can_be_written_without_a_socket() {
    struct Fake;
    impl Link for Fake {
        fn mac(&self) -> MacAddr {
            STRANGER
        }
        fn mtu(&self) -> usize {
            1500
        }
        fn send(&self, _: MacAddr, _: Option<u16>, _: &[u8]) -> Result<(), LinkError> {
            Ok(())
        }
        fn receive<'a>(
            &self,
            buffer: &'a mut ReceiveBuffer,
        ) -> Result<Option<vmpulse_link::Received<'a>>, LinkError> {
            let payload = buffer.fill(b"fake");
            let (source, destination) = (STRANGER, ALL);
            Ok(Some(vmpulse_link::Received { source, destination, vlan: None, stamp: None, payload }))
        }
    }
    let fake: &dyn Link = &Fake;
    let frame: Option<Frame> = harness::take(fake).unwrap();
    assert_eq!(frame.unwrap().payload, b"fake");
}
