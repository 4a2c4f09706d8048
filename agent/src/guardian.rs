//! The guardian: a second, tiny process that beats when the daemon hangs or dies, so that a crashed agent is an event and never a
//! relocation.
//!
//! ```text
//!   daemon --- numbers, keys, time of the last beat ---> page <--- the same --- guardian
//!     |                                                                           |
//!     +------------------------- heartbeats to the host monitors -----------------+
//! ```
//! Both map one page of memory ([`page`]): whoever sends draws its numbers there, so none is used twice. [`watch`] decides when the
//! guardian beats (pure); [`keeper`] is the daemon's side, [`driver`] the guardian's loop, [`file`] how both come by the page.
//! What the guardian's program needs is here and in the crates `vmpulse-link` and `vmpulse-protocol`, and little else, so that it
//! stays small: no runtime, no logging framework, no parser of settings. [`record`] keeps what it sees, if
//! that is wanted.

pub mod arguments;
pub mod beat;
pub mod driver;
pub mod file;
pub mod keeper;
pub mod page;
mod probe;
pub mod record;
mod rehearsal;
mod restart;
pub mod watch;
mod watchdog;
