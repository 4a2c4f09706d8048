use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use vmpulse_protocol::auth::{Key, KeyId};

use super::*;
use crate::keys::generate;

fn id(number: u8) -> KeyId {
    KeyId::new(number).unwrap()
}

fn ring(ids: &[u8]) -> KeyRing {
    let mut ring = KeyRing::default();
    for number in ids {
        ring.add(id(*number), Key::from_bytes([*number; 32])).unwrap();
    }
    ring
}

fn save(path: &Path, ring: &KeyRing) {
    LockedKeyFile::open(path).unwrap().0.save(ring).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn written_for_its_owner_alone_and_removed_with_its_last_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmpulse/agent.key");
    assert!(read(&path).unwrap().is_none());
    save(&path, &ring(&[1, 2]));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(read(&path).unwrap(), Some(ring(&[1, 2])));
    let (file, before) = LockedKeyFile::open(&path).unwrap();
    assert_eq!(before, ring(&[1, 2]));
    file.save(&ring(&[2])).unwrap();
    assert_eq!(read(&path).unwrap(), Some(ring(&[2])));
    assert_eq!(names(path.parent().unwrap()), ["agent.key"], "no drafts, no locks");
    save(&path, &KeyRing::default());
    assert!(read(&path).unwrap().is_none() && names(path.parent().unwrap()).is_empty());
    save(&path, &KeyRing::default());
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    save(&path, &ring(&[1]));
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        chmod(&path, mode);
        let error = read(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        assert_eq!(error.exit(), Exit::Config);
        // Nor is it replaced: that would hide that the key is known.
        assert!(LockedKeyFile::open(&path).is_err());
    }
    chmod(&path, 0o400);
    assert_eq!(read(&path).unwrap(), Some(ring(&[1])));
}

#[test]
fn only_the_owners_own_regular_file_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (path, real) = (directory.path().join("agent.key"), directory.path().join("real"));
    save(&real, &ring(&[1]));
    symlink(&real, &path).unwrap();
    assert!(matches!(read(&path), Err(KeyFileError::NotAFile { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(read(&path), Err(KeyFileError::NotAFile { .. })));
    fs::remove_dir(&path).unwrap();
    // Not waited for, as a reader of a pipe would.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(read(&path), Err(KeyFileError::NotAFile { .. })));
    fs::remove_file(&path).unwrap();
    let _socket = UnixListener::bind(&path).unwrap();
    assert!(matches!(read(&path), Err(KeyFileError::Io { action: "open", .. })));
    if geteuid().is_root() {
        std::os::unix::fs::chown(&real, Some(4711), None).unwrap();
        let error = read(&real).unwrap_err();
        assert!(matches!(error, KeyFileError::Owner { uid: 4711, .. }), "{error}");
        assert!(error.to_string().contains("chown root"), "{error}");
    } else {
        eprintln!("not root: that another owner is refused was not tried");
    }
}

#[test]
fn a_draft_never_goes_through_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (path, victim) = (directory.path().join("agent.key"), directory.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, draft(&path)).unwrap();
    save(&path, &ring(&[1]));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(read(&path).unwrap(), Some(ring(&[1])));
    // A link in the place of the file itself is refused before anything is written.
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    assert!(LockedKeyFile::open(&path).is_err());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    chmod(directory.path(), 0o770);
    let error = LockedKeyFile::open(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::OpenDirectory { mode: 0o770, .. }), "{error}");
    for mode in [0o1777, 0o755, 0o700] {
        chmod(directory.path(), mode);
        check_directory(directory.path()).unwrap();
    }
    let made = directory.path().join("vmpulse/keys");
    make_private_directory(&made).unwrap();
    make_private_directory(&made).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn what_is_no_key_file_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    let secret = "5e".repeat(32);
    for (text, wanted) in [
        (format!("# a comment\n1 {secret} x\n"), "line 2: expected an id"),
        (String::new(), "no key in it"),
        (format!("1 {secret}\n#{}", "x".repeat(MAX_FILE_BYTES)), "is larger than"),
    ] {
        fs::write(&path, text).unwrap();
        chmod(&path, 0o600);
        let error = read(&path).unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(text.contains(wanted) && text.contains("agent.key"), "{text}");
        assert!(!format!("{text} {error:?}").contains("5e5e"), "{text}");
    }
}

#[test]
fn a_failed_write_leaves_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    save(&path, &ring(&[1]));
    let (file, _) = LockedKeyFile::open(&path).unwrap();
    fs::create_dir(draft(&path)).unwrap();
    assert!(matches!(file.save(&ring(&[2])), Err(KeyFileError::Io { action: "write", .. })));
    assert_eq!(read(&path).unwrap(), Some(ring(&[1])));
}

/// Each writer adds a key where there is room and removes one where there is not: with a lost update somebody would
/// find a key gone that nobody removed.
#[test]
fn writers_wait_for_each_other_and_readers_never_see_half_a_file() {
    const WRITERS: usize = 4;
    const TURNS: usize = 25;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.key");
    save(&path, &ring(&[255]));
    let (added, removed) = (std::sync::atomic::AtomicUsize::new(1), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..TURNS {
                    let (file, mut ring) = LockedKeyFile::open(&path).unwrap();
                    if ring.ids().count() < 2 {
                        ring.add(ring.next_id(), generate().unwrap()).unwrap();
                        added.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    } else {
                        let oldest = ring.ids().next().unwrap();
                        ring.remove(oldest).unwrap();
                        removed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    file.save(&ring).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..WRITERS * TURNS {
                assert!(read(&path).unwrap().is_some());
            }
        });
    });
    let left = read(&path).unwrap().unwrap().ids().count();
    assert_eq!(added.into_inner() - removed.into_inner(), left);
    assert_eq!(names(directory.path()), ["agent.key"]);
}
