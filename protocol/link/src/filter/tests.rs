use super::*;
use crate::frame::Outgoing;

const OWN: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 1);
/// Shares the first word with `OWN`.
const NEAR: MacAddr = MacAddr(0x52, 0x54, 0, 0, 1, 1);
/// Shares the last half word with `OWN`.
const FAR: MacAddr = MacAddr(0x52, 0x55, 0, 0, 0, 1);
const MULTICAST: MacAddr = MacAddr(1, 0, 0x5E, 0, 0, 1);
/// Starts like the broadcast address.
const ALMOST_ALL: MacAddr = MacAddr(0xFF, 0xFF, 0xFF, 0xFF, 0, 1);

/// A machine for the few instructions the programs use; `None` for any other and for a bad jump or load.
pub(super) fn run(program: &[Instruction], frame: &[u8], tag: Option<Tag>) -> Option<u32> {
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = *program.get(at)?;
        at += 1;
        match u32::from(code) {
            LOAD_BYTE if operand == ancillary(SKF_AD_VLAN_TAG_PRESENT) => accumulator = tag.is_some().into(),
            LOAD_HALF if operand == ancillary(SKF_AD_VLAN_TPID) => {
                accumulator = tag.map_or(0, |tag| tag.tpid.into())
            }
            LOAD_HALF if operand == ancillary(SKF_AD_VLAN_TAG) => {
                accumulator = tag.map_or(0, |tag| tag.tci.into())
            }
            LOAD_HALF => accumulator = big_endian(frame.get(operand as usize..)?.get(..2)?),
            LOAD_WORD => accumulator = big_endian(frame.get(operand as usize..)?.get(..4)?),
            AND => accumulator &= operand,
            JUMP_IF_EQUAL => at += usize::from(if accumulator == operand { jump_true } else { jump_false }),
            RETURN => return Some(operand),
            _ => return None,
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn verdicts(filter: Filter, header: Header, tag: Option<Tag>) -> (bool, bool) {
    let frame = Outgoing::new(header, None);
    let verdict = run(&filter.program(), frame.bytes(), tag);
    assert!(matches!(verdict, Some(0 | WHOLE_FRAME)), "{verdict:?}");
    (verdict == Some(WHOLE_FRAME), filter.accepts(&header, tag))
}

/// [C-5] [C-6]
#[test]
fn kernel_and_user_space_follow_the_same_rule() {
    let tci = |tci| Some(Tag { tpid: TPID, tci });
    let tags = [
        (None, None),
        (tci(0xA000), Some(0)),
        (tci(100), Some(100)),
        (tci(0xB064), Some(100)),
        (tci(101), Some(101)),
    ];
    let mut taken = 0;
    for destination in [OWN, MacAddr::broadcast(), NEAR, FAR, MULTICAST, ALMOST_ALL] {
        for source in [OWN, NEAR, FAR] {
            for ethertype in [0x88B5, 0x88B6, 0x0800, TPID] {
                for (tag, id) in tags {
                    for vlan in [None, Some(100)] {
                        let expected = (destination == OWN || destination == MacAddr::broadcast())
                            && source != OWN
                            && ethertype == 0x88B5
                            && (vlan.is_none() || vlan == id);
                        let filter = Filter { mac: OWN, ethertype: 0x88B5, vlan };
                        let header = Header { destination, source, ethertype };
                        assert_eq!(
                            verdicts(filter, header, tag),
                            (expected, expected),
                            "{header:?} {tag:?} {vlan:?}"
                        );
                        taken += usize::from(expected);
                    }
                }
            }
        }
    }
    assert_eq!(taken, 2 * 2 * (5 + 2), "two destinations, two sources, five tags or two of VLAN 100");
}

/// [C-3]
#[test]
fn a_provider_tag_is_not_ours() {
    let filter = Filter { mac: OWN, ethertype: 0x88B5, vlan: None };
    let header = Header { destination: OWN, source: NEAR, ethertype: 0x88B5 };
    assert_eq!(verdicts(filter, header, Some(Tag { tpid: 0x88A8, tci: 100 })), (false, false));
}

#[test]
fn the_program_is_what_it_was_when_last_read_by_a_person() {
    let filter = Filter { mac: OWN, ethertype: 0x88B5, vlan: Some(100) };
    let listing: Vec<_> =
        filter.program().iter().map(|i| (i.code, i.jump_true, i.jump_false, i.operand)).collect();
    let expected = [
        (0x28, 0, 0, 12),
        (0x15, 0, 21, 0x88B5),
        (0x20, 0, 0, 6),
        (0x15, 0, 2, 0x5254_0000),
        (0x28, 0, 0, 10),
        (0x15, 17, 0, 0x0001),
        (0x20, 0, 0, 0),
        (0x15, 0, 2, 0x5254_0000),
        (0x28, 0, 0, 4),
        (0x15, 3, 13, 0x0001),
        (0x15, 0, 12, 0xFFFF_FFFF),
        (0x28, 0, 0, 4),
        (0x15, 0, 10, 0xFFFF),
        (0x30, 0, 0, 0xFFFF_F030),
        (0x15, 2, 0, 0),
        (0x28, 0, 0, 0xFFFF_F03C),
        (0x15, 0, 6, 0x8100),
        (0x30, 0, 0, 0xFFFF_F030),
        (0x15, 4, 0, 0),
        (0x28, 0, 0, 0xFFFF_F02C),
        (0x54, 0, 0, 0x0FFF),
        (0x15, 0, 1, 100),
        (0x06, 0, 0, u32::MAX),
        (0x06, 0, 0, 0),
    ];
    assert_eq!(listing, expected);
}
