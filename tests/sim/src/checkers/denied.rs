//! Guests that no host monitor may hear: they say that they are a VM whose key they do not have.

use std::collections::BTreeSet;

use crate::event::{Event, Held};
use crate::names::Vm;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Denied(BTreeSet<Vm>);

impl Denied {
    /// Returns a guest that is denied from now on.
    pub(super) fn on_event(&mut self, event: &Event) -> Option<Vm> {
        let Event::Credentials { guest, claims, key } = event else { return None };
        if *key == Held::Of(*claims) {
            self.0.remove(guest);
            return None;
        }
        self.0.insert(*guest);
        Some(*guest)
    }

    pub(super) fn has(&self, guest: Vm) -> bool {
        self.0.contains(&guest)
    }
}
