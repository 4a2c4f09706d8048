//! The store: a PostgreSQL server of the test's own.

use vmpulse_inject::process::{Life, Process};
use vmpulse_inject::wait;
use vmpulse_test_postgres::Server;

use super::{GROUP, Machine};

fn server() -> Option<(Server, Process, String)> {
    match Server::start() {
        Ok(server) => {
            let first = Process::of(i32::try_from(server.pid()).unwrap()).unwrap();
            let data = server.data().canonicalize().unwrap().display().to_string();
            Some((server, first, data))
        }
        Err(reason) => {
            assert!(reason.starts_with("SKIPPED"), "{reason}");
            eprintln!("{reason}");
            None
        }
    }
}

/// The server then runs as the user that it is asked as.
fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

#[test]
fn a_killed_server_is_started_again_and_has_what_it_acknowledged() {
    let Some((mut server, first, data)) = server() else { return };
    let database = server.database();
    server
        .sql(&database, "CREATE SCHEMA vmpulse; CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
        .unwrap();
    let machine = Machine::marked(&[&format!("database:{data}")]);
    assert_eq!(machine.on("store-kill", &["--data", &data]), "made");
    assert_eq!(first.life(), Life::Gone);
    // Collects the dead, as whoever started the server does: PostgreSQL takes a number that is still there for a server.
    server.kill();
    assert!(server.sql(&database, "SELECT 1").is_err());
    assert_eq!(machine.off("store-kill"), "undone");
    assert_eq!(server.sql(&database, "SELECT x FROM kept").unwrap(), "7");
    let again = std::fs::read_to_string(server.data().join("postmaster.pid")).unwrap();
    let again = Process::of(again.lines().next().unwrap().parse().unwrap()).unwrap();
    vmpulse_inject::group::Group::Tree(again).kill().unwrap();
}

#[test]
fn a_frozen_server_answers_again_and_one_that_is_not_in_the_mark_is_not_touched() {
    let Some((mut server, first, data)) = server() else { return };
    let machine = Machine::marked(&[]);
    let said = machine.fails(&["store-freeze", "on", "--group", GROUP, "--data", &data], 77);
    assert!(said.contains("--target database:"), "{said}");
    machine.does(&["mark", GROUP, "--yes", "--target", &format!("database:{data}")]);
    if is_root() {
        let said = machine.fails(&["store-freeze", "on", "--group", GROUP, "--data", &data], 77);
        assert!(said.contains("holds a health store"), "{said}");
    }
    let database = server.database();
    server.sql(&database, "CREATE SCHEMA vmpulse").unwrap();
    assert_eq!(machine.on("store-freeze", &["--data", &data]), "made");
    assert_eq!(first.life(), Life::Stopped);
    assert_eq!(machine.off("store-freeze"), "undone");
    assert_eq!(server.sql("postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn a_frozen_server_whose_first_process_was_killed_leaves_no_stopped_ones_behind() {
    let Some((mut server, first, data)) = server() else { return };
    let database = server.database();
    server.sql(&database, "CREATE SCHEMA vmpulse").unwrap();
    let machine = Machine::marked(&[&format!("database:{data}")]);
    let left = || {
        let mut all = vmpulse_inject::process::all();
        all.retain(|one| vmpulse_inject::daemon::serves(*one, data.as_ref()) && one.life() != Life::Gone);
        all
    };
    assert_eq!(machine.on("store-freeze", &["--data", &data]), "made");
    first.kill().unwrap();
    assert!(!left().is_empty() && left().iter().all(|one| one.life() == Life::Stopped));
    // The server is not restored; but what is left of it runs on, and ends by itself as it does without its first process.
    assert!(machine.fails(&["store-freeze", "off"], 1).contains("NOT undone"));
    wait::until("the rest ends", wait::SOON, || Ok(left().is_empty())).unwrap();
    server.kill();
    server.launch().unwrap();
    assert_eq!(machine.off("store-freeze"), "undone");
}

#[test]
fn the_root_file_system_is_not_filled_by_mistake() {
    let machine = Machine::unmarked();
    machine.write("srv/data/postmaster.pid", "");
    let data = machine.path("srv/data").canonicalize().unwrap().display().to_string();
    machine.does(&["mark", GROUP, "--yes", "--target", &format!("database:{data}")]);
    let said = machine.fails(&["store-full", "on", "--group", GROUP, "--data", &data], 77);
    assert!(said.contains("root file system"), "{said}");
    assert_eq!(machine.status("store-full"), "off");
}
