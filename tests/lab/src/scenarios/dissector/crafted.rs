//! Frames made by hand: every message and every field, everything that can be wrong, and much that is only noise.

use std::time::Duration;

use crate::error::{Lab, LabError, expect};
use crate::frames::{self, ETHER_TYPE, Frame, Packet};
use crate::outcome::Report;
use crate::tshark::Tshark;
use crate::world;

const VMM: &str = "52:54:00:7e:00:01";
const HM: &str = "52:54:00:7e:00:ff";
const ALL: &str = "ff:ff:ff:ff:ff:ff";
const UUID: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
const INFO: &str = "_ws.col.Info";
const FAULT: &str = "_ws.expert.message";

/// A packet that is a whole message, urgent or not; the first, a middle and the last part of one; the two SYNs.
const WHOLE: u8 = Packet::ACKR | Packet::BEG | Packet::END;
const URGENT: u8 = WHOLE | Packet::PRI;
const BEAT: u8 = Packet::BEG | Packet::END | Packet::PRI;
const SYN_VMM: u8 = Packet::ACKR | Packet::BEG | Packet::SYN;
const SYN_HM: u8 = Packet::ACKR | Packet::END | Packet::SYN;

/// Frames of noise, from a fixed seed.
const NOISE: usize = 4000;

/// Fields and what they must say; a text that ends in `*` need only begin so.
type Expected<'a> = &'a [(&'static str, &'a str)];

/// A frame and what fields must say of it.
struct Case {
    bytes: Vec<u8>,
    expected: Vec<(&'static str, String)>,
}

/// All that is expected, a second apart.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, from: &str, to: &str, packet: &[u8], expected: Expected<'_>) {
        let expected = expected.iter().map(|(field, text)| (*field, (*text).to_string())).collect();
        self.0.push(Case { bytes: frames::frame(to, from, ETHER_TYPE, packet), expected });
    }

    fn vmm_sends(&mut self, packet: &[u8], expected: Expected<'_>) {
        self.add(VMM, HM, packet, expected);
    }

    fn hm_sends(&mut self, packet: &[u8], expected: Expected<'_>) {
        self.add(HM, VMM, packet, expected);
    }

    /// The number of the frame that is added next.
    fn next(&self) -> usize {
        self.0.len() + 1
    }
}

/// Has tshark read all of it.
pub(super) fn check(tshark: &Tshark, report: &mut Report) -> Lab<()> {
    let mut cases = Cases::default();
    header(&mut cases);
    malformed(&mut cases);
    handshake(&mut cases);
    messages(&mut cases);
    parts(&mut cases);
    authenticated(&mut cases);
    replaced(&mut cases);
    judge(tshark, &cases)?;
    noise(tshark)?;
    report.figure(format!("{} frames made by hand, {NOISE} of noise", cases.0.len()));
    Ok(())
}

fn judge(tshark: &Tshark, cases: &Cases) -> Lab<()> {
    let mut fields: Vec<&str> = cases.0.iter().flat_map(|case| case.expected.iter().map(|e| e.0)).collect();
    fields.sort_unstable();
    fields.dedup();
    let frames = cases
        .0
        .iter()
        .enumerate()
        .map(|(index, case)| Frame { at: Duration::from_secs(index as u64), bytes: case.bytes.clone() });
    let file = world::dir("logs").join("crafted.pcap");
    frames::save(&frames.collect::<Vec<_>>(), &file)?;
    let rows = tshark.fields(&file, "", &fields)?;
    expect(rows.len() == cases.0.len(), || format!("{} frames, {} rows", cases.0.len(), rows.len()))?;
    for (index, (case, row)) in cases.0.iter().zip(&rows).enumerate() {
        for (field, text) in &case.expected {
            let at = fields.iter().position(|name| name == field);
            let said = at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
            let good = text.strip_suffix('*').map_or(said == *text, |start| said.starts_with(start));
            expect(good, || {
                format!("frame {} of crafted.pcap: {field} is {said:?}, not {text:?}", index + 1)
            })?;
        }
    }
    Ok(())
}

