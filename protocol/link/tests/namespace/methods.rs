//! The three ways of receiving: each delivers what the others do, and says what it lost.

use std::time::{Duration, UNIX_EPOCH};

use vmpulse_link::{Left, Link, LinkConfig, LinkError, MacAddr, PacketSocket, ReceiveMethod, RingConfig};

use crate::harness::{Frame, PATIENCE, Wire, config, eventually, ip, namespace_test, next, open, try_next};
use crate::{ALL, STRANGER, TCI, eventually_now, raw, sleeps};

const RING: ReceiveMethod = ReceiveMethod::Ring(RingConfig { block_bytes: 16 << 10, block_timeout_ms: 1 });
const METHODS: [ReceiveMethod; 3] = [ReceiveMethod::Plain, ReceiveMethod::Batched, RING];
/// More than any test sends.
const NO_LIMIT: usize = 100_000;

fn receiver(receive: ReceiveMethod) -> PacketSocket {
    open(&LinkConfig { receive, ..config("vb") })
}

/// One of each method, with the smallest queue it can have.
fn small(receive: ReceiveMethod) -> PacketSocket {
    open(&LinkConfig { receive, receive_buffer_bytes: 4096, ..config("vb") })
}

/// What waits now.
fn read(socket: &mut PacketSocket, limit: usize) -> (Vec<Frame>, Left) {
    let mut frames = Vec::new();
    let left = socket.receive_batch(limit, |frame| frames.push(frame.into())).unwrap();
    (frames, left)
}

/// What comes until `enough` have come.
async fn gather(socket: &mut PacketSocket, enough: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let gathering = async {
        while !enough(&frames) {
            socket.readable().await.unwrap();
            frames.extend(read(socket, NO_LIMIT).0);
        }
    };
    let done = tokio::time::timeout(PATIENCE, gathering).await;
    assert!(done.is_ok(), "only {} frames came", frames.len());
    frames
}

fn marks_end(frames: &[Frame]) -> bool {
    frames.last().is_some_and(|frame| frame.payload.starts_with(b"the end"))
}

/// A frame that is ours, or nearly.
fn any_frame(random: &mut fastrand::Rng, to: MacAddr, mtu: usize) -> Vec<u8> {
    let mut pick = |from: &[MacAddr]| from[random.usize(..from.len())].octets();
    let addresses = [pick(&[to, to, to, ALL, STRANGER]), pick(&[STRANGER, STRANGER, STRANGER, to])].concat();
    let tci = random.u16(..).to_be_bytes();
    let tag = |kind: u16| [kind.to_be_bytes(), tci].concat();
    let tags = match random.u8(..8) {
        0..4 => Vec::new(),
        4..6 => tag(0x8100),
        6 => tag(0x88A8),
        _ => [tag(0x8100), tag(0x8100)].concat(),
    };
    let ethertype: u16 = if random.u8(..8) == 0 { 0x88B6 } else { 0x88B5 };
    let length = if random.bool() { random.usize(..64) } else { random.usize(..=mtu - 4) };
    let payload = (0..length.max(46)).map(|_| random.u8(..)).collect();
    [addresses, tags, ethertype.to_be_bytes().to_vec(), payload].concat()
}

namespace_test! {
    async fn all_methods_deliver_the_same_for_the_same_frames() {
        let Wire { a, mut b } = Wire::new().await;
        let (mut batched, mut ring, copied) = (receiver(METHODS[1]), receiver(RING), receiver(RING));
        let (mut sender, _) = raw("va");
        let mut random = fastrand::Rng::with_seed(0x5EED);
        let mut counts = [0; 2];
        for _ in 0..60 {
            for _ in 0..20 {
                sender.send_to(&any_frame(&mut random, b.mac(), a.mtu()), None).unwrap().unwrap();
            }
            a.send(b.mac(), None, b"the end").unwrap();
            let plain = gather(&mut b, marks_end).await;
            for other in [&mut batched, &mut ring] {
                assert_same(&gather(other, marks_end).await, &plain);
            }
            for frame in &plain {
                assert_same(&[next(&copied).await], std::slice::from_ref(frame));
                counts[usize::from(frame.vlan.is_some())] += 1;
            }
        }
        assert!(counts.iter().all(|count| *count > 100), "tagged and untagged ones came: {counts:?}");
        assert_eq!([&b, &batched, &ring, &copied].map(PacketSocket::drops), [0; 4]);
    }
}

