//! HVNCP: the framed protocol between a guest agent (VMM) and a host monitor (HM) on raw Ethernet.
//!
//! This crate is pure: values in, values out. It has no clock, no socket, no thread and no randomness of its
//! own, so that the daemons, the simulator and the tests all run the same code. `docs/protocol.md` is the
//! normative text.
//!
//! * [`time`]: the monotonic [`Instant`](time::Instant) every core is driven by;
//! * [`id`]: identities (VM, host monitor, incarnation);
//! * [`wire`]: packets: header, checksum, flags;
//! * [`auth`]: authentication of packets;
//! * [`message`]: what the payloads say;
//! * [`path`]: one HM/VMM pair: handshake, numbers, acknowledgement, retransmission, reassembly.
//! * [`schedule`]: deadlines of many things, cheap to move.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod auth;
pub mod bugs;
pub mod id;
pub mod message;
pub mod path;
pub mod schedule;
pub mod time;
pub mod wire;

pub use pnet_base::MacAddr;