fn header(cases: &mut Cases) {
    let beat = [2, 0, 0x2a, 0x38, 0, 3, 0, 0x2b, b'H', b'B', b':'];
    let fields = [
        (INFO, "HB #42"),
        ("hvncp.major", "2"),
        ("hvncp.minor", "0"),
        ("hvncp.number", "42"),
        ("hvncp.flags", "0x38"),
        ("hvncp.flags.ackr", "0"),
        ("hvncp.flags.ack", "0"),
        ("hvncp.flags.beg", "1"),
        ("hvncp.flags.end", "1"),
        ("hvncp.flags.pri", "1"),
        ("hvncp.flags.syn", "0"),
        ("hvncp.flags.hel", "0"),
        ("hvncp.flags.auth", "0"),
        ("hvncp.length", "3"),
        ("hvncp.reserved", "0x00"),
        ("hvncp.checksum", "0x2b"),
        ("hvncp.checksum.status", "1"),
        ("hvncp.checksum.calculated", ""),
        ("hvncp.msg", "HB:"),
        ("hvncp.padding", ""),
        ("hvncp.hb_delta", ""),
        (FAULT, ""),
    ];
    cases.vmm_sends(&beat, &fields);
    let padded = [&beat[..], &[0xaa; 35]].concat();
    cases.vmm_sends(&padded, &[("hvncp.padding", &"aa".repeat(35)), ("hvncp.hb_delta", "1"), (FAULT, "")]);
    let tagged = [&[0xa0, 0x64, 0x88, 0xb5], &beat[..]].concat();
    let bytes = frames::frame(HM, VMM, 0x8100, &tagged);
    let expected = [("vlan.id", "100"), ("hvncp.msg", "HB:"), (FAULT, "")];
    cases.0.push(Case { bytes, expected: expected.map(|(field, text)| (field, text.to_string())).into() });
}

fn malformed(cases: &mut Cases) {
    let short = "Shorter than a header: dropped";
    cases.vmm_sends(&[2], &[(FAULT, short), (INFO, "[too short: 1 bytes]")]);
    cases.vmm_sends(&[2, 0, 0x2a, 0x38, 0, 3, 0], &[(FAULT, short), ("hvncp.major", "")]);
    let length = "Payload or trailer do not fit into the frame: dropped";
    cases.vmm_sends(&[2, 0, 0x2a, 0x38, 0, 3, 0, 0x2b, b'H'], &[(FAULT, length), ("hvncp.msg", "")]);
    cases.vmm_sends(&[0xff; 46], &[(FAULT, length), ("hvncp.length", "65535")]);
    let missing = Packet::seal(vec![2, 1, 0, BEAT | Packet::AUTH, 0, 3, 7, 0, b'H', b'B', b':']);
    cases.vmm_sends(&missing, &[(FAULT, length), ("hvncp.kid", "7"), ("hvncp.auth.tag", "")]);
    let mut wrong = Packet::bytes(BEAT, 1, b"HB:");
    wrong.iter_mut().skip(10).for_each(|byte| *byte += 1);
    let fields = [
        (FAULT, "Wrong checksum: dropped"),
        ("hvncp.checksum.status", "0"),
        ("hvncp.checksum.calculated", "0x04"),
        ("hvncp.msg", ""),
        ("hvncp.payload", "48423b"),
    ];
    cases.vmm_sends(&wrong, &fields);
    let conflict = Packet::seal(vec![3, 0, 0, WHOLE, 0, 7, 0, 0, b'S', b'U', b'S', b'P', b'E', b'N', b'D']);
    cases.vmm_sends(&conflict, &[(FAULT, "Another major version*"), ("hvncp.msg", "")]);
    for flags in [0x80 | Packet::PRI, 0x30, Packet::SYN, SYN_VMM | Packet::END, Packet::ACKR | Packet::SYN] {
        let packet =
            Packet::bytes(flags, 200, format!("uuid={UUID}:verVmmLower=2.0:verVmmUpper=2.1").as_bytes());
        cases.vmm_sends(&packet, &[(FAULT, "Flags that no packet has*")]);
    }
    for text in
        ["", ":", "HB", "HB:X", "START_HB:interval=99", "DBELL:28", "GMSG:9223372036854775808", "\u{0}\u{ff}"]
    {
        cases.vmm_sends(
            &Packet::bytes(WHOLE, 201, text.as_bytes()),
            &[(FAULT, "A message*"), ("hvncp.msg", "")],
        );
    }
    let answer = Packet::bytes(Packet::ACK, 9, b"x");
    cases.vmm_sends(&answer, &[(FAULT, "Ignored by its receiver"), (INFO, "ACK of #9")]);
}

