//! Both ends of one path, a network that does what it likes, and somebody who forges: random sequences of operations.
//!
//! | conduct | network | holds besides |
//! |---|---|---|
//! | natural | loses, repeats, reorders, delays up to 4 s | every message at most once, in order, unchanged |
//! | secured | the same; tampers, replays, forges | the same, although anything can be forged |
//! | anything | the same; either end with any keys and mode, stalled for any time | |
//!
//! Always: nothing panics; what a call sends and says is bounded, and so is what waits for its rest; after a timeout
//! was handled none is due; who sent a message is told of it once, and never not at all; no storm of packets.
//! Once the network is good again every natural or secured path opens and carries messages both ways.

mod ledger;
mod world;

use std::time::Duration;

use arbitrary::{Result, Unstructured};

use crate::forge::forge;
use crate::trace::trace;
use world::{Taking, World};

/// Operations of one input: enough for a few handshakes and a few messages in each.
const OPERATIONS_MAXIMUM: usize = 300;
/// The operation that takes more bytes than the others.
const FORGE: u8 = 22;

/// Which end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Vmm,
    Hm,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Vmm => Self::Hm,
            Self::Hm => Self::Vmm,
        }
    }
}

/// What may happen, and therefore what can be demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Natural,
    Secured,
    Anything,
}

impl Conduct {
    /// Whether somebody may forge.
    const fn is_hostile(self) -> bool {
        matches!(self, Self::Secured | Self::Anything)
    }

    /// Whether messages can be held to what was sent.
    const fn is_reliable(self) -> bool {
        matches!(self, Self::Natural | Self::Secured)
    }
}

/// Runs the operations that these bytes say.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    // Reading fails only at the end of the bytes, which is the end of the operations.
    let _ = play(&mut bytes);
}

fn play(bytes: &mut Unstructured<'_>) -> Result<()> {
    let header: [u8; 3] = bytes.arbitrary()?;
    let conduct = [Conduct::Natural, Conduct::Secured, Conduct::Anything][usize::from(header[0] % 3)];
    let mtu = [64, 108, 1500][usize::from(header[1] % 3)];
    let mut world = World::new(conduct, mtu, u64::from(header[2]));
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
    if bytes.peek_bytes(1).is_some_and(|next| next[0] % 24 == FORGE) {
        return forge_one(world, bytes);
    }
    trace(|| format!("operation {:?}", bytes.peek_bytes(3)));
    let mut byte = || bytes.arbitrary::<u8>();
    match byte()? % 24 {
        0 => world.connect(),
        1 | 2 => world.send(End::Vmm, usize::from(u16::from_be_bytes([byte()?, byte()?]) % 3000)),
        3 | 4 => world.send(End::Hm, usize::from(u16::from_be_bytes([byte()?, byte()?]) % 3000)),
        5 => world.send_urgent(),
        6 => world.beat(),
        7 | 8 => world.deliver(byte()?),
        9 => world.deliver_all(),
        10 => world.lose(byte()?),
        11 => world.repeat(byte()?),
        12 => world.pass(Duration::from_millis(20) * u32::from(byte()?)),
        13 => world.pass(Duration::from_millis(500) * u32::from(byte()?)),
        14 => world.taking = [Taking::Accept, Taking::Hold, Taking::Refuse][usize::from(byte()? % 3)],
        15 => world.decide(end(byte()?), true),
        16 => world.decide(end(byte()?), false),
        17 => world.close(end(byte()?)),
        18 => world.restart(end(byte()?)),
        19 => world.rekey(end(byte()?), byte()?),
        20 => world.tamper(byte()?, u16::from_be_bytes([byte()?, byte()?]), byte()?),
        21 => world.replay(byte()?),
        _ => world.stall(Duration::from_secs(1) * u32::from(byte()?)),
    }
    Ok(())
}

fn forge_one(world: &mut World, bytes: &mut Unstructured<'_>) -> Result<()> {
    let [_, to, about]: [u8; 3] = bytes.arbitrary()?;
    let packet = forge(&world.known(end(to), about), bytes)?;
    world.put(end(to), packet);
    Ok(())
}

const fn end(byte: u8) -> End {
    if byte & 1 == 0 { End::Vmm } else { End::Hm }
}
