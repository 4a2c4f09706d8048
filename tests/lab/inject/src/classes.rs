//! The classes there are.

mod app;
pub(crate) mod events;
mod freeze;
mod kernel;
mod kill;
mod server;
mod store_full;
mod targets;
mod vm_crash;
mod vm_hang;
mod wire;

use crate::class::AnyClass;
use freeze::Freeze;
use kill::Kill;

/// Guests, daemons, hosts, the store.
const HERE: [&dyn AnyClass; 12] = [
    &app::App,
    &vm_crash::VmCrash,
    &vm_hang::VmHang,
    &Kill::Agent,
    &Freeze::Agent,
    &Freeze::Vm,
    &Kill::Monitor,
    &Kill::AllMonitors,
    &Freeze::Host,
    &Kill::Store,
    &Freeze::Store,
    &store_full::StoreFull,
];

/// All of them, in the order of `list`.
pub fn all() -> impl Iterator<Item = &'static dyn AnyClass> {
    HERE.into_iter().chain(wire::ALL.iter().copied())
}

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn AnyClass> {
    all().find(|class| class.about().name == name)
}
