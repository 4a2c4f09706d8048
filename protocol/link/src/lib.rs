//! Raw Ethernet for HVNCP: frames of one EtherType on one adapter, without IP.
//!
//! This crate is the edge: no protocol meaning here, and all of the project's `unsafe` (in `sys.rs` and its folder).
//!
//! * [`Link`]: what a daemon's driver needs of an adapter; a seam for fakes;
//! * [`PacketSocket`]: the real one, an AF_PACKET socket with a kernel filter, read in one of three ways ([`ReceiveMethod`]);
//! * [`CaptureSocket`] and [`PcapWriter`]: what passes on an adapter both ways, for a person to look at;
//! * [`FramePort`] and [`Tap`]: whole frames of any kind, for a relay;
//! * [`interfaces`]: the adapters of this machine; [`LinkChanges`]: word that one of them has changed;
//! * [`LinkError`]: what can go wrong, by what a daemon does about it;
//! * [`in_own_session`]: for the scripts of applications, because it needs `unsafe` and all of that is here;
//! * [`run_in_real_time`]: so that nothing of this machine's other work delays a frame;
//! * [`Transmitter`], [`SharedWords`], [`set_watchdog_timeout`]: what the agent's guardian needs.

mod adapter;
#[cfg(feature = "bench")]
pub mod bench;
mod capture;
mod changes;
mod config;
mod control;
mod error;
mod filter;
mod frame;
mod interface;
mod link;
mod pcap;
mod ring;
mod socket;
mod sys;
mod transmitter;
mod whole;

pub use capture::{CaptureConfig, CaptureSocket, Captured, Direction};
pub use changes::LinkChanges;
pub use config::{
    BLOCK_TIMEOUT_MS, DEFAULT_ETHERTYPE, DEFAULT_RECEIVE_BUFFER_BYTES, LinkConfig, RING_BYTES, ReceiveMethod,
    RingConfig,
};
pub use error::LinkError;
pub use frame::Tag;
pub use interface::{Interface, interfaces};
pub use link::{Left, Link, ReceiveBuffer, Received};
pub use pcap::PcapWriter;
pub use socket::PacketSocket;
pub use sys::child::{Identity, in_own_session};
pub use sys::clock::{ClockState, clock_state};
pub use sys::sched::run_in_real_time;
pub use sys::shared::{SharedWords, lock_used_memory};
pub use sys::watchdog::{set_watchdog_timeout, watchdog_timeout};
pub use transmitter::{Destination, Transmitter};
pub use vmpulse_protocol::MacAddr;
pub use whole::{FrameBuffer, FramePort, Tap};
