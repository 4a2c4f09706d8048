//! `vmmgr ... key ...` as a function.

use vmpulse_local::keys::KeyRing;

use super::*;

const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const C: &str = "ee0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

impl Guest {
    fn ring(&self) -> KeyRing {
        crate::keys::read(self.path("agent.key").as_ref()).unwrap()
    }

    fn ids(&self) -> Vec<u8> {
        self.ring().ids().map(|id| id.as_u8()).collect()
    }

    /// Runs what is to succeed; what it says to the user.
    fn done(&self, words: &str) -> String {
        let (exit, stdout, stderr) = self.run(words);
        assert_eq!((exit, stdout.as_str()), (Exit::Done, ""), "{words}: {stderr}");
        stderr
    }
}

fn guest_with_secrets() -> Guest {
    let guest = Guest::new();
    for (name, secret) in [("a", A), ("b", B), ("c", C), ("bad", "5e5e")] {
        fs::write(guest.path(name), format!("{secret}\n")).unwrap();
    }
    guest
}

#[test]
fn keys_are_imported_exported_and_deleted() {
    let guest = guest_with_secrets();
    let said = guest.done("key import --id 1 @a");
    assert_eq!(
        said,
        "VMMGR-110(INFO): Key 1 imported.\n\
         VMMGR-111(INFO): vmpulse-agentd is not running; it reads the keys when it starts.\n"
    );
    assert_eq!(guest.run("export key 1"), (Exit::Done, format!("{A}\n"), String::new()));
    assert!(guest.done("key import --id 1 @a").contains("Key 1 was there already."));
    guest.done("import key 2 @b");
    assert_eq!(guest.ids(), [1, 2]);
    assert!(guest.done("import key 3 @c").contains("Key 3 imported in the place of key 1."));
    assert_eq!(guest.ids(), [2, 3]);
    assert!(guest.done("key remove --id 3").contains("key 2 is used from now on"));
    assert!(guest.done("rm key 2").contains("nothing is authenticated from now on"));
    assert!(!fs::exists(guest.path("agent.key")).unwrap());
}

#[test]
fn a_created_key_is_new_and_has_the_next_id() {
    let guest = guest_with_secrets();
    assert!(guest.done("create key").contains("Key 1 created. The host monitors need it too"));
    guest.done("key create --id 9");
    assert_eq!(guest.ids(), [1, 9]);
    guest.done("add key");
    assert_eq!(guest.ids(), [9, 10]);
    let ring = guest.ring();
    let ids: Vec<_> = ring.ids().collect();
    assert_ne!(ring.key(ids[0]), ring.key(ids[1]));
    let (_, exported, _) = guest.run("export key 10");
    assert!(exported.trim().parse() == Ok(ring.key(ids[1]).unwrap().clone()));
}

#[test]
fn refusals_change_no_key_and_show_none() {
    let guest = guest_with_secrets();
    guest.done("import key 1 @a");
    let before = fs::read(guest.path("agent.key")).unwrap();
    for (words, exit, code) in [
        ("import key", Exit::Usage, "VMMGR-004"),
        ("export key", Exit::Usage, "VMMGR-004"),
        ("delete key", Exit::Usage, "VMMGR-004"),
        ("import key 0 @b", Exit::Failed, "VMMGR-070"),
        ("create key 256", Exit::Failed, "VMMGR-070"),
        ("delete key x", Exit::Failed, "VMMGR-070"),
        ("import key 1 @b", Exit::Failed, "VMMGR-072"),
        ("import key 2 @a", Exit::Failed, "VMMGR-072"),
        ("create key 1", Exit::Failed, "VMMGR-072"),
        ("delete key 2", Exit::Failed, "VMMGR-073"),
        ("export key 2", Exit::Failed, "VMMGR-073"),
        ("import key 2 @bad", Exit::Failed, "VMMGR-074"),
        ("import key 2 @missing", Exit::Failed, "VMMGR-074"),
    ] {
        let said = guest.refused(words, exit, code);
        assert!(!said.contains("0102") && !said.contains("5e5e"), "{words}: {said}");
        assert_eq!(fs::read(guest.path("agent.key")).unwrap(), before, "{words}");
    }
    fs::set_permissions(guest.path("agent.key"), fs::Permissions::from_mode(0o640)).unwrap();
    for words in ["q key", "export key 1", "import key 2 @b", "create key", "delete key 1"] {
        let said = guest.refused(words, Exit::Failed, "VMMGR-071");
        assert!(said.contains("chmod 600"), "{words}: {said}");
    }
}

