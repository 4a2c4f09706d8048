//! Network namespaces: a trunk's two ends may stand in two of them.

use std::fs::File;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Inject, InjectError};

/// Where `ip netns` keeps the named ones.
const FOLDER: &str = "/run/netns";

/// Works in a named network namespace, or here. Sockets that are opened and programs that are started there stay there.
///
/// # Errors
/// That there is none of the name, the system's, and what `work` says.
pub fn within<T: Send>(netns: Option<&str>, work: impl FnOnce() -> Inject<T> + Send) -> Inject<T> {
    let Some(name) = netns else { return work() };
    let path = PathBuf::from(FOLDER).join(name);
    let file = File::open(&path).map_err(InjectError::file("open", &path))?;
    in_a_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET)
            .map_err(InjectError::os(format!("cannot enter the network namespace {name}")))?;
        work()
    })
}

/// Whether there is one of this name. What was in one that is gone is gone with it.
#[must_use]
pub fn there(netns: Option<&str>) -> bool {
    netns.is_none_or(|name| PathBuf::from(FOLDER).join(name).exists())
}

/// Works in a network namespace that nobody else sees and that is gone afterwards: to try what the kernel can.
///
/// # Errors
/// The system's, and what `work` says.
pub fn nowhere<T: Send>(work: impl FnOnce() -> Inject<T> + Send) -> Inject<T> {
    in_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(InjectError::os("cannot make a network namespace"))?;
        work()
    })
}

/// A namespace belongs to a thread: this one's stays what it is.
fn in_a_thread<T: Send>(work: impl FnOnce() -> Inject<T> + Send) -> Inject<T> {
    let ended = std::thread::scope(|scope| scope.spawn(work).join());
    ended.unwrap_or_else(|_| Err(InjectError::Failed("A thread of the injector broke.".to_owned())))
}
