//! The classes there are.

mod app;
mod wire;

use crate::class::AnyClass;

/// Guests, daemons, hosts, the store.
const HERE: [&dyn AnyClass; 1] = [&app::App];

/// All of them, in the order of `list`.
pub fn all() -> impl Iterator<Item = &'static dyn AnyClass> {
    HERE.into_iter().chain(wire::ALL.iter().copied())
}

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn AnyClass> {
    all().find(|class| class.about().name == name)
}
