//! Paths, endpoints and storage: what lies between the daemons.

mod cut;
mod endpoint;
mod path;
mod storage;

use crate::class::AnyClass;

/// The classes of this module.
pub(super) const ALL: &[&dyn AnyClass] = &[
    &cut::Cut,
    &path::LOSS_PATH,
    &path::DELAY_PATH,
    &path::DUPLICATE_PATH,
    &path::CORRUPT_PATH,
    &path::WIRE_PATH,
    &endpoint::Endpoint,
    &storage::Storage,
];