/// The same in all but the time, in which a method may be a tick of the kernel's clock apart.
fn assert_same(one: &[Frame], other: &[Frame]) {
    let tick = Duration::from_millis(20);
    for (one, other) in one.iter().zip(other) {
        assert_eq!(Frame { stamp: None, ..one.clone() }, Frame { stamp: None, ..other.clone() });
        assert!(one.stamp.unwrap().abs_diff(other.stamp.unwrap()) < tick, "{one:?} {other:?}");
    }
    assert_eq!(one.len(), other.len());
}

namespace_test! {
    async fn a_limit_ends_the_turn_and_loses_nothing() {
        let Wire { a, b } = Wire::new().await;
        for method in METHODS {
            let mut socket = receiver(method);
            for number in 0..200_u8 {
                a.send(b.mac(), None, &[number]).unwrap();
            }
            a.send(b.mac(), None, b"the end").unwrap();
            let mut seen = Vec::new();
            while !marks_end(&seen) {
                // It must also tell of what a limit left behind.
                tokio::time::timeout(PATIENCE, socket.readable()).await.unwrap().unwrap();
                let (frames, left) = read(&mut socket, 30);
                assert!(if left == Left::More { frames.len() == 30 } else { frames.len() <= 30 }, "{left:?}");
                seen.extend(frames);
            }
            let numbers: Vec<u8> = seen.iter().take(200).map(|frame| frame.payload[0]).collect();
            assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "{method:?}");
            assert_eq!((read(&mut socket, 0).1, read(&mut socket, 1)), (Left::More, (vec![], Left::Nothing)));
        }
    }
}

namespace_test! {
    async fn each_method_counts_what_its_full_queue_dropped() {
        let Wire { a, .. } = Wire::new().await;
        for method in METHODS {
            let mut socket = small(method);
            let sent = 2000;
            for _ in 0..sent {
                a.send(ALL, None, b"flood").unwrap();
            }
            let mut taken = 0;
            eventually("each frame is either taken or counted", || {
                taken += read(&mut socket, NO_LIMIT).0.len() as u64;
                socket.drops() + taken == sent
            })
            .await;
            assert!(taken > 0 && taken < sent, "{method:?} {taken}");
            assert_eq!(socket.freezes() > 0, method == RING);
            a.send(ALL, None, b"the end").unwrap();
            assert_eq!(gather(&mut socket, marks_end).await.len(), 1, "{method:?} works again");
            assert_eq!(socket.drops() + taken, sent, "reading the count does not reset it");
        }
    }
}

namespace_test! {
    async fn the_kernel_gets_no_block_back_before_its_last_frame_was_handled() {
        let Wire { a, mut b } = Wire::new().await;
        // Blocks come full: one of a single frame would be read to its end by the first look.
        let full = RingConfig { block_bytes: 16 << 10, block_timeout_ms: 60_000 };
        let mut ring = small(ReceiveMethod::Ring(full));
        for _ in 0..20 {
            flood(&a, &mut b).await;
        }
        assert!(ring.freezes() > 0, "the ring is full");
        let dropped = ring.drops();
        let (first, left) = read(&mut ring, 1);
        assert_eq!((first.len(), left), (1, Left::More));
        flood(&a, &mut b).await;
        assert_eq!(ring.drops(), dropped + 100, "a block that is being read is not written to");
        let rest = gather(&mut ring, |frames| frames.len() as u64 == 2000 - dropped - 1).await;
        assert!(rest.iter().all(|frame| frame.payload.starts_with(b"flood")));
        for _ in 0..3 {
            flood(&a, &mut b).await;
        }
        gather(&mut ring, |frames| frames.len() > 100).await;
        assert_eq!(ring.drops(), dropped + 100, "there is room again");
    }
}

