//! Word from the kernel that an adapter came, went or changed.
//!
//! What is said is not read: whoever hears it looks at the adapter itself, which is right also when words were lost. So
//! no message of the kernel can be misunderstood, and a change that is undone at once is none.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Messages taken in one go; what is left wakes again.
const TAKEN_AT_ONCE: usize = 256;
/// A message is cut at this size: nothing of it is read.
const BUFFER_BYTES: usize = 256;

/// A netlink socket in the group of adapters' changes, of the network namespace it was opened in.
#[derive(Debug)]
pub struct LinkChanges {
    socket: AsyncFd<Socket>,
}

impl LinkChanges {
    /// Needs no permission, but a running tokio runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket =
            Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
        socket.bind(&sys::netlink::links_address()?)?;
        Ok(Self { socket: sys::register(socket)? })
    }

    /// Waits until some adapter of this namespace has changed. Cancel-safe.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.socket.ready(sys::INTEREST).await?;
        if self.take_all() {
            ready.clear_ready();
        }
        Ok(())
    }

    /// True if none is left.
    fn take_all(&self) -> bool {
        let mut buffer = [std::mem::MaybeUninit::uninit(); BUFFER_BYTES];
        for _ in 0..TAKEN_AT_ONCE {
            match self.socket.get_ref().recv(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // Words were lost because too many came: that is word enough.
                Err(_) => {}
            }
        }
        false
    }
}
