use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use vmpulse_local::recorder::{self, Daemon, Opening, RecorderSettings};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Authentication, Mode};
use vmpulse_store::{
    HostMonitorRequest, MonitorSettings, NodeState, Quiet, QuietAnswer, RequestKind, Roster, RosterPath,
    RosterVm, Standing, SuspendReason, VmState,
};

use super::*;
use crate::canary::{CanaryIdentity, CanaryVmm};
use crate::monitor::tests::config;
use crate::monitor::{CanaryReport, CanaryState, MonitorConfig};

const GUEST: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 1);

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn opening(daemon: Daemon) -> Opening {
    Opening { daemon, product: "1".to_owned(), boot: "b".to_owned(), monotonic_ns: 0, realtime_ns: 0 }
}

/// A core that records into this folder, made at one second.
fn recorded(folder: &Path, config: MonitorConfig) -> (Recorded, PathBuf) {
    let settings = RecorderSettings { directory: folder.to_owned(), ..RecorderSettings::default() };
    let start = Start::of(&config, at(1000));
    let recorder =
        Recorder::start(&settings, "hostmon-t", &opening(Daemon::HostMonitor), &start).unwrap().unwrap();
    let path = recorder.path().to_owned();
    (Recorded::with(Monitor::new(config, at(1000)), Some(recorder)), path)
}

fn drain(core: &mut Recorded) -> Vec<Output> {
    std::iter::from_fn(|| core.poll_output()).collect()
}

/// The outputs of a replay that goes to the end, and the core there.
fn replayed(bytes: &[u8]) -> Result<(Vec<Output>, Replay<'_>), ReplayError> {
    let mut replay = Replay::new(recorder::open(bytes)?)?;
    let mut outputs = Vec::new();
    while let Some(step) = replay.step() {
        if let Happened::Outputs(more) = step?.happened {
            outputs.extend(more);
        }
    }
    Ok((outputs, replay))
}

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

fn roster() -> Roster {
    let vm = |number| RosterVm {
        uuid: vm(number),
        state: VmState::Started,
        suspended: Some(SuspendReason::Administrator),
        heartbeat_interval_ms: Some(500),
        path: Some(RosterPath { mac: GUEST.to_string(), missed: Some(Duration::from_millis(7)) }),
    };
    let request = |tag, what| HostMonitorRequest { tag, what };
    Roster {
        vms: vec![vm(1), RosterVm { suspended: None, heartbeat_interval_ms: None, path: None, ..vm(2) }],
        visiting: vec![vm(3)],
        quiet: vec![Quiet {
            vm: vm(2).uuid,
            sequence: 4,
            left: Duration::from_secs(3),
            reason: "x".to_owned(),
        }],
        requests: vec![
            request(1, RequestKind::Reconsider(vm(1).uuid)),
            request(2, RequestKind::AskReport { vm: vm(1).uuid, message: 8 }),
            request(3, RequestKind::ReportTaken { vm: vm(2).uuid, message: 9 }),
        ],
        settings: MonitorSettings {
            version: 3,
            log_level: Some("debug".to_owned()),
            heartbeat_interval_ms: Some(700),
            store_heartbeat_interval_ms: None,
            versions: "2.0-2.1".parse().ok(),
        },
        removed: false,
        state: Some(NodeState::Up),
        incarnation: Some("1700000000.000000000.1".to_owned()),
    }
}

