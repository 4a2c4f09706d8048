//! How many statements this process has given to its store: what shows that a healthy steady state costs the same
//! whatever the number of VMs.

use std::sync::atomic::{AtomicU64, Ordering};

static STATEMENTS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
std::thread_local! {
    static OF_THIS_THREAD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One more.
pub(crate) fn count() {
    STATEMENTS.fetch_add(1, Ordering::Relaxed);
    #[cfg(test)]
    OF_THIS_THREAD.set(OF_THIS_THREAD.get() + 1);
}

/// Tests run side by side in one process.
#[cfg(test)]
pub(crate) fn of_this_thread() -> u64 {
    OF_THIS_THREAD.get()
}

/// Statements since the start of the process, of all its connections. What begins and ends transactions, and looks whether
/// somebody else has written, is not counted.
#[must_use]
pub fn statements() -> u64 {
    STATEMENTS.load(Ordering::Relaxed)
}
