//! What a line of a record says. Types of its own: what the core takes may change, what a file means may not.
//!
//! Enumerations grow at their ends. Anything else is a new [`VERSION`](vmpulse_local::recorder::VERSION).

use std::collections::HashMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    HostMonitorRequest, MessageTag, Quiet, QuietAnswer, RequestKind, Roster, RosterVm, Standing,
};

use super::start::address;
use crate::monitor::{CanaryReport, Input};

/// What is no input of the core, and is known to its driver alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aside {
    /// The writes that the next line calls safe are in the spool's file, and not in the store yet.
    Kept,
    /// The store did not take its writes, and said this.
    StoreFailed(String),
}

/// See the module. Instants within a line are ages, signed: a file can say anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What<'a> {
    Frame {
        age_ns: i64,
        source: [u8; 6],
        vlan: Option<u16>,
        #[serde(borrow, serialize_with = "bytes")]
        payload: &'a [u8],
    },
    Heard {
        age_ns: i64,
        lag_ns: u64,
    },
    /// The core did what was due, and was asked whom it wants to know about.
    Turn,
    /// What came of everything since the last such line: how much, its checksum, and whether there may be more.
    Outputs {
        count: u32,
        sum: u32,
        more: bool,
    },
    Roster(Json<Roster>, Vec<Request>),
    SameRoster,
    Standings(Vec<([u8; 16], Stands)>),
    /// No keys at all.
    NoKeys,
    KeyProblem(String),
    Stored(u64),
    NotTaken(u64, Option<MessageTag>),
    Quiet {
        vm: [u8; 16],
        granted: Duration,
        quiet: Option<Json<Quiet>>,
    },
    StoreReachable(bool),
    StoreClockStepped,
    Dropped(u64),
    Adapter(bool),
    AdapterIs(String),
    CanaryUp,
    CanaryTried {
        age_ns: i64,
    },
    CanaryOff(String),
    Readdressed([u8; 6], u64),
    Shutdown,
    Aside(Aside),
    CanaryCut(String),
}

/// [`Standing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stands {
    Here,
    Elsewhere(Json<RosterVm>),
    Removed,
    Unknown,
}

/// [`HostMonitorRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    Reconsider(i64, [u8; 16]),
    AskReport(i64, [u8; 16], MessageTag),
    ReportTaken(i64, [u8; 16], MessageTag),
}

