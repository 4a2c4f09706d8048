//! Every scenario's log is as it is kept, line by line; and what a scenario is for is in it.

use vmpulse_sim::scenarios;

/// More than this many, so that none is lost by mistake.
const AT_LEAST: usize = 51;

#[test]
fn logs_are_as_kept() {
    let names = scenarios::names().unwrap();
    assert!(names.len() >= AT_LEAST, "{}", names.len());
    let mut changed = Vec::new();
    for name in &names {
        let (new, kept) = (scenarios::log(name), scenarios::golden(name).unwrap_or_default());
        match new {
            Ok(new) if new == kept => {}
            Ok(new) => {
                let differs = new.lines().zip(kept.lines()).find(|(new, kept)| new != kept);
                changed.push(format!("{name}: {differs:?}"));
            }
            Err(error) => changed.push(error.to_string()),
        }
    }
    assert!(
        changed.is_empty(),
        "{}\nif that is as it should be: cargo run -p vmpulse-sim --bin simulate -- bless, and read the difference",
        changed.join("\n")
    );
}

/// A golden log that is blessed without being read could say anything: what matters most is said here as well.
#[test]
fn failures_are_declared_where_they_should_be_and_nowhere_else() {
    let expected = [
        // Of guests without the right key; of the VM that one of them pretended to be, when that was really silent.
        ("auth-no-key", 2),
        ("auth-pretend", 3),
        // Of the VM whose guest took the name of the other.
        ("conflict-copy", 1),
        ("controllers-two", 2),
        ("heartbeat-failure", 1),
        ("heartbeat-slow-limit", 1),
        ("heartbeat-short-limit", 1),
        ("heartbeat-recovered", 2),
        ("heartbeat-one-path", 1),
        ("store-refuses", 1),
        ("store-clock-back", 1),
        ("controller-restart", 1),
        ("quiet-granted", 1),
        ("quiet-ended", 1),
        ("suspension", 1),
        ("move-and-die", 1),
        ("mode-local-failure", 1),
    ];
    for name in scenarios::names().unwrap() {
        let wanted = expected.iter().find(|(of, _)| *of == name).map_or(0, |(_, count)| *count);
        let declared = scenarios::golden(&name).unwrap().matches("VM_FAILURE_DETECTED").count();
        assert_eq!(declared, wanted, "{name}");
    }
}
