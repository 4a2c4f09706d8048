//! The host monitor: tracks the guests of one trunk, writes edges to the health store; and its command `hmmgr`.
//!
//! Pure: [`sessions`], [`tracker`], [`monitor`], [`pending`], [`spool`], [`local_copy`], [`clock_mark`], [`by_vm`], [`canary`], [`passthru`]'s
//! parsing and rendering, [`policing`], [`doctor`], most of [`endpoint`], [`record`] but for its file.
//! Edges and drivers: [`driver`] (the daemon), [`keys`], [`settings`].

pub mod by_vm;
pub mod canary;
pub mod clock_mark;
pub mod doctor;
pub mod driver;
pub mod endpoint;
pub mod hmmgr;
pub mod keys;
pub mod local_copy;
pub mod monitor;
pub mod passthru;
pub mod pending;
pub mod policing;
mod queue;
pub mod record;
pub mod sessions;
pub mod settings;
pub mod spool;
pub mod status;
pub mod store_looks;
pub mod tracker;
pub mod trunk_setup;
