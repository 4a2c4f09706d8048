//! An agent's cores in the shape of their driver, against the real host-monitor end of a path; recorded, and run again.

use std::path::PathBuf;
use std::time::Duration;

use vmpulse_local::recorder::{self, Daemon, Opening, RecorderSettings};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Key, KeyId, Mode, Nonce};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::message::{Message, VmmSyn};
use vmpulse_protocol::path::{Draw, Event, HmIdentity, Outputs, Reception, Responder, Token};
use vmpulse_protocol::wire::{Flags, Packet, Version};

use super::*;
use crate::ame::{Outcome, Past};
use crate::config::Configuration;
use crate::guardian::keeper::Keeper;
use crate::guardian::page::Page;
use crate::trunks::{AdapterId, TrunksConfig};

const VMM: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 1);
const HM: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 0xff);
const ADAPTER: AdapterId = AdapterId(3);
const SECRETS: [&str; 3] = ["hunter2", "sesame", "SYSTEMD"];

fn configuration(monitor: &str) -> Configuration {
    let text = format!(
        "<Monitoring period=\"0\"><Application name=\"a\" uuid=\"1567267349133928000\" \
         monitor_script=\"{monitor}\" stop_script=\"/t\" start_script=\"/s --token sesame\" type=\"SYSTEMD\" \
         instancename=\"a.service\" monitor_failure_threshold=\"1\" monitor_period=\"2\" monitor_timeout=\"1\"/>\
         </Monitoring>"
    );
    Configuration::read(&text, 4).unwrap()
}

struct World {
    now: Instant,
    recording: Recording,
    trunks: RecordedTrunks,
    engine: RecordedEngine,
    page: Page,
    hm: Responder,
    hm_out: Outputs,
    identity: HmIdentity,
    heartbeats: usize,
    /// What the cores wanted done.
    wanted: Vec<Output>,
    path: PathBuf,
}

impl World {
    fn new(folder: &std::path::Path) -> Self {
        let now = Instant::from_millis(7);
        let config = TrunksConfig {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".to_owned(),
            incarnation_seed: 5,
            nonce_seed: *b"noncenoncenoncenoncenoncenonceno",
            unheard_suspension: Some(false),
        };
        let (configuration, past) = (configuration("/m --password hunter2"), Past::default());
        let beginning =
            Beginning { at: now, trunks: &config, kept: true, configuration: &configuration, past: &past };
        let mut path = PathBuf::new();
        let recording = Recording::begin(true, &beginning, |start| {
            let settings = RecorderSettings { directory: folder.to_owned(), ..RecorderSettings::default() };
            let (product, boot) = ("1".to_owned(), "b".to_owned());
            let opening = Opening { daemon: Daemon::Agent, product, boot, monotonic_ns: 0, realtime_ns: 0 };
            let recorder = Recorder::start(&settings, "agent", &opening, start).unwrap();
            path = recorder.as_ref().unwrap().path().to_owned();
            recorder
        });
        let page = Page::in_memory();
        let mut trunks = Trunks::new(config, now);
        let mut paths = Keeper::begin(page.clone(), Duration::ZERO, now, false).paths(0x88B5, None);
        paths.see_draws(recording.draws().unwrap());
        trunks.keep_with(paths);
        let uuid = HostMonitorId::from_bytes([9; 16]);
        Self {
            now,
            trunks: RecordedTrunks::new(trunks, recording.clone()),
            engine: RecordedEngine::new(Ame::new(configuration, &past, now), recording.clone()),
            recording,
            page,
            hm: Responder::new(),
            hm_out: Outputs::new(),
            identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
            heartbeats: 0,
            wanted: Vec::new(),
            path,
        }
    }

    fn frame(&mut self, payload: &[u8]) {
        self.trunks.handle_entropy(self.now, &[0xA5; 32]);
        let input = TrunkInput::Frame { adapter: ADAPTER, source: HM, destination: VMM, vlan: None, payload };
        self.trunks.handle_input(self.now, input);
    }

    /// As the driver does.
    fn turn(&mut self) {
        self.trunks.handle_timeout(self.now);
        self.engine.handle_timeout(self.now);
        self.hm.handle_timeout(self.now, &mut self.hm_out);
        loop {
            if let Some(output) = self.engine.poll_output() {
                self.wanted.push(Output::Engine(output.clone()));
                if let AmeOutput::Changed(bits) = output {
                    self.trunks.handle_input(self.now, TrunkInput::Ring(bits));
                }
            } else if let Some(output) = self.trunks.poll_output() {
                self.wanted.push(Output::Trunks(output.clone()));
                self.on_output(output);
            } else {
                break;
            }
        }
        while let Some(packet) = self.hm_out.poll_packet() {
            self.frame(&packet);
        }
        while let Some(event) = self.hm_out.poll_event() {
            self.on_event(event);
        }
    }

