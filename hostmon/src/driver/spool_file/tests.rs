use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::*;
use crate::spool::record::{self, BootClock};

/// Names the file that the child of the crash test writes.
const CHILD: &str = "VMPULSE_TEST_SPOOL";

fn clock() -> BootClock {
    BootClock { boot: "one".to_owned(), origin: Duration::ZERO }
}

/// Numbers in a file, and how much of it is sound.
fn numbers(bytes: &[u8]) -> (Vec<u32>, usize) {
    let contents = record::read(bytes, &clock(), Instant::ZERO).unwrap();
    let starts = contents.starts.iter().map(|start| start.incarnation.parse().unwrap());
    (starts.collect(), contents.sound_bytes)
}

fn of(number: u32) -> Vec<u8> {
    record::start(&number.to_string(), false, &clock())
}

#[test]
fn what_a_failed_write_left_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkA.spool");
    let (mut file, bytes) = SpoolFile::open(path.clone()).unwrap();
    assert!(bytes.is_empty());
    file.replace(&[record::header(), of(1)].concat()).unwrap();
    // On a full disk a part of a record is there, and its length is not counted.
    let torn = of(2);
    let length = std::fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().write_all_at(&torn[..20], length).unwrap();
    file.append(&of(3)).unwrap();
    assert_eq!(numbers(&std::fs::read(&path).unwrap()).0, [1, 3]);
    drop(file);
    let (mut file, bytes) = SpoolFile::open(path.clone()).unwrap();
    file.keep_up_to(numbers(&bytes).1);
    file.append(&of(4)).unwrap();
    assert_eq!(numbers(&std::fs::read(&path).unwrap()).0, [1, 3, 4]);
}

#[test]
fn a_file_that_was_cut_short_under_it_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkA.spool");
    let (mut file, _) = SpoolFile::open(path.clone()).unwrap();
    for open in [true, false] {
        file.replace(&[record::header(), of(1)].concat()).unwrap();
        if open {
            file.append(&of(2)).unwrap();
        }
        File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
        assert!(!file.is_there());
        assert_eq!(file.append(&of(3)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn a_file_that_was_removed_or_replaced_under_it_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkA.spool");
    let (mut file, _) = SpoolFile::open(path.clone()).unwrap();
    for open in [true, false] {
        file.replace(&record::header()).unwrap();
        assert!(file.is_there());
        if open {
            file.append(&of(1)).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_there());
        let lost = file.append(&of(2)).unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::NotFound);
    }
    file.replace(&record::header()).unwrap();
    file.append(&of(1)).unwrap();
    put(&path, b"another").unwrap();
    assert!(!file.is_there() && file.append(&of(2)).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkA.spool");
    put(&path, b"before").unwrap();
    // Its temporary name is taken by a folder: root may write anywhere else.
    std::fs::create_dir(folder.path().join("trunkA.spool.new")).unwrap();
    assert!(put(&path, b"after").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    let (mut file, _) = SpoolFile::open(path.clone()).unwrap();
    assert!(file.put_aside(7).unwrap().ends_with("trunkA.spool.unreadable-7"));
    assert!(!path.exists());
}

/// Not a test by itself: the process that the next one kills. It says each number when it is synced.
#[test]
fn child_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let (mut file, bytes) = SpoolFile::open(PathBuf::from(path)).unwrap();
    let (there, sound) = numbers(&bytes);
    file.keep_up_to(sound);
    for number in there.last().copied().unwrap_or(0) + 1.. {
        if number % 50 == 1 {
            let all = (1..=number).flat_map(of);
            file.replace(&record::header().into_iter().chain(all).collect::<Vec<_>>()).unwrap();
        } else {
            file.append(&of(number)).unwrap();
        }
        println!("\nsynced {number}");
    }
}

#[test]
fn whoever_is_killed_has_kept_what_it_said_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkA.spool");
    let mut said = 0;
    for life in 1..=20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "driver::spool_file::tests::child_that_is_killed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || loop {
            let line = lines.next().expect("it runs until it is killed").unwrap();
            if let Some(number) = line.strip_prefix("synced ") {
                return number.parse::<u32>().unwrap();
            }
        };
        // Each time a little longer, so that it is killed at appends and at replacements.
        let last = (0..life * 7).map(|_| next()).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last > said, "it went on behind {said}: {last}");
        said = last;
        let (there, _) = numbers(&std::fs::read(&path).unwrap());
        assert_eq!(there, (1..=u32::try_from(there.len()).unwrap()).collect::<Vec<_>>());
        assert!(there.len() >= usize::try_from(said).unwrap(), "{} of {said}", there.len());
    }
}
