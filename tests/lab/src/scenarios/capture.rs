//! `hmmgr capture` while guests beat: both directions of the path that is meant, in order, to a file or into a pipe.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan, Recording, capture_command};
use crate::error::{Lab, LabError, expect};
use crate::frames;
use crate::outcome::Report;
use crate::process::{Place, Said, command_line, run as run_command, sh};
use crate::tshark::Tshark;
use crate::wait;
use crate::workspace::read;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "capture",
    about: "hmmgr capture writes both directions of a VM's path, to a file or a pipe, and ends in order",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Exit codes after sysexits.h.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
/// Heartbeats waited for.
const BEATS: usize = 5;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    let tshark = Tshark::with_dissector()?;
    path_of_a_vm(&mut chain, &tshark, report)?;
    whole_trunk(&chain, &tshark)?;
    into_a_pipe(&chain, &tshark)?;
    outlives_its_trunk(&chain, report)?;
    refusals(&chain)?;
    chain.still_runs()
}

/// A VM is named, its agent starts anew while the capture runs: the handshake goes both ways.
fn path_of_a_vm(chain: &mut Chain, tshark: &Tshark, report: &mut Report) -> Lab<()> {
    let (trunk, uuid) = (chain.trunk(0)?, chain.guest(0)?.uuid().to_string());
    let words = ["--trunk", &trunk.device(), "--vm", &uuid];
    let recording = Recording::start(chain.world.kit(), &trunk, "path", &words)?;
    chain.crash_agent(0)?;
    chain.restart_agent(0)?;
    let guest = trunk.guest_mac(1);
    wait::until(LIMIT, &format!("{BEATS} heartbeats of {guest} in the file"), || {
        let beats = frames::read(recording.file())?.iter().filter(|frame| frame.is_heartbeat()).count();
        Ok((beats >= BEATS).then_some(()))
    })?;
    let (file, said) = recording.interrupt()?;
    let mode = file.metadata().map_err(LabError::file("look at", &file))?.permissions().mode() & 0o7777;
    expect(mode == 0o600, || format!("the file's mode is {mode:o}"))?;

    let ways = [(&guest, trunk.monitor_mac()), (&trunk.monitor_mac(), guest.clone())];
    for (from, to) in ways {
        let rows =
            tshark.fields(&file, &format!("hvncp && eth.src == {from} && eth.dst == {to}"), &["eth.src"])?;
        expect(!rows.is_empty(), || format!("nothing from {from} to {to}"))?;
        report.figure(format!("{} frames from {from} to {to}", rows.len()));
    }
    for filter in
        ["hvncp.msg == \"HB:\"", "hvncp.flags.syn == 1 && hvncp.flags.beg == 1", "hvncp.msg == \"START_HB\""]
    {
        let rows = tshark.fields(&file, filter, &["frame.number"])?;
        expect(!rows.is_empty(), || format!("no {filter} in the capture"))?;
    }
    let all = frames::read(&file)?;
    let broadcast = "ff:ff:ff:ff:ff:ff";
    let foreign = all.iter().find(|f| f.from() != guest && f.to() != guest && f.to() != broadcast);
    expect(foreign.is_none(), || format!("a frame of another path: {foreign:02x?}"))?;
    let summary = format!("{} frames captured, none dropped by the kernel", all.len());
    expect(said.contains(&summary) && said.contains(&guest), || format!("no {summary:?} in:\n{said}"))
}

/// Nobody is named: both guests are heard. It ends by itself at the number of frames wanted.
fn whole_trunk(chain: &Chain, tshark: &Tshark) -> Lab<()> {
    let trunk = chain.trunk(0)?;
    let words = ["--trunk", &trunk.device(), "--count", "12"];
    let (file, said) = Recording::start(chain.world.kit(), &trunk, "trunk", &words)?.wait()?;
    let rows = tshark.fields(&file, "hvncp.msg == \"HB:\"", &["eth.src"])?;
    for guest in [1, 2] {
        let mac = trunk.guest_mac(guest);
        expect(rows.iter().flatten().any(|from| *from == mac), || format!("{mac} is not in {rows:?}"))?;
    }
    expect(said.contains("12 frames captured"), || said.clone())?;
    expect(frames::read(&file)?.len() == 12, || "not 12 frames in the file".to_string())
}

