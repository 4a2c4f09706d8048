use std::os::unix::fs::PermissionsExt;

use vmpulse_local::exit::Exit;
use vmpulse_local::keys::{AddError, read_secret};
use vmpulse_protocol::auth::{Authentication, Key, KeyId, Mode};

use super::*;

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

fn id(number: u8) -> KeyId {
    KeyId::new(number).unwrap()
}

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn keys(&self) -> KeyDirectory {
        KeyDirectory::new(self.0.path().join("keys"))
    }

    fn marks(&self) -> Marks {
        Marks::new(self.0.path().join("authenticated"))
    }

    fn keeper(&self, mode: Mode) -> Keeper {
        Keeper::new(mode, self.keys(), self.marks())
    }

    fn chmod(&self, vm: VmUuid, mode: u32) {
        fs::set_permissions(self.keys().file(vm), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn ids(&self, vm: VmUuid) -> Vec<u8> {
        self.keys().read(vm).unwrap().ids().map(|id| id.as_u8()).collect()
    }
}

fn modes(loaded: &Loaded) -> Vec<(VmUuid, Mode, usize)> {
    let of = |(vm, authentication): (&VmUuid, &Authentication)| {
        (*vm, authentication.mode, authentication.ids().count())
    };
    let mut modes: Vec<_> = loaded.authentication.iter().map(of).collect();
    modes.sort_by_key(|(vm, ..)| *vm);
    modes
}

#[test]
fn a_key_is_created_rotated_exported_and_removed() {
    let host = Host::new();
    let keys = host.keys();
    assert_eq!(keys.create(vm(1), None).unwrap(), id(1));
    assert_eq!(keys.create(vm(2), Some(id(255))).unwrap(), id(255));
    assert!(matches!(keys.create(vm(1), Some(id(5))), Err(ChangeError::HasKey { .. })));
    assert_eq!(keys.rotate(vm(1)).unwrap(), Rotated { from: id(1), to: id(2) });
    assert_eq!(keys.rotate(vm(2)).unwrap(), Rotated { from: id(255), to: id(1) });
    let full = keys.rotate(vm(1)).unwrap_err();
    assert!(matches!(full, ChangeError::Full { ids, .. } if ids == [id(1), id(2)]), "{full}");
    assert_eq!(full.exit(), Exit::Failed);
    let exported = keys.export(vm(1), id(2)).unwrap();
    assert_eq!(&read_secret(exported.as_slice()).unwrap(), keys.read(vm(1)).unwrap().key(id(2)).unwrap());
    assert_eq!(keys.remove(vm(1), id(1)).unwrap().last(), Some(id(2)));
    assert!(matches!(keys.remove(vm(1), id(1)), Err(ChangeError::NoSuchKey { .. })));
    assert!(keys.remove(vm(1), id(2)).unwrap().is_empty());
    assert!(!keys.file(vm(1)).exists());
    assert!(matches!(keys.rotate(vm(1)), Err(ChangeError::NoKey { .. })));
    assert!(matches!(keys.export(vm(1), id(2)), Err(ChangeError::NoSuchKey { .. })));
    assert_eq!(host.ids(vm(2)), [255, 1]);
    assert_eq!(fs::metadata(keys.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_imported_key_may_come_twice_but_not_under_another_id() {
    let host = Host::new();
    let (keys, key) = (host.keys(), Key::from_bytes([7; 32]));
    assert_eq!(keys.import(vm(1), id(4), key.clone()).unwrap(), Imported::Added);
    assert_eq!(keys.import(vm(1), id(4), key.clone()).unwrap(), Imported::Known);
    let same = keys.import(vm(1), id(5), key).unwrap_err();
    assert!(matches!(same, ChangeError::NotNew { reason: AddError::SameKey(_), .. }), "{same}");
    let other = keys.import(vm(1), id(4), Key::from_bytes([8; 32])).unwrap_err();
    assert!(matches!(other, ChangeError::NotNew { reason: AddError::SameId(_), .. }), "{other}");
    assert_eq!(host.ids(vm(1)), [4]);
}

#[test]
fn a_scan_tells_bad_files_one_by_one_and_takes_the_others() {
    let host = Host::new();
    let keys = host.keys();
    assert!(keys.scan().unwrap().is_none());
    for number in 1..=3 {
        keys.create(vm(number), None).unwrap();
    }
    host.chmod(vm(2), 0o644);
    fs::write(keys.file(vm(4)), "1 x\n").unwrap();
    host.chmod(vm(4), 0o600);
    let upper = keys.path().join("AAAAAAAA-0000-4000-8000-000000000001.key");
    for name in
        [upper, keys.path().join("guest1.key"), keys.path().join(".x.key.new"), keys.path().join("notes")]
    {
        fs::write(name, "").unwrap();
    }
    let scan = keys.scan().unwrap().unwrap();
    let mut vms: Vec<_> = scan.rings.keys().copied().collect();
    vms.sort();
    assert_eq!(vms, [vm(1), vm(3)]);
    let of: Vec<_> = scan.problems.iter().map(|problem| problem.vm).collect();
    assert_eq!(of.len(), 4);
    assert!(of.contains(&Some(vm(2))) && of.contains(&Some(vm(4))) && of.contains(&None));
    let text = scan.problems.iter().map(|problem| problem.text.as_str()).collect::<Vec<_>>().join("\n");
    for part in ["chmod 600", "line 1: expected", "guest1.key is no VM's", "lower case"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(keys.scan(), Err(KeyFileError::OpenDirectory { .. })));
}

#[test]
fn a_marked_vm_must_be_authenticated_where_anything_is_demanded() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    host.keys().create(vm(2), None).unwrap();
    host.marks().set([vm(2), vm(3)]).unwrap();
    let load = |mode| modes(&host.keeper(mode).load());
    assert_eq!(
        load(Mode::Optional),
        [(vm(1), Mode::Optional, 1), (vm(2), Mode::Required, 1), (vm(3), Mode::Required, 0)]
    );
    assert_eq!(
        load(Mode::Required),
        [(vm(1), Mode::Required, 1), (vm(2), Mode::Required, 1), (vm(3), Mode::Required, 0)]
    );
    assert_eq!(load(Mode::ReceiveOnly), [(vm(1), Mode::ReceiveOnly, 1), (vm(2), Mode::ReceiveOnly, 1)]);
    assert_eq!(load(Mode::Off), []);
}

#[test]
fn a_file_that_became_bad_leaves_the_keys_in_use_and_is_told_once() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    let mut keeper = host.keeper(Mode::Optional);
    let before = keeper.load();
    assert!(before.problems.is_empty());
    host.chmod(vm(1), 0o644);
    let bad = keeper.load();
    assert_eq!(bad.authentication, before.authentication);
    assert!(bad.new_problems[0].contains("chmod 600") && bad.new_problems[0].contains("keeps the keys"));
    assert_eq!(keeper.load().new_problems, Vec::<String>::new());
    assert_eq!(keeper.load().problems.len(), 1);
    // A daemon that starts now has no key for it.
    let fresh = host.keeper(Mode::Optional).load();
    assert!(fresh.authentication.is_empty() && fresh.problems[0].ends_with("has no key"), "{fresh:?}");
    host.chmod(vm(1), 0o600);
    assert!(keeper.load().problems.is_empty());
    host.chmod(vm(1), 0o644);
    assert_eq!(keeper.load().new_problems.len(), 1, "it went and came back");
    fs::remove_dir_all(host.keys().path()).unwrap();
    let gone = keeper.load();
    assert!(gone.problems[0].contains("is gone") && gone.vms == 1, "{gone:?}");
    // One file that is removed is meant to be.
    host.keys().create(vm(2), None).unwrap();
    assert_eq!(modes(&keeper.load()), [(vm(2), Mode::Optional, 1)]);
}

#[test]
fn a_directory_full_of_bad_files_is_told_in_few_words() {
    let host = Host::new();
    fs::create_dir(host.keys().path()).unwrap();
    for number in 1..=200 {
        fs::write(host.keys().file(vm(number)), "x").unwrap();
    }
    let loaded = host.keeper(Mode::Optional).load();
    assert_eq!((loaded.problems.len(), loaded.new_problems.len()), (200, 65));
    assert!(loaded.new_problems[64].starts_with("136 more key files"), "{:?}", loaded.new_problems.last());
}

#[test]
fn marks_of_another_host_monitor_and_of_an_administrator_are_seen() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    let (mut one, mut other) = (host.keeper(Mode::Optional), host.keeper(Mode::Optional));
    one.load();
    other.load();
    assert!(other.look().is_none());
    one.mark(&[vm(1)]).unwrap();
    assert!(one.look().is_none(), "it knows itself");
    assert_eq!(modes(&other.look().unwrap()), [(vm(1), Mode::Required, 1)]);
    assert!(other.look().is_none());
    assert!(host.marks().clear(vm(1)).unwrap());
    assert_eq!(modes(&one.look().unwrap()), [(vm(1), Mode::Optional, 1)]);
}

#[test]
fn a_mark_that_cannot_be_written_holds_and_is_tried_again() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    let mut keeper = host.keeper(Mode::Optional);
    keeper.load();
    let place = host.0.path().join("authenticated");
    fs::write(&place, "in the way").unwrap();
    assert!(keeper.mark(&[vm(1)]).is_err());
    assert_eq!(modes(&keeper.load()), [(vm(1), Mode::Required, 1)]);
    fs::remove_file(&place).unwrap();
    assert!(keeper.look().is_none());
    assert!(host.marks().contains(vm(1)).unwrap());
    keeper.relax(vm(1));
    assert_eq!(modes(&keeper.load()), [(vm(1), Mode::Optional, 1)]);
    assert!(!host.marks().contains(vm(1)).unwrap());
}

