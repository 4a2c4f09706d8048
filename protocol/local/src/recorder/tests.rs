use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Frame(Vec<u8>),
    Turn,
}

fn opening() -> Opening {
    Opening {
        daemon: Daemon::HostMonitor,
        product: "1".to_owned(),
        boot: "b".to_owned(),
        monotonic_ns: 7,
        realtime_ns: 1_790_000_000_123_000_000,
    }
}

fn settings(directory: &Path) -> RecorderSettings {
    RecorderSettings { directory: directory.join("records"), ..RecorderSettings::default() }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

type Read = (Vec<(Instant, What)>, Option<(Instant, Ending)>, usize);

fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let opened = open(bytes)?;
    assert_eq!(opened.opening, opening());
    let (start, mut lines) = opened.start::<String, What>()?;
    assert_eq!(start, "start");
    let all = lines.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok((all, lines.ending().cloned(), lines.torn_bytes()))
}

fn started(settings: &RecorderSettings) -> Recorder {
    Recorder::start(settings, "hostmon-t", &opening(), &"start").unwrap().unwrap()
}

/// `then`: after each turn.
fn some_lines(recorder: &mut Recorder, mut then: impl FnMut(&mut Recorder)) -> Vec<(Instant, What)> {
    // The second turn uses a clock that was read before the last one of the first.
    let turns = [vec![(5, What::Frame(vec![1; 60])), (9, What::Turn)], vec![(8, What::Turn)]];
    for turn in &turns {
        turn.iter().for_each(|(ms, what)| recorder.record(at(*ms), what));
        recorder.hand_over();
        then(recorder);
    }
    turns.into_iter().flatten().map(|(ms, what)| (at(ms), what)).collect()
}

#[test]
fn what_was_recorded_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = started(&settings(folder.path()));
    let path = recorder.path().to_owned();
    let lines = some_lines(&mut recorder, |_| {});
    assert_eq!(recorder.ended(), None);
    assert_eq!(recorder.take_news(), None);
    recorder.close(at(20));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(read(&bytes).unwrap(), (lines, Some((at(20), Ending::Stopped)), 0));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn nothing_is_recorded_unless_a_directory_is_named() {
    let none = Recorder::start(&RecorderSettings::default(), "x", &opening(), &"start").unwrap();
    assert!(none.is_none());
}

/// Until the thread has come to it.
fn news(recorder: &mut Recorder) -> String {
    let news = (0..).find_map(|turn| {
        recorder.record(at(turn), &What::Turn);
        recorder.hand_over();
        std::thread::yield_now();
        recorder.take_news()
    });
    news.unwrap()
}

#[test]
fn a_directory_that_cannot_be_made_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("records"), "").unwrap();
    let mut recorder = started(&settings(folder.path()));
    assert!(news(&mut recorder).contains("cannot be made"));
    assert_eq!(recorder.take_news(), None);
}

#[test]
fn a_disk_that_hangs_at_the_start_holds_up_nobody() {
    let (gate, open) = channel::<()>();
    let memory = Memory::default();
    let out = memory.clone();
    let make = move || {
        let _ = open.recv();
        Ok(out)
    };
    let mut recorder =
        Recorder::over(make, PathBuf::from("/record"), 1 << 20, 1 << 20, &opening(), &"start").unwrap();
    let lines = some_lines(&mut recorder, |_| {});
    drop(gate);
    recorder.close(at(20));
    let bytes = memory.0.lock().unwrap();
    assert_eq!(read(&bytes).unwrap(), (lines, Some((at(20), Ending::Stopped)), 0));
}

