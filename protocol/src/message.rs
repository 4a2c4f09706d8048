//! What the payloads say.
//!
//! Every message is ASCII: a word, and arguments behind colons. Parsing borrows and never allocates.

mod pairs;
mod syn;

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

pub use pairs::{MalformedPairs, Pairs};
pub use syn::{HmSyn, MalformedSyn, Mark, VmmSyn};

/// Shortest and longest heartbeat interval, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS: core::ops::RangeInclusive<u32> = 100..=60_000;

/// Interval of a `START_HB` that names none, in milliseconds.
pub const DEFAULT_HEARTBEAT_INTERVAL_MS: u32 = 10_000;

/// Longest reason of a `QUIET`, in bytes: a sentence for people, and with it the message fits one packet whatever the
/// adapter's MTU (an urgent message is a single packet).
pub const QUIET_REASON_MAXIMUM: usize = 128;

/// What a doorbell says has changed; bits add up while it is pending. [M-10]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Doorbell(pub u32);

impl Doorbell {
    /// The agent connected, or connected again.
    pub const CONNECTED: Self = Self(0x02);
    /// Monitoring was suspended or resumed.
    pub const SUSPENSION: Self = Self(0x04);
    /// Application configuration.
    pub const CONFIGURATION: Self = Self(0x08);
    /// A dependency.
    pub const DEPENDENCY: Self = Self(0x10);
    /// Application status.
    pub const STATUS: Self = Self(0x20);
    /// Restart counts.
    pub const RESTARTS: Self = Self(0x40);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing changed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}", self.0)
    }
}

/// What is being shut down on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The agent.
    Daemon,
    /// The guest.
    Os,
}

/// A message. Tags name an application-report exchange and are decimal, possibly negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// `HB:`, `HB:G`: alive; G when the guardian beats in the daemon's place.
    Heartbeat {
        /// Sent by the guardian.
        guardian: bool,
    },
    /// `START_HB`, `START_HB:interval=<ms>`. [M-5]
    StartHeartbeat {
        /// 100 to 60,000; 10,000 when the message names none.
        interval_ms: u32,
    },
    /// `STOP_HB`.
    StopHeartbeat,
    /// `SHDN:DAEMON`, `SHDN:OS`.
    Shutdown(Shutdown),
    /// `SUSPEND`: by the guest's administrator.
    Suspend,
    /// `RESUME`.
    Resume,
    /// `QUIET:<ms>:<reason>`, 2.1: heartbeats may stop for that long. `QUIET:0` ends it.
    Quiet {
        /// Milliseconds; 0 ends an announced silence.
        ms: u32,
        /// Why, for people: printable ASCII, at most [`QUIET_REASON_MAXIMUM`] bytes, possibly none. It is the rest of
        /// the message, so it may contain colons.
        reason: &'a str,
    },
    /// `QUIET_OK:<ms>`, 2.1: the answer to a `QUIET`.
    QuietOk {
        /// Milliseconds granted, counted from the arrival of the `QUIET`; 0 if it was ended or is refused.
        ms: u32,
    },
    /// `DYING:<reason>`, 2.1: the guest will not beat any more, though its agent still runs. [M-16]
    Dying {
        /// Why, as the reason of a `QUIET`; not empty.
        reason: &'a str,
    },
    /// `DBELL:0x<hex>`.
    Doorbell(Doorbell),
    /// `PMSG_REQ:<tag>:<what>`. [M-12]
    ReportRequest {
        /// The exchange.
        tag: i64,
        /// `apps`.
        what: &'a str,
    },
    /// `PMSG_RSP:<tag>:<xml>`.
    Report {
        /// The exchange.
        tag: i64,
        /// The report.
        xml: &'a [u8],
    },
    /// `GMSG:<tag>`: the controller has it.
    ReportTaken {
        /// The exchange.
        tag: i64,
    },
    /// `CLEAR_DB:<tag>`: the agent has seen `GMSG`.
    ReportClear {
        /// The exchange.
        tag: i64,
    },
}

