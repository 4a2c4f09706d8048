//! Payloads of the two SYNs of a handshake.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::auth::Offer;
use crate::id::HostMonitorId;
use crate::message::Pairs;
use crate::wire::Version;

/// Why a payload is no SYN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedSyn;

/// `n=<8 hex>`: fresh per handshake attempt, tells a new attempt from a retransmission. [S-5]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u32);

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", self.0)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The VMM's SYN. [S-3]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmmSyn {
    /// As it came: may be empty or malformed, which the host monitor records as CANNOT_MANAGE.
    pub uuid: String,
    /// `Linux`.
    pub os_type: String,
    /// Lowest version spoken.
    pub lower: Version,
    /// Highest version spoken.
    pub upper: Version,
    /// `None` from peers that do not send one.
    pub mark: Option<Mark>,
    /// Authentication, if the VMM offers it.
    pub offer: Option<Offer>,
}

impl VmmSyn {
    /// Longest UUID text kept, in bytes; enough for any form, and a bound on what is recorded.
    pub const MAXIMUM_UUID_LENGTH: usize = 64;

    /// Reads a payload. A missing or malformed `uuid` is no error here.
    ///
    /// # Errors
    /// [`MalformedSyn`] if it is no list of pairs or lacks a version.
    pub fn parse(payload: &[u8]) -> Result<Self, MalformedSyn> {
        let pairs = Pairs::parse(payload).map_err(|_| MalformedSyn)?;
        let uuid = pairs.value("uuid").unwrap_or_default();
        Ok(Self {
            uuid: uuid.get(..uuid.len().min(Self::MAXIMUM_UUID_LENGTH)).unwrap_or_default().to_string(),
            os_type: pairs.value("ostype").unwrap_or_default().to_string(),
            lower: version(&pairs, "verVmmLower")?,
            upper: version(&pairs, "verVmmUpper")?,
            mark: mark(&pairs, "n")?,
            offer: Offer::read(&pairs).map_err(|_| MalformedSyn)?,
        })
    }

    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { uuid, os_type, lower, upper, mark, offer } = self;
        let versions = format!("verVmmLower={lower}:verVmmUpper={upper}");
        with_tail(format!("uuid={uuid}:ostype={os_type}:{versions}"), [("n", *mark)], offer.as_ref())
    }
}

/// The host monitor's SYN. [S-4]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HmSyn {
    /// The handshake may complete.
    Accepted {
        /// The host monitor.
        uuid: HostMonitorId,
        /// The version that both will speak.
        running: Version,
        /// Its own mark.
        mark: Option<Mark>,
        /// The mark of the VMM's SYN that this answers. [S-6]
        answers: Option<Mark>,
        /// Authentication, if the VMM offered it and the HM has that key.
        offer: Option<Offer>,
    },
    /// No common version: both forget the path. [S-10]
    Conflict {
        /// The host monitor.
        uuid: HostMonitorId,
        /// Lowest version it accepts.
        lower: Version,
        /// Highest version it accepts.
        upper: Version,
    },
}

impl HmSyn {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`MalformedSyn`] if it is no list of pairs, or lacks the UUID or a version.
    pub fn parse(payload: &[u8]) -> Result<Self, MalformedSyn> {
        let pairs = Pairs::parse(payload).map_err(|_| MalformedSyn)?;
        let uuid = pairs.value("uuid").and_then(|text| text.parse().ok()).ok_or(MalformedSyn)?;
        if pairs.value("versionConflict") == Some("true") {
            let (lower, upper) = (version(&pairs, "verHmLower")?, version(&pairs, "verHmUpper")?);
            return Ok(Self::Conflict { uuid, lower, upper });
        }
        let running = version(&pairs, "verHmRunning")?;
        let offer = Offer::read(&pairs).map_err(|_| MalformedSyn)?;
        let (mark, answers) = (mark(&pairs, "n")?, mark(&pairs, "re")?);
        Ok(Self::Accepted { uuid, running, mark, answers, offer })
    }

    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accepted { uuid, running, mark, answers, offer } => {
                let begin = format!("uuid={uuid}:verHmRunning={running}");
                with_tail(begin, [("n", *mark), ("re", *answers)], offer.as_ref())
            }
            Self::Conflict { uuid, lower, upper } => {
                format!("uuid={uuid}:versionConflict=true:verHmLower={lower}:verHmUpper={upper}").into_bytes()
            }
        }
    }
}

