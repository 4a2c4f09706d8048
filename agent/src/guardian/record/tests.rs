use std::time::Duration;

use vmpulse_local::recorder::{self, RecorderSettings};

use super::*;

const INTERVAL: Duration = Duration::from_millis(500);

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// Of a daemon that hangs at 4 s, on one path.
fn seen(now: Instant) -> Seen {
    let lived = now.min(at(4000));
    let mut paths = [None; PATHS];
    paths[1] = Some(PathSeen {
        generation: 3,
        life: 2,
        interval: INTERVAL,
        daemon_beat: lived,
        guardian_beat: if now > at(6000) { now } else { Instant::ZERO },
        knows_guardians: true,
    });
    let hold_until = if now < at(1000) { Instant::from_nanos(u64::MAX) } else { Instant::ZERO };
    Seen { life: 2, ended_life: 1, running: true, stamp: lived, hold_until, paths }
}

fn recording(folder: &std::path::Path) -> (GuardianRecording, std::path::PathBuf) {
    let settings = RecorderSettings { directory: folder.to_owned(), ..RecorderSettings::default() };
    let opening = Opening {
        daemon: Daemon::Guardian,
        product: "1".to_owned(),
        boot: "b".to_owned(),
        monotonic_ns: 0,
        realtime_ns: 0,
    };
    let start = Start { at_ns: 0, vm: "7e57ab1e-0001-4000-8000-000000000001".to_owned() };
    let recorder = Recorder::start(&settings, "guardian", &opening, &start).unwrap().unwrap();
    let path = recorder.path().to_owned();
    (GuardianRecording::new(recorder), path)
}

/// A look, as in the guardian's driver.
fn look(watch: &mut Watch, recording: &mut GuardianRecording, now: Instant) -> usize {
    let (seen, mut came, mut count) = (seen(now), Sum::default(), 0);
    watch.handle_seen(now, &seen);
    while let Some(output) = watch.poll_output() {
        came.add(&output);
        count += 1;
    }
    recording.looked(now, &seen, came);
    count
}

/// Its bytes, and how much came of everything.
fn recorded() -> (Vec<u8>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (mut recording, path) = recording(folder.path());
    let mut watch = Watch::new(Instant::ZERO);
    let outputs = (1..40).map(|step| look(&mut watch, &mut recording, at(step * 250))).sum();
    recording.disk_gone(at(9900), true);
    recording.close(at(10_000));
    (std::fs::read(path).unwrap(), outputs)
}

#[test]
fn a_guardian_does_in_its_replay_what_it_did() {
    let (bytes, expected) = recorded();
    let mut replay = GuardianReplay::new(recorder::open(&bytes).unwrap()).unwrap();
    assert_eq!(replay.start().vm().unwrap().to_string(), "7e57ab1e-0001-4000-8000-000000000001");
    let (mut outputs, mut disk) = (Vec::new(), None);
    while let Some(step) = replay.step() {
        match step.unwrap() {
            (_, Looked::Outputs(mut more)) => outputs.append(&mut more),
            (at, Looked::DiskGone(gone)) => disk = Some((at, gone)),
        }
    }
    assert_eq!(outputs.len(), expected);
    assert!(outputs.contains(&WatchOutput::Failed(Failure::Hangs)), "{outputs:?}");
    assert_eq!(disk, Some((at(9900), true)));
    assert_eq!(replay.ending(), Some(&(at(10_000), Ending::Stopped)));
}

#[test]
fn one_that_decides_otherwise_is_found() {
    let (bytes, _) = recorded();
    let mut replay = GuardianReplay::new(recorder::open(&bytes).unwrap()).unwrap();
    // As if this program had seen another life of the daemon before.
    replay.watch.handle_seen(Instant::ZERO, &Seen { life: 9, ..seen(Instant::ZERO) });
    let error = std::iter::from_fn(|| replay.step()).find_map(Result::err).unwrap();
    assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
}

/// Their lines fit into what may wait for the disk, so that none is lost however slow that is.
const LOOKS: u64 = 1000;

#[test]
fn recording_asks_for_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (mut recording, path) = recording(folder.path());
    let mut watch = Watch::new(Instant::ZERO);
    let counted = allocation_counter::measure(|| {
        for step in 1..=LOOKS {
            look(&mut watch, &mut recording, at(step * 250));
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(recording.recorder.ended(), None);
    recording.close(at((LOOKS + 1) * 250));
    let bytes = std::fs::read(path).unwrap();
    let mut replay = GuardianReplay::new(recorder::open(&bytes).unwrap()).unwrap();
    let looked = std::iter::from_fn(|| replay.step()).map(Result::unwrap);
    assert_eq!(looked.filter(|step| matches!(step, (_, Looked::Outputs(_)))).count() as u64, LOOKS);
}
