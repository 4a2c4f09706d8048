//! The page that the trunks share with a guardian: what is in it at every moment, and a guardian that uses it.

use vmpulse_protocol::auth::{KeyId, Sealer};
use vmpulse_protocol::path::Draw;

use super::*;
use crate::guardian::keeper::Keeper;
use crate::guardian::page::Page;
use crate::guardian::watch::PathSeen;

const INTERVAL: Duration = Duration::from_secs(10);

fn kept() -> (World, Keeper, Page) {
    let page = Page::in_memory();
    let mut world = World::new();
    let keeper = Keeper::begin(page.clone(), Duration::ZERO, world.now, false);
    world.trunks.keep_with(keeper.paths(0x88B5, None));
    (world, keeper, page)
}

fn seen(page: &Page) -> Vec<PathSeen> {
    page.seen().paths.into_iter().flatten().collect()
}

/// As the guardian does.
fn guardian_beats(world: &mut World, page: &Page) {
    let (generation, session) = page.session(0).unwrap();
    let numbers = page.numbers_of(0, generation);
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let packet = Packet::plain(session.version, numbers.next_urgent(), flags, b"HB:G");
    let bytes = match &session.key {
        Some((id, key)) => {
            let sealer = Sealer::new(key, KeyId::new(*id).unwrap());
            sealer.sealed(&packet, numbers.next_count()).encode()
        }
        None => packet.encode(),
    };
    let packet = Packet::decode(&bytes).unwrap();
    world.hm.handle_packet(world.now, &packet, &world.identity, &mut world.hm_out);
    world.carry();
}

#[test]
fn a_path_is_kept_from_the_first_heartbeat_wanted_until_none_is() {
    let (mut world, _keeper, page) = kept();
    world.starts = None;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(5);
    assert_eq!(seen(&page), [], "open, and not to beat");
    world.say(&Message::StartHeartbeat { interval_ms: 10_000 });
    world.run(25);
    let [path] = seen(&page)[..] else { panic!("one path") };
    assert_eq!((path.interval, path.knows_guardians), (INTERVAL, true));
    assert_eq!(Some(&path.daemon_beat), world.heartbeats.last());
    world.say(&Message::StopHeartbeat);
    assert_eq!(seen(&page), []);
}

#[test]
fn a_session_has_what_it_takes_to_beat() {
    let (mut world, _keeper, page) = kept();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(5);
    let (_, session) = page.session(0).unwrap();
    assert_eq!((session.to.adapter, session.to.source, session.to.destination), (ADAPTER.0, VMM, HM));
    assert_eq!((session.to.ethertype, session.to.vlan, session.key), (0x88B5, None, None));
    world.heartbeats.clear();
    guardian_beats(&mut world, &page);
    assert_eq!(world.heartbeats.len(), 1);
}

#[test]
fn with_a_key_daemon_and_guardian_beat_in_turn_and_nothing_is_called_replayed() {
    let (mut world, _keeper, page) = kept();
    let id = KeyId::new(4).unwrap();
    world.authentication = Authentication::new(Mode::Required, [(id, Key::from_bytes([4; 32]))]);
    world.trunks.handle_authentication(world.now, world.authentication.clone());
    world.hello(FIRST, MacAddr::broadcast());
    world.run(45);
    world.heartbeats.clear();
    for _ in 0..20 {
        guardian_beats(&mut world, &page);
        world.run(10);
    }
    assert_eq!(world.heartbeats.len(), 40);
    assert!(world.hm.is_authenticated());
}

#[test]
fn a_new_handshake_is_a_new_session_and_a_replaced_one_goes_on_beating() {
    let (mut world, _keeper, page) = kept();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(15);
    let before = seen(&page);
    world.starts = None;
    world.hello(SECOND, MacAddr::broadcast());
    let after = seen(&page);
    assert_eq!(after[0].generation, before[0].generation + 1);
    assert_eq!((after[0].interval, after[0].daemon_beat), (INTERVAL, before[0].daemon_beat));
}

#[test]
fn what_is_closed_is_not_kept() {
    let (mut world, _keeper, page) = kept();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(15);
    world.trunks.handle_input(world.now, TrunkInput::AdapterDown { adapter: ADAPTER });
    assert_eq!((seen(&page), page.session(0)), (vec![], None));
}

/// What an earlier life has left stays the guardian's until the new one has shaken hands there.
#[test]
fn a_restarted_daemon_leaves_its_old_paths_until_it_has_new_ones() {
    let (mut world, _keeper, page) = kept();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(15);
    let before = seen(&page);
    let mut world = World::new();
    let keeper = Keeper::begin(page.clone(), Duration::ZERO, world.now, false);
    world.trunks.keep_with(keeper.paths(0x88B5, None));
    world.run(1);
    assert_eq!(seen(&page), before);
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    let after = seen(&page);
    assert_eq!((after.len(), after[0].life), (1, before[0].life + 1));
}

#[test]
fn a_silenced_guest_does_not_beat_and_still_answers() {
    let (mut world, _keeper, page) = kept();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(15);
    world.trunks.handle_silenced(world.now, Some("no disk"));
    world.heartbeats.clear();
    world.run(40);
    assert_eq!(world.texts().last(), Some(&"DYING:no disk"));
    assert_eq!(world.heartbeats, []);
    world.say(&Message::StartHeartbeat { interval_ms: 1000 });
    assert!(world.hm.is_open());
    world.trunks.handle_silenced(world.now, None);
    world.run(3);
    assert!(world.heartbeats.len() >= 2);
    assert_eq!(seen(&page).len(), 1);
}