    fn on_output(&mut self, output: TrunkOutput) {
        match output {
            TrunkOutput::ReportWanted { tag } => {
                let xml = b"<report/>".to_vec();
                self.trunks.handle_input(self.now, TrunkInput::Report { tag, xml });
            }
            TrunkOutput::Transmit { destination: HM, payload, .. } => {
                let packet = Packet::decode(&payload).unwrap();
                self.on_packet(&packet);
            }
            TrunkOutput::Transmit { .. }
            | TrunkOutput::ReportTaken { .. }
            | TrunkOutput::SuspensionHeard
            | TrunkOutput::Log(_)
            | TrunkOutput::ShutdownDone => {}
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>) {
        if !packet.has(Flags::SYN | Flags::BEG) {
            return self.hm.handle_packet(self.now, packet, &self.identity, &mut self.hm_out);
        }
        let syn = VmmSyn::parse(packet.payload).unwrap();
        let reception = Reception {
            vm: syn.uuid.parse().unwrap(),
            addresses: Addresses { vmm: VMM, hm: HM },
            authentication: &Authentication::NONE,
            gives_way: false,
            nonce: Nonce([3; 16]),
            seed: 1,
        };
        self.hm.handle_syn(self.now, packet, &syn, &self.identity, &reception, &mut self.hm_out);
    }

    #[allow(clippy::wildcard_enum_match_arm)]
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => self.say(&Message::StartHeartbeat { interval_ms: 500 }),
            Event::Heartbeat { .. } => self.heartbeats += 1,
            Event::Message { delivery, .. } => self.hm.accept(delivery, &mut self.hm_out),
            _ => {}
        }
    }

    fn say(&mut self, message: &Message<'_>) {
        self.hm.send(self.now, Token(0), message, &mut self.hm_out);
    }

    /// As the guardian does, in between.
    fn guardian_draws(&self) {
        let (generation, _) = self.page.session(0).unwrap();
        self.page.numbers_of(0, generation).next_urgent();
    }

    /// So many turns, one in a tenth of a second.
    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            self.now = self.now + Duration::from_millis(100);
            self.turn();
        }
    }

    fn begin(&mut self) {
        self.trunks.handle_authentication(self.now, Authentication::new(Mode::Optional, []));
        let (mac, name) = (VMM, "eth0".to_owned());
        let up = TrunkInput::AdapterUp { adapter: ADAPTER, mac, mtu: 1500, name };
        self.trunks.handle_input(self.now, up);
        self.turn();
        let hello = Packet::plain(Version::V2_0, 0, Flags::HEL, b"1556303548.719328000.1").encode();
        self.frame(&hello);
        self.run(12);
        assert!(self.heartbeats > 1, "{}", self.heartbeats);
    }

    fn close(self) -> (Vec<u8>, Vec<Output>) {
        let Self { now, recording, trunks, engine, path, wanted, .. } = self;
        recording.close(now);
        // The last one waits for the file.
        drop((trunks, engine, recording));
        (std::fs::read(path).unwrap(), wanted)
    }
}