/// Sends 100 frames and waits until `witness` has them: a busy kernel hands a frame to the sockets after it was sent, to all
/// of them in one go, so the other ones have met each by then.
async fn flood(from: &PacketSocket, witness: &mut PacketSocket) {
    for _ in 0..100 {
        from.send(ALL, None, b"flood").unwrap();
    }
    gather(witness, |frames| frames.len() == 100).await;
}

namespace_test! {
    async fn each_method_outlives_a_pause_of_its_adapter_and_tells_its_end() {
        for method in METHODS {
            let Wire { a, .. } = Wire::new().await;
            let mut b = receiver(method);
            a.send(b.mac(), None, b"the end").unwrap();
            gather(&mut b, marks_end).await;
            ip("link set vb down");
            assert!(matches!(batch_error(&mut b).await, LinkError::InterfaceDown { interface } if interface == "vb"));
            assert_eq!(read(&mut b, NO_LIMIT), (vec![], Left::Nothing), "said once");
            ip("link set vb up");
            eventually("frames pass again", || {
                let _ = a.send(ALL, None, b"back");
                !read(&mut b, NO_LIMIT).0.is_empty()
            })
            .await;
            ip("link set vb down");
            assert!(matches!(batch_error(&mut b).await, LinkError::InterfaceDown { .. }));
            ip("link del vb");
            let gone = b.receive_batch(NO_LIMIT, |_| ()).unwrap_err();
            assert!(matches!(gone, LinkError::InterfaceGone { .. }), "{method:?} {gone}");
            let Wire { .. } = Wire::new().await;
            let mut b = receiver(method);
            ip("link del vb");
            assert!(matches!(batch_error(&mut b).await, LinkError::InterfaceGone { .. }));
            assert!(matches!(b.check(), Err(LinkError::InterfaceGone { .. })));
        }
    }
}

