//! Failure detection: one immutable input, one decision with its rationale. Pure.
//!
//! * [`policy`]: the settings that hold for a VM, and where each comes from;
//! * [`vm`]: is this VM to be called failed?
//! * [`host`]: the same for host monitors and hosts; judged before VMs;
//! * [`incident`]: what is written to the store for a decision, so that each incident is told once.
//!
//! In this version there is no hypervisor to ask and no recovery: a decision tells, it does not act.

pub mod host;
pub mod incident;
pub mod policy;
pub mod vm;
