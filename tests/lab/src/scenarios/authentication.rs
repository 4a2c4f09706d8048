//! Authentication from nothing to required, without a gap, and what it keeps out: forged and replayed frames do
//! nothing, a guest without a key has no path, and one that once was authenticated cannot be passed off as one that
//! never was.

use std::time::Duration;

use super::Scenario;
use crate::daemons::keys::{self, Secured};
use crate::daemons::{Chain, HostMonitor, Plan};
use crate::error::{Lab, expect};
use crate::frames::{self, Capture, ETHER_TYPE, Frame};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "authentication",
    about: "modes without a gap; forged, replayed, plain and downgraded are kept out and told",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Guest 1 gets a key, guest 2 never does.
const WITH_KEY: usize = 0;
const WITHOUT_KEY: usize = 1;
/// Recorded heartbeats that an attacker plays again.
const SOME: usize = 4;
/// Plain heartbeats that he makes up.
const EACH: usize = 20;
/// Of a heartbeat: BEG, END, PRI. And the flag of an authenticated packet.
const HEARTBEAT: u8 = 0x38;
const AUTHENTICATED: u8 = 0x01;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    chain.register_and_wait()?;
    migrate(&mut chain, report)?;
    no_gap(&chain)?;
    the_other_is_refused(&chain)?;
    forgeries(&chain, &mut capture, report)?;
    stickiness(&mut chain, report)?;
    chain.still_runs()
}

/// The procedure of docs/operating/keys.md for a fleet, with one guest of two.
fn migrate(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    restart_monitors(chain, "receive-only")?;
    keys::hmmgr_key(chain, WITH_KEY, "create VM")?;
    keys::set_agent_mode(chain, WITH_KEY, "receive-only")?;
    keys::carry(chain, WITH_KEY, 1)?;
    keys::wait_until(chain, WITH_KEY, Secured::PLAIN)?;
    restart_monitors(chain, "optional")?;
    keys::wait_until(chain, WITH_KEY, Secured { incoming: false, ..Secured::with(1) })?;
    keys::set_agent_mode(chain, WITH_KEY, "optional")?;
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    keys::wait_until(chain, WITHOUT_KEY, Secured::PLAIN)?;
    keys::set_agent_mode(chain, WITH_KEY, "required")?;
    restart_monitors(chain, "required")?;
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    report.figure(
        "receive-only, optional, required on both sides: no silence of the guest with a key".to_string(),
    );
    Ok(())
}

/// One trunk after the other, as an operator would: the guest is heard on the other one meanwhile.
fn restart_monitors(chain: &mut Chain, mode: &str) -> Lab<()> {
    for index in 0..chain.monitors.len() {
        chain.monitor_mut(index)?.restart_with_authentication(mode)?;
        let uuid = chain.guest(WITH_KEY)?.uuid().to_string();
        wait_for_state(chain.monitor(index)?, &uuid, "BEATING")?;
    }
    Ok(())
}

fn no_gap(chain: &Chain) -> Lab<()> {
    let guest = chain.guest(WITH_KEY)?;
    let silent = format!("VM {} is silent for", guest.uuid());
    for monitor in &chain.monitors {
        let log = monitor.logged();
        expect(!log.contains(&silent), || format!("the guest was called silent:\n{log}"))?;
    }
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(!alarms.iter().any(|alarm| alarm.to_string().contains(guest.name())), || {
        format!("a failure was detected: {alarms:#?}")
    })
}

fn the_other_is_refused(chain: &Chain) -> Lab<()> {
    let uuid = chain.guest(WITHOUT_KEY)?.uuid();
    for monitor in &chain.monitors {
        let told = format!("a handshake for VM {uuid}");
        wait_for_log(monitor, &[&told, "was refused", "does not offer authentication"])?;
        let paths = monitor.paths()?;
        expect(paths.iter().all(|path| path.vm != uuid), || {
            format!("a guest without a key has a path: {paths:#?}")
        })?;
        expect(monitor.counter("handshakes_refused")? > 0, || "no refused handshake is counted".to_string())?;
    }
    Ok(())
}

