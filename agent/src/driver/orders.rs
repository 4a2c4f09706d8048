//! Orders for one application, from the command socket to the engine.

use vmpulse_protocol::time::Instant;

use super::Daemon;
use crate::ame::{AmeInput, Order};
use crate::command::Reply;

impl Daemon {
    /// What was stopped by hand is kept before it is stopped: a daemon that is started anew must not start it.
    pub(super) fn order(&mut self, now: Instant, order: Order, name: &str) -> Reply {
        if let Err(refused) = self.ame.check_order(name) {
            return Reply::NotDone { problem: refused.to_string() };
        }
        if order == Order::Stop
            && let Err(error) = self.keep_stopped(Some(name))
        {
            let path = self.boot.path();
            let problem = format!("that {name} is stopped cannot be kept in {}: {error}", path.display());
            return Reply::NotDone { problem };
        }
        let waits_for = match self.ame.handle_order(now, order, name) {
            Ok(waits_for) => waits_for,
            Err(refused) => return Reply::NotDone { problem: refused.to_string() },
        };
        tracing::info!(app = name, ?order, "ordered by hand");
        if let Err(err) = self.keep_stopped(None) {
            // Forgotten only when the daemon is started anew before the next order.
            tracing::warn!(%err, app = name, "cannot keep which applications are stopped by hand");
        }
        Reply::Ordered { waits_for }
    }

    /// Keeps which applications are stopped by hand, and with them this one.
    fn keep_stopped(&mut self, also: Option<&str>) -> std::io::Result<()> {
        let stopped = self.ame.applications().filter(|app| app.stopped || Some(app.name.as_str()) == also);
        let stopped = stopped.map(|app| app.uuid).collect();
        self.boot.keep(stopped)
    }

    /// Monitoring of the whole VM is suspended, or resumed.
    pub(super) fn suspend_applications(&mut self, now: Instant, suspend: bool) {
        self.ame.handle_input(now, AmeInput::Suspend(suspend));
    }
}
