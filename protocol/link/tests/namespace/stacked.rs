//! An adapter that stands on another one, which goes down.

use std::process::Command;

use vmpulse_link::{Link, LinkError, PacketSocket};

use crate::ALL;
use crate::harness::{config, eventually, ip, namespace_test, open};

/// Enough to meet both of the moments in which the kernel changes what it does with frames.
const ROUNDS: usize = 5;

/// Sends without a pause while `trunk` goes down or up. Whatever the kernel says of that, the adapter itself is there and up.
fn send_while_trunk_goes(guest: &PacketSocket, state: &str) {
    let mut change = Command::new("ip").args(["link", "set", "trunk", state]).spawn().unwrap();
    let mut ended = false;
    while !ended {
        ended = change.try_wait().unwrap().is_some();
        match guest.send(ALL, None, b"beat") {
            Ok(())
            | Err(
                LinkError::InterfaceDown { .. } | LinkError::NoBuffers { .. } | LinkError::WouldBlock { .. },
            ) => {
                assert!(guest.is_up().unwrap(), "only what it stands on is {state}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(change.wait().unwrap().success());
}

namespace_test! {
    async fn an_adapter_is_up_while_what_it_stands_on_is_not() {
        ip("link add trunk type veth peer name monitor");
        ip("link add link trunk name x1 type macvlan mode vepa");
        for adapter in ["trunk", "monitor", "x1"] {
            ip(&format!("link set {adapter} up"));
        }
        let guest = open(&config("x1"));
        eventually("frames leave", || guest.send(ALL, None, b"first").is_ok()).await;
        for _ in 0..ROUNDS {
            send_while_trunk_goes(&guest, "down");
            send_while_trunk_goes(&guest, "up");
        }
        ip("link set x1 down");
        assert!(matches!(guest.send(ALL, None, b"beat"), Err(LinkError::InterfaceDown { .. })));
        assert!(!guest.is_up().unwrap());
    }
}
