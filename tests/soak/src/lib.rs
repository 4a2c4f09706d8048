//! A soak: real daemons and many guests, with random injections of a seed, judged by the checkers of the simulator.
//!
//! * [`deed`]: what can be done to a cluster, in the simulator's words;
//! * [`schedule`]: what is done when, of a seed: pure;
//! * [`fact`]: what the injector knows to be true, as lines of a file;
//! * `judge` (feature `judge`): facts and what daemons recorded, put in order and given to the checkers.
//!
//! The lab (`cargo lab soak`) carries it out. docs/development/soak.md says how to use it, and what is not judged.

pub mod deed;
pub mod fact;
#[cfg(feature = "judge")]
pub mod judge;
pub mod schedule;
pub mod verdict;
