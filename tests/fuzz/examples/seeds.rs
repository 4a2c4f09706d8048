//! Writes the seeds and dictionaries: `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.
//!
//! They are made from the product's own tables, samples and documents, so they follow what is added there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

use vmpulse_agent::config::attribute::{APPLICATION, VMM};
use vmpulse_agent::vmmgr::grammar::ACTIONS;
use vmpulse_controller::cli::words;
use vmpulse_protocol::auth::{KeyId, Nonce, Offer, Sealer};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::message::{Doorbell, HmSyn, Mark, Message, Shutdown, VmmSyn};
use vmpulse_protocol::wire::{Flags, Packet, Version};

const REQUESTS: &str = include_str!("../../../docs/reference/requests.md");
const REPORT: &str = include_str!("../../../docs/reference/report.md");
const SETTINGS: [(u8, &str, &str); 3] = [
    (3, "agent", include_str!("../../../packaging/agent.toml")),
    (4, "hostmon", include_str!("../../../packaging/hostmon.toml")),
    (5, "controller", include_str!("../../../packaging/controller.toml")),
];
const CONFIGURATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Monitoring version="1.0" log="3" period="0" rebootappstarttype="OS" newer="x">
  <!-- kept -->
  <Application name="app1" uuid="1567267349133928000" monitored="0" critical="yes" monitor_script="/m 1"
    start_script="/s" stop_script="/t" desc="&lt;a&gt;"/>
  <Application name="app2" uuid="1567267349133928001" monitor_script="/m" start_script="/s" stop_script="/t"></Application>
  <Dependency depuuid="1542239347575681000" dependency_type="start_sequence" dependency_list="app1,app2"/>
  <Dependency depuuid="1542239347575681001" dependency_type="parent_child" dependency_list="app1,app2" future="x"></Dependency>
</Monitoring>
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let folder = folder().join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn dictionary(target: &str, words: impl IntoIterator<Item = String>) -> Result<()> {
    let words: BTreeSet<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let quoted = |word: &String| format!("\"{}\"\n", word.replace('\\', "\\\\").replace('"', "\\\""));
    let folder = folder().join("dictionaries");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{target}.dict")), words.iter().map(quoted).collect::<String>())
}

fn main() -> Result<()> {
    packets()?;
    vectors()?;
    sessions()?;
    monitors()?;
    fragments()?;
    documents()?;
    command_lines()
}

fn packets() -> Result<()> {
    let whole = Flags::BEG | Flags::END;
    let plain = |flags, payload: &[u8]| Packet::plain(Version::V2_1, 0x2a, flags, payload).encode();
    for (name, message) in [
        ("heartbeat", Message::Heartbeat { guardian: false }),
        ("start", Message::StartHeartbeat { interval_ms: 100 }),
        ("stop", Message::StopHeartbeat),
        ("shutdown", Message::Shutdown(Shutdown::Daemon)),
        ("quiet", Message::Quiet { ms: 60_000, reason: "backup" }),
        ("quiet-ok", Message::QuietOk { ms: 0 }),
        ("doorbell", Message::Doorbell(Doorbell::STATUS)),
        ("request", Message::ReportRequest { tag: -3, what: "apps" }),
        ("report", Message::Report { tag: 7, xml: b"<report/>" }),
        ("taken", Message::ReportTaken { tag: i64::MIN }),
        ("clear", Message::ReportClear { tag: 7 }),
    ] {
        let urgent = if message.is_urgent() { Flags::PRI } else { Flags::ACKR };
        seed("packet", name, plain(whole | urgent, &message.encode()))?;
        seed("packet", &format!("payload-{name}"), message.encode())?;
    }
    seed("packet", "hello", plain(Flags::HEL, b"1556303548.719328000.38"))?;
    seed("packet", "solicitation", plain(Flags::HEL, b""))?;
    seed("packet", "acknowledgement", plain(Flags::ACK | Flags::PRI, b""))?;
    let key_id = KeyId::new(3).expect("not 0");
    let sealed = Packet::plain(Version::V2_1, 1, whole | Flags::PRI, b"HB:");
    seed("packet", "sealed", Sealer::new(&[7; 32], key_id).seal(&sealed))?;
    let offer = Some(Offer { nonce: Nonce([0xab; 16]), key_id, sends: true });
    let (uuid, mark) = (HostMonitorId::from_bytes([7; 16]), Some(Mark(0x2a)));
    let vmm = VmmSyn {
        uuid: VmUuid::from_bytes([0x61; 16]).to_string(),
        os_type: "Linux".to_owned(),
        lower: Version::V2_0,
        upper: Version::V2_1,
        mark,
        offer,
    };
    let syn = Flags::SYN | Flags::ACKR;
    seed("packet", "syn-vmm", plain(syn | Flags::BEG, &vmm.encode()))?;
    let hm = HmSyn::Accepted { uuid, running: Version::V2_1, mark, answers: mark, offer };
    seed("packet", "syn-hm", plain(syn | Flags::END, &hm.encode()))?;
    let conflict = HmSyn::Conflict { uuid, lower: Version::V2_0, upper: Version::V2_0 };
    seed("packet", "syn-conflict", plain(syn | Flags::END, &conflict.encode()))?;
    seed("packet", "key", "0123456789abcdef".repeat(4))?;
    let words = "HB: HB:G START_HB START_HB:interval= STOP_HB SHDN:DAEMON SHDN:OS SUSPEND RESUME DBELL:0x PMSG_REQ: \
        :apps PMSG_RSP: GMSG: CLEAR_DB: QUIET: QUIET_OK: uuid= :ostype= :verVmmLower=2.0 :verVmmUpper=2.1 :n=0000002a \
        :verHmRunning=2.1 :versionConflict=true :verHmLower=2.0 :verHmUpper=2.1 :nonce=000102030405060708090a0b0c0d0e0f \
        :auth=hmac-sha256 :kid=7 :authtx=1 61be20f0-09a8-4753-b5e5-564f8a545ed5 receive-only optional required off";
    dictionary("packet", words.split_whitespace().map(str::to_owned))
}

