//! The controller: polls the health store, decides, tells; and its command `hamgr`.
//!
//! * [`age_guard`]: how far an age read from the store may be believed;
//! * [`fde`]: failure detection: one immutable input, one decision with its rationale;
//! * [`events`]: the catalogue of events, and the log file of them;
//! * [`report`]: reads the application report of a guest;
//! * [`exchange`]: asks guests for their reports and takes them;
//! * [`schedule`]: when to poll what;
//! * [`controller`]: one poll from the store's answer to what is written back;
//! * [`daemon`]: the driver: threads, signals, the store's connection;
//! * [`record`]: its turns recorded, and run again from the record;
//! * [`settings`](mod@settings): `controller.toml`;
//! * [`cli`]: the command `hamgr`.
//!
//! The controller keeps no state of its own: what it must know after a crash is in the store. What it remembers in
//! memory only saves it from writing the same thing again.

pub mod age_guard;
pub mod cli;
pub mod controller;
pub mod daemon;
pub mod events;
pub mod exchange;
pub mod fde;
pub mod polling;
pub mod record;
pub mod retention;
pub mod schedule;
pub mod settings;
pub mod store_link;

pub use vmpulse_store::report;
