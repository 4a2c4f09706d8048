//! What is wrong with the trunks of a host and what stands around them. Pure: facts in, findings out.
//!
//! `hmmgr doctor` collects the facts (`hmmgr::doctor`), sends probes among others, and shows what is found here.

mod facts;
mod judge;

pub use facts::{
    ClockFacts, DaemonFacts, Facts, KeyFacts, Probe, Reflected, StoreFacts, TrunkFacts, capability_names,
    has_capability,
};
pub use judge::judge;

use serde::Serialize;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, for programs: one of those in docs/reference/doctor.md.
    pub finding: &'static str,
    /// Where it is: a trunk, an adapter, a file, a process.
    pub place: String,
    /// What was seen.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// What puts it right.
    pub remedy: String,
}
