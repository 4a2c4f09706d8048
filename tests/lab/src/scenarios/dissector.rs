//! The Wireshark dissector, held against what daemons really sent and against frames that nobody should send.
//!
//! The wire is captured with `hmmgr capture`, one trunk untagged and one on a VLAN, and read twice: by the lab's own
//! reading and by tshark. Frame by frame both must say the same.

mod crafted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Scenario;
use crate::daemons::{Application, Chain, Plan, Recording};
use crate::error::{Lab, LabError, expect};
use crate::frames::{self, Frame, Message, Packet};
use crate::outcome::Report;
use crate::tshark::Tshark;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dissector",
    about: "tshark with our dissector says of every frame what was sent, tagged, in parts or malformed",
    run,
};

const VLAN: u16 = 100;
const LIMIT: Duration = Duration::from_secs(60);
/// Enough that their report needs several packets.
const APPLICATIONS: u8 = 8;
/// What must be on the wire before it is looked at: on each trunk, and on one of them (news are told once).
const ON_EACH: [&str; 2] = ["HB:", "START_HB"];
const ON_ONE: [&str; 5] = ["DBELL", "PMSG_REQ", "PMSG_RSP", "GMSG", "CLEAR_DB"];
/// Heartbeats on each trunk.
const BEATS: usize = 10;

/// What both readings are compared by.
const FIELDS: [&str; 13] = [
    "vlan.id",
    "hvncp.major",
    "hvncp.minor",
    "hvncp.number",
    "hvncp.flags",
    "hvncp.length",
    "hvncp.checksum.status",
    "hvncp.hello",
    "hvncp.syn.uuid",
    "hvncp.msg",
    "hvncp.msg.length",
    "hvncp.repeats",
    "_ws.lua.error",
];
const REPEATS: usize = 11;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let tshark = Tshark::with_dissector()?;
    crafted::check(&tshark, report)?;
    let plan = Plan { vlans: [0, VLAN], ..Plan::default() };
    let mut chain = Chain::start(world, plan)?;
    let wires = traffic(&mut chain)?;
    let mut seen = Vec::new();
    for (Wire { file, beats }, vlan) in wires.iter().zip([None, Some(VLAN)]) {
        let frames = compare(&tshark, file, vlan)?;
        links(&tshark, file, &frames, chain.guest(0)?.uuid())?;
        no_complaints(&tshark, file)?;
        let shown = tshark.fields(file, "hvncp.msg matches \"^HB:G?$\"", &["frame.number"])?.len() as u64;
        expect(shown == *beats, || format!("{shown} heartbeats shown, the host monitor counted {beats}"))?;
        report.figure(format!("{} frames, VLAN {vlan:?}: tshark says of each what was sent", frames.len()));
        seen.extend(whole(&frames));
    }
    expect(has_all(&seen, &["SHDN:DAEMON"]), || "no good-bye of the agent".to_string())?;
    report.figure(format!("packets by message: {:?}", by_name(&seen)));
    chain.still_runs()
}

/// What was captured of a trunk, and how many heartbeats its host monitor counted meanwhile.
struct Wire {
    file: PathBuf,
    beats: u64,
}

