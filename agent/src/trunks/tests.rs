//! The agent's side against the real host-monitor end of a path, under one virtual clock.
#![allow(clippy::wildcard_enum_match_arm)]

mod announce;
mod guardian;

use std::collections::BTreeMap;

use vmpulse_protocol::auth::{Key, Mode, Nonce};
use vmpulse_protocol::message::VmmSyn;
use vmpulse_protocol::path::{
    CloseReason, Discard, Event, HmIdentity, Outputs as PathOutputs, Reception, Responder,
};
use vmpulse_protocol::wire::{Flags, Packet};

use super::*;

const VMM: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 1);
const HM: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 0xff);
const ADAPTER: AdapterId = AdapterId(3);

struct World {
    now: Instant,
    trunks: Trunks,
    identity: HmIdentity,
    hm: Responder,
    hm_out: PathOutputs,
    /// What the host monitor received, with its time.
    messages: Vec<(Instant, String)>,
    heartbeats: Vec<Instant>,
    solicitations: Vec<Instant>,
    others: Vec<TrunkOutput>,
    connected: bool,
    starts: Option<u32>,
    /// The host monitor's.
    authentication: Authentication,
    handshakes: u64,
    /// The latest of them.
    syn: Option<VmmSyn>,
}

impl World {
    fn new() -> Self {
        let now = Instant::from_millis(500_000);
        let config = TrunksConfig {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".to_owned(),
            incarnation_seed: 1,
            nonce_seed: [1; 32],
            unheard_suspension: None,
        };
        let uuid = HostMonitorId::from_bytes([9; 16]);
        let mut world = Self {
            now,
            trunks: Trunks::new(config, now),
            identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
            hm: Responder::new(),
            hm_out: PathOutputs::new(),
            messages: Vec::new(),
            heartbeats: Vec::new(),
            solicitations: Vec::new(),
            others: Vec::new(),
            connected: true,
            starts: Some(10_000),
            authentication: Authentication::NONE,
            handshakes: 0,
            syn: None,
        };
        let up = TrunkInput::AdapterUp { adapter: ADAPTER, mac: VMM, mtu: 1500, name: "eth0".to_owned() };
        world.trunks.handle_input(now, up);
        world
    }

    fn hello(&mut self, identifier: &str, to: MacAddr) {
        let flags = Flags::HEL;
        let payload = Packet::plain(Version::V2_0, 0, flags, identifier.as_bytes()).encode();
        self.frame(to, &payload);
        self.carry();
    }

    fn frame(&mut self, destination: MacAddr, payload: &[u8]) {
        let input = TrunkInput::Frame { adapter: ADAPTER, source: HM, destination, vlan: None, payload };
        self.trunks.handle_input(self.now, input);
    }

    fn say(&mut self, message: &Message<'_>) {
        self.hm.send(self.now, Token(0), message, &mut self.hm_out);
        self.carry();
    }

