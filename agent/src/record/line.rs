//! What a line of an agent's record says. Types of its own: what the cores take may change, what a file means may not.
//!
//! Enumerations grow at their ends. Anything else is a new [`VERSION`](vmpulse_local::recorder::VERSION).

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Authentication, Mode};
use vmpulse_protocol::message::{Doorbell, Shutdown};

use super::configuration::{Concealed, Configured};
use super::draws::Jump;
use crate::ame::{AmeInput, Order, Outcome, RunId};
use crate::trunks::{AdapterId, TrunkInput};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What<'a> {
    Frame {
        adapter: u32,
        source: [u8; 6],
        destination: [u8; 6],
        vlan: Option<u16>,
        #[serde(borrow, serialize_with = "bytes")]
        payload: &'a [u8],
    },
    /// Of what was stirred in the part that decides about the handshakes' marks.
    Entropy([u8; 8]),
    /// The trunks did what was due.
    Turn,
    /// The engine did.
    Rounds,
    /// What came of everything since the last such line: how much, its checksum, and whether there may be more.
    Outputs {
        count: u32,
        sum: u32,
        more: bool,
    },
    /// Of the line before: numbers that were not the next ones.
    Drew(Vec<Jump>),
    AdapterUp {
        adapter: u32,
        mac: [u8; 6],
        mtu: u64,
        name: String,
    },
    AdapterDown(u32),
    Ring(u32),
    Report {
        tag: i64,
        #[serde(borrow, serialize_with = "bytes")]
        xml: &'a [u8],
    },
    /// True: the guest is being shut down, not only its agent.
    Shutdown(bool),
    Suspend,
    Resume,
    Quiet {
        asked: Duration,
        reason: String,
    },
    /// Without any keys.
    Mode(String),
    Silenced(Option<String>),
    ScriptEnded(u64, Ended),
    Configure(Configured),
    SuspendApplications(bool),
    Order(Ordered, String),
}

/// [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ended {
    Exit(i32),
    Signal(i32),
    Timeout,
    CouldNotStart,
    NoResources,
}

/// [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ordered {
    Start,
    Stop,
    Resume,
}

/// A line as the cores take it.
#[derive(Debug)]
pub(super) enum Given<'a> {
    Trunks(TrunkInput<'a>),
    Engine(AmeInput),
    Order(Order, String),
    Authentication(Authentication),
    Silenced(Option<String>),
    Entropy([u8; 32]),
    Turn,
    Rounds,
}

