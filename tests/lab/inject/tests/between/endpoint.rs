//! An endpoint that cannot be reached.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::inside;

const ENDPOINT: &str = "127.0.0.1:5432";
const OTHER: &str = "127.0.0.1:5433";

/// Nothing answers while rules drop, so this is waited for in vain; long enough for a local connection on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

fn connect(to: &str) -> Result<(), ErrorKind> {
    let to: SocketAddr = to.parse().unwrap();
    TcpStream::connect_timeout(&to, PATIENCE).map(drop).map_err(|error| error.kind())
}

#[test]
fn an_endpoint_is_dead_or_refuses_and_all_others_answer() {
    inside("endpoint::an_endpoint_is_dead_or_refuses_and_all_others_answer", |bed| {
        let (_endpoint, _other) = (TcpListener::bind(ENDPOINT).unwrap(), TcpListener::bind(OTHER).unwrap());
        let before = bed.traces();
        for (how, kind) in [("drop", ErrorKind::TimedOut), ("refuse", ErrorKind::ConnectionRefused)] {
            let on = format!("endpoint on --group rehearsal --address 127.0.0.1 --port 5432 --how {how}");
            let told = bed.good(&on);
            assert!(told.contains("127.0.0.1:5432 cannot be reached from here"), "{told}");
            assert_eq!(connect(ENDPOINT), Err(kind));
            assert_eq!(connect(OTHER), Ok(()));
            assert!(bed.good("endpoint status").contains("ON"));
            bed.good("endpoint off");
            assert_eq!(connect(ENDPOINT), Ok(()));
            assert_eq!(bed.traces(), before);
        }
    });
}

#[test]
fn an_endpoint_that_the_mark_does_not_name_is_not_touched() {
    inside("endpoint::an_endpoint_that_the_mark_does_not_name_is_not_touched", |bed| {
        let before = bed.traces();
        let output = bed.inject("endpoint on --group rehearsal --address 127.0.0.1 --port 5433");
        assert_eq!(output.status.code(), Some(77));
        assert_eq!(bed.traces(), before);
    });
}

#[test]
fn nobody_waits_for_events_of_an_endpoint_that_is_nobodys() {
    inside("endpoint::nobody_waits_for_events_of_an_endpoint_that_is_nobodys", |bed| {
        let before = bed.traces();
        let on =
            "endpoint on --group rehearsal --address 127.0.0.1 --port 5432 --expect --hamgr /nonexistent";
        for whose in ["", "--whose other"] {
            assert_eq!(bed.inject(&format!("{on} {whose}")).status.code(), Some(2), "{whose}");
            assert_eq!(bed.traces(), before);
        }
        // Without a store to ask it is made, and not judged.
        assert_eq!(bed.inject(&format!("{on} --whose store")).status.code(), Some(75));
        bed.good("endpoint off");
    });
}