/// The vectors that come with the protocol: whole packets, and what is refused.
fn vectors() -> Result<()> {
    let testdata = folder().join("../../protocol/testdata");
    let names = ["authentication", "handshake", "hello", "malformed"];
    let mut packets = BTreeSet::new();
    for name in names {
        let text = fs::read_to_string(testdata.join(name).with_extension("json"))?;
        collect(&serde_json::from_str(&text)?, &mut packets);
    }
    for (at, packet) in packets.iter().enumerate() {
        seed("packet", &format!("vector-{at:03}"), packet)?;
    }
    Ok(())
}

/// Every text of hexadecimal digits that is a packet's or a payload's.
fn collect(value: &serde_json::Value, packets: &mut BTreeSet<Vec<u8>>) {
    match value {
        serde_json::Value::Object(members) => members.values().for_each(|member| collect(member, packets)),
        serde_json::Value::Array(members) => members.iter().for_each(|member| collect(member, packets)),
        serde_json::Value::String(text) if (16..4000).contains(&text.len()) => packets.extend(from_hex(text)),
        _ => {}
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let whole = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| text.as_bytes().chunks(2).map(byte).collect())?
}

/// See `session::operation` for what the numbers mean.
fn sessions() -> Result<()> {
    const RUN: [u8; 5] = [9, 12, 30, 9, 9];
    let messages = [1, 0, 10, 3, 1, 0, 9, 5, 6, 9, 1, 7, 208, 9, 9];
    for conduct in 0..3 {
        let start = [&[conduct, 1, 7, 0][..], &RUN].concat();
        let with = |operations: &[u8]| [&start[..], operations].concat();
        seed("session", &format!("messages-{conduct}"), with(&messages))?;
        let lossy = [1, 2, 0, 10, 0, 8, 3, 11, 1, 9, 12, 60, 9, 10, 0, 13, 2, 9, 13, 40];
        seed("session", &format!("lossy-{conduct}"), with(&lossy))?;
        let slow = [14, 1, 1, 0, 5, 9, 5, 9, 13, 3, 9, 15, 1, 9, 14, 2, 1, 0, 6, 9, 14, 0, 13, 4, 9];
        seed("session", &format!("slow-owner-{conduct}"), with(&slow))?;
        let rekeyed = [1, 3, 0, 19, 1, 2, 19, 0, 1, 0, 7, 1, 9, 6, 9, 13, 1, 9, 3, 0, 9, 9];
        seed("session", &format!("rekeyed-{conduct}"), with(&rekeyed))?;
        let restarted = [1, 1, 0, 18, 1, 9, 12, 30, 9, 18, 0, 9, 3, 0, 4, 9, 17, 1, 0, 9];
        seed("session", &format!("restarted-{conduct}"), with(&restarted))?;
        let hostile = [
            6, 21, 0, 9, 20, 0, 0, 9, 1, 1, 0, 3, 20, 0, 0, 12, 4, 9, 22, 1, 0, 4, 0xa4, 9, 0x40, 9, 23, 30,
            9,
        ];
        seed("session", &format!("hostile-{conduct}"), with(&hostile))?;
    }
    Ok(())
}

