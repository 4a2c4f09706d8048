//! The trunk of a host: made, policed in the kernel, checked and taken away again.
//!
//! ```text
//!  guests' adapters (macvtap, VEPA)      guests' side        monitor's side
//!  +--------+  port chain               +--------+           +-----------+
//!  | guest 1 |-----[egress]-------------|        |  table    |           |
//!  +--------+                           | NAME   |-[egress]--| NAME-hm   |-- vmpulse-hostmond
//!  | guest 2 |-----[egress]-------------|        |   veth    |           |
//!  +--------+                           +--------+           +-----------+
//! ```
//! Policing stands where frames *leave the guests' side*, not where they come in at the monitor's: Linux shows a frame
//! to a packet socket that hears every EtherType before the ingress hook of nftables sees it, so a rule there would
//! spare the monitor nothing. On the guests' side a frame too many costs its sender's processor time and nobody else's.
//!
//! Pure: [`plan`], [`rules`], [`seen`], [`snippet`], [`steps`]. Edges: [`programs`], [`records`], [`work`].

mod canary;
mod error;
pub mod plan;
pub mod programs;
pub mod records;
pub mod rules;
pub mod seen;
pub mod snippet;
pub mod steps;
pub mod work;

pub use canary::{canary_mark, canary_name, is_canary};
pub use error::TrunkError;