fn handshake(cases: &mut Cases) {
    let hello = "1556303548.719328000.38";
    let fields = [("hvncp.hello", hello), (INFO, "Hello 1556303548.719328000.38"), (FAULT, "")];
    cases.add(HM, ALL, &Packet::bytes(Packet::HEL, 0, hello.as_bytes()), &fields);
    // Every other field of a Hello is ignored, its version and its AUTH too.
    let odd = Packet::seal([&[9, 9, 1, 0xff, 0, 23, 1, 0], hello.as_bytes()].concat());
    cases.add(HM, ALL, &odd, &[("hvncp.hello", hello), ("hvncp.auth.tag", ""), (FAULT, "")]);
    cases.add(HM, ALL, &Packet::bytes(Packet::HEL, 0, b"soon"), &[(FAULT, "No identifier*")]);
    cases.add(VMM, ALL, &Packet::bytes(Packet::HEL, 0, b""), &[("hvncp.hello.asks", "1"), (FAULT, "")]);

    let nonce = "000102030405060708090a0b0c0d0e0f";
    let syn = format!(
        "uuid={UUID}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n=0000002a:nonce={nonce}:auth=hmac-sha256:kid=7:\
         authtx=1:later=x"
    );
    let fields = [
        ("hvncp.syn.uuid", UUID),
        ("hvncp.syn.ostype", "Linux"),
        ("hvncp.syn.ver_vmm_lower", "2.0"),
        ("hvncp.syn.ver_vmm_upper", "2.1"),
        ("hvncp.syn.n", "0000002a"),
        ("hvncp.syn.nonce", nonce),
        ("hvncp.syn.auth", "hmac-sha256"),
        ("hvncp.syn.kid", "7"),
        ("hvncp.syn.authtx", "1"),
        ("hvncp.syn.other", "later=x"),
        (INFO, "SYN|ACKR|BEG #250 uuid=61be20f0-09a8*"),
        (FAULT, ""),
    ];
    let at = cases.next().to_string();
    cases.vmm_sends(&Packet::bytes(SYN_VMM, 250, syn.as_bytes()), &fields);
    let info = format!("SYN|ACK of #250 (frame {at})");
    let answer = Packet::bytes(Packet::SYN | Packet::ACK, 250, b"");
    cases.hm_sends(&answer, &[("hvncp.ack_of", &at), (INFO, &info), ("hvncp.vm", UUID), (FAULT, "")]);
    let hm = "uuid=5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";
    let syn = format!("{hm}:verHmRunning=2.1:n=00c0ffee:re=0000002a");
    let fields = [("hvncp.syn.ver_hm_running", "2.1"), ("hvncp.syn.re", "0000002a"), (FAULT, "")];
    cases.hm_sends(&Packet::bytes(SYN_HM, 17, syn.as_bytes()), &fields);
    let syn = format!("{hm}:versionConflict=true:verHmLower=2.0:verHmUpper=2.1");
    let fields = [
        ("hvncp.syn.version_conflict", "true"),
        ("hvncp.syn.ver_hm_lower", "2.0"),
        ("hvncp.syn.ver_hm_upper", "2.1"),
        (FAULT, "No common version"),
    ];
    cases.hm_sends(&Packet::bytes(SYN_HM, 18, syn.as_bytes()), &fields);
    for text in ["", "uuid", "uuid=x:uuid=y", "verVmmLower=2.0", "verVmmLower=2.0:verVmmUpper=2.1:n=1"] {
        cases.vmm_sends(&Packet::bytes(SYN_VMM, 251, text.as_bytes()), &[(FAULT, "Malformed SYN*")]);
    }
    let nameless = b"uuid=:verVmmLower=2.0:verVmmUpper=2.1";
    cases.vmm_sends(&Packet::bytes(SYN_VMM, 252, nameless), &[(FAULT, "No UUID of a VM*")]);
}

