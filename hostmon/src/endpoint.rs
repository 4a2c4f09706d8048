//! The status endpoint: what this host monitor is and hears, over HTTP.
//!
//! On a Unix socket always, on TCP with mutual TLS where it is set up. Pure: [`route`], [`metrics`]; edges: [`server`],
//! [`tls`], [`client`].
//!
//! ```text
//!   clients (bounded) --> status thread --questions (bounded, paced)--> trunk's thread
//!                              ^------------- copies of what it knows ------'
//! ```
//! The trunk's thread answers a question in a turn of its loop, by copying a few values for one VM, or about a millisecond's worth
//! for 10,000 paths, and that at most once a second however many ask. Everything else, TLS, texts and waiting for slow
//! clients, happens on a thread of its own.

pub mod client;
pub mod metrics;
pub mod route;
pub mod server;
pub mod tls;

use tokio::sync::oneshot;
use vmpulse_local::monitor_answer::{Condition, VmAnswer};
use vmpulse_protocol::id::VmUuid;

use crate::status::Status;

/// Questions that wait for the trunk's thread; askers beyond them wait in line.
pub const QUESTIONS_MAXIMUM: usize = 16;

/// What the trunk's thread is asked. Whoever asked may have gone meanwhile.
#[derive(Debug)]
pub enum Question {
    /// About one VM.
    Vm(VmUuid, oneshot::Sender<VmAnswer>),
    /// How the monitor is.
    Condition(oneshot::Sender<Condition>),
    /// Everything.
    Whole(oneshot::Sender<Whole>),
}

/// Everything, copied; the texts are made by whoever wants them.
pub struct Whole(Box<dyn FnOnce() -> Status + Send>);

impl Whole {
    /// What will make the status.
    pub fn new(make: impl FnOnce() -> Status + Send + 'static) -> Self {
        Self(Box::new(make))
    }

    /// The status.
    #[must_use]
    pub fn status(self) -> Status {
        (self.0)()
    }
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Whole")
    }
}
