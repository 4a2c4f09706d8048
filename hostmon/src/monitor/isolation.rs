//! Whether the trunk can be trusted: the monitor's own adapter, its canary, and what becomes of the paths. [L-11]
//!
//! ```text
//!              adapter down, or canary silent                  both are well again
//!   Trusted ---------------------------------> Isolated ------------------------------+
//!     ^  ^                                        ^                                   v
//!     |  |                                        +-- adapter down, canary silent -- Returning
//!     |  +----- no path had an open silence ------------------------------------------+
//!     +-------- every one that had beats, or had the time to --------------------------+
//! ```
//! While it is not Trusted the store says that the paths of this monitor are unknown.

use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::HostMonitorWrite;

use super::Monitor;
use super::flapping::Flapping;
use super::notes::Note;
use crate::tracker::START_GRACE;

/// Between looks at all paths on return: there may be thousands, and frames come all the time.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trunk {
    #[default]
    Trusted,
    Isolated,
    /// Until then who was MISSING before may show that it is not any more. `look`: when all are looked at next.
    Returning {
        until: Instant,
        look: Instant,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    trunk: Trunk,
    /// The store was told that the paths are unknown, and that the monitor is isolated.
    told_deaf: bool,
    told_isolated: bool,
    flapping: Flapping,
}

impl Isolation {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let returning = match self.trunk {
            Trunk::Trusted | Trunk::Isolated => None,
            Trunk::Returning { until, look } => Some(until.min(look)),
        };
        returning.into_iter().chain(self.flapping.poll_timeout()).min()
    }

    /// A new start was written, by which the store takes all to be well.
    pub(super) fn on_started(&mut self) {
        self.told_deaf = false;
        self.told_isolated = false;
    }
}

impl Monitor {
    /// Whether the monitor says that it is isolated.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolation.trunk != Trunk::Trusted
    }

    /// To be called whenever something may have changed.
    pub(super) fn weigh_trunk(&mut self, now: Instant) {
        let silent = self.canary.as_ref().is_some_and(|canary| canary.accuses_trunk());
        let cut = self.adapter_down || silent;
        match self.isolation.trunk {
            Trunk::Trusted if cut => {
                self.isolation.trunk = Trunk::Isolated;
                self.tracker.handle_cut();
                let cut = self.canary.as_ref().is_some_and(|canary| canary.is_cut());
                let why = match (self.adapter_down, cut) {
                    (true, _) => "the trunk adapter is down",
                    (false, true) => "what the guests stand on is gone or down",
                    (false, false) => "the canary is silent",
                };
                let text =
                    format!("{why}, so the trunk is not trusted: its paths are unknown, no guest is accused");
                self.remark(now, "ISOLATED", text);
            }
            Trunk::Returning { .. } if cut => {
                self.isolation.trunk = Trunk::Isolated;
                self.tracker.handle_cut();
            }
            Trunk::Isolated if !cut => {
                self.tracker.handle_mended(now);
                if let Some(heard) = self.canary.as_ref().and_then(|canary| canary.proof()) {
                    self.tracker.handle_proof(heard);
                }
                // A guest that was started anew meanwhile looks for its host monitor, and has as long as after a start.
                self.sessions.broadcast_hello();
                self.sessions.remind_missing(now);
                let until = self.tracker.chance_of_the_missing(now).map_or(now, |until| until + START_GRACE);
                self.isolation.trunk = Trunk::Returning { until, look: now };
                self.on_return(now);
            }
            Trunk::Trusted | Trunk::Isolated | Trunk::Returning { .. } => {}
        }
        self.tell_trunk();
        if let Some(text) = self.isolation.flapping.take_summary(now) {
            self.write(HostMonitorWrite::NodeEvent { kind: "FLAPPING".to_owned(), text });
        }
    }

    /// Over when every open silence of before had the time to end, and the monitor would have heard it. To be called once in a
    /// turn, after everything that had arrived was heard and the lateness of the turn is known.
    pub(super) fn on_return(&mut self, now: Instant) {
        let Trunk::Returning { until, look } = self.isolation.trunk else { return };
        if now < look.min(until) {
            return;
        }
        let doubted = if until <= now { self.tracker.doubt_of_the_missing(now) } else { None };
        let until = doubted.unwrap_or(until);
        self.isolation.trunk = Trunk::Returning { until, look: now + LOOK_PERIOD };
        if until <= now || self.tracker.chance_of_the_missing(now).is_none() {
            self.isolation.trunk = Trunk::Trusted;
            self.remark(now, "ISOLATION_OVER", "the trunk is trusted again".to_owned());
        }
    }

    /// Said once each way.
    fn tell_trunk(&mut self) {
        let isolated = self.is_isolated();
        if isolated != self.isolation.told_isolated {
            self.isolation.told_isolated = isolated;
            self.write(HostMonitorWrite::Isolated { isolated });
        }
        let deaf = !self.hears_trunk();
        if deaf != self.isolation.told_deaf {
            self.isolation.told_deaf = deaf;
            self.write(HostMonitorWrite::TrunkHeard { heard: !deaf });
        }
    }

    /// A node event and a line in the log of something that may come and go many times.
    pub(super) fn remark(&mut self, now: Instant, kind: &'static str, text: String) {
        if self.isolation.flapping.may_say(now, kind) {
            self.note(Note::Remark { kind, text: text.clone() });
            self.write(HostMonitorWrite::NodeEvent { kind: kind.to_owned(), text });
        }
    }
}