#[test]
fn a_controllers_turn_of_9_mib_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let opening = Opening { daemon: Daemon::Controller, ..opening() };
    let mut recorder = Recorder::start(&settings(folder.path()), "x", &opening, &"start").unwrap().unwrap();
    let path = recorder.path().to_owned();
    let line = What::Frame(vec![7; 9 << 20]);
    recorder.record(at(1), &line);
    recorder.hand_over();
    assert_eq!(recorder.ended(), None);
    recorder.close(at(2));
    let bytes = std::fs::read(path).unwrap();
    let (_, mut lines) = open(&bytes).unwrap().start::<String, What>().unwrap();
    assert_eq!(lines.next(), Some(Ok((at(1), line))));
    assert_eq!((lines.next(), lines.torn_bytes()), (None, 0));
    assert_eq!(lines.ending().map(|(_, why)| why), Some(&Ending::Stopped));
}

#[test]
fn the_oldest_records_of_this_daemon_give_way() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RecorderSettings { keep: 3, ..settings(folder.path()) };
    let files = || {
        let entries = std::fs::read_dir(&settings.directory).unwrap();
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    std::fs::create_dir(&settings.directory).unwrap();
    let other = settings.directory.join("hostmon-t-b-20200101T000000.000Z-1.vmrec");
    std::fs::write(&other, "").unwrap();
    let mut made = vec![other];
    for second in 0..5_u64 {
        let opening = Opening { realtime_ns: opening().realtime_ns + second * 1_000_000_000, ..opening() };
        let recorder = Recorder::start(&settings, "hostmon-t", &opening, &"start").unwrap().unwrap();
        made.push(recorder.path().to_owned());
        recorder.close(at(0));
    }
    made.drain(1..3);
    made.sort();
    assert_eq!(files(), made);
}

#[test]
fn a_record_that_is_full_says_so_and_is_not_larger_than_allowed() {
    let out = Memory::default();
    for turn_lines in [1, 7] {
        let mut recorder = over(out.clone(), 4096, 1 << 20);
        let mut kept = 0;
        while recorder.ended().is_none() {
            assert!(kept < 1000);
            for _ in 0..turn_lines {
                recorder.record(at(kept), &What::Frame(vec![0; 100]));
                kept += u64::from(recorder.ended().is_none());
            }
            recorder.hand_over();
        }
        recorder.record(at(9999), &What::Turn);
        assert!(recorder.take_news().unwrap().contains("largest size"));
        recorder.close(at(9999));
        let bytes = std::mem::take(&mut *out.0.lock().unwrap());
        assert!((3000..=4096).contains(&bytes.len()), "{}", bytes.len());
        let (lines, ending, torn) = read(&bytes).unwrap();
        assert_eq!((lines.len() as u64, torn), (kept, 0));
        assert_eq!(ending.unwrap().1, Ending::Full);
    }
}

#[test]
fn a_disk_that_stands_ends_the_record_and_holds_up_nobody() {
    let (out, memory, gate) = Gated::new();
    let mut recorder = over(out, 1 << 30, 2000);
    let mut turns = 0_u64;
    while recorder.ended().is_none() {
        assert!(turns < 1000);
        recorder.record(at(turns), &What::Frame(vec![0; 100]));
        recorder.hand_over();
        turns += 1;
    }
    assert!(recorder.take_news().unwrap().contains("too slow"));
    assert_eq!(recorder.take_news(), None);
    drop(gate);
    recorder.close(at(5000));
    let (lines, ending, torn) = read(&memory.0.lock().unwrap()).unwrap();
    assert_eq!((lines.len() as u64, torn), (turns - 1, 0), "nothing but the last turn is lost");
    assert_eq!(ending.unwrap().1, Ending::Behind);
}

#[test]
fn a_disk_that_fails_is_said() {
    struct Failing;
    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut recorder = over(Failing, 1 << 20, 1 << 20);
    assert!(news(&mut recorder).contains("No space left"));
}

#[test]
fn foreign_newer_and_unfinished_files_are_refused() {
    let bytes = whole();
    let mut newer = bytes.clone();
    newer[8] = 9;
    for (bytes, error) in [
        (&b"cluster hosts=2"[..], ReadError::Foreign),
        (b"", ReadError::Empty),
        (b"VMPR", ReadError::Empty),
        (&bytes[..30], ReadError::Empty),
        (&newer, ReadError::Version { found: 9 }),
    ] {
        assert_eq!(open(bytes).unwrap_err(), error, "{bytes:?}");
    }
    assert!(is_record(&newer) && !is_record(b"cluster"));
}

