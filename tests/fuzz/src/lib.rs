//! What the fuzz targets check.
//!
//! Each module's `run` takes bytes and panics when something does not hold; `fuzz_targets/` has one program for each.
//! See the README for how to run them.

pub mod command_line;
pub mod monitor;
pub mod packet;
pub mod reassembly;
pub mod session;
pub mod xml;

mod forge;
mod trace;
