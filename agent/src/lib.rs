//! The guest agent: heartbeats to the host monitors, application monitoring, and its command `vmmgr`.
//!
//! Pure: [`config`] (the XML file as text), [`ame`] (the application management engine), [`trunks`] (HVNCP on the
//! adapters), [`report`], [`types`], [`health`], [`vmmgr::grammar`]. Edges: [`settings`], [`config_file`], [`keys`],
//! [`suspension`], [`boot`], [`runner`] (scripts), [`type_check`].
//! [`record`] keeps what the cores are told, if that is wanted.
//! [`guardian`] is the second process, that beats when the daemon hangs. [`driver`] is the daemon: it carries values between them.

pub mod ame;
pub mod boot;
pub mod command;
pub mod config;
pub mod config_file;
pub mod driver;
pub mod guardian;
pub mod health;
pub mod keys;
mod nearest;
pub mod record;
pub mod report;
pub mod runner;
pub mod settings;
pub mod state_file;
pub mod suspension;
pub mod trunks;
pub mod type_check;
pub mod types;
pub mod vmmgr;
