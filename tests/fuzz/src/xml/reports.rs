//! Application reports: those that the controller takes are within its bounds, and it takes those that agents send.

use std::collections::BTreeSet;

use vmpulse_agent::ame::{Ame, Past};
use vmpulse_agent::config::Configuration;
use vmpulse_agent::report::Reporter;
use vmpulse_controller::report::{APPLICATIONS_LIMIT, REPORT_LIMIT_BYTES, parse};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

/// The VM whose report it should be.
const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";

/// Bytes of a version that are in the report whatever they are: 576 as written, where a quote is six.
const SHORT_VERSION: usize = 96;

fn vm() -> VmUuid {
    VM.parse().expect("a UUID")
}

pub(super) fn check(input: &[u8]) {
    match parse(input, vm()) {
        Ok(content) => {
            let applications = content.applications;
            assert!(input.len() <= REPORT_LIMIT_BYTES && applications.len() <= APPLICATIONS_LIMIT);
            let names: BTreeSet<_> = applications.iter().map(|one| &one.name).collect();
            let uuids: BTreeSet<_> = applications.iter().map(|one| &one.uuid).collect();
            assert_eq!((names.len(), uuids.len()), (applications.len(), applications.len()));
            for application in &applications {
                assert!(!application.name.contains(|c: char| c.is_control() || c == '/' || c == '\''));
                assert!(i64::try_from(application.last_change_age_s).is_ok());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What an agent is configured for, the controller understands.
pub(super) fn check_configured(configuration: Configuration) {
    let expected: Vec<(String, String, String, bool, bool)> = configuration
        .applications
        .iter()
        .map(|app| {
            let version = app.values.text("version").to_owned();
            (app.name.clone(), app.uuid.clone(), version, app.critical, app.monitored)
        })
        .collect();
    let ame = Ame::new(configuration, &Past::default(), Instant::ZERO);
    let report =
        Reporter::new(VM.to_owned(), 1).build(Instant::from_millis(5000), ame.applications(), |_| "");
    let reported = parse(&report, vm()).expect("the controller reads what the agent writes").applications;
    let found: Vec<_> = reported
        .into_iter()
        .map(|one| (one.name, one.uuid, one.version, one.critical, one.monitored))
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.into_iter().zip(expected) {
        // A version that is written much longer than it is is cut.
        let whole = found.2.len().min(expected.2.len());
        assert!(whole >= expected.2.len().min(SHORT_VERSION) && expected.2.starts_with(&found.2));
        assert_eq!(found, (expected.0, expected.1, found.2.clone(), expected.3, expected.4));
    }
}