fn inputs() -> Vec<Input<'static>> {
    let away = roster().vms.remove(0);
    let standings =
        [Standing::Here, Standing::Elsewhere(away), Standing::Removed, Standing::Unknown].into_iter();
    let quiet = roster().quiet.pop();
    vec![
        Input::Frame { arrived: at(900), source: GUEST, vlan: Some(7), payload: b"\x02\x01frame" },
        Input::Frame { arrived: at(2000), source: GUEST, vlan: None, payload: b"" },
        Input::Roster(roster()),
        Input::Standings((1..).map(vm).zip(standings).collect()),
        Input::Keys(HashMap::new()),
        Input::KeyProblem("no".to_owned()),
        Input::Stored { up_to: u64::MAX },
        Input::NotTaken { number: 3, report: Some(-4) },
        Input::NotTaken { number: 3, report: None },
        Input::Quiet(QuietAnswer { vm: vm(1), granted: Duration::from_nanos(5), quiet }),
        Input::StoreReachable(true),
        Input::StoreReachable(false),
        Input::StoreClockStepped,
        Input::Dropped(12),
        Input::Heard { until: at(990), lag: Duration::from_millis(10) },
        Input::Adapter(true),
        Input::AdapterIs("was removed".into()),
        Input::Canary(CanaryReport::Up),
        Input::Canary(CanaryReport::Tried(at(500))),
        Input::Canary(CanaryReport::Off("why".to_owned())),
        Input::Canary(CanaryReport::Cut("gone".to_owned())),
        Input::Readdressed { mac: GUEST, mtu: 9000 },
        Input::Shutdown,
    ]
}

#[test]
fn every_input_comes_back_as_it_was() {
    for input in inputs() {
        let bytes = postcard::to_stdvec(&What::of(at(1000), &input)).unwrap();
        let what: What<'_> = postcard::from_bytes(&bytes).unwrap();
        assert!(!what.to_string().is_empty());
        let again = what.input(at(1000), &Roster::default()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{input:?}"));
    }
}

#[test]
fn a_core_that_was_told_everything_does_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, path) = recorded(folder.path(), config());
    let mut outputs = drain(&mut core);
    for (input, ms) in inputs().into_iter().zip((1100..).step_by(700)) {
        core.handle_input(at(ms), input);
        core.handle_input(at(ms), Input::Roster(roster()));
        let _ = core.turn(at(ms));
        outputs.append(&mut drain(&mut core));
    }
    core.close(at(60_000));
    assert!(outputs.len() > 20, "{}", outputs.len());
    let bytes = std::fs::read(path).unwrap();
    let (again, replay) = replayed(&bytes).unwrap();
    assert_eq!(again, outputs);
    assert_eq!(replay.ending(), Some(&(at(60_000), Ending::Stopped)));
}

/// Time of a heartbeat's way through both of them.
fn canary_run(folder: &Path, seconds: u64) -> (Vec<u8>, u64) {
    let identity = CanaryIdentity::from_random(&[0xc6; 54]);
    let config = MonitorConfig { canary: Some(identity.clone()), heartbeat_interval_ms: 1000, ..config() };
    let mut canary = CanaryVmm::new(at(1000), identity.clone(), config.mac, 1500, &[9; 32]);
    let (mut core, path) = recorded(folder, config);
    core.handle_input(at(1000), Input::Canary(CanaryReport::Up));
    for ms in (1000..1000 + seconds * 1000).step_by(50) {
        canary.handle_timeout(at(ms));
        while let Some((_, packet)) = canary.poll_transmit() {
            let frame = Input::Frame { arrived: at(ms), source: identity.mac, vlan: None, payload: &packet };
            core.handle_input(at(ms), frame);
        }
        core.handle_input(at(ms), Input::Heard { until: at(ms), lag: Duration::ZERO });
        let _ = core.turn(at(ms));
        for output in drain(&mut core) {
            if let Output::Transmit(frame) = output {
                let unicast = frame.destination == identity.mac;
                canary.handle_frame(at(ms), core.config().mac, unicast, &frame.payload);
            }
        }
    }
    let heartbeats = core.canary(at(1000)).unwrap();
    assert_eq!(heartbeats.state, CanaryState::Beating);
    core.close(at(1000 + seconds * 1000));
    (std::fs::read(path).unwrap(), heartbeats.heartbeats)
}

#[test]
fn a_canary_beats_in_a_replay_without_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, heartbeats) = canary_run(folder.path(), 40);
    let key = CanaryIdentity::from_random(&[0xc6; 54]).key.unwrap();
    assert!(!bytes.windows(32).any(|bytes| bytes == key.as_bytes() || bytes == config().nonce_seed));
    let (_, replay) = replayed(&bytes).unwrap();
    let canary = replay.core().canary(replay.at()).unwrap();
    assert_eq!((canary.state, canary.heartbeats), (CanaryState::Beating, heartbeats));
    assert!(heartbeats > 20, "{heartbeats}");
}