#[test]
fn the_daemon_is_told_of_every_change_and_its_answer_is_told() {
    let mut guest = guest_with_secrets();
    guest.daemon.answers =
        Some(Rc::new(|_| Reply::KeysLoaded { mode: "optional".to_owned(), ids: vec![1, 2] }));
    assert!(guest.done("import key 2 @b").contains("vmpulse-agentd uses key 2; authentication is optional."));
    guest.done("delete key 2");
    guest.done("create key");
    let asked = guest.daemon.asked.borrow().clone();
    assert_eq!(asked.iter().filter(|request| **request == Request::LoadKeys).count(), 3);
    guest.daemon.answers = Some(Rc::new(|_| Reply::KeysLoaded { mode: "off".to_owned(), ids: vec![] }));
    assert!(guest.done("import key 7 @b").contains("vmpulse-agentd uses no key"));
    guest.daemon.answers = Some(Rc::new(|_| Reply::NotLoaded { problem: "line 3: bad".to_owned() }));
    let (exit, _, said) = guest.run("import key 8 @c");
    assert_eq!(exit, Exit::Failed);
    assert!(said.starts_with("VMMGR-075(ERROR)") && said.contains("line 3: bad"), "{said}");
}

#[test]
fn listed_with_the_paths_that_use_them() {
    let mut guest = guest_with_secrets();
    assert_eq!(
        guest.run("key list").1,
        "No key: take one in with `vmmgr import key ID`, or make one with `vmmgr create key`.\n"
    );
    guest.done("import key 1 @a");
    guest.done("import key 2 @b");
    assert_eq!(guest.run("key list").1, "Key id=1\n used=no\n paths=\n\nKey id=2\n used=yes\n paths=\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(Box::new(running()))));
    assert_eq!(guest.run("q key").1, "Key id=1\n used=no\n paths=\n\nKey id=2\n used=yes\n paths=eth1\n");
    let (_, stdout, _) = guest.run("-o json q key");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["keys"][1]["id"], &json["keys"][1]["used"]), (&2.into(), &true.into()));
    assert_eq!(json["keys"][1]["paths"][0]["authenticated_in"], true);
    assert_eq!((&json["authentication"], &json["problem"]), (&"optional".into(), &"no such key".into()));
    assert!(!stdout.contains(A) && !stdout.contains(B));
}

/// Mode off while a host monitor demands keys: the paths keep theirs, and `sync` and `status` say the same of it.
#[test]
fn in_mode_off_sync_and_status_agree() {
    let mut guest = guest_with_secrets();
    guest.done("import key 2 @b");
    let off = |paths: Vec<LivePath>| DaemonStatus {
        authentication: "off".to_owned(),
        key_ids: Vec::new(),
        key_problem: None,
        config_problem: None,
        paths,
        ..running()
    };
    let answer = |status: DaemonStatus| -> Rc<dyn Fn(Request) -> Reply> {
        Rc::new(move |request| {
            let keys = Reply::KeysLoaded { mode: "off".to_owned(), ids: vec![] };
            let status = Reply::Status(Box::new(status.clone()));
            let loaded = Reply::Synced { applications: 1 };
            let answers = [(Request::Status, status), (Request::LoadKeys, keys), (Request::Sync, loaded)];
            answers.into_iter().find(|(asked, _)| *asked == request).unwrap().1
        })
    };
    for (paths, sentence) in [
        (vec![], "authentication = \"off\" in agent.toml: vmpulse-agentd uses no key."),
        (
            running().paths.into_iter().filter(|path| path.authenticated_in).collect(),
            "authentication = \"off\" in agent.toml: vmpulse-agentd uses no key for new handshakes; still in use: key 2 on \
             eth1, until the host monitor takes a handshake without one (`hmmgr key relax` there lets it).",
        ),
    ] {
        guest.daemon.answers = Some(answer(off(paths)));
        let (exit, _, said) = guest.run("sync");
        assert_eq!(exit, Exit::Done, "{said}");
        assert!(said.contains(&format!("VMMGR-111(INFO): {sentence}\n")), "{said}");
        let (_, shown, _) = guest.run("status");
        assert!(shown.contains(&format!("\nKeys: {sentence}\n")), "{shown}");
        assert!(guest.run("query key").1.contains("Key id=2\n used=no\n"));
    }
}