/// The life of an agent from its first packet to its good-bye, captured on both trunks.
fn traffic(chain: &mut Chain) -> Lab<[Wire; 2]> {
    chain.register_and_wait()?;
    for n in 1..=APPLICATIONS {
        let application = Application::install(chain, 0, &format!("application-{n}"))?;
        application.vmmgr(chain, &application.add_line())?.ok()?;
    }
    chain.crash_agent(0)?;
    let before = [counted(chain, 0)?, counted(chain, 1)?];
    let record = |index, name| {
        let trunk = chain.trunk(index)?;
        Recording::start(chain.world.kit(), &trunk, name, &["--trunk", &trunk.device()])
    };
    let (first, second) = (record(0, "wire-a")?, record(1, "wire-b")?);
    chain.restart_agent(0)?;
    wait::until(LIMIT, "an exchange with a report of several packets", || {
        let both = [whole(&read(first.file())?), whole(&read(second.file())?)];
        let each = both.iter().all(|found| times(found, "HB:") >= BEATS && has_all(found, &ON_EACH));
        let all = both.concat();
        let several = all.iter().any(|message| message.packets > 1);
        Ok((each && several && has_all(&all, &ON_ONE)).then_some(()))
    })?;
    chain.stop_agent(0)?;
    let [(first, said), (second, also)] = [first.interrupt()?, second.interrupt()?];
    expect(said.contains("none dropped") && also.contains("none dropped"), || format!("{said}\n{also}"))?;
    let beats = |index: usize, before: u64| Ok::<_, LabError>(counted(chain, index)?.saturating_sub(before));
    let [first_beats, second_beats] = [beats(0, before[0])?, beats(1, before[1])?];
    Ok([Wire { file: first, beats: first_beats }, Wire { file: second, beats: second_beats }])
}

/// Heartbeats that a host monitor has counted, over all channels of its only guest.
fn counted(chain: &Chain, monitor: usize) -> Lab<u64> {
    Ok(chain.monitor(monitor)?.paths()?.iter().map(|path| path.heartbeats).sum())
}

fn whole(frames: &[(Frame, Packet)]) -> Vec<Message> {
    frames::messages(frames).into_iter().filter_map(|(message, _)| message).collect()
}

fn times(found: &[Message], name: &str) -> usize {
    found.iter().filter(|message| message.name == name).count()
}

fn has_all(found: &[Message], names: &[&str]) -> bool {
    names.iter().all(|name| times(found, name) > 0)
}

fn read(file: &Path) -> Lab<Vec<(Frame, Packet)>> {
    let frames = frames::read(file)?.into_iter().map(|frame| {
        let packet = Packet::of(&frame);
        packet.map(|packet| (frame.clone(), packet)).ok_or(frame)
    });
    let frames: Result<Vec<_>, Frame> = frames.collect();
    frames.map_err(|frame| LabError::Unexpected(format!("a frame without a whole packet: {frame:02x?}")))
}

/// Frame by frame; returns what was captured.
fn compare(tshark: &Tshark, file: &Path, vlan: Option<u16>) -> Lab<Vec<(Frame, Packet)>> {
    let frames = read(file)?;
    let rows = tshark.fields(file, "", &FIELDS)?;
    expect(rows.len() == frames.len(), || format!("{} frames, tshark has {}", frames.len(), rows.len()))?;
    let found = frames::messages(&frames);
    for (index, (row, (message, repeats))) in rows.iter().zip(&found).enumerate() {
        let (_, packet) = frames.get(index).ok_or_else(|| LabError::Unexpected("no such frame".into()))?;
        // A guest that asks for a Hello does not know yet which VLAN its host monitor is on.
        let asks = packet.has(Packet::HEL) && packet.payload.is_empty();
        let as_sent = packet.checksum_holds && (packet.vlan == vlan || asks);
        expect(as_sent, || format!("frame {}: {packet:?}", index + 1))?;
        let mut expected = expected(packet, message.as_ref());
        let mut said = row.clone();
        let told = said.remove(REPEATS);
        let at = format!("frame {} of {}", index + 1, file.display());
        expect(told.is_empty() != *repeats, || format!("{at}: repeats is {told:?}, should be {repeats}"))?;
        expected.remove(REPEATS);
        expect(said == expected, || format!("{at}: tshark says {said:?}, it was {expected:?}"))?;
    }
    Ok(frames)
}