/// A type of the store's, as JSON: it may get fields, which those who read what was written before do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&serde_json::to_vec(&self.0).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        serde_json::from_slice(bytes).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One by one they would be the slowest part of a line.
fn bytes<S: Serializer>(bytes: &&[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

fn age(now: Instant, then: Instant) -> i64 {
    now.as_nanos().wrapping_sub(then.as_nanos()).cast_signed()
}

fn before(now: Instant, age_ns: i64) -> Instant {
    Instant::from_nanos(now.as_nanos().wrapping_sub(age_ns.cast_unsigned()))
}

/// The requests are beside it: the roster's own form, which is that of its copy on disk, leaves them out.
pub(super) fn roster(roster: &Roster) -> What<'static> {
    let request = |request: &HostMonitorRequest| {
        let tag = request.tag;
        match &request.what {
            RequestKind::Reconsider(vm) => Request::Reconsider(tag, *vm.as_bytes()),
            RequestKind::AskReport { vm, message } => Request::AskReport(tag, *vm.as_bytes(), *message),
            RequestKind::ReportTaken { vm, message } => Request::ReportTaken(tag, *vm.as_bytes(), *message),
        }
    };
    let requests = roster.requests.iter().map(request).collect();
    What::Roster(Json(Roster { requests: Vec::new(), ..roster.clone() }), requests)
}

fn request(request: Request) -> HostMonitorRequest {
    let vm = VmUuid::from_bytes;
    let (tag, what) = match request {
        Request::Reconsider(tag, of) => (tag, RequestKind::Reconsider(vm(of))),
        Request::AskReport(tag, of, message) => (tag, RequestKind::AskReport { vm: vm(of), message }),
        Request::ReportTaken(tag, of, message) => (tag, RequestKind::ReportTaken { vm: vm(of), message }),
    };
    HostMonitorRequest { tag, what }
}

fn stands(standing: &Standing) -> Stands {
    match standing {
        Standing::Here => Stands::Here,
        Standing::Elsewhere(vm) => Stands::Elsewhere(Json(vm.clone())),
        Standing::Removed => Stands::Removed,
        Standing::Unknown => Stands::Unknown,
    }
}

fn standing(stands: Stands) -> Standing {
    match stands {
        Stands::Here => Standing::Here,
        Stands::Elsewhere(Json(vm)) => Standing::Elsewhere(vm),
        Stands::Removed => Standing::Removed,
        Stands::Unknown => Standing::Unknown,
    }
}

impl<'a> What<'a> {
    /// An input as it is recorded.
    pub(super) fn of(now: Instant, input: &Input<'a>) -> Self {
        match input {
            Input::Frame { arrived, source, vlan, payload } => {
                Self::Frame { age_ns: age(now, *arrived), source: source.octets(), vlan: *vlan, payload }
            }
            Input::Heard { until, lag } => Self::Heard {
                age_ns: age(now, *until),
                lag_ns: u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX),
            },
            Input::Roster(read) => roster(read),
            Input::Standings(standings) => {
                let said = standings.iter().map(|(vm, standing)| (*vm.as_bytes(), stands(standing)));
                Self::Standings(said.collect())
            }
            // With keys the record ends.
            Input::Keys(_) => Self::NoKeys,
            Input::KeyProblem(text) => Self::KeyProblem(text.clone()),
            Input::Stored { up_to } => Self::Stored(*up_to),
            Input::NotTaken { number, report } => Self::NotTaken(*number, *report),
            Input::Quiet(QuietAnswer { vm, granted, quiet }) => {
                Self::Quiet { vm: *vm.as_bytes(), granted: *granted, quiet: quiet.clone().map(Json) }
            }
            Input::StoreReachable(reachable) => Self::StoreReachable(*reachable),
            Input::StoreClockStepped => Self::StoreClockStepped,
            Input::Dropped(frames) => Self::Dropped(*frames),
            Input::Adapter(up) => Self::Adapter(*up),
            Input::AdapterIs(what) => Self::AdapterIs(what.to_string()),
            Input::Canary(CanaryReport::Up) => Self::CanaryUp,
            Input::Canary(CanaryReport::Tried(at)) => Self::CanaryTried { age_ns: age(now, *at) },
            Input::Canary(CanaryReport::Off(why)) => Self::CanaryOff(why.clone()),
            Input::Canary(CanaryReport::Cut(why)) => Self::CanaryCut(why.clone()),
            Input::Readdressed { mac, mtu } => Self::Readdressed(mac.octets(), *mtu as u64),
            Input::Shutdown => Self::Shutdown,
        }
    }

    /// The input; `None` if it is none. `latest`: the last roster of which there was more than that it is the same.
    pub(super) fn input(self, now: Instant, latest: &Roster) -> Option<Input<'a>> {
        Some(match self {
            Self::Turn | Self::Outputs { .. } | Self::Aside(_) => return None,
            Self::Frame { age_ns, source, vlan, payload } => {
                Input::Frame { arrived: before(now, age_ns), source: address(source), vlan, payload }
            }
            Self::Heard { age_ns, lag_ns } => {
                Input::Heard { until: before(now, age_ns), lag: Duration::from_nanos(lag_ns) }
            }
            Self::Roster(Json(roster), requests) => {
                Input::Roster(Roster { requests: requests.into_iter().map(request).collect(), ..roster })
            }
            Self::SameRoster => Input::Roster(latest.clone()),
            Self::Standings(said) => {
                let said = said.into_iter().map(|(vm, stands)| (VmUuid::from_bytes(vm), standing(stands)));
                Input::Standings(said.collect())
            }
            Self::NoKeys => Input::Keys(HashMap::new()),
            Self::KeyProblem(text) => Input::KeyProblem(text),
            Self::Stored(up_to) => Input::Stored { up_to },
            Self::NotTaken(number, report) => Input::NotTaken { number, report },
            Self::Quiet { vm, granted, quiet } => {
                let quiet = quiet.map(|Json(quiet)| quiet);
                Input::Quiet(QuietAnswer { vm: VmUuid::from_bytes(vm), granted, quiet })
            }
            Self::StoreReachable(reachable) => Input::StoreReachable(reachable),
            Self::StoreClockStepped => Input::StoreClockStepped,
            Self::Dropped(frames) => Input::Dropped(frames),
            Self::Adapter(up) => Input::Adapter(up),
            Self::AdapterIs(what) => Input::AdapterIs(what.into()),
            Self::CanaryUp => Input::Canary(CanaryReport::Up),
            Self::CanaryTried { age_ns } => Input::Canary(CanaryReport::Tried(before(now, age_ns))),
            Self::CanaryOff(why) => Input::Canary(CanaryReport::Off(why)),
            Self::CanaryCut(why) => Input::Canary(CanaryReport::Cut(why)),
            Self::Readdressed(mac, mtu) => {
                Input::Readdressed { mac: address(mac), mtu: usize::try_from(mtu).unwrap_or(usize::MAX) }
            }
            Self::Shutdown => Input::Shutdown,
        })
    }
}

