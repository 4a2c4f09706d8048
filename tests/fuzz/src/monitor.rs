//! A host monitor among real agents, a store that fails, and guests that forge, flood and play many addresses.
//!
//! VMs 1 to 3 are *protected*: registered from the beginning, with a key that both sides demand. VMs 4 to 6 are
//! registered without keys, come and go in the roster, and anybody may claim to be them. Nobody registers 7 and 8.
//! What holds, whatever is sent from whatever address:
//!
//! * what is held is bounded, and what one input can make the monitor send and write;
//! * nothing is written of a VM that no roster had;
//! * a protected VM is never called MISSING while it beats, has its path at its own address, and only what it said
//!   is written of it; a stalled monitor accuses nobody;
//! * when everything is well again all protected guests beat, and those that stop are called MISSING.

mod claims;
mod guest;
mod hostile;
mod store;
mod world;

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Shutdown;

use crate::trace::trace;
use world::World;

/// Operations of one input.
const OPERATIONS_MAXIMUM: usize = 80;
/// The first of the VMs that have keys, and how many.
const PROTECTED: std::ops::RangeInclusive<u8> = 1..=3;
/// Registered, without keys.
const PLAIN: std::ops::RangeInclusive<u8> = 4..=6;
/// Every VM there is.
const EVERYBODY: std::ops::RangeInclusive<u8> = 1..=8;

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

/// The address of a VM's adapter.
fn mac(number: u8) -> MacAddr {
    MacAddr(0x52, 0x54, 0, 0, 0, number)
}

/// Runs the operations that these bytes say.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    // Reading fails only at the end of the bytes, which is the end of the operations.
    let _ = play(&mut bytes);
}

fn play(bytes: &mut Unstructured<'_>) -> Result<()> {
    let header: [u8; 2] = bytes.arbitrary()?;
    let mut world = World::new(header[0], u64::from(header[1]));
    for _ in 0..OPERATIONS_MAXIMUM {
        if bytes.is_empty() {
            break;
        }
        operation(&mut world, bytes)?;
        world.check();
    }
    world.heal();
    Ok(())
}

fn operation(world: &mut World, bytes: &mut Unstructured<'_>) -> Result<()> {
    let [operation, argument]: [u8; 2] = bytes.arbitrary()?;
    trace(|| format!("operation {} ({argument})", operation % 24));
    let number =
        |range: &std::ops::RangeInclusive<u8>| range.start() + argument % (range.end() - range.start() + 1);
    match operation % 24 {
        0 | 1 => world.pass(Duration::from_millis(50) * u32::from(argument)),
        2 => world.pass(Duration::from_millis(500) * u32::from(argument)),
        3 => world.start(number(&EVERYBODY)),
        4 => world.freeze(number(&EVERYBODY)),
        5 => world.thaw(number(&EVERYBODY)),
        6 => world.suspend(number(&EVERYBODY), argument & 0x80 == 0),
        7 => {
            let kind = if argument & 0x80 == 0 { Shutdown::Daemon } else { Shutdown::Os };
            world.shut_down(number(&EVERYBODY), kind);
        }
        8 => world.ring(number(&EVERYBODY), u32::from(argument)),
        9 => world.ask_report(number(&EVERYBODY), argument),
        10 => world.change_roster(bytes.arbitrary()?),
        11 => world.rotate(number(&PROTECTED), argument),
        12 => world.rekey_plain(number(&PLAIN), argument),
        13 => world.commit(argument & 1 == 0),
        14 => world.doubt(argument),
        15 => world.adapter(argument),
        16 => world.stall(Duration::from_millis(100) * u32::from(argument)),
        17 => world.restart(),
        18 | 19 => hostile::forged(world, argument, bytes)?,
        20 => hostile::flood(world, argument, bytes.arbitrary()?),
        21 => world.replay(argument),
        _ => world.quiet(number(&EVERYBODY), Duration::from_millis(500) * u32::from(argument / 8)),
    }
    Ok(())
}
