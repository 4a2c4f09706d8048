//! Paths, endpoints and storage: what lies between the daemons.

use crate::class::AnyClass;

/// The classes of this module.
pub(super) const ALL: &[&dyn AnyClass] = &[];
