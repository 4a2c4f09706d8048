//! Guests that are to stop beating: a request about one is done when the guest knows, or cannot be told.

use std::collections::HashMap;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::Token;
use vmpulse_protocol::time::Instant;
use vmpulse_store::HostMonitorWrite;

use super::Monitor;
use super::notes::Stranger;

/// Requests that wait for their guests to be told: at most one for each VM of the roster.
pub(super) type Stops = HashMap<VmUuid, i64>;

impl Monitor {
    /// The store asks to look at a VM again; the roster that brought the request was applied already.
    pub(super) fn on_reconsider(&mut self, now: Instant, vm: VmUuid, tag: i64) {
        self.requests.insert(tag);
        // The store may have begun anew with it: what was said before is said again.
        self.tracker.repeat(now, vm);
        self.stops.insert(vm, tag);
        self.answer_stop(vm, false);
    }

    /// Says that a request is done, if there is one and the guest knows. `given_up`: the message to it came back; what it
    /// beats is of no account anyway, and it is told again when it does.
    pub(super) fn answer_stop(&mut self, vm: VmUuid, given_up: bool) {
        if (given_up || self.knows(vm))
            && let Some(tag) = self.stops.remove(&vm)
        {
            self.write(HostMonitorWrite::RequestDone { tag });
        }
    }

    /// Whether a guest that is not to beat has nothing more to be told; one that is to beat is told in its own time.
    fn knows(&self, vm: VmUuid) -> bool {
        self.watched.get(&vm).is_none_or(|watched| {
            let told = !watched.telling && watched.told.unwrap_or_default().is_none();
            watched.wanted.is_some() || told || !self.sessions.is_open(vm)
        })
    }

    /// A guest beats that is not in the roster: one that was removed while this monitor did not run, unless it moved
    /// here. The store is asked which, once, and again after a day.
    pub(super) fn on_heartbeat_of_stranger(&mut self, now: Instant, vm: VmUuid, mac: MacAddr) {
        if self.roster_known && self.questions.has_room() && self.reported.is_new(now, mac, Stranger::Beats) {
            self.questions.ask_of_beating(vm);
        }
    }

    /// It is no VM of anybody.
    pub(super) fn stop_if_beating(&mut self, now: Instant, vm: VmUuid) {
        if self.questions.take_beating(vm) {
            // Nothing hangs on whether it arrives, so it is not kept in mind: there may be many strangers.
            self.next_token = self.next_token.wrapping_add(1);
            self.sessions.send(now, vm, Token(self.next_token), &Message::StopHeartbeat);
        }
    }
}
