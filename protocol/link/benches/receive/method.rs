//! The ways of receiving that are compared, and each one's loop.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use vmpulse_link::bench::{BareQueue, BareRing};
use vmpulse_link::{Left, LinkConfig, PacketSocket, ReceiveMethod, RingConfig};

use crate::measure::{Counter, Losses};

/// Frames of one turn, as the host monitor's.
const FRAMES_PER_TURN: usize = 4096;
/// How long without frames before a loop looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    BareQueue,
    BareRing(RingConfig),
    Link { receive: ReceiveMethod, rest: Duration },
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('+').unwrap_or((text, "0ms"));
        let rest = Duration::from_millis(number(rest, "ms")?);
        let mut parts = name.split(':');
        let link = |receive| Ok(Self::Link { receive, rest });
        match parts.next() {
            Some("bare-recv") => Ok(Self::BareQueue),
            Some("bare-ring") => Ok(Self::BareRing(shape(parts)?)),
            Some("plain") => link(ReceiveMethod::Plain),
            Some("batched") => link(ReceiveMethod::Batched),
            Some("ring") => link(ReceiveMethod::Ring(shape(parts)?)),
            Some(_) | None => Err(format!("no method {name:?}")),
        }
    }
}

fn shape<'a>(parts: impl Iterator<Item = &'a str>) -> Result<RingConfig, String> {
    let mut shape = RingConfig::default();
    for part in parts {
        if part.ends_with("ms") {
            shape.block_timeout_ms = number(part, "ms")?;
        } else {
            shape.block_bytes = number::<usize>(part, "k")? << 10;
        }
    }
    Ok(shape)
}

fn number<T: FromStr>(text: &str, unit: &str) -> Result<T, String> {
    let digits = text.strip_suffix(unit).ok_or_else(|| format!("{text:?} is not a number of {unit}"))?;
    digits.parse().map_err(|_| format!("{text:?} is not a number of {unit}"))
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = |out: &mut fmt::Formatter<'_>, name: &str, shape: &RingConfig| {
            write!(out, "{name}:{}ms:{}k", shape.block_timeout_ms, shape.block_bytes >> 10)
        };
        match self {
            Self::BareQueue => out.write_str("bare-recv"),
            Self::BareRing(shape) => ring(out, "bare-ring", shape),
            Self::Link { receive, rest } => {
                match receive {
                    ReceiveMethod::Plain => out.write_str("plain")?,
                    ReceiveMethod::Batched => out.write_str("batched")?,
                    ReceiveMethod::Ring(shape) => ring(out, "ring", shape)?,
                }
                if rest.is_zero() { Ok(()) } else { write!(out, "+{}ms", rest.as_millis()) }
            }
        }
    }
}

impl Method {
    /// Receives until `counter` says that it is over.
    pub(crate) fn receive(
        self,
        interface: &str,
        buffer_bytes: usize,
        counter: &mut Counter,
    ) -> io::Result<Losses> {
        match self {
            Self::BareQueue => {
                let mut queue = BareQueue::open(interface, buffer_bytes)?;
                counter.ready();
                while counter.goes_on() {
                    counter.frames += queue.count()?;
                }
                Ok(Losses { drops: queue.drops(), freezes: 0 })
            }
            Self::BareRing(shape) => {
                let mut ring =
                    BareRing::open(interface, buffer_bytes, shape.block_bytes, shape.block_timeout_ms)?;
                counter.ready();
                while counter.goes_on() {
                    counter.frames += ring.count()?;
                }
                Ok(Losses { drops: ring.drops(), freezes: 0 })
            }
            Self::Link { receive, rest } => {
                let config =
                    LinkConfig { receive, receive_buffer_bytes: buffer_bytes, ..LinkConfig::new(interface) };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(by_link(&config, rest, counter)).map_err(io::Error::other)
            }
        }
    }
}

/// The host monitor's loop, with nothing done with a frame.
async fn by_link(
    config: &LinkConfig,
    rest: Duration,
    counter: &mut Counter,
) -> Result<Losses, vmpulse_link::LinkError> {
    let mut socket = PacketSocket::open(config)?;
    let mut patience = interval(PATIENCE);
    patience.set_missed_tick_behavior(MissedTickBehavior::Delay);
    counter.ready();
    while counter.goes_on() {
        tokio::select! {
            ready = socket.readable() => ready?,
            _ = patience.tick() => {}
        }
        while counter.goes_on()
            && socket.receive_batch(FRAMES_PER_TURN, |frame| {
                std::hint::black_box(frame.source);
                counter.frames += 1;
            })? == Left::More
        {}
        if !rest.is_zero() {
            // Not in the runtime, which each frame would wake.
            std::thread::sleep(rest);
        }
    }
    Ok(Losses { drops: socket.drops(), freezes: socket.freezes() })
}