    /// Turns the loop at every deadline for `seconds`.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        self.carry();
        loop {
            let due = [self.trunks.poll_timeout(), self.hm.poll_timeout()].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due.max(self.now);
            self.trunks.handle_timeout(self.now);
            self.hm.handle_timeout(self.now, &mut self.hm_out);
            self.carry();
        }
        self.now = end;
    }

    fn carry(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.trunks.poll_output() {
                quiet = false;
                self.on_output(output);
            }
            while let Some(packet) = self.hm_out.poll_packet() {
                quiet = false;
                if self.connected {
                    self.frame(VMM, &packet);
                }
            }
            while let Some(event) = self.hm_out.poll_event() {
                quiet = false;
                self.on_event(event);
            }
            if quiet {
                return;
            }
        }
    }

    fn on_output(&mut self, output: TrunkOutput) {
        let TrunkOutput::Transmit { destination, payload, .. } = &output else {
            return self.others.push(output);
        };
        let packet = Packet::decode(payload).unwrap();
        if packet.has(Flags::HEL) {
            assert_eq!((*destination, packet.payload), (MacAddr::broadcast(), &b""[..]));
            return self.solicitations.push(self.now);
        }
        if !self.connected || *destination != HM {
            return;
        }
        if packet.has(Flags::SYN | Flags::BEG) {
            let syn = VmmSyn::parse(packet.payload).unwrap();
            let reception = Reception {
                vm: syn.uuid.parse().unwrap(),
                addresses: Addresses { vmm: VMM, hm: HM },
                authentication: &self.authentication,
                gives_way: false,
                nonce: Nonce([3; 16]),
                seed: self.handshakes,
            };
            self.handshakes += 1;
            self.hm.handle_syn(self.now, &packet, &syn, &self.identity, &reception, &mut self.hm_out);
            self.syn = Some(syn);
        } else {
            self.hm.handle_packet(self.now, &packet, &self.identity, &mut self.hm_out);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => {
                if let Some(interval_ms) = self.starts {
                    self.hm.send(
                        self.now,
                        Token(0),
                        &Message::StartHeartbeat { interval_ms },
                        &mut self.hm_out,
                    );
                }
            }
            Event::Heartbeat { .. } => self.heartbeats.push(self.now),
            Event::Message { delivery, payload } => {
                self.messages.push((self.now, String::from_utf8(payload).unwrap()));
                self.hm.accept(delivery, &mut self.hm_out);
            }
            _ => {}
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn logs(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for output in &self.others {
            if let TrunkOutput::Log(event) = output {
                *counts.entry(event.to_string()).or_default() += 1;
            }
        }
        counts
    }
}

const FIRST: &str = "1556303548.719328000.1";
const SECOND: &str = "1556303599.000000001.1";

/// [M-6]
#[test]
fn a_hello_leads_to_heartbeats_at_once_and_every_interval() {
    let mut world = World::new();
    let heard = world.now;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(25);
    let expected = [0, 10, 20].map(|seconds| heard + Duration::from_secs(seconds));
    assert_eq!(world.heartbeats, expected);
    let status = &world.trunks.paths(world.now)[0];
    assert_eq!((status.state, status.heartbeats_sent), ("BEATING", 3));
    assert_eq!(status.last_hello_age, Some(Duration::from_secs(25)));
}

/// [M-7]
#[test]
fn no_heartbeat_before_it_is_asked_for_and_none_after_stop() {
    let mut world = World::new();
    world.starts = None;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(60);
    assert!(world.heartbeats.is_empty() && world.hm.is_open());
    world.say(&Message::StartHeartbeat { interval_ms: 100 });
    world.run(1);
    assert_eq!(world.heartbeats.len(), 11);
    world.say(&Message::StopHeartbeat);
    world.run(10);
    assert_eq!(world.heartbeats.len(), 11);
}

/// [H-6]
#[test]
fn a_hello_is_asked_for_while_nobody_is_heard() {
    let mut world = World::new();
    let start = world.now;
    world.run(70);
    let expected = [0, 1, 3, 7, 37, 67].map(|seconds| start + Duration::from_secs(seconds));
    assert_eq!(world.solicitations, expected);
    world.hello(FIRST, VMM);
    world.run(120);
    assert_eq!(world.solicitations.len(), 6);
}

/// [H-3] [M-7]
#[test]
fn a_repeated_hello_does_nothing_and_a_changed_one_shakes_hands_beside_the_beating_path() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(5);
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    let opened = |world: &World| {
        world.logs().iter().filter(|(text, _)| text.contains("is open")).map(|(_, n)| n).sum::<usize>()
    };
    assert_eq!(opened(&world), 1);
    world.connected = false;
    world.hello(SECOND, MacAddr::broadcast());
    world.run(10);
    assert_eq!(world.trunks.paths(world.now)[0].state, "BEATING");
    world.connected = true;
    world.hello(SECOND, VMM);
    world.run(1);
    assert_eq!(opened(&world), 2);
}

