//! The table that each round logs at level 3.

use std::fmt::Write as _;

use super::application::{Machine, Running};

/// One line per application, and per script of an application that is configured no more (DEL 1).
pub(super) fn render(machines: &[Machine], orphans: &[(String, Running)]) -> String {
    let mut text = format!(
        "{:<19} {:<13} {:<6} {:<7} MON DEL {:>7} {:>7} {:>7} {:>7}",
        "UUID", "STATE", "RESULT", "RUN", "FAIL", "STOP", "START", "RESTART"
    );
    for machine in machines {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", line(machine));
    }
    for (uuid, running) in orphans {
        let _ = write!(text, "\n{uuid:<19} {:<13} {:<6} {:<7}   0   1", "-", "-", running.kind);
    }
    text
}

fn line(machine: &Machine) -> String {
    let (spec, counts) = (&machine.spec, machine.counts());
    let run = machine.running.as_ref().map_or_else(|| "-".to_owned(), |running| running.kind.to_string());
    let of = |count: u32, max: u32| format!("{count}/{max}");
    format!(
        "{:<19} {:<13} {:<6} {run:<7} {:>3}   0 {:>7} {:>7} {:>7} {:>7}",
        spec.uuid,
        machine.status,
        machine.last_result,
        u8::from(spec.monitored),
        of(counts.failures, spec.monitor_failure_threshold),
        of(counts.stop_failures, spec.stop_max_failures),
        of(counts.start_failures, spec.start_max_failures),
        of(machine.restart_count(), spec.max_restart),
    )
}
