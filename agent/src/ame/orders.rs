//! Orders for one application, given by hand.

use vmpulse_protocol::time::Instant;

use super::{Ame, Status};

/// What somebody wants of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To run, if it does not; it waits for what it depends on. Ends a final state.
    Start,
    /// To be stopped, its children before it, and to stay so until it is started or resumed, or the guest boots.
    Stop,
    /// To be monitored anew if it is in a final state or was stopped by hand; else nothing.
    Resume,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such application.
    #[error("there is no application {0} in vmpulse-agentd; is the configuration loaded (`vmmgr sync`)?")]
    Unknown(String),
    /// Its monitoring is suspended.
    #[error("{0} is suspended; resume it first (`vmmgr -s resume app {0}`)")]
    Suspended(String),
    /// Monitoring of the whole VM is.
    #[error("monitoring of this VM is suspended; resume it first (`vmmgr resume`)")]
    VmSuspended,
    /// It runs.
    #[error("{app} is {status}: only an application that does not run can be started")]
    Runs {
        /// Its name.
        app: String,
        /// Its state.
        status: Status,
    },
}

impl Ame {
    /// Takes an order, after the rounds that are due. Returns the names of the applications that it waits for.
    ///
    /// # Errors
    /// Nothing was done, and why.
    pub fn handle_order(&mut self, now: Instant, order: Order, name: &str) -> Result<Vec<String>, Refused> {
        self.handle_timeout(now);
        let place = self.order_place(name)?;
        let Some(machine) = self.machines.get_mut(place) else {
            return Err(Refused::Unknown(name.to_owned()));
        };
        match order {
            Order::Start if !machine.start_by_hand(now, &mut self.effects) => {
                return Err(Refused::Runs { app: name.to_owned(), status: machine.status });
            }
            Order::Start => {}
            Order::Stop => machine.hold(now, &mut self.effects),
            Order::Resume => machine.resume(now, &mut self.effects),
        }
        self.settle(now);
        Ok(self.names_waited_for(place))
    }

    /// Whether [`handle_order`](Self::handle_order) would refuse to stop it.
    ///
    /// # Errors
    /// Why.
    pub fn check_order(&self, name: &str) -> Result<(), Refused> {
        self.order_place(name).map(|_| ())
    }

    fn order_place(&self, name: &str) -> Result<usize, Refused> {
        let place = self.machines.iter().position(|machine| machine.spec.name == name);
        let place = place.ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        if self.suspended {
            return Err(Refused::VmSuspended);
        }
        match self.machines.get(place) {
            Some(machine) if machine.is_suspended() => Err(Refused::Suspended(name.to_owned())),
            Some(_) | None => Ok(place),
        }
    }
}
