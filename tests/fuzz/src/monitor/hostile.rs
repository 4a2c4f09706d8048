//! Frames of those who play other parts than their own.

use arbitrary::{Result, Unstructured};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::VmmSyn;
use vmpulse_protocol::wire::{Flags, Packet, Version};

use super::world::{HOST_MONITOR, World};
use super::{EVERYBODY, mac, vm};
use crate::forge::{Known, forge};

/// Addresses of one input in all: more than strangers have room.
const FLOOD_MAXIMUM: usize = 3000;

/// One frame: from an address of its own, or from that of a guest.
pub(super) fn forged(world: &mut World, source: u8, bytes: &mut Unstructured<'_>) -> Result<()> {
    let vms: Vec<VmUuid> = EVERYBODY.map(vm).collect();
    let known = Known {
        vms: &vms,
        host_monitor: HOST_MONITOR,
        near: world.latest_number(),
        message: b"DBELL:0xffffffff".to_vec(),
    };
    let packet = forge(&known, bytes)?;
    world.receive(mac(source % 16), None, &packet);
    Ok(())
}

/// Up to 255 frames at once, each from an address that was never seen.
pub(super) fn flood(world: &mut World, count: u8, kind: u8) {
    for _ in 0..count {
        if world.flooded >= FLOOD_MAXIMUM {
            return;
        }
        world.flooded += 1;
        let [_, _, high, low] = (world.flooded as u32).to_be_bytes();
        world.receive(MacAddr(0x02, 0xff, 0, kind, high, low), None, &frame(kind, low));
    }
}

fn frame(kind: u8, about: u8) -> Vec<u8> {
    let plain = |flags, payload: &[u8]| Packet::plain(Version::V2_0, about, flags, payload).encode();
    match kind % 5 {
        0 => plain(Flags::HEL, b""),
        1 => plain(Flags::BEG | Flags::END | Flags::PRI, b"HB:"),
        2 => syn(vm(about % 8 + 1).to_string(), about, kind),
        3 => syn(vm(about.max(9)).to_string(), about, kind),
        _ => syn(String::new(), about, kind),
    }
}

fn syn(uuid: String, about: u8, kind: u8) -> Vec<u8> {
    let minor = if kind & 0x80 == 0 { 1 } else { 9 };
    let upper = Version { major: 2, minor };
    let lower = if kind & 0x40 == 0 { Version::V2_0 } else { upper };
    let mut payload = VmmSyn { uuid, os_type: String::new(), lower, upper, mark: None, offer: None }.encode();
    if kind & 0x20 != 0 {
        // With many keys that nobody has.
        let offer = format!(":nonce={:032x}:auth=hmac-sha256:kid={}:authtx=1", about, about.max(1));
        payload.extend_from_slice(offer.as_bytes());
    }
    Packet::plain(Version::V2_0, about, Flags::SYN | Flags::ACKR | Flags::BEG, &payload).encode()
}