/// See `monitor::operation`.
fn monitors() -> Result<()> {
    let messages = [6, 0, 7, 1, 8, 2, 9, 0, 0, 100, 9, 130, 9, 200, 2, 20, 5, 0];
    let seeds: [(&str, &[u8]); 6] = [
        ("messages", &messages),
        ("frozen", &[2, 60, 4, 0, 2, 90, 5, 0, 2, 60]),
        ("plain", &[3, 3, 3, 6, 10, 0, 0x1f, 1, 1, 2, 60, 12, 0xf8, 12, 0x08, 2, 60]),
        ("adversity", &[13, 1, 6, 0, 14, 0, 15, 0, 2, 50, 15, 1, 16, 200, 13, 0, 17, 0, 15, 2, 2, 90]),
        (
            "flood",
            &[20, 200, 0, 0, 20, 200, 1, 0, 20, 200, 2, 0, 20, 255, 0x83, 20, 255, 0xe4, 20, 255, 0x23],
        ),
        ("forged", &[18, 1, 4, 0xa4, 9, 0x40, 18, 9, 4, 0xa4, 3, 0x12, 21, 3, 11, 1, 11, 2, 1, 200]),
    ];
    for (name, operations) in seeds {
        for mode in 0..4 {
            seed("monitor", &format!("{name}-{mode}"), [&[mode, 7], operations].concat())?;
        }
    }
    Ok(())
}

/// See `reassembly::World::operation`.
fn fragments() -> Result<()> {
    let packet = |flags: u8, length: u8| [flags, 0, length];
    let message = [packet(0x20, 4), packet(0x00, 5), packet(0x10, 3)].concat();
    let gap = [0x08, 2, 3];
    let seeds: [(&str, Vec<u8>); 5] = [
        ("whole", [packet(0x30, 3), packet(0x70, 1), packet(0x30, 0)].concat()),
        ("message", message.repeat(3)),
        ("gap", [&packet(0x20, 4)[..], &gap, &packet(0x00, 4), &packet(0x00, 4), &packet(0x10, 4)].concat()),
        ("beginnings", packet(0x20, 6).repeat(6)),
        ("held", [&[0x0e, 0, 0][..], &message, &message, &[0x0d, 1, 0, 0x0b, 1, 0, 0x0c, 250, 0]].concat()),
    ];
    for (name, operations) in seeds {
        for victim in 0..2 {
            seed("reassembly", &format!("{name}-{victim}"), [&[victim][..], &operations].concat())?;
        }
    }
    Ok(())
}