fn messages(cases: &mut Cases) {
    let tag = "-3026381694404356594";
    let (asked, told) = (format!("PMSG_REQ:{tag}:apps"), format!("PMSG_RSP:{tag}:<report/>"));
    let (taken, cleared) = (format!("GMSG:{tag}"), format!("CLEAR_DB:{tag}"));
    let bells = [
        ("hvncp.msg", "DBELL"),
        ("hvncp.msg.doorbell", "0x00000022"),
        ("hvncp.msg.doorbell.connected", "1"),
        ("hvncp.msg.doorbell.suspension", "0"),
        ("hvncp.msg.doorbell.configuration", "0"),
        ("hvncp.msg.doorbell.dependency", "0"),
        ("hvncp.msg.doorbell.status", "1"),
        ("hvncp.msg.doorbell.restarts", "0"),
        (INFO, "DBELL:0x22 (connected, status) #*"),
    ];
    let quiet = [("hvncp.msg", "QUIET"), ("hvncp.msg.ms", "60000"), ("hvncp.msg.reason", "at 03:00: backup")];
    let from_vmm: [(u8, &str, Expected<'_>); 11] = [
        (BEAT, "HB:G", &[("hvncp.msg", "HB:G")]),
        (URGENT, "SHDN:DAEMON", &[("hvncp.msg", "SHDN:DAEMON"), (INFO, "SHDN:DAEMON #*")]),
        (URGENT, "SHDN:OS", &[("hvncp.msg", "SHDN:OS")]),
        (WHOLE, "SUSPEND", &[("hvncp.msg", "SUSPEND")]),
        (WHOLE, "RESUME", &[("hvncp.msg", "RESUME")]),
        (URGENT, "QUIET:60000:at 03:00: backup", &quiet),
        (URGENT, "QUIET:0", &[("hvncp.msg", "QUIET"), ("hvncp.msg.ms", "0"), ("hvncp.msg.reason", "")]),
        (WHOLE, "DYING:no disk", &[("hvncp.msg", "DYING"), ("hvncp.msg.reason", "no disk")]),
        (WHOLE, "DBELL:0x22", &bells),
        (WHOLE, &told, &[("hvncp.msg", "PMSG_RSP"), ("hvncp.msg.tag", tag), ("hvncp.msg.xml", "<report/>")]),
        (WHOLE, &cleared, &[("hvncp.msg", "CLEAR_DB"), ("hvncp.msg.tag", tag)]),
    ];
    let interval = |ms| [("hvncp.msg", "START_HB"), ("hvncp.msg.interval", ms)];
    let from_hm: [(u8, &str, Expected<'_>); 6] = [
        (WHOLE, "START_HB", &interval("10000")),
        (WHOLE, "START_HB:interval=250", &interval("250")),
        (WHOLE, "STOP_HB", &[("hvncp.msg", "STOP_HB")]),
        (WHOLE, "QUIET_OK:60000", &[("hvncp.msg", "QUIET_OK"), ("hvncp.msg.ms", "60000")]),
        (WHOLE, &asked, &[("hvncp.msg", "PMSG_REQ"), ("hvncp.msg.tag", tag), ("hvncp.msg.what", "apps")]),
        (WHOLE, &taken, &[("hvncp.msg", "GMSG"), ("hvncp.msg.tag", tag)]),
    ];
    for (number, (flags, text, fields)) in (30..).zip(from_vmm) {
        let fields = [fields, &[(FAULT, ""), ("hvncp.msg.text", text)]].concat();
        cases.vmm_sends(&Packet::bytes(flags, number, text.as_bytes()), &fields);
    }
    for (number, (flags, text, fields)) in (130..).zip(from_hm) {
        let fields = [fields, &[(FAULT, ""), ("hvncp.msg.text", text)]].concat();
        cases.hm_sends(&Packet::bytes(flags, number, text.as_bytes()), &fields);
    }
    cases.vmm_sends(&Packet::bytes(URGENT, 60, b"RESUME"), &[(FAULT, "Not the priority of this message")]);
}

/// A message whose parts arrive in another order, one of them twice, with an urgent one in between.
fn parts(cases: &mut Cases) {
    let [first, second, last] = [
        Packet::bytes(Packet::ACKR | Packet::BEG, 70, b"PMSG_RSP:7:<re"),
        Packet::bytes(Packet::ACKR, 71, b"port"),
        Packet::bytes(Packet::ACKR | Packet::END, 72, b"/>"),
    ];
    let start = cases.next();
    let whole = (start + 4).to_string();
    let pieces = format!("{start},{},{}", start + 4, start + 1);
    let answered = (start + 6).to_string();
    let fields = [("hvncp.msg.frame", &*whole), ("hvncp.ack_in", &answered), ("hvncp.msg", ""), (FAULT, "")];
    cases.vmm_sends(&first, &fields);
    cases.vmm_sends(&last, &[("hvncp.msg.frame", &whole), ("hvncp.part", "2f3e"), (FAULT, "")]);
    cases.vmm_sends(&Packet::bytes(BEAT, 70, b"HB:"), &[("hvncp.msg", "HB:"), (FAULT, "")]);
    let again = [("hvncp.repeats", &*start.to_string()), ("hvncp.ack_in", &answered), (FAULT, "Sent again*")];
    cases.vmm_sends(&first, &again);
    let fields = [
        ("hvncp.msg", "PMSG_RSP"),
        ("hvncp.msg.length", "20"),
        ("hvncp.msg.xml", "<report/>"),
        ("hvncp.part.frame", &*pieces),
        (INFO, "PMSG_RSP:7 (9 bytes) in 3 packets #71"),
        (FAULT, ""),
    ];
    cases.vmm_sends(&second, &fields);
    let info = format!("ACK of #71 (frame {whole})");
    cases.hm_sends(&Packet::bytes(Packet::ACK, 71, b""), &[("hvncp.ack_of", &whole), (INFO, &info)]);
    cases
        .hm_sends(&Packet::bytes(Packet::ACK, 70, b""), &[("hvncp.ack_of", &start.to_string()), (FAULT, "")]);
}

fn authenticated(cases: &mut Cases) {
    let mut packet = Packet::bytes(BEAT | Packet::AUTH, 71, b"HB:");
    packet.extend(1_234_567_890_123_456_789_u64.to_be_bytes());
    packet.extend([0xab; 16]);
    if let Some(kid) = packet.get_mut(6) {
        *kid = 200;
    }
    let fields = [
        ("hvncp.kid", "200"),
        ("hvncp.reserved", ""),
        ("hvncp.auth.counter", "1234567890123456789"),
        ("hvncp.auth.tag", "abababababababababababababababab"),
        ("hvncp.checksum.status", "1"),
        ("hvncp.msg", "HB:"),
        (FAULT, ""),
    ];
    cases.vmm_sends(&Packet::seal(packet.clone()), &fields);
    let mut wrong = Packet::seal(packet);
    if let Some(byte) = wrong.last_mut() {
        *byte = 0;
    }
    cases.vmm_sends(&wrong, &[(FAULT, "Wrong checksum: dropped"), ("hvncp.checksum.status", "0")]);
}

/// The numbers of a new channel begin anew: what looks like a packet of the old one is none.
fn replaced(cases: &mut Cases) {
    let other = "52:54:00:7e:00:02";
    let ring = Packet::bytes(WHOLE, 10, b"DBELL:0x2");
    let syn = format!("uuid={UUID}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n=00000001");
    let start = cases.next();
    cases.add(other, HM, &ring, &[("hvncp.repeats", ""), ("hvncp.path", "2"), (FAULT, "")]);
    cases.add(other, HM, &ring, &[("hvncp.repeats", &start.to_string())]);
    cases.add(other, HM, &Packet::bytes(SYN_VMM, 10, syn.as_bytes()), &[("hvncp.repeats", ""), (FAULT, "")]);
    let answer = Packet::bytes(Packet::SYN | Packet::ACK, 10, b"");
    cases.add(HM, other, &answer, &[("hvncp.ack_of", &(start + 2).to_string()), ("hvncp.ack_delay", "1")]);
    cases.add(other, HM, &ring, &[("hvncp.repeats", ""), (FAULT, "")]);
    cases.add(other, HM, &ring, &[("hvncp.repeats", &(start + 4).to_string()), (FAULT, "Sent again*")]);
}

/// Whatever a frame holds, the dissector says something and never fails.
fn noise(tshark: &Tshark) -> Lab<()> {
    // xorshift64: any bytes do, but the same ones in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let texts: [&[u8]; 6] =
        [b"HB:", b"START_HB:interval=250", b"DBELL:0x22", b"PMSG_RSP:7:<a/>", b"uuid=x:n=1", b""];
    let mut frames = Vec::new();
    for index in 0..NOISE {
        let text = texts.get(next(6) as usize).copied().unwrap_or_default();
        let mut packet = Packet::bytes(next(256) as u8, next(256) as u8, text);
        packet.extend((0..next(40)).map(|_| next(256) as u8));
        for _ in 0..next(4) {
            let at = next(packet.len() as u64) as usize;
            packet.iter_mut().skip(at).take(1).for_each(|byte| *byte = next(256) as u8);
        }
        packet.truncate(if next(8) == 0 { next(32) as usize + 1 } else { packet.len() });
        let packet = if next(4) == 0 { packet } else { Packet::seal(packet) };
        let bytes = frames::frame(if next(9) == 0 { ALL } else { HM }, VMM, ETHER_TYPE, &packet);
        frames.push(Frame { at: Duration::from_millis(index as u64 * 20), bytes });
    }
    let file = world::dir("logs").join("noise.pcap");
    frames::save(&frames, &file)?;
    let rows = tshark.fields(&file, "", &["_ws.col.Protocol", INFO, "_ws.lua.error"])?;
    expect(rows.len() == NOISE, || format!("{NOISE} frames, {} rows", rows.len()))?;
    // A dissector that reads beyond its bytes is broken off, and the column says so.
    let good = |row: &[String]| match row {
        [protocol, info, error] => {
            protocol == "HVNCP" && !info.is_empty() && !info.contains("[Malformed Packet") && error.is_empty()
        }
        _ => false,
    };
    match rows.iter().position(|row| !good(row)) {
        Some(at) => Err(LabError::Unexpected(format!("frame {} of noise.pcap: {:?}", at + 1, rows.get(at)))),
        None => Ok(()),
    }
}
