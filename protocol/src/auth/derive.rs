//! The keys of a channel's two directions.

use alloc::vec::Vec;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Key, Nonce};
use crate::MacAddr;
use crate::id::{HostMonitorId, VmUuid};

/// The addresses of a path's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The VMM's.
    pub vmm: MacAddr,
    /// The HM's.
    pub hm: MacAddr,
}

/// What both ends of a handshake know, and what the keys are therefore bound to.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// Who talks to whom.
    pub addresses: Addresses,
    /// The VM.
    pub vm: VmUuid,
    /// The host monitor.
    pub host_monitor: HostMonitorId,
    /// From the VMM's SYN.
    pub vmm_nonce: Nonce,
    /// From the HM's SYN.
    pub hm_nonce: Nonce,
    /// Payload of the VMM's SYN: neither versions nor modes can be changed on their way.
    pub vmm_syn: &'a [u8],
    /// Payload of the HM's SYN.
    pub hm_syn: &'a [u8],
}

/// One key per direction; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DirectionKeys {
    /// From the VMM to the HM.
    pub vmm_to_hm: [u8; 32],
    /// From the HM to the VMM.
    pub hm_to_vmm: [u8; 32],
}

/// HKDF-SHA256 over the VM's key and the handshake.
#[must_use]
pub fn derive(key: &Key, transcript: &Transcript<'_>) -> DirectionKeys {
    let salt = [transcript.vmm_nonce.0, transcript.hm_nonce.0].concat();
    let extracted = Hkdf::<Sha256>::new(Some(&salt), key.as_bytes());
    let expand = |label: &[u8]| {
        let mut out = [0; 32];
        // Refuses only what is longer than 255 digests.
        let _ = extracted.expand(&info(label, transcript), &mut out);
        out
    };
    DirectionKeys { vmm_to_hm: expand(b"hvncp vmm>hm"), hm_to_vmm: expand(b"hvncp hm>vmm") }
}

fn info(label: &[u8], transcript: &Transcript<'_>) -> Vec<u8> {
    let syns = Sha256::new().chain_update(transcript.vmm_syn).chain_update(transcript.hm_syn).finalize();
    let Addresses { vmm, hm } = transcript.addresses;
    [label, &vmm.octets(), &hm.octets(), transcript.vm.as_bytes(), transcript.host_monitor.as_bytes(), &syns]
        .concat()
}

impl core::fmt::Debug for DirectionKeys {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("DirectionKeys(..)")
    }
}