impl<'a> Message<'a> {
    /// Reads a payload; `None` if it is none of these. [M-1]
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        match payload {
            b"HB:" => return Some(Self::Heartbeat { guardian: false }),
            b"HB:G" => return Some(Self::Heartbeat { guardian: true }),
            b"START_HB" => return Some(Self::StartHeartbeat { interval_ms: DEFAULT_HEARTBEAT_INTERVAL_MS }),
            b"STOP_HB" => return Some(Self::StopHeartbeat),
            b"SHDN:DAEMON" => return Some(Self::Shutdown(Shutdown::Daemon)),
            b"SHDN:OS" => return Some(Self::Shutdown(Shutdown::Os)),
            b"SUSPEND" => return Some(Self::Suspend),
            b"RESUME" => return Some(Self::Resume),
            _ => {}
        }
        let (word, rest) = split(payload)?;
        match word {
            b"START_HB" => start_heartbeat(rest),
            b"QUIET" => quiet(rest),
            b"QUIET_OK" => Some(Self::QuietOk { ms: number(rest)? }),
            b"DYING" => {
                let reason = core::str::from_utf8(rest).ok()?;
                (!reason.is_empty() && is_quiet_reason(reason)).then_some(Self::Dying { reason })
            }
            b"DBELL" => doorbell(rest),
            b"PMSG_REQ" => {
                let (tag, what) = split(rest)?;
                Some(Self::ReportRequest { tag: parse_tag(tag)?, what: core::str::from_utf8(what).ok()? })
            }
            b"PMSG_RSP" => {
                let (tag, xml) = split(rest)?;
                Some(Self::Report { tag: parse_tag(tag)?, xml })
            }
            b"GMSG" => Some(Self::ReportTaken { tag: parse_tag(rest)? }),
            b"CLEAR_DB" => Some(Self::ReportClear { tag: parse_tag(rest)? }),
            _ => None,
        }
    }

    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Heartbeat { guardian: false } => b"HB:".to_vec(),
            Self::Heartbeat { guardian: true } => b"HB:G".to_vec(),
            Self::StartHeartbeat { interval_ms: DEFAULT_HEARTBEAT_INTERVAL_MS } => b"START_HB".to_vec(),
            Self::StartHeartbeat { interval_ms } => format!("START_HB:interval={interval_ms}").into_bytes(),
            Self::StopHeartbeat => b"STOP_HB".to_vec(),
            Self::Shutdown(Shutdown::Daemon) => b"SHDN:DAEMON".to_vec(),
            Self::Shutdown(Shutdown::Os) => b"SHDN:OS".to_vec(),
            Self::Suspend => b"SUSPEND".to_vec(),
            Self::Resume => b"RESUME".to_vec(),
            Self::Quiet { ms, reason: "" } => format!("QUIET:{ms}").into_bytes(),
            Self::Quiet { ms, reason } => format!("QUIET:{ms}:{reason}").into_bytes(),
            Self::QuietOk { ms } => format!("QUIET_OK:{ms}").into_bytes(),
            Self::Dying { reason } => format!("DYING:{reason}").into_bytes(),
            Self::Doorbell(bits) => format!("DBELL:{:#x}", bits.0).into_bytes(),
            Self::ReportRequest { tag, what } => format!("PMSG_REQ:{tag}:{what}").into_bytes(),
            Self::Report { tag, xml } => {
                let mut bytes = format!("PMSG_RSP:{tag}:").into_bytes();
                bytes.extend_from_slice(xml);
                bytes
            }
            Self::ReportTaken { tag } => format!("GMSG:{tag}").into_bytes(),
            Self::ReportClear { tag } => format!("CLEAR_DB:{tag}").into_bytes(),
        }
    }

    /// Whether it goes in the urgent sequence. [N-2]
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        matches!(self, Self::Heartbeat { .. } | Self::Shutdown(_) | Self::Quiet { .. })
    }
}

/// Whether a `QUIET` or a `DYING` may carry this reason.
#[must_use]
pub fn is_quiet_reason(text: &str) -> bool {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    text.len() <= QUIET_REASON_MAXIMUM && text.bytes().all(printable)
}

fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = payload.iter().position(|byte| *byte == b':')?;
    Some((payload.get(..at)?, payload.get(at.checked_add(1)?..)?))
}

fn parse_tag(text: &[u8]) -> Option<i64> {
    core::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

fn start_heartbeat(arguments: &[u8]) -> Option<Message<'_>> {
    let pairs = Pairs::parse(arguments).ok()?;
    let interval_ms = match pairs.value("interval") {
        Some(text) => decimal(text)?,
        None => DEFAULT_HEARTBEAT_INTERVAL_MS,
    };
    HEARTBEAT_INTERVAL_MS.contains(&interval_ms).then_some(Message::StartHeartbeat { interval_ms })
}

fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn quiet(arguments: &[u8]) -> Option<Message<'_>> {
    let (ms, reason) = split(arguments).unwrap_or((arguments, b""));
    let reason = core::str::from_utf8(reason).ok().filter(|reason| is_quiet_reason(reason))?;
    Some(Message::Quiet { ms: number(ms)?, reason })
}

fn number(text: &[u8]) -> Option<u32> {
    decimal(core::str::from_utf8(text).ok()?)
}

fn doorbell(bits: &[u8]) -> Option<Message<'_>> {
    let digits = core::str::from_utf8(bits).ok()?.strip_prefix("0x")?;
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = hexadecimal.then(|| u32::from_str_radix(digits, 16).ok())??;
    Some(Message::Doorbell(Doorbell(bits)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_texts() {
        for (text, message) in [
            ("HB:", Message::Heartbeat { guardian: false }),
            ("START_HB", Message::StartHeartbeat { interval_ms: 10_000 }),
            ("START_HB:interval=100", Message::StartHeartbeat { interval_ms: 100 }),
            ("DBELL:0x28", Message::Doorbell(Doorbell::CONFIGURATION.with(Doorbell::STATUS))),
            (
                "PMSG_REQ:-3026381694404356594:apps",
                Message::ReportRequest { tag: -3_026_381_694_404_356_594, what: "apps" },
            ),
            ("PMSG_RSP:7:<a:b/>", Message::Report { tag: 7, xml: b"<a:b/>" }),
            ("CLEAR_DB:7", Message::ReportClear { tag: 7 }),
            ("QUIET:60000:fs freeze", Message::Quiet { ms: 60_000, reason: "fs freeze" }),
            ("QUIET:1:at 03:00: backup", Message::Quiet { ms: 1, reason: "at 03:00: backup" }),
            ("QUIET:4294967295", Message::Quiet { ms: u32::MAX, reason: "" }),
            ("QUIET:0", Message::Quiet { ms: 0, reason: "" }),
            ("QUIET_OK:60000", Message::QuietOk { ms: 60_000 }),
        ] {
            assert_eq!(Message::parse(text.as_bytes()), Some(message), "{text}");
            assert_eq!(message.encode(), text.as_bytes());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            ":",
            "HB",
            "HB:X",
            "START_HB:",
            "START_HB:interval=99",
            "START_HB:interval=60001",
            "START_HB:interval=+100",
            "START_HB:interval=100:interval=200",
            "DBELL:28",
            "DBELL:0x",
            "DBELL:0x+1",
            "DBELL:0x100000000",
            "GMSG:",
            "GMSG:+1",
            "GMSG:1:2",
            "PMSG_REQ:1",
            "SHDN:",
            "SUSPEND:",
            "QUIET",
            "QUIET:",
            "QUIET::why",
            "QUIET:+1:why",
            "QUIET:-1:why",
            "QUIET:4294967296:why",
            "QUIET:1:tab\tin it",
            "QUIET:1:umlaut \u{e4}",
            "QUIET_OK",
            "QUIET_OK:",
            "QUIET_OK:1:",
        ] {
            assert_eq!(Message::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_reason_has_a_bound_and_fits_one_packet_of_the_smallest_mtu() {
        let longest = "x".repeat(QUIET_REASON_MAXIMUM);
        let quiet = Message::Quiet { ms: u32::MAX, reason: &longest };
        let bytes = quiet.encode();
        assert_eq!(Message::parse(&bytes), Some(quiet));
        assert!(quiet.is_urgent() && !Message::QuietOk { ms: 1 }.is_urgent());
        // 576 is the least that any IP network carries; nobody runs a smaller Ethernet.
        assert!(bytes.len() <= crate::wire::payload_capacity(576, true), "{}", bytes.len());
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(Message::parse(&longer), None);
    }

    proptest! {
        #[test]
        fn what_parses_encodes_to_what_parses_alike(payload in "(HB:G?|(START_HB|DBELL|GMSG|PMSG_RSP|PMSG_REQ|QUIET|QUIET_OK):[-a-z0-9=:x]{0,12})") {
            if let Some(message) = Message::parse(payload.as_bytes()) {
                let again = message.encode();
                prop_assert_eq!(Message::parse(&again), Some(message));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(payload: Vec<u8>) {
            let _ = Message::parse(&payload);
        }
    }
}