/// A record of several blocks.
fn whole() -> Vec<u8> {
    let (written, writes) = channel();
    let memory = Memory::default();
    let mut recorder = over(Telling(memory.clone(), written), 1 << 20, 1 << 20);
    let mut lines = [2, 3].into_iter();
    some_lines(&mut recorder, |recorder| {
        let lines = lines.next().unwrap();
        let there = || read(&memory.0.lock().unwrap()).map_or(0, |(lines, ..)| lines.len());
        // What is handed over while the writer has the lock waits for the next time, so it is handed over until it is there.
        for _ in 0..12_000 {
            if there() >= lines {
                return;
            }
            let _ = writes.recv_timeout(Duration::from_millis(5));
            recorder.hand_over();
        }
        panic!("{lines} lines are not written");
    });
    recorder.close(at(20));
    std::mem::take(&mut memory.0.lock().unwrap())
}

/// Says when it has written something.
struct Telling(Memory, Sender<()>);

impl Write for Telling {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes);
        let _ = self.1.send(());
        written
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_tail_that_is_torn_takes_nothing_else_with_it() {
    let bytes = whole();
    let (all, ..) = read(&bytes).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for end in 0..bytes.len() {
        match read(&bytes[..end]) {
            Ok((lines, ending, torn)) => {
                assert!(all.starts_with(&lines) && ending.is_none() && torn < bytes.len());
                seen.insert(lines.len());
            }
            Err(error) => assert_eq!(error, ReadError::Empty),
        }
    }
    assert!(seen.len() > 1, "{seen:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(place in 0..10_000_usize, byte: u8, cut in 0..10_000_usize) {
        let mut bytes = whole();
        let length = bytes.len();
        bytes[place % length] ^= byte;
        bytes.truncate(cut % (length + 1));
        if let Ok(opened) = open(&bytes)
            && let Ok((_, lines)) = opened.start::<String, What>()
        {
            lines.for_each(drop);
        }
    }

    #[test]
    fn sound_blocks_of_anything_do_not_either(body: Vec<u8>) {
        let mut bytes = whole();
        let framed = [&u32::try_from(body.len()).unwrap().to_le_bytes()[..],
            &crc32fast::hash(&body).to_le_bytes(), &body].concat();
        bytes.truncate(12);
        bytes.extend(&framed);
        bytes.extend(framed);
        if let Ok(opened) = open(&bytes)
            && let Ok((_, lines)) = opened.start::<String, What>()
        {
            lines.for_each(drop);
        }
    }
}

#[test]
fn settings_are_checked() {
    let fault = |text: &str| toml::from_str::<RecorderSettings>(text).unwrap().fault().map(|(key, _)| key);
    assert_eq!(fault(""), None);
    assert_eq!(fault("directory = '/var/x'\nmax_mib = 4096\nkeep = 1"), None);
    assert_eq!(fault("directory = 'x'"), Some("recorder.directory"));
    assert_eq!(fault("max_mib = 0"), Some("recorder.max_mib"));
    assert_eq!(fault("keep = 0"), Some("recorder.keep"));
}

fn over(out: impl Write + Send + 'static, max_bytes: u64, waiting: usize) -> Recorder {
    Recorder::over(|| Ok(out), PathBuf::from("/record"), max_bytes, waiting, &opening(), &"start").unwrap()
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes nothing until its gate is dropped.
struct Gated(Memory, Receiver<()>);

impl Gated {
    fn new() -> (Self, Memory, Sender<()>) {
        let (gate, open) = channel();
        let memory = Memory::default();
        (Self(memory.clone(), open), memory, gate)
    }
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.1.recv();
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