#[test]
fn a_core_that_does_something_else_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, path) = recorded(folder.path(), config());
    let _ = drain(&mut core);
    core.handle_input(at(2000), Input::Adapter(false));
    let _ = core.turn(at(2000));
    let _ = drain(&mut core);
    core.close(at(3000));
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(replayed(&bytes).is_ok());
    // Another trunk, in the same number of letters, and a checksum that fits.
    let place = bytes.windows(6).position(|bytes| bytes == b"trunkA").unwrap();
    bytes[place + 5] = b'B';
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let sum = crc32fast::hash(&bytes[20..20 + length]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    let error = replayed(&bytes).unwrap_err();
    assert!(matches!(&error, ReplayError::Differs { what, .. } if what == "its start"), "{error}");
    assert!(error.to_string().contains("host monitor of trunk trunkB started"), "{error}");
}

#[test]
fn a_record_ends_where_keys_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, path) = recorded(folder.path(), config());
    let _ = drain(&mut core);
    let keys = HashMap::from([(vm(1), Authentication::new(Mode::Required, []))]);
    core.handle_input(at(2000), Input::Keys(keys));
    core.handle_input(at(2001), Input::Adapter(false));
    let _ = drain(&mut core);
    assert!(core.take_news().unwrap().contains("keys"));
    core.close(at(3000));
    let bytes = std::fs::read(path).unwrap();
    let (_, replay) = replayed(&bytes).unwrap();
    assert_eq!(replay.ending(), Some(&(at(2000), Ending::Keys)));
}

#[test]
fn another_daemons_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RecorderSettings { directory: folder.path().to_owned(), ..RecorderSettings::default() };
    let recorder = Recorder::start(&settings, "x", &opening(Daemon::Controller), &0_u8).unwrap().unwrap();
    let path = recorder.path().to_owned();
    recorder.close(at(0));
    let error = replayed(&std::fs::read(path).unwrap()).unwrap_err();
    assert!(matches!(error, ReplayError::Another { found: Daemon::Controller }), "{error}");
}

#[test]
fn what_is_not_recorded_costs_nothing() {
    let mut core = Recorded::plain(Monitor::new(config(), at(0)));
    let _ = drain(&mut core);
    let frame = || Input::Frame { arrived: at(1), source: GUEST, vlan: None, payload: b"\x02\x01frame" };
    core.handle_input(at(1), frame());
    let counted = allocation_counter::measure(|| core.handle_input(at(1), frame()));
    assert_eq!((counted.count_total, core.take_news()), (0, None));
}

/// A record whose blocks are sound, with any bytes changed in them.
fn spoilt(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut blocks = Vec::new();
    let mut begin = 12;
    while let Some(length) = bytes.get(begin..begin + 4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        blocks.push((begin, length));
        begin += 8 + length;
    }
    for (place, change) in changes {
        let (begin, length) = blocks[place % blocks.len()];
        bytes[begin + 8 + (place / blocks.len()) % length] ^= change;
    }
    for (begin, length) in blocks {
        let body = begin + 8..begin + 8 + length;
        let sum = crc32fast::hash(&bytes[body]);
        bytes[begin + 4..begin + 8].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

#[test]
fn whatever_a_file_says_the_replay_ends_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (canary, _) = canary_run(folder.path(), 20);
    let (mut core, path) = recorded(&folder.path().join("b"), config());
    for (input, ms) in inputs().into_iter().zip((1100..).step_by(700)) {
        core.handle_input(at(ms), Input::Roster(roster()));
        core.handle_input(at(ms), input);
        let _ = core.turn(at(ms));
        let _ = drain(&mut core);
    }
    core.close(at(60_000));
    let everything = std::fs::read(path).unwrap();
    proptest!(|(changes: Vec<(usize, u8)>, first: bool)| {
        let bytes = spoilt(if first { &canary } else { &everything }, &changes);
        let _ = replayed(&bytes);
    });
}