/// [H-5]
#[test]
fn a_forged_hello_disturbs_nothing() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    let before = world.heartbeats.len();
    for forger in 0..100u8 {
        let flags = Flags::HEL;
        let payload = Packet::plain(Version::V2_0, 0, flags, SECOND.as_bytes()).encode();
        let source = MacAddr(2, 0, 0, 0, 0, forger);
        let input =
            TrunkInput::Frame { adapter: ADAPTER, source, destination: VMM, vlan: None, payload: &payload };
        world.trunks.handle_input(world.now, input);
        // Whatever is sent to the forger gets lost.
        while world.trunks.poll_output().is_some() {}
    }
    assert!(world.trunks.paths(world.now).len() <= 4);
    world.run(20);
    assert_eq!(world.heartbeats.len(), before + 2);
}

/// [M-11]
#[test]
fn a_forged_hello_does_not_lead_heartbeats_into_another_vlan() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    for identifier in [FIRST, SECOND] {
        let payload = Packet::plain(Version::V2_0, 0, Flags::HEL, identifier.as_bytes()).encode();
        let (destination, vlan) = (MacAddr::broadcast(), Some(7));
        let forged = TrunkInput::Frame { adapter: ADAPTER, source: HM, destination, vlan, payload: &payload };
        world.trunks.handle_input(world.now, forged);
    }
    let mut tags = vec![];
    for _ in 0..11 {
        world.now = world.now + Duration::from_secs(1);
        world.trunks.handle_timeout(world.now);
        while let Some(output) = world.trunks.poll_output() {
            if let TrunkOutput::Transmit { vlan, payload, .. } = output {
                tags.push((Packet::decode(&payload).unwrap().has(Flags::SYN), vlan));
            }
        }
    }
    assert!(tags.contains(&(false, None)) && !tags.contains(&(false, Some(7))), "{tags:?}");
    assert!(tags.contains(&(true, Some(7))), "a handshake goes where its Hello came from: {tags:?}");
}

#[test]
fn the_doorbell_follows_the_fourth_heartbeat_and_rings_until_the_report_is_taken() {
    let mut world = World::new();
    world.starts = Some(1_000);
    let start = world.now;
    world.hello(FIRST, MacAddr::broadcast());
    world.trunks.handle_input(world.now, TrunkInput::Ring(Doorbell::STATUS));
    world.run(40);
    let rung: Vec<_> =
        world.messages.iter().map(|(at, text)| (at.since(start).as_secs(), text.as_str())).collect();
    assert_eq!(rung, [(3, "DBELL:0x22"), (33, "DBELL:0x22")]);
    world.say(&Message::ReportRequest { tag: 7, what: "apps" });
    assert!(world.others.contains(&TrunkOutput::ReportWanted { tag: 7 }));
    world.trunks.handle_input(world.now, TrunkInput::Report { tag: 7, xml: b"<report/>".to_vec() });
    world.run(1);
    assert_eq!(world.texts().last(), Some(&"PMSG_RSP:7:<report/>"));
    world.say(&Message::ReportTaken { tag: 7 });
    world.run(100);
    assert_eq!(world.texts().last(), Some(&"CLEAR_DB:7"));
    assert!(world.others.contains(&TrunkOutput::ReportTaken { tag: 7 }));
}

#[test]
fn a_change_after_the_report_was_built_rings_again() {
    let mut world = World::new();
    world.starts = Some(1_000);
    world.hello(FIRST, MacAddr::broadcast());
    world.run(10);
    world.say(&Message::ReportRequest { tag: 7, what: "apps" });
    world.trunks.handle_input(world.now, TrunkInput::Report { tag: 7, xml: Vec::new() });
    world.trunks.handle_input(world.now, TrunkInput::Ring(Doorbell::RESTARTS));
    world.run(1);
    let before = world.messages.len();
    world.say(&Message::ReportTaken { tag: 7 });
    world.run(35);
    assert_eq!(&world.texts()[before..], ["CLEAR_DB:7", "DBELL:0x42"]);
}

