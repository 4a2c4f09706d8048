//! With the interval as shipped: one silent path accuses nobody; a silent guest is MISSING 19 s after its last
//! heartbeat, and reported by the age of its youngest silence.
//!
//! This is the one place where a time is itself what is required, so it is measured and judged, unless the machine
//! was late: the host monitor says when it was.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, PathStatus, Plan, requests};
use crate::error::{Lab, LabError, expect};
use crate::frames::Capture;
use crate::outcome::Report;
use crate::process::{Place, sh};
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "silence-is-missing",
    about: "MISSING 18.9 to 19.6 s after the last heartbeat at 10 s; a VM only when all its paths are",
    run,
};

/// Not before and not after the last heartbeat.
const BAND_S: std::ops::RangeInclusive<f64> = 18.9..=19.6;
const EDGE_LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = Plan { monitors: AS_SHIPPED, ..Plan::default() };
    let mut chain = Chain::start(world, plan)?;
    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    chain.register_and_wait()?;
    let guest = chain.guest(0)?;
    let uuid = guest.uuid().to_string();

    // The guest's own end of trunk B goes down: for monitor B it is silent, for monitor A all is well.
    let second = chain.trunk(1)?;
    sh(&Place::net(guest.name()), &format!("ip link set {} down", second.adapter()))?;
    let late = watch_edge(chain.monitor(1)?, &uuid)?;
    let attention = chain.passthru(&requests::needs_attention())?;
    expect(!attention.contains("missedHb"), || format!("one silent path is reported:\n{attention}"))?;
    report.figure(format!("trunk B silent alone for {:.1} s: the VM is not reported", late.silent_s));

    guest.freeze()?;
    let edge = watch_edge(chain.monitor(0)?, &uuid)?;
    let mac = trunk.guest_mac(guest.number());
    let last = capture.frames()?.iter().filter(|f| f.is_heartbeat() && f.from() == mac).map(|f| f.at).max();
    let last = last.ok_or_else(|| LabError::Unexpected("no heartbeat was captured".into()))?;
    let silent = edge.seen_at.saturating_sub(last).as_secs_f64();
    report.figure(format!(
        "MISSING seen {silent:.2} s after the last captured heartbeat; by the monitor's own measure {:.2} s",
        edge.silent_s
    ));
    judge(&edge, last)?;

    // Reported by the younger of the two silences. Trunk B's is older by one interval (10 s), less the moment by which the two
    // adapters beat apart; both ages are cut to whole seconds.
    let vm = wait::until(EDGE_LIMIT, "the VM to be reported", || {
        let answer = chain.passthru(&requests::needs_attention())?;
        Ok(missed(&answer))
    })?;
    expect(vm.0 < 30 && vm.1 >= vm.0 + 5, || format!("missedHb is {} s, missedHbMax {} s", vm.0, vm.1))?;
    report.figure(format!("reported with missedHb {} s, missedHbMax {} s", vm.0, vm.1));

    chain.guest(0)?.thaw()?;
    wait::until(EDGE_LIMIT, "the path to beat again", || {
        Ok(path_of(chain.monitor(0)?, &uuid)?.filter(|path| path.state == "BEATING"))
    })?;
    chain.still_runs()
}

/// An edge as seen from outside.
struct Edge {
    /// The last look at which the path was not yet MISSING, on the wall clock.
    not_yet_at: Duration,
    /// The first look at which it was.
    seen_at: Duration,
    /// The age of the silence by the monitor's own measure at that look.
    silent_s: f64,
    /// Whether the monitor said that it was late meanwhile.
    deferred: bool,
}

fn watch_edge(monitor: &HostMonitor, uuid: &str) -> Lab<Edge> {
    let mut not_yet_at = wait::realtime();
    let before = monitor.counter("deferrals")?;
    wait::until(EDGE_LIMIT, &format!("{uuid} to be MISSING"), || {
        let looked_at = wait::realtime();
        let Some(path) = path_of(monitor, uuid)?.filter(|path| path.state == "MISSING") else {
            not_yet_at = looked_at;
            return Ok(None);
        };
        let seen_at = wait::realtime();
        let silent_s = Duration::from_millis(path.last_heartbeat_age_ms.unwrap_or_default()).as_secs_f64();
        let deferred = monitor.counter("deferrals")? > before;
        Ok(Some(Edge { not_yet_at, seen_at, silent_s, deferred }))
    })
}

/// The edge lies between two looks; it is wrong only if all of that time is outside the band.
fn judge(edge: &Edge, last_heartbeat: Duration) -> Lab<()> {
    let earliest = edge.not_yet_at.saturating_sub(last_heartbeat).as_secs_f64();
    let latest = edge.seen_at.saturating_sub(last_heartbeat).as_secs_f64();
    let fits = latest >= *BAND_S.start() && earliest <= *BAND_S.end();
    if !fits && edge.deferred {
        let text = format!("the machine stalled, so the monitor rightly waited longer: {latest:.2} s");
        return Err(LabError::Skipped(text));
    }
    expect(fits, || format!("the edge came between {earliest:.2} and {latest:.2} s after the last heartbeat"))
}

fn path_of(monitor: &HostMonitor, uuid: &str) -> Lab<Option<PathStatus>> {
    Ok(monitor.paths()?.into_iter().find(|path| path.vm.eq_ignore_ascii_case(uuid)))
}

/// missedHb and missedHbMax of the only VM, in seconds.
fn missed(answer: &str) -> Option<(u64, u64)> {
    let number = |name: &str| {
        let (_, rest) = answer.split_once(&format!("{name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    Some((number("missedHb")?, number("missedHbMax")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_ages() {
        let answer = r#"<VM state="STARTED" missedHb="19" missedHbMs="19042" missedHbMax="41">"#;
        assert_eq!(missed(answer), Some((19, 41)));
        assert_eq!(missed(r#"<VM state="STARTED">"#), None);
    }
}
