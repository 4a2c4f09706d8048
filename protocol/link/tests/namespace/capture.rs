//! A capture beside the sockets it watches.

use std::time::{Duration, UNIX_EPOCH};

use vmpulse_link::{
    CaptureConfig, CaptureSocket, Captured, Direction, Link, LinkConfig, LinkError, MacAddr, PcapWriter,
    ReceiveBuffer, Tag,
};

use crate::harness::{PATIENCE, Wire, config, eventually, ip, namespace_test, next, open};
use crate::{ALL, STRANGER, TCI};

/// Zero patience: what was sent on a veth pair waits already.
const NOW: Duration = Duration::ZERO;
const TAG: Option<Tag> = Some(Tag { tpid: 0x8100, tci: TCI });

/// All but the stamp, and the payload's first 8 bytes.
type Seen = (Direction, MacAddr, MacAddr, Option<Tag>, u16, Vec<u8>);

fn brief(frame: Captured<'_>) -> Seen {
    let start = frame.payload.iter().copied().take(8).collect();
    (frame.direction, frame.source, frame.destination, frame.tag, frame.ethertype, start)
}

fn seen(capture: &CaptureSocket) -> Vec<Seen> {
    let mut buffer = ReceiveBuffer::new();
    std::iter::from_fn(|| capture.next(&mut buffer, NOW).unwrap().map(brief)).collect()
}

fn capture(peer: Option<MacAddr>) -> CaptureSocket {
    CaptureSocket::open(&CaptureConfig { peer, ..CaptureConfig::new("vb") }).unwrap()
}

namespace_test! {
    async fn a_capture_sees_both_directions_with_their_tags() {
        let Wire { a, b } = Wire::new().await;
        let capture = capture(None);
        let foreign = open(&LinkConfig { ethertype: 0x88B6, ..config("va") });
        for vlan in [None, Some(TCI)] {
            a.send(b.mac(), vlan, b"question").unwrap();
            next(&b).await;
            foreign.send(b.mac(), vlan, b"not ours").unwrap();
            b.send(a.mac(), vlan, b"answer..").unwrap();
        }
        let expected = [None, TAG].map(|tag| {
            [
                (Direction::Received, a.mac(), b.mac(), tag, 0x88B5, b"question".to_vec()),
                (Direction::Sent, b.mac(), a.mac(), tag, 0x88B5, b"answer..".to_vec()),
            ]
        });
        assert_eq!(seen(&capture), expected.as_flattened());
        next(&a).await;
        assert_eq!(capture.drops(), 0);
    }
}

namespace_test! {
    async fn a_capture_of_one_path_leaves_out_the_others() {
        let Wire { a, b } = Wire::new().await;
        let capture = capture(Some(a.mac()));
        b.send(STRANGER, None, b"to another").unwrap();
        b.send(STRANGER, Some(TCI), b"to another").unwrap();
        b.send(a.mac(), Some(TCI), b"to one..").unwrap();
        b.send(ALL, None, b"to all..").unwrap();
        a.send(STRANGER, None, b"of one..").unwrap();
        let seen: Vec<_> = seen(&capture).into_iter().map(|(.., payload)| payload).collect();
        assert_eq!(seen, [b"to one..", b"to all..", b"of one.."]);
    }
}

namespace_test! {
    async fn a_pcap_holds_the_frames_of_the_wire_with_their_times() {
        let Wire { a, b } = Wire::new().await;
        let capture = capture(None);
        #[allow(clippy::disallowed_methods)] // The stamp is compared with the real wall clock.
        let now = || std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = now();
        a.send(b.mac(), Some(TCI), b"question").unwrap();
        let largest = vec![0x5A; b.mtu()];
        b.send(a.mac(), None, &largest).unwrap();
        let mut file = PcapWriter::new(Vec::new()).unwrap();
        let mut buffer = ReceiveBuffer::new();
        while let Some(frame) = capture.next(&mut buffer, NOW).unwrap() {
            file.write(&frame).unwrap();
        }
        let file = file.into_inner();
        let (first, rest) = record(&file[24..]);
        let (second, rest) = record(rest);
        assert!(rest.is_empty());
        let head = |to: MacAddr, from: MacAddr| [to.octets(), from.octets()].concat();
        let tagged = [&head(b.mac(), a.mac())[..], &[0x81, 0, 0xA0, 0x64, 0x88, 0xB5], b"question"].concat();
        assert!(first.1.starts_with(&tagged) && first.1.len() == 60, "{first:?}");
        assert_eq!(second.1, [&head(a.mac(), b.mac())[..], &[0x88, 0xB5], &largest].concat());
        assert!(u64::from(first.0) + 1 >= before && u64::from(second.0) <= now() + 1, "{first:?}");
    }
}

/// Seconds and bytes of the first frame, and what follows it.
fn record(file: &[u8]) -> ((u32, &[u8]), &[u8]) {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(number(8), number(12), "nothing is cut");
    let (frame, rest) = file[16..].split_at(number(8) as usize);
    ((number(0), frame), rest)
}

namespace_test! {
    async fn a_capture_outlives_a_pause_of_its_adapter_and_counts_what_it_lost() {
        let Wire { a, b } = Wire::new().await;
        let small = CaptureConfig { receive_buffer_bytes: 4096, ..CaptureConfig::new("vb") };
        let capture = CaptureSocket::open(&small).unwrap();
        let mut buffer = ReceiveBuffer::new();
        ip("link set vb down");
        let down = capture.next(&mut buffer, PATIENCE).unwrap_err();
        assert!(matches!(down, LinkError::InterfaceDown { .. }), "{down:?}");
        ip("link set vb up");
        eventually("the capture goes on", || {
            let _ = a.send(b.mac(), None, b"back");
            !seen(&capture).is_empty()
        })
        .await;
        let (before, sent) = (capture.drops(), 200);
        for _ in 0..sent {
            a.send(b.mac(), None, b"flood").unwrap();
        }
        let taken = seen(&capture).len() as u64;
        assert!(taken > 0 && taken < sent, "{taken}");
        assert_eq!(capture.drops() - before + taken, sent);
        ip("link del vb");
        let gone = capture.next(&mut buffer, PATIENCE).unwrap_err();
        assert!(matches!(gone, LinkError::InterfaceGone { .. }), "{gone:?}");
        assert!(matches!(capture.check(), Err(LinkError::InterfaceGone { .. })));
    }
}

#[test]
fn a_capture_that_cannot_be_says_why() {
    let none = CaptureSocket::open(&CaptureConfig { ethertype: 0x8100, ..CaptureConfig::new("vb") });
    assert!(matches!(none, Err(LinkError::InvalidEtherType { .. })), "{none:?}");
}