/// Nobody is let in without authentication because the file cannot be read that says who must prove it.
#[test]
fn until_the_marks_can_be_read_every_vm_with_a_key_must_be_authenticated() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    let place = host.0.path().join("authenticated");
    fs::write(&place, "in the way").unwrap();
    let mut keeper = host.keeper(Mode::Optional);
    let loaded = keeper.load();
    assert_eq!(modes(&loaded), [(vm(1), Mode::Required, 1)]);
    assert!(loaded.problems[0].contains("until it can be read"), "{:?}", loaded.problems);
    fs::remove_file(&place).unwrap();
    assert_eq!(modes(&keeper.look().unwrap()), [(vm(1), Mode::Optional, 1)]);
}

#[test]
fn what_was_authenticated_while_the_files_were_read_is_not_lost() {
    let host = Host::new();
    host.keys().create(vm(1), None).unwrap();
    let mut loaded = host.keeper(Mode::Optional).load();
    loaded.mark(vm(1));
    loaded.mark(vm(2));
    assert_eq!(modes(&loaded), [(vm(1), Mode::Required, 1), (vm(2), Mode::Required, 0)]);
}

/// Writers of the same file wait for each other; those of others do not disturb them.
#[test]
fn many_writers_at_once_lose_nothing() {
    let host = Host::new();
    let keys = host.keys();
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let keys = &keys;
            scope.spawn(move || {
                keys.import(vm(9), id(number), Key::from_bytes([number; 32])).is_ok().then_some(())
            });
            scope.spawn(move || keys.create(vm(number), None).unwrap());
        }
    });
    assert_eq!(host.ids(vm(9)).len(), 2, "two of four had room");
    assert_eq!(keys.scan().unwrap().unwrap().rings.len(), 5);
}