#[test]
fn a_deliberate_stop_is_said_and_done_when_it_is_acknowledged() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    world.trunks.handle_input(world.now, TrunkInput::Shutdown(Shutdown::Daemon));
    assert!(!world.others.contains(&TrunkOutput::ShutdownDone));
    world.run(1);
    assert_eq!(world.texts(), ["SHDN:DAEMON"]);
    assert!(world.others.contains(&TrunkOutput::ShutdownDone));
}

#[test]
fn a_stop_with_nobody_listening_is_done_at_once() {
    let mut world = World::new();
    world.trunks.handle_input(world.now, TrunkInput::Shutdown(Shutdown::Os));
    world.run(0);
    assert!(world.others.contains(&TrunkOutput::ShutdownDone));
}

/// [M-9]
#[test]
fn a_suspension_is_told_again_when_the_path_comes_back() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    world.connected = false;
    world.trunks.handle_input(world.now, TrunkInput::Suspend);
    world.run(17);
    assert_eq!(world.trunks.paths(world.now)[0].state, "WAITING");
    world.connected = true;
    world.hello(FIRST, VMM);
    world.run(1);
    assert_eq!(world.texts(), ["SUSPEND"]);
}

#[test]
fn a_lost_adapter_takes_its_paths_along() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    world.trunks.handle_input(world.now, TrunkInput::AdapterDown { adapter: ADAPTER });
    world.run(60);
    assert!(world.trunks.paths(world.now).is_empty());
    assert_eq!(world.heartbeats.len(), 1);
}

#[test]
fn nonsense_is_dropped_with_its_reason() {
    let mut world = World::new();
    world.run(0);
    for (payload, reason) in [
        (&b"x"[..], Discard::Short),
        (&[2, 0, 0, 0x38, 0, 0, 0, 0], Discard::Checksum),
        (&[2, 0, 0, 0x38, 0, 0, 0, 0x3a], Discard::NotOpen),
        (&[2, 0, 0, 0x02, 0, 0, 0, 0x04], Discard::Message),
    ] {
        world.others.clear();
        world.frame(VMM, payload);
        world.run(0);
        let dropped = TrunkOutput::Log(TrunkEvent::Discarded { adapter: "eth0".to_owned(), reason });
        assert_eq!(world.others, [dropped]);
        assert_eq!(
            world.trunks.discards().find(|(counted, _)| *counted == reason),
            Some((reason, 1)),
            "[K-1]"
        );
    }
}

#[test]
fn a_stop_that_meets_a_restarted_host_monitor_is_said_to_the_new_one() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    // Restarted: it knows no path, and its first word is the Hello that the shutdown message provokes.
    world.hm = Responder::new();
    world.trunks.handle_input(world.now, TrunkInput::Shutdown(Shutdown::Daemon));
    world.run(0);
    world.hello(SECOND, VMM);
    world.run(1);
    assert_eq!(world.texts(), ["SHDN:DAEMON"]);
    assert!(world.others.contains(&TrunkOutput::ShutdownDone));
}

#[test]
fn many_changes_ring_one_doorbell_at_a_time() {
    let mut world = World::new();
    world.starts = Some(1_000);
    world.hello(FIRST, MacAddr::broadcast());
    world.run(10);
    world.connected = false;
    for _ in 0..200 {
        world.trunks.handle_input(world.now, TrunkInput::Ring(Doorbell::STATUS));
    }
    world.run(3);
    world.connected = true;
    world.messages.clear();
    world.run(5);
    assert!(world.messages.len() <= 3, "{:?}", world.messages);
    assert!(world.texts().contains(&"DBELL:0x22"));
}

/// [S-22]
#[test]
fn a_path_without_heartbeats_that_is_not_known_any_more_is_given_up() {
    let mut world = World::new();
    world.starts = None;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    world.connected = false;
    world.hello(FIRST, VMM);
    world.run(16);
    assert_eq!(world.trunks.paths(world.now)[0].state, "WAITING");
    world.connected = true;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    assert_eq!(world.trunks.paths(world.now)[0].state, "OPEN");
}

