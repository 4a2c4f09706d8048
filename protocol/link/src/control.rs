//! The kernel's remarks on a received frame: its VLAN tag and when it came.
//!
//! A list of records: length (one word, header included), level and type (4 bytes each), data, padded to words.
//! The numbers are in the machine's own order. Read here without pointers, so that a surprise is skipped.

use std::time::Duration;

use libc::{
    PACKET_AUXDATA, SCM_TIMESTAMPNS, SOL_PACKET, SOL_SOCKET, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID,
};

use crate::frame::{TPID, Tag};

const WORD_BYTES: usize = size_of::<usize>();
const RECORD_HEADER_BYTES: usize = WORD_BYTES + 8;

/// What was said about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    pub(crate) tag: Option<Tag>,
    pub(crate) stamp: Option<Duration>,
}

impl Remarks {
    pub(crate) fn decode(mut records: &[u8]) -> Self {
        let mut remarks = Self::default();
        while let Some((level, kind, data, rest)) = next_record(records) {
            match (level, kind) {
                (SOL_PACKET, PACKET_AUXDATA) => remarks.tag = tag(data),
                (SOL_SOCKET, SCM_TIMESTAMPNS) => remarks.stamp = stamp(data),
                _ => {}
            }
            records = rest;
        }
        remarks
    }
}

fn next_record(records: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let (length, rest) = records.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let data = records.get(RECORD_HEADER_BYTES..length)?;
    // The last record may end without its padding.
    let rest = records.get(length.checked_next_multiple_of(WORD_BYTES)?..).unwrap_or_default();
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data, rest))
}

/// struct tpacket_auxdata: status, two lengths (4 bytes each), two offsets, TCI, TPID (2 bytes each).
fn tag(data: &[u8]) -> Option<Tag> {
    let (status, rest) = data.split_first_chunk()?;
    let (tci, rest) = rest.get(12..)?.split_first_chunk()?;
    let (tpid, _) = rest.split_first_chunk()?;
    let status = u32::from_ne_bytes(*status);
    // Kernels that do not name the TPID know 802.1Q only.
    let tpid = if status & TP_STATUS_VLAN_TPID_VALID == 0 { TPID } else { u16::from_ne_bytes(*tpid) };
    (status & TP_STATUS_VLAN_VALID != 0).then(|| Tag { tpid, tci: u16::from_ne_bytes(*tci) })
}

/// Seconds and nanoseconds, each a machine word, or 8 bytes where a 32-bit system has 64-bit time.
fn stamp(data: &[u8]) -> Option<Duration> {
    let (seconds, nanoseconds) = data.split_at(data.len() / 2);
    Some(Duration::new(number(seconds)?, u32::try_from(number(nanoseconds)?).ok()?))
}

fn number(bytes: &[u8]) -> Option<u64> {
    if let Ok(eight) = bytes.try_into() {
        return u64::try_from(i64::from_ne_bytes(eight)).ok();
    }
    u64::try_from(i32::from_ne_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut record = (RECORD_HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        record.extend(level.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()).chain(data.iter().copied()));
        record.resize(record.len().next_multiple_of(WORD_BYTES), 0xEE);
        record
    }

    fn auxdata(status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut data = [status, 60, 60].map(u32::to_ne_bytes).concat();
        data.extend([0, 14, tci, tpid].map(u16::to_ne_bytes).concat());
        record(SOL_PACKET, PACKET_AUXDATA, &data)
    }

    fn stamped(seconds: i64, nanoseconds: i64) -> Vec<u8> {
        record(SOL_SOCKET, SCM_TIMESTAMPNS, &[seconds, nanoseconds].map(i64::to_ne_bytes).concat())
    }

    const VALID: u32 = TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;

    #[test]
    fn tag_and_stamp_are_found_in_any_order_among_others() {
        let expected = Remarks {
            tag: Some(Tag { tpid: TPID, tci: 0xA064 }),
            stamp: Some(Duration::new(1_700_000_000, 7)),
        };
        let other = record(SOL_SOCKET, 0x7777, b"odd");
        let (tag, stamp) = (auxdata(VALID, 0xA064, TPID), stamped(1_700_000_000, 7));
        assert_eq!(Remarks::decode(&[&other[..], &tag, &stamp].concat()), expected);
        assert_eq!(Remarks::decode(&[&stamp[..], &other, &tag].concat()), expected);
    }

    #[test]
    fn an_untagged_frame_has_no_tag_and_an_old_kernel_names_no_tpid() {
        assert_eq!(Remarks::decode(&auxdata(1, 0xA064, TPID)).tag, None);
        let old = Remarks::decode(&auxdata(TP_STATUS_VLAN_VALID, 0, 0)).tag;
        assert_eq!(old, Some(Tag { tpid: TPID, tci: 0 }));
        let service = Remarks::decode(&auxdata(VALID, 5, 0x88A8)).tag;
        assert_eq!(service, Some(Tag { tpid: 0x88A8, tci: 5 }));
    }

    #[test]
    fn stamps_of_32_bit_systems_and_before_the_epoch() {
        let short = record(SOL_SOCKET, SCM_TIMESTAMPNS, &[5i32, 6].map(i32::to_ne_bytes).concat());
        assert_eq!(Remarks::decode(&short).stamp, Some(Duration::new(5, 6)));
        assert_eq!(Remarks::decode(&stamped(-1, 0)).stamp, None);
    }

    #[test]
    fn cut_or_lying_records_end_the_list() {
        let whole = [auxdata(VALID, 1, TPID), stamped(1, 2)].concat();
        for length in 0..whole.len() - 16 {
            assert_eq!(Remarks::decode(&whole[..length]).stamp, None, "{length}");
        }
        for lie in [0, 1, RECORD_HEADER_BYTES - 1, usize::MAX, usize::MAX - 7] {
            let mut lying = whole.clone();
            lying[..WORD_BYTES].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(Remarks::decode(&lying), Remarks::default(), "{lie}");
        }
    }
}
