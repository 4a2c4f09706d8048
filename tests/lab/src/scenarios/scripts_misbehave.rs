//! Scripts that hang, ignore TERM, flood their output and fork away harm neither the others nor the heartbeat, and
//! nothing of them is left.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, GuestView, Plan, text_of};
use crate::error::{Lab, expect};
use crate::frames::{Capture, Frame};
use crate::outcome::Report;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "scripts-misbehave",
    about: "scripts that hang, flood or fork away harm neither others nor the heartbeat",
    run,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Name, and what its monitor script does for longer than it may.
const BAD: [(&str, &str); 4] = [
    ("hangs", "exec sleep 1000"),
    ("ignores-term", "trap '' TERM; while :; do sleep 1000; done"),
    ("floods", "exec yes 0123456789012345678901234567890123456789"),
    ("forks-away", "for i in 1 2 3 4 5; do (setsid sh -c 'trap \"\" TERM; sleep 1000' &); done; sleep 1000"),
];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    chain.register_and_wait()?;
    let guest = GuestView::enter(&chain, 0)?;
    guest.write("/run/good", "#!/bin/sh\nexit 0\n")?;
    let scripts = "start_script=/run/good stop_script=/run/good monitor_failure_threshold=2 max_restart=0 \
        monitor_period=2 monitor_timeout=1";
    guest.add("good", &format!("monitor_script=/run/good {scripts}"))?;
    guest.wait_for_status("good", "NORMAL", LIMIT)?;

    let before = heartbeats(&capture.frames()?).len();
    for (name, body) in BAD {
        guest.write(&format!("/run/{name}"), &format!("#!/bin/sh\necho begins\n{body}\n"))?;
        guest.add(name, &format!("monitor_script=/run/{name} {scripts}"))?;
    }
    for (name, _) in BAD {
        let app = guest.wait_for_status(name, "FAILURE", LIMIT)?;
        let end = app.pointer("/last_script/end").and_then(serde_json::Value::as_str).unwrap_or_default();
        expect(end.contains("its time was over"), || format!("{name} was not out of its time:\n{app:#}"))?;
    }
    guest.expect_output("hangs", "begins")?;
    guest.expect_output("floods", "0123456789")?;
    nothing_is_left(guest)?;
    let good = guest.application("good")?;
    expect(text_of(&good, "status") == "NORMAL", || format!("the good one suffered:\n{good:#}"))?;

    let beats = heartbeats(&capture.frames()?);
    let during = beats.get(before.saturating_sub(1)..).unwrap_or_default();
    expect(during.len() > 3, || format!("only {} heartbeats meanwhile", during.len()))?;
    let gaps = during.windows(2).filter_map(|pair| pair.last()?.checked_sub(*pair.first()?));
    let longest = gaps.max().unwrap_or_default();
    report.figure(format!(
        "{} heartbeats meanwhile, longest gap {} ms at 1000",
        during.len(),
        longest.as_millis()
    ));
    let missed = chain.events("VM_FAILURE_DETECTED")?;
    expect(missed.is_empty(), || format!("the guest was called silent: {missed:?}"))?;
    chain.wait_for_application("good", "GREEN", LIMIT)?;
    chain.still_runs()
}

/// A zombie that the guest's init has not collected yet is on its way.
fn nothing_is_left(guest: GuestView<'_>) -> Lab<()> {
    wait::until_text(
        LIMIT,
        "nothing of the scripts to be left",
        || guest.sh("ps -eo stat=,args= | grep -E '^[^Z].*(sleep 1000|yes 0123)' | grep -v grep || true"),
        |text| text.trim().is_empty(),
    )
    .map(drop)
}

fn heartbeats(frames: &[Frame]) -> Vec<Duration> {
    frames.iter().filter(|frame| frame.is_heartbeat()).map(|frame| frame.at).collect()
}