/// What is piped is read while the capture runs, and the capture ends when its reader has enough.
fn into_a_pipe(chain: &Chain, tshark: &Tshark) -> Lab<()> {
    let (trunk, log) = (chain.trunk(0)?, world::log_file("pipe"));
    let from = capture_command(chain.world.kit(), &trunk, &["--trunk", &trunk.device(), "-w", "-"]);
    let mut into = tshark.command();
    into.args(["-r", "-", "-c", "8", "-T", "fields", "-e", "hvncp.msg"]);
    let mut shell = Place::Here.command("bash");
    let line = format!("{} 2> {} | {}", command_line(&from), log.display(), command_line(&into));
    shell.args(["-o", "pipefail", "-c", &line]);
    shell.envs(into.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let text = run_command(shell)?.ok()?;
    let said = read(&log)?;
    expect(text.lines().count() == 8 && text.contains("HB:"), || {
        format!("tshark read from the pipe:\n{text}")
    })?;
    expect(said.contains("frames captured, none dropped"), || format!("it ended without a word:\n{said}"))
}

/// A trunk that goes down and comes back is gone on with; one that is removed ends the capture, what it has stays.
fn outlives_its_trunk(chain: &Chain, report: &mut Report) -> Lab<()> {
    let trunk = chain.trunk(1)?;
    let words = ["--trunk", &trunk.device(), "--seconds", "200"];
    let recording = Recording::start(chain.world.kit(), &trunk, "outage", &words)?;
    let frames = || Ok(frames::read(recording.file())?.len());
    wait::until(LIMIT, "frames before the outage", || Ok((frames()? > 0).then_some(())))?;
    trunk.cut()?;
    wait::until(LIMIT, "the capture to tell of the outage", || {
        Ok(recording.said().contains("is down; going on when it is up").then_some(()))
    })?;
    let before = frames()?;
    trunk.mend()?;
    wait::until(LIMIT, "frames after the outage", || Ok((frames()? > before).then_some(())))?;
    sh(&trunk.place(), &format!("ip link del {}", trunk.device()))?;
    let (status, said) = recording.end()?;
    expect(status.code() == Some(UNAVAILABLE) && said.contains("was removed"), || {
        format!("{status}:\n{said}")
    })?;
    report.figure("an outage of the trunk is told and outlived; its removal ends the capture");
    Ok(())
}

fn refusals(chain: &Chain) -> Lab<()> {
    let file = world::dir("logs").join("path.pcap");
    let there = std::fs::read(&file).map_err(LabError::file("read", &file))?;
    let name = file.to_string_lossy().into_owned();
    let trunk = chain.trunk(0)?.device();
    let stranger = world::uuid(1, 99);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--trunk", &trunk, "-w", &name], FAILED, "--force"),
        (&["-w", "/nowhere/x.pcap"], USAGE, "--trunk"),
        (&["--trunk", &trunk, "-w", "/nowhere/x.pcap"], 71, "cannot create /nowhere/x.pcap"),
        (&["--trunk", "nosuch"], UNAVAILABLE, "nosuch"),
        (&["--trunk", &trunk, "--vm", &stranger], FAILED, &stranger),
        (&["--vm", "x", "--trunk", &trunk], USAGE, "--vm"),
        (&["--vm", &stranger, "--mac", "52:54:00:00:00:01"], USAGE, "--mac"),
    ];
    for (words, code, part) in cases {
        let said = capture(chain, words)?;
        expect(said.code() == Some(code) && said.stderr.contains(part) && said.stdout.is_empty(), || {
            format!(
                "`hmmgr capture {}`: exit {:?}, without {part:?}:\n{}",
                words.join(" "),
                said.code(),
                said.text()
            )
        })?;
    }
    expect(std::fs::read(&file).is_ok_and(|now| now == there), || {
        "a refused capture changed the file".into()
    })?;
    capture(chain, &["--trunk", &trunk, "--count", "1", "--force", "-w", &name])?.ok()?;
    expect(size(&file)? < there.len() as u64, || "--force did not overwrite".into())
}

fn size(file: &Path) -> Lab<u64> {
    Ok(file.metadata().map_err(LabError::file("look at", file))?.len())
}

fn capture(chain: &Chain, words: &[&str]) -> Lab<Said> {
    run_command(capture_command(chain.world.kit(), &chain.trunk(0)?, words))
}
