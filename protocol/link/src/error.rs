//! What can go wrong on a link.

use std::io;

use thiserror::Error;

/// A link could not be opened or used. Each variant calls for a reaction of its own:
///
/// | variant | what a daemon does |
/// |---|---|
/// | `NoPermission`, `NotEthernet`, `InvalidEtherType`, `InvalidVlan` | stop with the text, a person must act |
/// | `NoSuchInterface` | wait for the adapter to appear, try to open again |
/// | `InterfaceDown` | keep the link: it works again by itself once the adapter is up |
/// | `InterfaceGone` | close; open again once the adapter is back |
/// | `TooLong` | a bug of the sender: count it |
/// | `WouldBlock`, `NoBuffers` | drop the frame and count it; the protocol sends again what matters |
/// | `Io` | log; open again after a while |
#[derive(Debug, Error)]
pub enum LinkError {
    /// The process may not use raw sockets.
    #[error(
        "not allowed to open a raw socket on {interface}: run as root or grant CAP_NET_RAW \
         (AmbientCapabilities=CAP_NET_RAW in the unit, or setcap cap_net_raw+ep on the program)"
    )]
    NoPermission {
        /// The adapter.
        interface: String,
    },
    /// No adapter of that name in this network namespace.
    #[error("there is no interface {interface} here; `ip link` lists those that are")]
    NoSuchInterface {
        /// The adapter.
        interface: String,
    },
    /// The interface carries no Ethernet frames.
    #[error("interface {interface} is not an Ethernet adapter")]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The configured EtherType is a length or the VLAN tag's own.
    #[error("{ethertype:#06x} cannot be used as EtherType; use 0x0600 or above, but not 0x8100")]
    InvalidEtherType {
        /// The number.
        ethertype: u16,
    },
    /// The configured VLAN id does not exist.
    #[error("{vlan} is not a VLAN id; use 1 to 4094")]
    InvalidVlan {
        /// The number.
        vlan: u16,
    },
    /// The adapter is down. Passes: the same link works once it is up.
    #[error("interface {interface} is down")]
    InterfaceDown {
        /// The adapter.
        interface: String,
    },
    /// The adapter was removed. Even if one of the same name appears, this link stays dead.
    #[error("interface {interface} was removed")]
    InterfaceGone {
        /// The adapter.
        interface: String,
    },
    /// The payload does not fit into one frame.
    #[error("a payload of {length} bytes does not fit into the MTU of {mtu}")]
    TooLong {
        /// Bytes to send.
        length: usize,
        /// Bytes the adapter carries.
        mtu: usize,
    },
    /// The socket's send queue is full.
    #[error("the send queue of {interface} is full")]
    WouldBlock {
        /// The adapter.
        interface: String,
    },
    /// The adapter's queue is full or the kernel is out of memory.
    #[error("the adapter {interface} takes no more frames for now")]
    NoBuffers {
        /// The adapter.
        interface: String,
    },
    /// Anything else.
    #[error("cannot {action} on interface {interface}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
}
