//! Whole frames: what a relay takes in, and what leaves by it.

use std::io::Write;
use std::process::{Command, Stdio};

use vmpulse_link::{FrameBuffer, FramePort, LinkError, Tap};

use crate::harness::{PATIENCE, eventually, ip, namespace_test};

const TO: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const FROM: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const MARK: u32 = 0x7E57;

/// Of any EtherType, behind any tags.
fn frame(behind_addresses: &[u8], payload: usize) -> Vec<u8> {
    let end = (0..payload).map(|at| at as u8).collect::<Vec<_>>();
    [&TO[..], &FROM, behind_addresses, &end].concat()
}

/// Untagged, priority-tagged, provider-tagged, two tags, and the largest.
fn kinds() -> Vec<Vec<u8>> {
    vec![
        frame(&[0x88, 0xB5], 46),
        frame(&[0x12, 0x34], 46),
        frame(&[0x81, 0, 0xA0, 0x64, 0x88, 0xB5], 46),
        frame(&[0x88, 0xA8, 0, 5, 0x81, 0, 0, 6, 0x88, 0xB5], 46),
        frame(&[0x88, 0xB5], 1500),
        frame(&[0x81, 0, 0, 7, 0x88, 0xB5], 1500),
    ]
}

/// Two pairs, `va`-`vb` and `vc`-`vd`, silent of themselves.
fn two_pairs() {
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    for (one, other) in [("va", "vb"), ("vc", "vd")] {
        ip(&format!("link add {one} type veth peer name {other}"));
        ip(&format!("link set {one} up"));
        ip(&format!("link set {other} up"));
    }
}

fn nft(rules: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Waits until frames pass: a new adapter swallows the first ones. Leaves nothing in the receiver's queue.
async fn settle(from: &FramePort, to: &FramePort) {
    let mut buffer = FrameBuffer::new();
    eventually("the pair carries frames", || {
        let _ = from.send(&frame(&[0, 9], 46));
        matches!(to.receive(&mut buffer), Ok(Some(_)))
    })
    .await;
    from.send(&frame(&[0, 10], 46)).unwrap();
    while !next(to).await.get(12..).unwrap().starts_with(&[0, 10]) {}
}

async fn next(port: &FramePort) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    let wait = async {
        loop {
            if let Some(frame) = port.receive(&mut buffer).unwrap() {
                return frame.to_vec();
            }
            port.readable().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no frame"))
}

namespace_test! {
    async fn a_relay_of_whole_frames_changes_none_and_hears_not_itself() {
        two_pairs();
        let (outer, left) = (FramePort::open("va").unwrap(), FramePort::open("vb").unwrap());
        let (right, far) = (FramePort::open("vc").unwrap(), FramePort::open("vd").unwrap());
        settle(&outer, &left).await;
        settle(&right, &far).await;
        let mut buffer = FrameBuffer::new();
        for sent in kinds() {
            outer.send(&sent).unwrap();
            let taken = next(&left).await;
            assert_eq!(taken, sent);
            right.send(&taken).unwrap();
            assert_eq!(next(&far).await, sent);
        }
        for port in [&left, &right, &outer] {
            assert_eq!(port.receive(&mut buffer).unwrap(), None, "nothing of its own comes back");
        }
        let long = right.send(&frame(&[0x88, 0xB5], 1501));
        assert!(matches!(long, Err(LinkError::TooLong { length: 1501, mtu: 1500 })), "{long:?}");
        assert_eq!(left.drops(), 0);
    }
}

namespace_test! {
    async fn a_tap_is_given_what_rules_divert_and_a_mark_passes_them() {
        two_pairs();
        let tap = Tap::create("wire-t").unwrap();
        assert_eq!(tap.interface(), "wire-t");
        ip("link set wire-t up");
        nft("add table netdev t
add chain netdev t c { type filter hook egress device \"va\" priority -500; policy accept; }
add rule netdev t c meta mark != 0x7e57 fwd to \"wire-t\"
");
        let (plain, marked) = (FramePort::sender("va", None).unwrap(), FramePort::sender("va", Some(MARK)).unwrap());
        let far = FramePort::open("vb").unwrap();
        settle(&marked, &far).await;
        let mut buffer = FrameBuffer::new();
        for sent in kinds() {
            plain.send(&sent).unwrap();
            tokio::time::timeout(PATIENCE, tap.readable()).await.expect("a frame").unwrap();
            let taken = tap.receive(&mut buffer).unwrap().unwrap().to_vec();
            assert_eq!(taken, sent);
            assert_eq!(tap.receive(&mut buffer).unwrap(), None);
            marked.send(&taken).unwrap();
            assert_eq!(next(&far).await, sent, "once, and only the marked one");
        }
        assert_eq!(far.receive(&mut buffer).unwrap(), None);
        assert_eq!(marked.receive(&mut buffer).unwrap(), None, "a sender receives nothing");
    }
}

namespace_test! {
    async fn a_tap_goes_with_its_owner_and_its_name_is_taken_once() {
        let there = || interface_there("wire-t");
        let tap = Tap::create("wire-t").unwrap();
        assert!(there());
        let again = Tap::create("wire-t");
        assert!(matches!(again, Err(LinkError::Io { .. })), "{again:?}");
        drop(tap);
        eventually("the device goes", || !there()).await;
        let tap = Tap::create("wire-t").unwrap();
        ip("link set wire-t up");
        ip("link del wire-t");
        let mut buffer = FrameBuffer::new();
        let gone = tap.receive(&mut buffer);
        assert!(matches!(gone, Err(LinkError::InterfaceGone { .. })), "{gone:?}");
    }
}

fn interface_there(name: &str) -> bool {
    vmpulse_link::interfaces().unwrap().iter().any(|interface| interface.name == name)
}