/// The documents in a page, between lines of three backticks.
fn examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("```xml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

fn documents() -> Result<()> {
    for (at, change) in
        [[0, 0, 1], [1, 1, 6], [0, 12, 2], [1, 17, 11], [0, 2, 9], [1, 5, 40]].iter().enumerate()
    {
        let bytes = [&[0][..], change, CONFIGURATION.as_bytes()].concat();
        seed("xml", &format!("configuration-{at}"), bytes)?;
    }
    seed("xml", "configuration-empty", [&[0, 0, 1, 2][..], b"<Monitoring/>"].concat())?;
    let requests = examples(REQUESTS).filter(|text| text.contains("<Request"));
    for (at, text) in requests.enumerate() {
        seed("xml", &format!("request-{at}"), [&[1][..], text.as_bytes()].concat())?;
    }
    for (at, text) in examples(REPORT).enumerate() {
        seed("xml", &format!("report-{at}"), [&[2][..], text.as_bytes()].concat())?;
    }
    let attributes = VMM.iter().chain(APPLICATION).map(|one| format!(" {}=\"", one.name));
    let pages = [REQUESTS, REPORT, CONFIGURATION].concat();
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let known = pages.split("```").skip(1).step_by(2).flat_map(|text| text.split(word)).map(str::to_owned);
    let syntax = [
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml ",
        "?>",
        "&lt;",
        "&#x",
        "<!DOCTYPE",
        "/>",
        "</",
        " xmlns:a=\"",
    ];
    let long = known.filter(|word| word.len() > 2).collect::<Vec<_>>();
    dictionary("xml", attributes.chain(long).chain(syntax.map(str::to_owned)))
}

fn command_lines() -> Result<()> {
    let lines: [(u8, &str, &str); 14] = [
        (0, "vmmgr-modify", "-s modify app app1 desc=a=b critical=yes -o json --settings=/x.toml"),
        (0, "vmmgr-query", "-a status,desc q app app1"),
        (0, "vmmgr-delete", "delete app -- -odd"),
        (1, "hmmgr-status", "status -o json --settings x"),
        (1, "hmmgr-passthru", "passthru --store=sqlite:///a"),
        (1, "hmmgr-help", "help status"),
        (1, "hmmgr-key", "key create 61be20f0-09a8-4753-b5e5-564f8a545ed5"),
        (1, "hmmgr-trunk", "trunk create trunkA --all"),
        (1, "hmmgr-capture", "capture --count 5 x.pcap"),
        (0, "vmmgr-quiet", "quiet 60s reason"),
        (0, "vmmgr-key", "import key 7 /k"),
        (2, "hamgr-query", "-v -t -o json --store sqlite:///a q vm"),
        (2, "hamgr-modify", "mod vm vm1,vm2 options VM_failure_detection_speed=slow heartbeat_interval=none"),
        (2, "hamgr-help", "help q vm -?"),
    ];
    for (kind, name, line) in lines {
        seed("command_line", name, [&[kind][..], line.replace(' ', "\n").as_bytes()].concat())?;
    }
    for (kind, name, text) in SETTINGS {
        seed("command_line", &format!("settings-{name}"), [&[kind][..], text.as_bytes()].concat())?;
    }
    for (name, json) in [
        ("status", r#"{"request":"status"}"#),
        ("action", r#"{"action":"status"}"#),
        ("synced", r#"{"reply":"synced","applications":3}"#),
        (
            "daemon",
            r#"{"reply":"status","pid":1,"version":"0","vm_uuid":"","config":"","config_problem":null,"applications":0,"paths":[],"adapter_problems":[]}"#,
        ),
    ] {
        seed("command_line", &format!("json-{name}"), [&[6][..], json.as_bytes()].concat())?;
    }
    seed("command_line", "script", [&[7][..], br#"/a 'b c' "d 'e' \" f" g\ h"#].concat())?;
    let digits = "0123456789abcdef".repeat(4);
    let (one, two) = (format!("1 {digits}"), format!("255 f{}", &digits[1..]));
    seed("command_line", "keys", [&[8][..], format!("# keys\n{one}\n{two}\n").as_bytes()].concat())?;
    seed("command_line", "secret", [&[8][..], digits.as_bytes()].concat())?;
    let actions = ACTIONS.iter().flat_map(|(_, names)| names.iter()).copied();
    let controller = words::Action::ALL.iter().flat_map(|one| one.names());
    let classes = words::Class::ALL.iter().flat_map(|one| one.names());
    let attributes = VMM.iter().chain(APPLICATION).map(|one| one.name);
    let keys = SETTINGS
        .iter()
        .flat_map(|(_, _, text)| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let flags = [
        "-s",
        "-a",
        "-o",
        "-h",
        "-v",
        "-t",
        "-?",
        "--",
        "--settings",
        "--store",
        "--output",
        "--version",
        "json",
        "text",
        "options",
        "vmm",
        "app",
        "dependency",
        "passthru",
        "help",
        "status",
        "key",
        "create",
        "import",
        "rotate",
        "export",
        "relax",
        "trunk",
        "capture",
        "--all",
        "--count",
        "60s",
        "end",
    ];
    let all =
        actions.chain(controller.copied()).chain(classes.copied()).chain(attributes).chain(keys).chain(flags);
    dictionary("command_line", all.map(str::to_owned))
}