impl std::fmt::Display for What<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame { source, payload, .. } => {
                write!(out, "a frame of {} bytes from {}", payload.len(), address(*source))
            }
            Self::Heard { .. } => out.write_str("the trunk was read"),
            Self::Turn => out.write_str("a turn"),
            Self::Outputs { count, .. } => write!(out, "{count} outputs"),
            Self::Roster(Json(roster), requests) => {
                write!(out, "a roster of {} VMs with {} requests", roster.vms.len(), requests.len())
            }
            Self::SameRoster => out.write_str("the same roster again"),
            Self::Standings(said) => write!(out, "what {} strangers are", said.len()),
            Self::NoKeys => out.write_str("there are no keys"),
            Self::KeyProblem(text) => write!(out, "keys: {text}"),
            Self::Stored(up_to) => write!(out, "writes up to {up_to} are safe"),
            Self::NotTaken(number, _) => write!(out, "write {number} was not taken"),
            Self::Quiet { vm, .. } => write!(out, "an answer to {}'s QUIET", VmUuid::from_bytes(*vm)),
            Self::StoreReachable(true) => out.write_str("the store can be written"),
            Self::StoreReachable(false) => out.write_str("the store cannot be written"),
            Self::StoreClockStepped => out.write_str("the store's clock was set"),
            Self::Dropped(frames) => write!(out, "the kernel dropped {frames} frames"),
            Self::Adapter(true) => out.write_str("the adapter is up"),
            Self::Adapter(false) => out.write_str("the adapter is down"),
            Self::AdapterIs(what) => write!(out, "the adapter {what}"),
            Self::CanaryUp => out.write_str("the canary has its adapter"),
            Self::CanaryTried { .. } => out.write_str("the canary beat or tried to"),
            Self::CanaryOff(why) => write!(out, "the canary is off: {why}"),
            Self::CanaryCut(why) => write!(out, "the canary is off, and the trunk is cut: {why}"),
            Self::Readdressed(mac, mtu) => {
                write!(out, "the adapter has address {} and MTU {mtu}", address(*mac))
            }
            Self::Shutdown => out.write_str("it is being stopped"),
            Self::Aside(Aside::Kept) => out.write_str("writes are in the spool's file"),
            Self::Aside(Aside::StoreFailed(error)) => write!(out, "the store: {error}"),
        }
    }
}
