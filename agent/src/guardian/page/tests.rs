use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use super::*;

fn session(number: u8, key: bool) -> Session {
    Session {
        life: 3,
        to: Destination {
            adapter: 0xFFFF_FFF0 + u32::from(number % 8),
            source: MacAddr(0x52, 0x54, 0, 0, 1, number),
            destination: MacAddr(0xFE, 0xFF, 0, 0, 2, number),
            vlan: number.is_multiple_of(2).then_some(0xA064),
            ethertype: 0x88B5,
        },
        version: Version::V2_1,
        key: key.then_some((number, [number; 32])),
        first: (number, u64::MAX / 2),
    }
}

#[test]
fn sessions_round_trip_in_every_slot() {
    let page = Page::in_memory();
    for slot in 0..PATHS {
        assert_eq!(page.session(slot), None);
        for number in [1, 2, 255] {
            for key in [true, false] {
                page.publish(slot, Some(&session(number, key)));
                assert_eq!(page.session(slot).unwrap().1, session(number, key));
            }
        }
    }
    page.publish(2, None);
    let there: Vec<bool> = (0..PATHS).map(|slot| page.session(slot).is_some()).collect();
    assert_eq!(there, [true, true, false, true, true, true, true, true]);
    assert!(page.is_of_this_layout());
    assert_eq!(page.session(PATHS + 99), None);
}

#[test]
fn a_key_that_is_not_needed_any_more_is_nowhere() {
    let page = Page::in_memory();
    page.publish(0, Some(&session(0xAB, true)));
    page.publish(0, Some(&session(1, false)));
    let left = |page: &Page| (0..PAGE_WORDS).any(|at| page.load(at) == u64::from_be_bytes([0xAB; 8]));
    assert!(!left(&page));
    page.publish(0, Some(&session(0xAB, true)));
    page.publish(0, None);
    assert!(!left(&page));
}

#[test]
fn the_numbers_of_two_sessions_are_their_own_and_each_comes_once() {
    let page = Page::in_memory();
    page.publish(1, Some(&session(250, true)));
    let (first, same) = (page.numbers(1), page.numbers_of(1, 1));
    let drawn: Vec<u8> = (0..4).flat_map(|_| [first.next_urgent(), same.next_urgent()]).collect();
    assert_eq!(drawn, [250, 251, 252, 253, 254, 255, 0, 1]);
    assert_eq!((first.next_count(), same.next_count()), (u64::MAX / 2, u64::MAX / 2 + 1));
    page.publish(1, Some(&session(7, true)));
    let second = page.numbers(1);
    assert_eq!((first.next_urgent(), second.next_urgent(), second.next_count()), (2, 7, u64::MAX / 2));
}

/// As a daemon that dies while it publishes: what was there stays in force.
#[test]
fn what_is_half_written_is_not_seen() {
    let page = Page::in_memory();
    page.publish(0, Some(&session(1, true)));
    let generation = page.load(slot_at(0, Slot::Generation));
    page.write(session_at(0, generation + 1), &session(2, true));
    assert_eq!(page.session(0), Some((generation, session(1, true))));
}

/// A reader beside a writer never sees a mixture of two sessions.
#[test]
fn a_reader_never_sees_a_mixture() {
    let page = Page::in_memory();
    let done = AtomicBool::new(false);
    let seen: BTreeSet<u8> = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                if let Some((_, found)) = page.session(0) {
                    let (id, key) = found.key.unwrap();
                    // The numbers are drawn by others meanwhile.
                    assert_eq!((key, found.to), ([id; 32], session(id, true).to));
                    seen.insert(id);
                }
            }
            seen
        });
        for round in 0..200_000u32 {
            page.publish(0, Some(&session((round % 200) as u8 + 1, true)));
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(!seen.is_empty());
}

#[test]
fn a_page_of_another_layout_is_known_as_such() {
    let page = Page::in_memory();
    page.set(Header::Layout, LAYOUT + 1);
    assert!(!page.is_of_this_layout());
    assert!(!Page::new(Arc::new(Vec::<AtomicU64>::new())).is_of_this_layout());
}
