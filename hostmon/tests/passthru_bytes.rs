//! `hmmgr passthru` as a process answers the same on SQLite and on PostgreSQL, byte for byte but for hsTags and ages.
//!
//! One long list of requests, errors among them, with what host monitors write in between, is gone through on a store of
//! each kind. Requests and answers are checked against the schemas of the reference.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "passthru_bytes/machine.rs"]
mod machine;
#[path = "passthru_bytes/schemas.rs"]
mod schemas;
#[path = "passthru_bytes/script.rs"]
mod script;

use machine::{Answer, Machine};
use vmpulse_test_postgres::Server;

/// Attributes whose values are ages: they depend on how fast the machine is.
const AGES: &[&str] = &[
    "hmResponseSec",
    "missedHb",
    "missedHbMax",
    "missedHbMs",
    "missedHbAnnouncedMs",
    "stateSec",
    "suspendedSec",
    "awaitedSec",
    "ageSec",
    "askedSec",
    "arrivedSec",
];

/// The answer with `*` for hsTags and ages.
fn comparable(answer: &str) -> String {
    AGES.iter().chain(&["hsTag"]).fold(answer.to_owned(), |text, name| hide(&text, name))
}

fn hide(text: &str, attribute: &str) -> String {
    let start = format!(" {attribute}=\"");
    let mut parts = text.split(&start);
    let mut hidden = parts.next().unwrap().to_owned();
    for part in parts {
        let (value, rest) = part.split_once('"').unwrap();
        assert!(value.parse::<i64>().is_ok(), "{attribute}: {value}");
        hidden.push_str(&start);
        hidden.push_str("*\"");
        hidden.push_str(rest);
    }
    hidden
}

#[test]
fn both_back_ends_answer_the_same() {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    let on_sqlite = script::run(&mut Machine::on_sqlite());
    let on_postgres = script::run(&mut Machine::on_postgres(&server.url("postgres", &database)));
    assert_eq!(on_sqlite.len(), on_postgres.len());
    for (one, other) in on_sqlite.iter().zip(&on_postgres) {
        assert_eq!(comparable(&one.text), comparable(&other.text), "to {}", one.request);
        assert_eq!(one.code, other.code, "to {}", one.request);
    }
    every_kind_was_there(&on_sqlite);
    schemas::check(&on_sqlite);
}

/// The list is not long for nothing.
fn every_kind_was_there(answers: &[Answer]) {
    let text: String = answers.iter().map(|answer| answer.request.as_str()).collect();
    for action in script::ACTIONS {
        assert!(text.contains(&format!("\"VIO_HS_{action}\"")), "{action} is not asked for");
    }
    let done = |action: &str| {
        answers.iter().any(|one| one.code == 0 && one.request.contains(&format!("\"VIO_HS_{action}\"")))
    };
    let missing: Vec<_> = script::ACTIONS.iter().filter(|action| !done(action)).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "never carried out");
    let text: String = answers.iter().map(|answer| answer.text.as_str()).collect();
    for code in [
        "MALFORMED",
        "TOO_LARGE",
        "UNKNOWN_ACTION",
        "UNKNOWN_HOST",
        "UNKNOWN_VM",
        "ELSEWHERE",
        "UNKNOWN_HOST_GROUP",
        "UNKNOWN_TAG",
        "NO_PATH",
        "UNKNOWN_MESSAGE",
        "NOT_ARRIVED",
    ] {
        assert!(text.contains(&format!("<Error code=\"{code}\">")), "no answer is {code}");
    }
    for part in [
        "missedHMEntry",
        "versionConflict=\"1\"",
        "isFenced=\"1\"",
        "type=\"MOVED\"",
        "type=\"MANAGED\"",
        "type=\"UNMANAGED\"",
        "type=\"CANNOT_MANAGE\"",
        "syncMsg=\"1\"",
        "hasData=\"1\"",
        "reason=\"0x00000040\"",
        "sender=\"GUARDIAN\"",
        "authenticated=\"1\"",
        "encoding=\"hex\"",
        "encoding=\"text\"",
        "more=\"1\"",
        "next=\"",
        "<unknown ",
        "common=\"1\"",
        "state=\"STOPPING\"",
        "state=\"REMOVED\"",
        "<unknownVM ",
        "<unknownVIOS ",
        "<unknownMS ",
        "<removedMS ",
    ] {
        assert!(text.contains(part), "no answer has {part}");
    }
}

/// The specification's words, as they stand there.
#[test]
fn the_quoted_requests_work_as_they_stand() {
    let quick_query = "<?xml version=\"1.0\"?>\n\
        <VIO xmlns=\"http://ausgsa.austin.ibm.com/projects/v/vios/schema/vioHADR2.00\" version=\"2.00\" author=\"...\" \
        title=\"Req Quick Query\">\n  <Request action_str=\"VIO_HS_QUICK_QUERY\"/>\n</VIO>\n";
    let machine = Machine::on_sqlite();
    let empty = machine.ask(quick_query);
    let expected = "<?xml version=\"1.0\"?>\n\
        <VIO><Response><quickQuery><viosStatList></viosStatList></quickQuery></Response></VIO>\n";
    assert_eq!((empty.code, empty.text.as_str()), (0, expected));
    let key = "machine_type=\"8286\" model=\"42A\" serial=\"21E0B2V\"";
    let uuid = "uuid=\"5ac3e0dc-13fc-4221-9617-8ef61c4cdd83\"";
    let vm = "<vm uuid=\"61be20f0-09a8-4753-b5e5-564f8a545ed5\"/>";
    for (action, body) in [
        (
            "ADD_MS",
            format!(
                "<addMS><viosList {key}><vios {uuid} isHM=\"1\" partNum=\"1\" macAddr=\"0200AB000001\"/></viosList></addMS>"
            ),
        ),
        ("ADD_VM", format!("<addVM><vmList {key}>{vm}</vmList></addVM>")),
        ("NEEDS_ATTENTION", "<needsAtt dataType=\"GLOBAL_DATA\"/>".to_owned()),
        ("QUERY_NODE_DATA", String::new()),
        ("QUERY_VM", String::new()),
        ("QUERY_CONFLICT", String::new()),
        ("QUERY_MSG", String::new()),
        ("SYNC_MSG", String::new()),
        ("REMOVE_ALL_MSG", String::new()),
    ] {
        let request = quick_query.replace("QUICK_QUERY\"/>", &format!("{action}\">{body}</Request>"));
        let answer = machine.ask(&request);
        assert_eq!(answer.code, 0, "{action}: {}", answer.text);
    }
    let command =
        "<putMsg><vm uuid=\"61be20f0-09a8-4753-b5e5-564f8a545ed5\"><Command code=\"0x2\"/></vm></putMsg>";
    let put = machine.ask(&quick_query.replace("QUICK_QUERY\"/>", &format!("PUT_MSG\">{command}</Request>")));
    assert!(put.code == 1 && put.text.contains("NO_PATH"), "it is understood: {}", put.text);
    let answer = machine.ask(quick_query);
    let stat = "<viosStat uuid=\"5ac3e0dc-13fc-4221-9617-8ef61c4cdd83\" state=\"DOWN\" hmResponsive=\"0\" \
        hasData=\"0\" reason=\"0x00000000\" syncMsg=\"0\"/>";
    assert!(answer.text.contains(stat), "{}", answer.text);
}
