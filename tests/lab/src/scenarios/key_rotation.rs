//! A guest gets a key, and then others in its place, while it beats: no heartbeat is missing in the sequence of its
//! numbers, none that was on the trunk was refused, nobody was called silent.

use std::time::Duration;

use super::Scenario;
use crate::daemons::keys::{self, Secured};
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, MonitorSettings, Plan};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Capture, Frame};
use crate::outcome::Report;
use crate::wait;
use crate::workspace::read;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "key-rotation",
    about: "a guest's keys are made, rotated and removed without a missed heartbeat",
    run,
};

const LIMIT: Duration = Duration::from_secs(30);
/// Often enough to see a gap, seldom enough for loaded cores.
const HEARTBEAT_MS: u32 = 500;
/// Heartbeats with each key before it is replaced.
const EACH: usize = 4;
const FAILED: i32 = 1;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let monitors = MonitorSettings { heartbeat_interval_ms: HEARTBEAT_MS, ..AS_SHIPPED };
    let mut chain = Chain::start(world, Plan { monitors, ..Plan::default() })?;
    let mut captures = Vec::new();
    for trunk in chain.world.trunks() {
        captures.push(Capture::start(&trunk.place(), &trunk.device(), &trunk.device())?);
    }
    chain.register_and_wait()?;

    keys::hmmgr_key(&chain, 0, "create VM")?;
    let mut secrets = vec![keys::carry(&chain, 0, 1)?];
    keys::wait_until(&chain, 0, Secured::with(1))?;
    wait_for_beats(&mut captures, 1)?;
    // The guest keeps two keys: the third takes the place of the first.
    for (old, new) in [(1, 2), (2, 3)] {
        secrets.push(rotate(&chain, old, new)?);
        wait_for_beats(&mut captures, new)?;
    }

    for (monitor, capture) in chain.monitors.iter().zip(&mut captures) {
        let trunk = monitor.trunk().device();
        let beats = all_were_heard(&chain, monitor, capture)?;
        let told = in_sequence(&beats)?;
        report.figure(format!(
            "{trunk}: {told}; {} heartbeats captured and heard, at most {} ms apart at {HEARTBEAT_MS} ms",
            beats.len(),
            widest_gap(&beats).as_millis()
        ));
        expect(!monitor.logged().contains(" is silent for "), || {
            format!("{trunk}: a path was called silent:\n{}", monitor.logged())
        })?;
        for counter in ["discarded_forged", "discarded_replayed"] {
            let count = monitor.counter(counter)?;
            expect(count == 0, || format!("{trunk}: {count} of the guest's own packets are {counter}"))?;
        }
    }
    nothing_is_told(&secrets)?;
    chain.still_runs()
}

fn wait_for_beats(captures: &mut [Capture], id: u8) -> Lab<()> {
    wait::until(LIMIT, &format!("{EACH} heartbeats with key {id} on each trunk"), || {
        for capture in &mut *captures {
            let frames = capture.frames()?;
            let with_key =
                |frame: &&Frame| frame.is_heartbeat() && header(frame).is_ok_and(|(.., key)| key == id);
            if frames.iter().filter(with_key).count() < EACH {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

fn widest_gap(beats: &[Frame]) -> Duration {
    let gaps = beats.iter().zip(beats.iter().skip(1)).map(|(one, next)| next.at.saturating_sub(one.at));
    gaps.max().unwrap_or_default()
}

/// The procedure of docs/operating/keys.md.
fn rotate(chain: &Chain, old: u8, new: u8) -> Lab<String> {
    keys::hmmgr_key(chain, 0, "rotate VM")?;
    // The guest still uses the old one.
    let early = keys::said(chain, 0, &format!("remove VM --id {old}"))?;
    expect(early.code() == Some(FAILED) && early.stderr.contains("uses key"), || {
        format!("a key in use was removed: {:?} {}", early.code(), early.text())
    })?;
    let third = keys::said(chain, 0, "rotate VM")?;
    expect(third.code() == Some(FAILED), || format!("a third key was made: {}", third.text()))?;
    let secret = keys::carry(chain, 0, new)?;
    keys::wait_until(chain, 0, Secured::with(new))?;
    keys::hmmgr_key(chain, 0, &format!("remove VM --id {old}"))?;
    let list = keys::hmmgr_key(chain, 0, "list")?;
    let line = list.lines().find(|line| line.contains(chain.guests.first().map_or("", |guest| guest.uuid())));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    let wanted = [new.to_string(), "yes".to_string()];
    let shown = fields.get(1..3).is_some_and(|fields| fields == wanted);
    expect(shown, || format!("after the rotation the list is:\n{list}"))?;
    Ok(secret)
}

/// Waits until the monitor counts as many heartbeats as were on its trunk. A lost one would keep it from that for ever.
fn all_were_heard(chain: &Chain, monitor: &HostMonitor, capture: &mut Capture) -> Lab<Vec<Frame>> {
    let guest = chain.guest(0)?;
    let mac = monitor.trunk().guest_mac(guest.number());
    let mut last = (0, 0);
    let found = wait::until(LIMIT, "every captured heartbeat to be counted", || {
        let heard =
            monitor.paths()?.iter().find(|path| path.vm == guest.uuid()).map_or(0, |path| path.heartbeats);
        let frames = capture.frames()?;
        let beats: Vec<Frame> =
            frames.into_iter().filter(|frame| frame.is_heartbeat() && frame.from() == mac).collect();
        last = (heard, beats.len());
        Ok((heard == beats.len() as u64).then_some(beats))
    });
    found.map_err(|error| error.seen_last(|| format!("{} heard, {} captured", last.0, last.1)))
}

/// Numbers grow by one, or begin anew at 0 with another handshake; keys follow each other, and where there is one the
/// packet says that it is authenticated.
fn in_sequence(beats: &[Frame]) -> Lab<String> {
    let mut ids: Vec<u8> = Vec::new();
    let mut before = None;
    let mut handshakes = 0;
    for beat in beats {
        let (number, flags, id) = header(beat)?;
        let follows = before.is_some_and(|before: u8| before.wrapping_add(1) == number);
        expect(follows || number == 0, || format!("heartbeat {number} follows {before:?}"))?;
        handshakes += usize::from(!follows);
        let authenticated = flags & 0x01 != 0;
        expect(authenticated == (id != 0), || format!("key id {id} with flags {flags:#04x}"))?;
        if ids.last() != Some(&id) {
            ids.push(id);
        }
        before = Some(number);
    }
    expect(ids == [0, 1, 2, 3], || format!("the keys used were {ids:?}"))?;
    Ok(format!("keys {ids:?} (0: none) over {handshakes} handshakes, no number missing"))
}

/// Number, flags and key id of a packet.
fn header(frame: &Frame) -> Lab<(u8, u8, u8)> {
    match frame.payload() {
        [_, _, number, flags, _, _, id, ..] => Ok((*number, *flags, *id)),
        _ => Err(LabError::Unexpected("a heartbeat without a header".into())),
    }
}

/// No log has a key.
fn nothing_is_told(secrets: &[String]) -> Lab<()> {
    let logs = world::dir("logs");
    for entry in std::fs::read_dir(&logs).map_err(LabError::file("read", &logs))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let text = read(&path)?;
        let told = secrets.iter().any(|secret| text.contains(secret.get(..16).unwrap_or(secret)));
        expect(!told, || format!("{} holds a key", path.display()))?;
    }
    Ok(())
}
