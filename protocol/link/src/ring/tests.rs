use super::*;

const BLOCK: usize = 4096;
const VALID: u32 = TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;

/// One frame as the kernel lays it down, without what follows it.
struct Laid {
    frame: Vec<u8>,
    whole: u32,
    status: u32,
    tag: (u32, u16),
}

fn laid(frame: &[u8]) -> Laid {
    Laid { frame: frame.to_vec(), whole: frame.len() as u32, status: 0, tag: (0, 0) }
}

fn put(block: &mut [u8], offset: usize, bytes: &[u8]) {
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn block(frames: &[Laid]) -> Vec<u8> {
    let mut block = vec![0xEE; BLOCK];
    put(&mut block, COUNT_OFFSET, &(frames.len() as u32).to_ne_bytes());
    put(&mut block, FIRST_OFFSET, &(BLOCK_HEADER_BYTES as u32).to_ne_bytes());
    let mut at = BLOCK_HEADER_BYTES;
    for (number, laid) in frames.iter().enumerate() {
        let bytes = (FRAME_OFFSET + laid.frame.len()).next_multiple_of(8);
        let next = if number + 1 == frames.len() { 0 } else { bytes as u32 };
        let words = [next, 1_700_000_000, number as u32, laid.frame.len() as u32, laid.whole, laid.status];
        put(&mut block, at, words.map(u32::to_ne_bytes).as_flattened());
        put(&mut block, at + 24, &(FRAME_OFFSET as u16).to_ne_bytes());
        put(&mut block, at + 32, &laid.tag.0.to_ne_bytes());
        put(&mut block, at + 36, &laid.tag.1.to_ne_bytes());
        put(&mut block, at + FRAME_OFFSET, &laid.frame);
        at += bytes;
    }
    block
}

/// All frames of a block, and whether each place made sense.
fn walk(block: &[u8]) -> (Vec<Slot<'_>>, bool) {
    let mut position = Position::first(block).unwrap();
    let mut slots = Vec::new();
    while position.left > 0 {
        let Some(slot) = position.read(block) else { return (slots, false) };
        position = slot.next;
        slots.push(slot);
    }
    (slots, true)
}

#[test]
fn frames_of_all_sizes_are_found_with_time_and_tag() {
    let frames = [
        laid(b"first"),
        Laid { status: VALID, tag: (0xA064, 0x8100), ..laid(&[7; 1500]) },
        Laid { status: TP_STATUS_VLAN_VALID, tag: (5, 0), ..laid(b"old kernel") },
        Laid { status: VALID, tag: (6, 0x88A8), ..laid(b"provider") },
        Laid { tag: (0xA064, 0x8100), ..laid(b"no tag, whatever stands there") },
        Laid { whole: 9000, ..laid(&[9; 60]) },
    ];
    let block = block(&frames);
    let (slots, whole) = walk(&block);
    assert!(whole);
    let tag = |tpid, tci| Some(Tag { tpid, tci });
    let tags = [None, tag(0x8100, 0xA064), tag(0x8100, 5), tag(0x88A8, 6), None, None];
    for (number, (slot, laid)) in slots.iter().zip(&frames).enumerate() {
        assert_eq!(slot.frame, laid.frame);
        assert_eq!(slot.remarks.tag, tags[number]);
        assert_eq!(slot.remarks.stamp, Some(Duration::new(1_700_000_000, number as u32)));
        assert_eq!(slot.cut, number == 5);
    }
    assert_eq!(slots.len(), 6);
}

#[test]
fn a_block_without_frames_has_none() {
    assert_eq!(walk(&block(&[])), (Vec::new(), true));
}

#[test]
fn lies_about_places_are_found_out() {
    let good = block(&[laid(b"first"), laid(b"second")]);
    let first = BLOCK_HEADER_BYTES;
    // Place of the first frame; of the next; kept bytes; place of the frame.
    for (offset, lie) in [
        (FIRST_OFFSET, BLOCK as u32),
        (FIRST_OFFSET, BLOCK as u32 - 47),
        (FIRST_OFFSET, u32::MAX),
        (first, 0),
        (first, 47),
        (first, u32::MAX),
        (first + 12, BLOCK as u32),
        (first + 12, u32::MAX),
        (first + 24, 0xFFFF_FFFF),
    ] {
        let mut lying = good.clone();
        put(&mut lying, offset, &lie.to_ne_bytes());
        let (slots, whole) = walk(&lying);
        assert!(!whole && slots.len() <= 1, "{offset} {lie}");
    }
}

#[test]
fn arbitrary_blocks_end() {
    let mut random = 1_u32;
    for _ in 0..2_000 {
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        let mut block: Vec<u8> = (0..BLOCK).map(|_| next()).collect();
        put(&mut block, FIRST_OFFSET, &u32::from(next()).to_ne_bytes());
        walk(&block);
    }
}

#[test]
fn a_geometry_holds_the_largest_frame_and_keeps_to_its_memory() {
    let usual = geometry(16 << 10, 8 << 20, 4, 1500, 4096);
    assert_eq!(usual, Geometry { block_bytes: 16 << 10, blocks: 512, block_timeout_ms: 4 });
    let largest = geometry(16 << 10, 8 << 20, 4, 65_535, 4096);
    assert_eq!((largest.block_bytes, largest.blocks), (128 << 10, 64));
    let large_pages = geometry(16 << 10, 8 << 20, 4, 1500, 65_536);
    assert_eq!((large_pages.block_bytes, large_pages.blocks), (64 << 10, 128));
    let odd = geometry(10_000, 0, 1, 68, 4096);
    assert_eq!(odd, Geometry { block_bytes: 16 << 10, blocks: FEWEST_BLOCKS, block_timeout_ms: 1 });
    for mtu in [1500, 9000, 16_220, 16_384, 65_535] {
        assert!(geometry(4096, 1 << 20, 1, mtu, 4096).block_bytes >= mtu + OVERHEAD_BYTES, "{mtu}");
    }
}
