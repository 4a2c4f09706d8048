//! Packets made by those who do not play by the rules, mostly plausible ones.

use arbitrary::{Result, Unstructured};
use vmpulse_protocol::auth::{KeyId, Nonce, Offer};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::message::{HmSyn, Mark, VmmSyn};
use vmpulse_protocol::wire::{Flags, Packet, Trailer, Version};

/// Where a packet's checksum stands.
const CHECKSUM_AT: usize = 7;

/// What a forger knows.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// VMs that there are.
    pub(crate) vms: &'a [VmUuid],
    /// The host monitor.
    pub(crate) host_monitor: HostMonitorId,
    /// The number of a packet on its way: a blind forger would have to guess it.
    pub(crate) near: Option<u8>,
    /// A message that somebody sends.
    pub(crate) message: Vec<u8>,
}

/// Makes the checksum of exactly these bytes right; does nothing to what is shorter than a header.
pub(crate) fn make_checksum_right(bytes: &mut [u8]) {
    if bytes.len() > CHECKSUM_AT {
        bytes[CHECKSUM_AT] = 0;
        bytes[CHECKSUM_AT] = bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
    }
}

/// A packet with the right checksum.
pub(crate) fn forge(known: &Known<'_>, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let [kind, flags, number, about]: [u8; 4] = bytes.arbitrary()?;
    let payload = payload(known, kind, about, bytes)?;
    let mut flags = Flags::from_bits(flags);
    match kind % 8 {
        4 => flags = flags.with(Flags::SYN | Flags::BEG | Flags::ACKR).without(Flags::ACK | Flags::HEL),
        5 | 6 => flags = flags.with(Flags::SYN | Flags::END | Flags::ACKR).without(Flags::ACK | Flags::BEG),
        _ => {}
    }
    let near = known.near.filter(|_| about & 1 == 0);
    let number = near.map_or(number, |near| near.wrapping_add(number % 4));
    let trailer = flags.contains(Flags::AUTH).then(|| Trailer {
        key_id: about % 4,
        count: u64::from(about) << (number % 56),
        tag: [number; 16],
    });
    Ok(Packet { trailer, ..Packet::plain(version(about), number, flags, &payload) }.encode())
}

const fn version(about: u8) -> Version {
    if about & 2 == 0 { Version::V2_0 } else { Version::V2_1 }
}

fn payload(known: &Known<'_>, kind: u8, about: u8, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let uuid = known.host_monitor;
    Ok(match kind % 8 {
        0 => {
            let length = usize::from(about % 64).min(bytes.len());
            bytes.bytes(length)?.to_vec()
        }
        1 => b"HB:".to_vec(),
        2 => b"SHDN:OS".to_vec(),
        3 => known.message.clone(),
        4 => vmm_syn(known, about),
        5 => {
            let (running, mark) = (version(about), Some(Mark(0)));
            HmSyn::Accepted { uuid, running, mark, answers: None, offer: offer(about) }.encode()
        }
        6 => HmSyn::Conflict { uuid, lower: Version::V2_0, upper: Version::V2_0 }.encode(),
        _ => Vec::new(),
    })
}

fn vmm_syn(known: &Known<'_>, about: u8) -> Vec<u8> {
    let which = usize::from(about >> 2) % (known.vms.len() + 1);
    VmmSyn {
        uuid: known.vms.get(which).map_or_else(|| "none".to_owned(), ToString::to_string),
        os_type: "Linux".to_owned(),
        lower: if about == 0xff { Version { major: 2, minor: 9 } } else { Version::V2_0 },
        upper: if about == 0xff { Version { major: 2, minor: 9 } } else { version(about) },
        mark: Some(Mark(u32::from(about))),
        offer: offer(about),
    }
    .encode()
}

fn offer(about: u8) -> Option<Offer> {
    let key_id = KeyId::new(about >> 6)?;
    Some(Offer { nonce: Nonce([about; 16]), key_id, sends: about & 16 != 0 })
}