/// While the guest stands still, somebody else plays it: what it said before, and what it never said.
fn forgeries(chain: &Chain, capture: &mut Capture, report: &mut Report) -> Lab<()> {
    let (monitor, trunk, guest) = (chain.monitor(0)?, chain.trunk(0)?, chain.guest(WITH_KEY)?);
    let mac = trunk.guest_mac(guest.number());
    wait::until(LIMIT, "some authenticated heartbeats of one handshake", || {
        Ok((of_last_handshake(&capture.frames()?, &mac).len() >= SOME).then_some(()))
    })?;
    guest.freeze()?;
    let replayed = of_last_handshake(&capture.frames()?, &mac);
    expect(!replayed.is_empty(), || "the guest shook hands anew just now".to_string())?;
    let last = replayed.last().cloned().unwrap_or_default();
    let forged: Vec<Vec<u8>> = replayed.iter().map(|frame| with_another_tag(frame)).collect();
    let plain = frames::frame(&trunk.monitor_mac(), &mac, ETHER_TYPE, &plain_heartbeat());
    let plain = vec![plain; EACH];

    let kinds = [
        ("discarded_replayed", replayed),
        ("discarded_forged", forged),
        ("discarded_unauthenticated", plain),
    ];
    for (counter, wrong) in kinds {
        let expected = monitor.counter(counter)? + wrong.len() as u64;
        frames::send(&Place::net("guest2"), &trunk.adapter(), &wrong)?;
        wait::until(LIMIT, &format!("{counter} to be {expected}"), || {
            Ok((monitor.counter(counter)? >= expected).then_some(()))
        })?;
        report.figure(format!("{} frames sent, {counter} counts them", wrong.len()));
    }
    wait_for_log(monitor, &["are forged or replayed"])?;
    // For as long as the attacker likes: it is not alive.
    wait::until(LIMIT, "the frozen guest to be MISSING in spite of the forgeries", || {
        frames::send(&Place::net("guest2"), &trunk.adapter(), std::slice::from_ref(&last))?;
        Ok((state(monitor, guest.uuid())?.as_deref() == Some("MISSING")).then_some(()))
    })?;
    guest.thaw()?;
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    to_the_guest(chain, capture, report)
}

/// The heartbeats since the guest last began to count anew, if they are authenticated.
fn of_last_handshake(frames: &[Frame], mac: &str) -> Vec<Vec<u8>> {
    let beats: Vec<&Frame> = frames.iter().filter(|f| f.is_heartbeat() && f.from() == mac).collect();
    let first = beats.iter().rposition(|beat| beat.payload().get(2) == Some(&0)).unwrap_or(0);
    let run = beats.into_iter().skip(first).filter(|beat| is_authenticated(beat));
    run.map(|beat| beat.bytes.clone()).collect()
}

/// `STOP_HB` of somebody who is not the host monitor stops nothing.
fn to_the_guest(chain: &Chain, capture: &mut Capture, report: &mut Report) -> Lab<()> {
    let (trunk, guest) = (chain.trunk(0)?, chain.guest(WITH_KEY)?);
    let mac = trunk.guest_mac(guest.number());
    let to_guest = capture.frames()?.into_iter().filter(|f| f.to() == mac && f.from() == trunk.monitor_mac());
    let recorded: Vec<Vec<u8>> = to_guest.filter(is_authenticated).map(|frame| frame.bytes).collect();
    expect(!recorded.is_empty(), || "the host monitor sent nothing authenticated".to_string())?;
    let stop: Vec<Vec<u8>> = (0..=u8::MAX)
        .map(|number| {
            frames::frame(&mac, &trunk.monitor_mac(), ETHER_TYPE, &packet(number, 0xb0, b"STOP_HB"))
        })
        .collect();
    frames::send(&trunk.place(), &trunk.device(), &stop)?;
    frames::send(&trunk.place(), &trunk.device(), &recorded)?;
    let beats = |capture: &mut Capture| -> Lab<usize> {
        Ok(capture.frames()?.iter().filter(|f| f.is_heartbeat() && f.from() == mac).count())
    };
    let before = beats(capture)?;
    wait::until(LIMIT, "the guest to go on beating", || Ok((beats(capture)? >= before + 3).then_some(())))?;
    report.figure(format!(
        "{} plain STOP_HB and {} recorded frames sent to the guest: it goes on beating",
        stop.len(),
        recorded.len()
    ));
    Ok(())
}