fn with_tail<const N: usize>(
    mut payload: String,
    marks: [(&str, Option<Mark>); N],
    offer: Option<&Offer>,
) -> Vec<u8> {
    for (key, mark) in marks {
        if let Some(mark) = mark {
            payload.push_str(&format!(":{key}={mark}"));
        }
    }
    if let Some(offer) = offer {
        offer.write(&mut payload);
    }
    payload.into_bytes()
}

fn version(pairs: &Pairs<'_>, key: &str) -> Result<Version, MalformedSyn> {
    pairs.value(key).and_then(|text| text.parse().ok()).ok_or(MalformedSyn)
}

fn mark(pairs: &Pairs<'_>, key: &str) -> Result<Option<Mark>, MalformedSyn> {
    let Some(text) = pairs.value(key) else { return Ok(None) };
    let hexadecimal = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = hexadecimal.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    number.map(|number| Some(Mark(number))).ok_or(MalformedSyn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{KeyId, Nonce};

    const HM: &str = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";

    #[test]
    fn the_vmm_syn_round_trips_and_ignores_unknown_keys() {
        let text = b"uuid=x:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n=0000002a";
        let syn = VmmSyn::parse(text).unwrap();
        assert_eq!((syn.mark, syn.uuid.as_str()), (Some(Mark(42)), "x"));
        assert_eq!(syn.encode(), text);
        let more = [&text[..], b":nonce=aa:kid=1:auth=rot13"].concat();
        assert_eq!(VmmSyn::parse(&more), Ok(syn.clone()));
        let nonce = ":nonce=000102030405060708090a0b0c0d0e0f";
        let offering = [&text[..], nonce.as_bytes(), b":auth=hmac-sha256:kid=7"].concat();
        let offer = Offer {
            nonce: Nonce(core::array::from_fn(|at| at as u8)),
            key_id: KeyId::new(7).unwrap(),
            sends: false,
        };
        let offered = VmmSyn { offer: Some(offer), ..syn };
        assert_eq!(VmmSyn::parse(&offering), Ok(offered.clone()));
        assert_eq!(offered.encode(), offering);
        for wrong in [":auth=hmac-sha256", ":auth=hmac-sha256:kid=0", ":auth=hmac-sha256:kid=1:nonce=00"] {
            assert_eq!(VmmSyn::parse(&[&text[..], wrong.as_bytes()].concat()), Err(MalformedSyn), "{wrong}");
        }
        assert!(VmmSyn::parse(b"verVmmLower=2.0:verVmmUpper=2.1").unwrap().uuid.is_empty());
    }

    #[test]
    fn the_hm_syn_round_trips() {
        let uuid: HostMonitorId = HM.parse().unwrap();
        let offer = Offer { nonce: Nonce([3; 16]), key_id: KeyId::new(200).unwrap(), sends: true };
        for syn in [
            HmSyn::Accepted {
                uuid,
                running: Version::V2_1,
                mark: Some(Mark(7)),
                answers: Some(Mark(8)),
                offer: Some(offer),
            },
            HmSyn::Accepted { uuid, running: Version::V2_0, mark: None, answers: None, offer: None },
            HmSyn::Conflict { uuid, lower: Version::V2_0, upper: Version::V2_1 },
        ] {
            assert_eq!(HmSyn::parse(&syn.encode()), Ok(syn));
        }
    }

    #[test]
    fn malformed_syns_are_refused() {
        let long = [b'a'; 600];
        for text in [
            &b""[..],
            b"uuid",
            b"=x",
            b"uuid=x:uuid=y:verVmmLower=2.0:verVmmUpper=2.1",
            b"verVmmLower=2.0",
            b"verVmmLower=2.0:verVmmUpper=2.x",
            b"verVmmLower=2.0:verVmmUpper=2.1:n=1",
            &long,
            b"a=\xff",
            b"a=b=c",
        ] {
            assert_eq!(VmmSyn::parse(text), Err(MalformedSyn));
            assert_eq!(HmSyn::parse(text), Err(MalformedSyn));
        }
    }
}