async fn batch_error(socket: &mut PacketSocket) -> LinkError {
    let waiting = async {
        loop {
            socket.readable().await.unwrap();
            if let Err(error) = socket.receive_batch(NO_LIMIT, |_| ()) {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

namespace_test! {
    async fn frames_of_every_size_arrive_whole() {
        ip("link add va type veth peer name vb");
        for name in ["va", "vb"] {
            ip(&format!("link set {name} mtu 65535"));
            ip(&format!("link set {name} up"));
        }
        for method in METHODS {
            let (a, mut b) = (open(&config("va")), receiver(method));
            Wire::settle(&a, &b).await;
            for length in [0, 1, 45, 46, 47, 1500, 4000, 9000, 16_384, 65_535] {
                for vlan in [None, Some(TCI)] {
                    // The kernel takes no tag beside the largest of all payloads.
                    let length = if vlan.is_some() { length.min(65_531) } else { length };
                    let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
                    a.send(b.mac(), vlan, &payload).unwrap();
                    let frame = gather(&mut b, |frames| !frames.is_empty()).await.remove(0);
                    assert_eq!(frame.vlan, vlan);
                    assert!(frame.payload.starts_with(&payload), "{method:?} {length}");
                    let padding = if vlan.is_some() { 42 } else { 46 };
                    assert_eq!(frame.payload.len(), length.max(padding), "{method:?}");
                }
            }
            assert_eq!(b.drops(), 0);
        }
    }
}

namespace_test! {
    async fn a_frame_that_no_block_can_hold_is_counted_and_the_others_come() {
        let Wire { a, b } = Wire::new().await;
        let (mut plain, mut ring) = (receiver(ReceiveMethod::Plain), receiver(RING));
        // The ring was made for an MTU of 1500.
        for name in ["va", "vb"] {
            ip(&format!("link set {name} mtu 65535"));
        }
        let a = { drop(a); open(&config("va")) };
        for length in [9000, 40_000, 1500] {
            a.send(b.mac(), None, &vec![0x5A; length]).unwrap();
        }
        a.send(b.mac(), None, b"the end").unwrap();
        let lengths = |frames: Vec<Frame>| frames.iter().map(|frame| frame.payload.len()).collect::<Vec<_>>();
        assert_eq!(lengths(gather(&mut plain, marks_end).await), [9000, 40_000, 1500, 46]);
        assert_eq!(lengths(gather(&mut ring, marks_end).await), [9000, 1500, 46], "a jumbo frame fits");
        assert_eq!((plain.drops(), ring.drops()), (0, 1));
    }
}

namespace_test! {
    async fn each_method_obeys_the_vlan_and_answers_in_kind() {
        let Wire { a, .. } = Wire::new().await;
        for receive in METHODS {
            let mut member = open(&LinkConfig { vlan: Some(100), receive, ..config("vb") });
            for vlan in [None, Some(0xA065), Some(TCI)] {
                a.send(ALL, vlan, b"the end").unwrap();
            }
            let frames = gather(&mut member, marks_end).await;
            assert_eq!(frames.iter().map(|frame| frame.vlan).collect::<Vec<_>>(), [Some(TCI)]);
            member.send(a.mac(), frames[0].vlan, b"answer").unwrap();
            assert_eq!(next(&a).await.vlan, Some(TCI));
        }
    }
}

namespace_test! {
    async fn an_emptied_link_sleeps_and_one_that_was_stopped_looks() {
        let Wire { a, b } = Wire::new().await;
        for method in METHODS {
            let mut socket = receiver(method);
            a.send(b.mac(), None, b"the end").unwrap();
            gather(&mut socket, marks_end).await;
            assert!(sleeps(&socket), "{method:?}: it was left with nothing");
            assert!(read(&mut socket, NO_LIMIT).0.is_empty() && sleeps(&socket), "{method:?}");
            a.send(b.mac(), None, b"waiting").unwrap();
            // No await since then: the reactor cannot know of the frame.
            let lag = socket.reading_lag();
            assert_eq!(lag > Duration::ZERO, method == RING);
            let socket = std::cell::RefCell::new(socket);
            eventually_now(|| !read(&mut socket.borrow_mut(), NO_LIMIT).0.is_empty());
            a.send(b.mac(), None, b"waiting").unwrap();
            eventually_now(|| matches!(try_next(&socket.borrow()), Ok(Some(_))));
        }
    }
}

namespace_test! {
    #[allow(clippy::disallowed_methods)] // The stamp is compared with the real wall clock.
    async fn each_method_stamps_when_a_frame_came() {
        let now = || std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let Wire { a, .. } = Wire::new().await;
        for method in METHODS {
            let mut socket = receiver(method);
            let before = now();
            a.send(ALL, None, b"1").unwrap();
            a.send(ALL, Some(TCI), b"the end").unwrap();
            let after = now();
            let stamps: Vec<_> = gather(&mut socket, marks_end).await.iter().map(|frame| frame.stamp.unwrap()).collect();
            // The kernel's wall clock may be read a tick apart from ours.
            let tick = Duration::from_millis(20);
            assert!(before.saturating_sub(tick) <= stamps[0] && stamps[0] <= stamps[1], "{method:?} {stamps:?}");
            assert!(stamps[1] <= after + tick, "{method:?}: of its arrival, not of its reading");
        }
    }
}

namespace_test! {
    async fn a_dropped_ring_gives_its_memory_back() {
        let Wire { .. } = Wire::new().await;
        let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("socket:").count();
        assert_eq!(mapped(), 0);
        let rings = [receiver(RING), receiver(RING)];
        assert_eq!(mapped(), 2);
        drop(rings);
        assert_eq!(mapped(), 0);
    }
}