fn keys(ids: &[u8]) -> Authentication {
    let keys = ids.iter().map(|id| (KeyId::new(*id).unwrap(), Key::from_bytes([*id; 32])));
    Authentication::new(Mode::Required, keys)
}

#[test]
fn a_rotated_key_is_used_at_once_and_no_heartbeat_is_missed() {
    let mut world = World::new();
    world.authentication = keys(&[1, 2]);
    world.starts = Some(100);
    world.trunks.handle_authentication(world.now, keys(&[1]));
    world.hello(FIRST, MacAddr::broadcast());
    world.run(10);
    let key = |world: &World| world.trunks.paths(world.now)[0].security.map(|(_, key)| key.as_u8());
    assert_eq!(key(&world), Some(1));
    world.trunks.handle_authentication(world.now, keys(&[1, 2]));
    world.run(10);
    assert_eq!(key(&world), Some(2));
    let gaps = world.heartbeats.windows(2).map(|pair| pair[1].since(pair[0]));
    assert_eq!(gaps.max(), Some(Duration::from_millis(100)));
    assert!(world.heartbeats.len() >= 199, "{}", world.heartbeats.len());
    // The same again changes nothing.
    let sent = world.trunks.poll_output();
    world.trunks.handle_authentication(world.now, keys(&[1, 2]));
    assert_eq!((sent, world.trunks.poll_output()), (None, None));
}

///
#[test]
fn without_the_key_at_the_host_monitor_the_agent_that_demands_it_says_so() {
    let mut world = World::new();
    world.trunks.handle_authentication(world.now, keys(&[1]));
    world.hello(FIRST, MacAddr::broadcast());
    world.run(25);
    let told = |output: &TrunkOutput| matches!(output, TrunkOutput::Log(TrunkEvent::Closed { reason, .. }) if *reason == CloseReason::Unauthenticated);
    assert!(world.others.iter().any(told));
    assert!(world.heartbeats.is_empty());
    // The key is given to the host monitor: the next Hello is enough.
    world.authentication = keys(&[1]);
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    assert!(!world.heartbeats.is_empty());
}

///
#[test]
fn a_guest_restored_from_a_snapshot_shakes_hands_with_fresh_values() {
    let syn = |entropy: Option<[u8; 32]>| {
        let mut world = World::new();
        world.authentication = keys(&[1]);
        world.trunks.handle_authentication(world.now, keys(&[1]));
        world.hello(FIRST, MacAddr::broadcast());
        world.run(10);
        // From here on two lives of the same guest.
        if let Some(entropy) = entropy {
            world.trunks.handle_entropy(&entropy);
        }
        world.hello(FIRST, VMM);
        world.run(1);
        world.syn.unwrap()
    };
    let (one, same, other) = (syn(None), syn(None), syn(Some([9; 32])));
    assert_eq!(one, same, "the world is deterministic");
    assert_ne!(one.mark, other.mark);
    assert_ne!(one.offer.unwrap().nonce, other.offer.unwrap().nonce);
}

/// [H-4]
#[test]
fn identifiers_that_change_all_the_time_begin_few_handshakes() {
    let mut world = World::new();
    world.hello(FIRST, MacAddr::broadcast());
    for number in 0..100 {
        world.hello(&format!("1556303548.{number:09}.1"), MacAddr::broadcast());
    }
    // The second may be a host monitor that was restarted just now.
    assert_eq!(world.handshakes, 2);
    world.run(1);
    world.hello(SECOND, MacAddr::broadcast());
    assert_eq!(world.handshakes, 3);
}

/// [H-3]
#[test]
fn a_path_on_which_nothing_was_asked_for_is_opened_anew_from_time_to_time() {
    let mut world = World::new();
    world.starts = None;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(599);
    world.hello(FIRST, MacAddr::broadcast());
    assert_eq!(world.handshakes, 1);
    world.run(2);
    world.hello(FIRST, MacAddr::broadcast());
    assert_eq!(world.handshakes, 2);
}