fn expected(packet: &Packet, message: Option<&Message>) -> Vec<String> {
    let text = String::from_utf8_lossy(&packet.payload);
    let hello = if packet.has(Packet::HEL) { text.to_string() } else { String::new() };
    let is_syn = packet.has(Packet::SYN) && !packet.has(Packet::ACK);
    let uuid = text.split(':').find_map(|pair| pair.strip_prefix("uuid=")).filter(|_| is_syn);
    let length = message.filter(|message| message.packets > 1).map(|message| message.length.to_string());
    vec![
        packet.vlan.map_or_else(String::new, |vlan| vlan.to_string()),
        packet.major.to_string(),
        packet.minor.to_string(),
        packet.number.to_string(),
        format!("0x{:02x}", packet.flags),
        packet.payload.len().to_string(),
        "1".to_string(),
        hello,
        uuid.unwrap_or_default().to_string(),
        message.map_or_else(String::new, |message| message.name.clone()),
        length.unwrap_or_default(),
        String::new(),
        String::new(),
    ]
}

/// Acknowledgements lead to what they acknowledge and back, and every packet of the path to its VM.
fn links(tshark: &Tshark, file: &Path, frames: &[(Frame, Packet)], vm: &str) -> Lab<()> {
    let rows = tshark.fields(file, "", &["hvncp.ack_of", "hvncp.ack_in", "hvncp.repeats", "hvncp.vm"])?;
    let mut acknowledged = 0;
    for (index, (row, (frame, packet))) in rows.iter().zip(frames).enumerate() {
        let [of, answer, repeats, path] = row.as_slice() else { continue };
        let at = format!("frame {}", index + 1);
        // A guardian beats on the path of an agent that died, whose handshake was before the capture.
        let shaken = frames.iter().take(index + 1).any(|(_, packet)| packet.has(Packet::SYN));
        let known = path == vm || packet.has(Packet::HEL) || !shaken;
        expect(known, || format!("{at} belongs to VM {path:?}"))?;
        expect(of.is_empty() != packet.has(Packet::ACK), || format!("{at} acknowledges {of:?}"))?;
        let rest = frames.get(index..).unwrap_or_default();
        let is_answered = rest.iter().any(|(other, reply)| answers(other, reply, frame, packet));
        expect(answer.is_empty() != is_answered, || format!("{at} is acknowledged by {answer:?}"))?;
        if let Ok(number) = answer.parse::<usize>() {
            let back = rows.get(number.wrapping_sub(1)).and_then(|row| row.first());
            // What was sent again is acknowledged as the first sending.
            let first = if repeats.is_empty() { (index + 1).to_string() } else { repeats.clone() };
            expect(back == Some(&first), || {
                format!("{at} is acknowledged by {answer}, which leads to {back:?}")
            })?;
            acknowledged += 1;
        }
    }
    expect(acknowledged > 0, || "nothing was acknowledged".to_string())
}

/// Whether `reply` acknowledges `packet`.
fn answers(reply_frame: &Frame, reply: &Packet, frame: &Frame, packet: &Packet) -> bool {
    let same_kind = (reply.flags ^ packet.flags) & (Packet::SYN | Packet::PRI) == 0;
    let back = reply_frame.from() == frame.to() && reply_frame.to() == frame.from();
    packet.has(Packet::ACKR) && reply.has(Packet::ACK) && same_kind && back && reply.number == packet.number
}

/// Nothing that the daemons send is wrong. On a loaded machine something may have been sent again.
fn no_complaints(tshark: &Tshark, file: &Path) -> Lab<()> {
    let filter = "_ws.malformed || _ws.lua.error || (_ws.expert && !hvncp.expert.repeated) \
                  || (hvncp.expert.repeated && !hvncp.repeats)";
    let rows = tshark.fields(file, filter, &["frame.number", "_ws.expert.message"])?;
    expect(rows.is_empty(), || format!("tshark complains of {}: {rows:?}", file.display()))
}

fn by_name(seen: &[Message]) -> BTreeMap<&str, usize> {
    let mut packets = BTreeMap::new();
    for message in seen {
        *packets.entry(message.name.as_str()).or_default() += message.packets;
    }
    packets
}
