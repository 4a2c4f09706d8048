//! What it costs to receive: `cargo bench -p vmpulse-link --bench receive`. Needs root, and two cores to itself.
//!
//! For each method and rate: a sender on one core, a receiver on another, a veth pair in a namespace of its own between
//! them. See `--help`.
#![allow(clippy::disallowed_methods)] // It measures time.

#[path = "receive/measure.rs"]
mod measure;
#[path = "receive/method.rs"]
mod method;
#[path = "receive/report.rs"]
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vmpulse_link::bench;

use measure::{Plan, Rate};
use method::Method;

/// What it costs to receive heartbeats by each method, at several rates.
///
/// Methods: `bare-recv` and `bare-ring` (the least a program can do: the references), `plain`, `batched`,
/// `ring` (of vmpulse-link). `ring:8ms:64k` names a block timeout and a block size, `plain+4ms` a rest after each
/// turn, in which frames gather. On a machine with other work start it with `nice -n -20`.
#[derive(Parser)]
#[command(name = "receive")]
struct Arguments {
    /// Methods to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "bare-recv,bare-ring,plain,plain+4ms,batched,batched+4ms,ring"
    )]
    methods: Vec<Method>,
    /// Frames per second; `max`: as many as the sender can.
    #[arg(long, value_delimiter = ',', default_value = "200,2000,10000,100000,max")]
    rates: Vec<Rate>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each is measured; the median by CPU time is shown.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Source addresses.
    #[arg(long, default_value_t = 10_000)]
    sources: u32,
    /// Bytes of the queue or ring.
    #[arg(long, default_value_t = vmpulse_link::DEFAULT_RECEIVE_BUFFER_BYTES)]
    buffer_bytes: usize,
    /// Core of the sender.
    #[arg(long, default_value_t = 0)]
    sender_core: usize,
    /// Core of the receiver.
    #[arg(long, default_value_t = 1)]
    receiver_core: usize,
    /// Let the receiver's core do the kernel's part of receiving, too (`irq %` shows it); by default the sender's does.
    #[arg(long)]
    one_core: bool,
    /// How to show the figures.
    #[arg(short, long, default_value = "table")]
    output: report::Output,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!(
                "NOT MEASURED: this benchmark makes a network namespace and raw sockets: run it as root"
            );
            ExitCode::from(77)
        }
        Err(error) => {
            eprintln!("receive: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::io::Result<()> {
    bench::enter_namespace()?;
    let wire = bench::Wire::new(1500)?;
    if arguments.one_core {
        wire.deliver_on(arguments.receiver_core)?;
    }
    let plan = Plan {
        wire,
        seconds: Duration::from_secs_f64(arguments.seconds),
        sources: arguments.sources,
        buffer_bytes: arguments.buffer_bytes,
        sender_core: arguments.sender_core,
        receiver_core: arguments.receiver_core,
    };
    let mut rows = Vec::new();
    for rate in &arguments.rates {
        for method in &arguments.methods {
            eprintln!("measuring {method} at {rate} frames/s");
            let measured: Result<Vec<_>, _> =
                (0..arguments.repeat.max(1)).map(|_| plan.measure(*method, *rate)).collect();
            rows.extend(report::median(measured?));
        }
    }
    report::print(arguments.output, arguments.one_core, &rows)
}
