//! What happens in an input, for whoever looks into one that broke.

use std::sync::LazyLock;

static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("VMPULSE_FUZZ_TRACE").is_some());

/// Says it on standard error if `VMPULSE_FUZZ_TRACE` is set.
pub(crate) fn trace(what: impl FnOnce() -> String) {
    if *WANTED {
        eprintln!("{}", what());
    }
}
