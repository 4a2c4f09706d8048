//! The failure-injection kit: makes the failures that the product is for, on purpose, and undoes them.
//!
//! * [`class`]: what a class of failure is to the framework;
//! * [`classes`]: the classes there are;
//! * [`engine`]: `on`, `off` and `status`, the same way for every class: what was there before is on disk before anything is
//!   changed, and an undo is looked at;
//! * [`marker`]: the mark of a test group, without which nothing is touched;
//! * [`context`], [`options`], [`record`], [`process`], [`worker`], [`wait`], [`tool`]: what classes are made with;
//! * [`wire`]: frames that are lost, late, doubled or damaged;
//! * [`daemon`], [`launch`], [`systemd`], [`group`]: whose processes these are, how they are started again, stopped and killed together;
//! * [`expect`]: the events that must come, and those that must not;
//! * [`cli`]: the command line.

pub mod class;
pub mod classes;
pub mod cli;
pub mod context;
pub mod daemon;
pub mod engine;
pub mod error;
pub mod expect;
pub mod group;
pub mod launch;
pub mod marker;
pub mod options;
pub mod process;
pub mod record;
pub mod systemd;
pub mod tool;
pub mod wait;
pub mod whose;
pub mod wire;
pub mod worker;

pub use class::{AnyClass, Class, Expected, State};
pub use context::Context;
pub use error::{Inject, InjectError};

#[cfg(test)]
mod testing;