/// A guest that was authenticated must be, until an administrator says otherwise: also after a restart, and where others
/// need not.
fn stickiness(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    restart_monitors(chain, "optional")?;
    keys::wait_until(chain, WITHOUT_KEY, Secured::PLAIN)?;
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    let uuid = chain.guest(WITH_KEY)?.uuid().to_string();
    keys::set_agent_mode(chain, WITH_KEY, "optional")?;
    chain.agent(WITH_KEY)?.vmmgr(chain.guest(WITH_KEY)?, "key remove --id 1")?.ok()?;
    // Beside the new handshakes, which are refused, the open paths go on.
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    chain.crash_agent(WITH_KEY)?;
    chain.restart_agent(WITH_KEY)?;
    for index in 0..chain.monitors.len() {
        wait_for_state(chain.monitor(index)?, &uuid, "MISSING")?;
        let told = format!("a handshake for VM {uuid}");
        wait_for_log(chain.monitor(index)?, &[&told, "was refused"])?;
        wait_for_event(chain, index, &told)?;
    }
    keys::hmmgr_key(chain, WITH_KEY, "relax VM")?;
    keys::wait_until(chain, WITH_KEY, Secured::PLAIN)?;
    report.figure(
        "without its key the guest is refused where another is not, until `hmmgr key relax`".to_string(),
    );
    // It gets its key back, and must be authenticated again.
    keys::carry(chain, WITH_KEY, 1)?;
    keys::wait_until(chain, WITH_KEY, Secured::with(1))?;
    let what = "the guest to be marked as once authenticated";
    let read = || keys::hmmgr_key(chain, WITH_KEY, "list");
    let is_required = |text: &str| {
        text.lines().any(|line| line.starts_with(&uuid) && line.split_whitespace().nth(2) == Some("yes"))
    };
    wait::until_text(LIMIT, what, read, is_required).map(drop)
}

fn wait_for_state(monitor: &HostMonitor, uuid: &str, wanted: &str) -> Lab<()> {
    let what = format!("the path of {uuid} over {} to be {wanted}", monitor.trunk().device());
    wait::until(LIMIT, &what, || Ok((state(monitor, uuid)?.as_deref() == Some(wanted)).then_some(())))
}

fn state(monitor: &HostMonitor, uuid: &str) -> Lab<Option<String>> {
    Ok(monitor.paths()?.into_iter().find(|path| path.vm == uuid).map(|path| path.state))
}

/// Waits for a line with all of these.
fn wait_for_log(monitor: &HostMonitor, parts: &[&str]) -> Lab<()> {
    let what = format!("a line with {parts:?} in the log of the monitor of {}", monitor.trunk().device());
    wait::until(LIMIT, &what, || {
        let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
        Ok(monitor.logged().lines().any(has_all).then_some(()))
    })
}

/// Waits until both commands show a refused handshake that this monitor recorded.
fn wait_for_event(chain: &Chain, index: usize, text: &str) -> Lab<()> {
    let trunk = chain.monitor(index)?.trunk().device().to_string();
    let words = ["event", "--kind", "AUTHENTICATION_REFUSED", "--trunk", &trunk, "--since", "10min"];
    let has = |said: &str| said.contains(text);
    let by_monitor = || chain.monitor(index)?.hmmgr(&words)?.ok();
    wait::until_text(LIMIT, "`hmmgr event` to show the refused handshake", by_monitor, has)?;
    let line = format!("query event source=vios authentication_refused vios={trunk} since=10min");
    let by_controller = || chain.controller.hamgr(&line)?.ok();
    wait::until_text(LIMIT, "`hamgr query event` to show the refused handshake", by_controller, has).map(drop)
}

fn is_authenticated(frame: &Frame) -> bool {
    frame.payload().get(3).is_some_and(|flags| flags & AUTHENTICATED != 0)
}

/// The same frame with another last byte of its tag, and its checksum made right: a heartbeat of 3 bytes has its trailer
/// of 24 behind it.
fn with_another_tag(frame: &[u8]) -> Vec<u8> {
    const TAG_END: usize = 14 + 8 + 3 + 24 - 1;
    const CHECKSUM: usize = 14 + 7;
    let mut frame = frame.to_vec();
    for at in [TAG_END, CHECKSUM] {
        if let Some(byte) = frame.get_mut(at) {
            // One more in the tag is one more in the sum.
            *byte = byte.wrapping_add(1);
        }
    }
    frame
}

fn plain_heartbeat() -> Vec<u8> {
    packet(7, HEARTBEAT, b"HB:")
}

/// A packet of version 2.1 without a trailer.
fn packet(number: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![2, 1, number, flags, length[0], length[1], 0, 0];
    bytes.extend(payload);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(place) = bytes.get_mut(7) {
        *place = sum;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tag_has_a_right_checksum() {
        let mut payload = packet(0, HEARTBEAT | AUTHENTICATED, b"HB:");
        payload.extend([0x5a; 24]);
        let sum = |payload: &[u8]| {
            let bytes = payload.iter().enumerate().filter(|(at, _)| *at != 7);
            bytes.fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte))
        };
        payload[7] = sum(&payload);
        let frame = frames::frame("ff:ff:ff:ff:ff:ff", "52:54:00:7e:00:01", ETHER_TYPE, &payload);
        let forged = with_another_tag(&frame);
        assert_eq!(forged[14 + 7], sum(&forged[14..]));
        assert_eq!(frame.iter().zip(&forged).filter(|(a, b)| a != b).count(), 2);
    }
}
