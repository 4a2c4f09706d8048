//! The simulator: the real cores of agents, host monitors and controllers, and the real store, under one virtual clock and one
//! seed.
//!
//! * [`plan`]: what a run is, as text; [`plan::random`] makes one of a seed;
//! * [`run`]: runs a plan and judges it; [`batch`]: many seeds;
//! * [`replay`]: what real daemons recorded, as events;
//! * [`event`]: what happens, as values; [`trace`]: their hash and their last;
//! * [`checkers`]: what must hold, each in a file of its own;
//! * `world`, `actors`, `network`, `store`: who and what there is.
//!
//! docs/development/simulator.md says how to use it, and what is not in it.

mod actors;
pub mod batch;
pub mod checkers;
pub mod event;
pub mod names;
mod network;
pub mod plan;
mod queue;
pub mod random;
pub mod replay;
pub mod run;
mod says;
pub mod scenarios;
mod settings;
mod store;
pub mod trace;
mod world;
