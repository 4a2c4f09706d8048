//! What goes into the core of a host monitor and what comes out of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Authentication, Mode};
use vmpulse_protocol::id::{Incarnation, VmUuid};
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, MessageTag, QuietAnswer, Roster, Standing, SuspendReason};

use super::{CanaryReport, Note};
use crate::canary::CanaryIdentity;
use crate::sessions::{SessionView, Transmit};

/// Who it is and how it works.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// Who it is on the wire.
    pub identity: HmIdentity,
    /// This start.
    pub incarnation: Incarnation,
    /// Its trunk adapter's name and address, for the store.
    pub trunk: String,
    /// The address.
    pub mac: MacAddr,
    /// VLAN id, if one is configured.
    pub vlan: Option<u16>,
    /// Interval for VMs that have none of their own.
    pub heartbeat_interval_ms: u32,
    /// Longest silence that a guest may announce at once.
    pub quiet_max: Duration,
    /// Interval of its own heartbeat to the store.
    pub store_heartbeat: Duration,
    /// Different at each start.
    pub seed: u64,
    /// From the kernel's source of randomness, different at each start.
    pub nonce_seed: [u8; 32],
    /// What is offered to and demanded of VMs without keys.
    pub authentication: Mode,
    /// The trunk's canary; `None`: the settings want none.
    pub canary: Option<CanaryIdentity>,
}

/// What happens to it.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame.
    Frame {
        /// When it arrived, by the kernel's stamp.
        arrived: Instant,
        /// From whom.
        source: MacAddr,
        /// TCI of its tag.
        vlan: Option<u16>,
        /// What follows the Ethernet header.
        payload: &'a [u8],
    },
    /// What the store wants of it, read anew.
    Roster(Roster),
    /// What the guests are of whom [`Monitor::take_question`] asked.
    Standings(Vec<(VmUuid, Standing)>),
    /// Mode and keys of every VM that has keys: at the start, and whenever they change.
    Keys(HashMap<VmUuid, Authentication>),
    /// A key file cannot be used, or a mark not be kept: an event.
    KeyProblem(String),
    /// Every write up to this number is safe: committed, or kept in the spool's file.
    Stored {
        /// The number.
        up_to: u64,
    },
    /// The write of this number was not taken: its guest must say it again.
    NotTaken {
        /// The number.
        number: u64,
        /// If it is a report: of which exchange.
        report: Option<MessageTag>,
    },
    /// The store's answer to a guest's `QUIET`; said after [`Input::Stored`] of its write.
    Quiet(QuietAnswer),
    /// The store cannot be written (false), or can again (true).
    StoreReachable(bool),
    /// The store's clock was set: ages that it counts by itself are wrong.
    StoreClockStepped,
    /// The kernel dropped this many frames more.
    Dropped(u64),
    /// Every frame that arrived before `until` was given as [`Input::Frame`]. Silence is judged as of then: a driver that
    /// never says so has always read everything.
    Heard {
        /// Until when.
        until: Instant,
        /// How far that lies back although the link was read to its end: what the link may hide for a while.
        lag: Duration,
    },
    /// The trunk adapter went down or away (false), or came back (true).
    Adapter(bool),
    /// What is wrong with the trunk adapter, or was, for people; said before [`Input::Adapter`].
    AdapterIs(Cow<'static, str>),
    /// What the canary's thread says of itself.
    Canary(CanaryReport),
    /// The trunk adapter came back with another address or MTU.
    Readdressed {
        /// Its address now.
        mac: MacAddr,
        /// Its MTU now.
        mtu: usize,
    },
    /// It is being stopped on purpose.
    Shutdown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this frame.
    Transmit(Transmit),
    /// Write this to the store, in order.
    Store {
        /// Grows by one.
        number: u64,
        /// What.
        write: HostMonitorWrite,
    },
    /// The VM was authenticated, and must be from now on: keep that for the next start.
    Authenticated {
        /// Which VM.
        vm: VmUuid,
    },
    /// The canary is to beat now: somebody's time is up.
    AskCanary,
    /// Worth a line in the log.
    Note(Note),
    /// Log at this level from now on; `None`: as its own file says.
    LogLevel(Option<String>),
}

/// A path as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    /// The session.
    pub session: SessionView,
    /// Whether its silence counts.
    pub watched: bool,
    /// Whether it beats.
    pub beating: bool,
    /// Whether it is MISSING.
    pub missing: bool,
    /// Whether the VM announced to be silent.
    pub quiet: bool,
    /// Since its last heartbeat, if it is watched.
    pub silence: Option<Duration>,
    /// Interval that the guest was told.
    pub interval_ms: Option<u32>,
    /// Why the VM is suspended, if the store says so.
    pub suspended: Option<SuspendReason>,
}