/// Everything that an agent can be told, and what came of it.
fn eventful() -> (Vec<u8>, Vec<Output>) {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.begin();
    for round in 0..3 {
        world.guardian_draws();
        world.run(4 + round);
    }
    let ended = |run, code| AmeInput::ScriptEnded { run, outcome: Outcome::Exit(code) };
    let run = world.wanted.iter().find_map(|output| match output {
        Output::Engine(AmeOutput::StartScript(script)) => Some(script.run),
        Output::Engine(_) | Output::Trunks(_) => None,
    });
    world.engine.handle_input(world.now, ended(run.unwrap(), 1));
    world.run(5);
    world.say(&Message::ReportRequest { tag: 4, what: "apps" });
    world.run(5);
    world.engine.handle_input(world.now, AmeInput::Configure(configuration("/m --password changed-hunter2")));
    world.run(5);
    world.engine.handle_input(world.now, AmeInput::Configure(configuration("/m --password changed-hunter2")));
    world.run(5);
    let _ = world.engine.handle_order(world.now, Order::Stop, "a");
    assert!(world.engine.handle_order(world.now, Order::Stop, "b").is_err());
    world.engine.handle_input(world.now, AmeInput::Suspend(true));
    world.trunks.handle_input(world.now, TrunkInput::Suspend);
    world.run(15);
    let (asked, reason) = (Duration::from_secs(5), "backup".to_owned());
    world.trunks.handle_input(world.now, TrunkInput::Quiet { asked, reason });
    world.trunks.handle_silenced(world.now, Some("the root disk does not answer"));
    world.run(5);
    world.trunks.handle_silenced(world.now, None);
    world.trunks.handle_input(world.now, TrunkInput::Resume);
    world.run(5);
    world.trunks.handle_input(world.now, TrunkInput::Shutdown(vmpulse_protocol::message::Shutdown::Os));
    world.run(5);
    world.trunks.handle_input(world.now, TrunkInput::AdapterDown { adapter: ADAPTER });
    world.run(1);
    world.close()
}

fn replayed(bytes: &[u8]) -> Result<(Vec<Output>, Option<Ending>), ReplayError> {
    let mut replay = Replay::new(recorder::open(bytes)?)?;
    let mut outputs = Vec::new();
    while let Some(step) = replay.step() {
        if let Happened::Outputs(mut more) = step?.happened {
            outputs.append(&mut more);
        }
    }
    Ok((outputs, replay.ending().map(|(_, why)| why.clone())))
}

/// What no record holds is not compared.
fn shown(outputs: Vec<Output>) -> Vec<Output> {
    let mut outputs = outputs;
    for output in &mut outputs {
        if let Output::Engine(AmeOutput::StartScript(script)) = output {
            (script.command, script.typed) = (String::new(), None);
        }
    }
    outputs
}

#[test]
fn an_agent_does_in_its_replay_what_it_did() {
    let (bytes, wanted) = eventful();
    let (outputs, ending) = replayed(&bytes).unwrap();
    assert!(wanted.len() > 50, "{}", wanted.len());
    assert_eq!(shown(outputs), shown(wanted));
    assert_eq!(ending, Some(Ending::Stopped));
}

#[test]
fn no_secret_is_in_a_record() {
    let (bytes, _) = eventful();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for secret in SECRETS.into_iter().chain(["noncenonce", "--password", "a.service"]) {
        assert!(!has(secret), "{secret}");
    }
    assert!(!bytes.windows(9).any(|window| window == [0xA5; 9]), "entropy of the nonces");
    assert!(has("61be20f0"));
}

#[test]
fn a_record_ends_with_the_first_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.begin();
    let key = Key::from_bytes([0x5A; 32]);
    let keys = Authentication::new(Mode::Optional, [(KeyId::new(1).unwrap(), key)]);
    world.trunks.handle_authentication(world.now, keys);
    world.run(5);
    assert!(world.recording.take_news().unwrap().contains("keys"));
    let (bytes, _) = world.close();
    assert_eq!(replayed(&bytes).unwrap().1, Some(Ending::Keys));
    assert!(!bytes.windows(32).any(|window| window == [0x5A; 32]));
}

#[test]
fn a_record_that_has_ended_leaves_nothing_to_grow() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.begin();
    let keys = Authentication::new(Mode::Optional, [(KeyId::new(1).unwrap(), Key::from_bytes([1; 32]))]);
    world.guardian_draws();
    world.trunks.handle_authentication(world.now, keys);
    let heartbeats = world.heartbeats;
    for _ in 0..10 {
        world.guardian_draws();
        world.run(10);
    }
    assert!(world.heartbeats >= heartbeats + 10, "{}", world.heartbeats);
    assert_eq!(world.recording.draws().unwrap().take(), []);
}

#[test]
fn numbers_that_the_guardian_drew_are_missed_in_the_replay_too() {
    let (bytes, _) = eventful();
    let mut replay = Replay::new(recorder::open(&bytes).unwrap()).unwrap();
    // As if nothing had been recorded of them.
    replay.draws = Arc::new(Draws::recorded());
    let error = std::iter::from_fn(|| replay.step()).find_map(Result::err).unwrap();
    assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
}

#[test]
fn records_of_others_are_refused() {
    let (bytes, _) = eventful();
    let error = crate::guardian::record::GuardianReplay::new(recorder::open(&bytes).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "its daemon is the agent, not the guardian");
}