/// One by one they would be the slowest part of a line.
fn bytes<S: Serializer>(bytes: &&[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

const fn address(octets: [u8; 6]) -> MacAddr {
    let [a, b, c, d, e, f] = octets;
    MacAddr(a, b, c, d, e, f)
}

impl<'a> What<'a> {
    pub(super) fn of_trunks(input: &'a TrunkInput<'_>) -> Self {
        match input {
            TrunkInput::AdapterUp { adapter, mac, mtu, name } => Self::AdapterUp {
                adapter: adapter.0,
                mac: mac.octets(),
                mtu: *mtu as u64,
                name: name.clone(),
            },
            TrunkInput::AdapterDown { adapter } => Self::AdapterDown(adapter.0),
            TrunkInput::Frame { adapter, source, destination, vlan, payload } => Self::Frame {
                adapter: adapter.0,
                source: source.octets(),
                destination: destination.octets(),
                vlan: *vlan,
                payload,
            },
            TrunkInput::Ring(bits) => Self::Ring(bits.0),
            TrunkInput::Report { tag, xml } => Self::Report { tag: *tag, xml },
            TrunkInput::Shutdown(kind) => Self::Shutdown(*kind == Shutdown::Os),
            TrunkInput::Suspend => Self::Suspend,
            TrunkInput::Resume => Self::Resume,
            TrunkInput::Quiet { asked, reason } => Self::Quiet { asked: *asked, reason: reason.clone() },
        }
    }

    pub(super) fn of_engine(input: &AmeInput, concealed: &mut Concealed) -> Self {
        match input {
            AmeInput::ScriptEnded { run, outcome } => Self::ScriptEnded(run.0, (*outcome).into()),
            AmeInput::Configure(configuration) => Self::Configure(Configured::of(configuration, concealed)),
            AmeInput::Suspend(suspended) => Self::SuspendApplications(*suspended),
        }
    }

    /// As the cores take it; `None` if it is no input, or one that cannot be.
    pub(super) fn given(self) -> Option<Given<'a>> {
        Some(match self {
            Self::Outputs { .. } | Self::Drew(_) => return None,
            Self::Turn => Given::Turn,
            Self::Rounds => Given::Rounds,
            Self::Entropy(first) => {
                let mut entropy = [0; 32];
                entropy.iter_mut().zip(first).for_each(|(to, from)| *to = from);
                Given::Entropy(entropy)
            }
            Self::Mode(mode) => Given::Authentication(Authentication::new(mode.parse::<Mode>().ok()?, [])),
            Self::Silenced(why) => Given::Silenced(why),
            Self::ScriptEnded(run, ended) => {
                Given::Engine(AmeInput::ScriptEnded { run: RunId(run), outcome: ended.into() })
            }
            Self::Configure(configured) => Given::Engine(AmeInput::Configure(configured.configuration()?)),
            Self::SuspendApplications(suspended) => Given::Engine(AmeInput::Suspend(suspended)),
            Self::Order(order, name) => Given::Order(order.into(), name),
            Self::Frame { .. }
            | Self::AdapterUp { .. }
            | Self::AdapterDown(_)
            | Self::Ring(_)
            | Self::Report { .. }
            | Self::Shutdown(_)
            | Self::Suspend
            | Self::Resume
            | Self::Quiet { .. } => Given::Trunks(self.trunks()?),
        })
    }

    fn trunks(self) -> Option<TrunkInput<'a>> {
        Some(match self {
            Self::Frame { adapter, source, destination, vlan, payload } => TrunkInput::Frame {
                adapter: AdapterId(adapter),
                source: address(source),
                destination: address(destination),
                vlan,
                payload,
            },
            Self::AdapterUp { adapter, mac, mtu, name } => TrunkInput::AdapterUp {
                adapter: AdapterId(adapter),
                mac: address(mac),
                mtu: usize::try_from(mtu).ok()?,
                name,
            },
            Self::AdapterDown(adapter) => TrunkInput::AdapterDown { adapter: AdapterId(adapter) },
            Self::Ring(bits) => TrunkInput::Ring(Doorbell(bits)),
            Self::Report { tag, xml } => TrunkInput::Report { tag, xml: xml.to_vec() },
            Self::Shutdown(os) => TrunkInput::Shutdown(if os { Shutdown::Os } else { Shutdown::Daemon }),
            Self::Suspend => TrunkInput::Suspend,
            Self::Resume => TrunkInput::Resume,
            Self::Quiet { asked, reason } => TrunkInput::Quiet { asked, reason },
            Self::Entropy(_)
            | Self::Turn
            | Self::Rounds
            | Self::Outputs { .. }
            | Self::Drew(_)
            | Self::Mode(_)
            | Self::Silenced(_)
            | Self::ScriptEnded(..)
            | Self::Configure(_)
            | Self::SuspendApplications(_)
            | Self::Order(..) => return None,
        })
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exit(code) => Self::Exit(code),
            Outcome::Signal(signal) => Self::Signal(signal),
            Outcome::Timeout => Self::Timeout,
            Outcome::CouldNotStart => Self::CouldNotStart,
            Outcome::NoResources => Self::NoResources,
        }
    }
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exit(code) => Self::Exit(code),
            Ended::Signal(signal) => Self::Signal(signal),
            Ended::Timeout => Self::Timeout,
            Ended::CouldNotStart => Self::CouldNotStart,
            Ended::NoResources => Self::NoResources,
        }
    }
}

impl From<Order> for Ordered {
    fn from(order: Order) -> Self {
        match order {
            Order::Start => Self::Start,
            Order::Stop => Self::Stop,
            Order::Resume => Self::Resume,
        }
    }
}

impl From<Ordered> for Order {
    fn from(ordered: Ordered) -> Self {
        match ordered {
            Ordered::Start => Self::Start,
            Ordered::Stop => Self::Stop,
            Ordered::Resume => Self::Resume,
        }
    }
}

impl std::fmt::Display for What<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame { source, payload, .. } => {
                write!(out, "a frame of {} bytes from {}", payload.len(), address(*source))
            }
            Self::Entropy(_) => out.write_str("fresh entropy"),
            Self::Turn => out.write_str("a turn"),
            Self::Rounds => out.write_str("the engine's rounds"),
            Self::Outputs { count, .. } => write!(out, "{count} outputs"),
            Self::Drew(jumps) => write!(out, "{} numbers were not the next ones", jumps.len()),
            Self::AdapterUp { name, .. } => write!(out, "adapter {name} can be used"),
            Self::AdapterDown(adapter) => write!(out, "adapter {adapter} is gone"),
            Self::Ring(bits) => write!(out, "something changed ({bits:#x})"),
            Self::Report { tag, xml } => write!(out, "report {tag} of {} bytes", xml.len()),
            Self::Shutdown(true) => out.write_str("the guest is being shut down"),
            Self::Shutdown(false) => out.write_str("it is being stopped"),
            Self::Suspend => out.write_str("monitoring is suspended"),
            Self::Resume => out.write_str("monitoring is resumed"),
            Self::Quiet { asked, .. } => write!(out, "a silence of {} ms is announced", asked.as_millis()),
            Self::Mode(mode) => write!(out, "authentication is {mode}, without keys"),
            Self::Silenced(Some(why)) => write!(out, "no heartbeats: {why}"),
            Self::Silenced(None) => out.write_str("heartbeats again"),
            Self::ScriptEnded(run, ended) => write!(out, "script {run} ended: {ended:?}"),
            Self::Configure(_) => out.write_str("a configuration"),
            Self::SuspendApplications(on) => write!(out, "applications are suspended: {on}"),
            Self::Order(order, name) => write!(out, "order {order:?} for {name}"),
        }
    }
}
