//! The whole receive path: a real daemon on a trunk with thousands of guests, against a bare loop on the same ring.
//!
//! `cargo bench -p vmpulse-hostmon --bench trunk`, as root; `-- --help` for more. It makes a network namespace with a
//! pair of adapters, a store with the VMs, and guests that shake hands one by one; then it sends their heartbeats from
//! one core and measures the trunk's thread on another. docs/performance.md has the method and the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "trunk/guests.rs"]
mod guests;
#[path = "trunk/measure.rs"]
mod measure;
#[path = "trunk/monitor.rs"]
mod monitor;
#[path = "trunk/report.rs"]
mod report;

use clap::Parser;
use vmpulse_link::bench;

use measure::{Bench, Scenario};

/// Rate of the sender: a number of heartbeats a second, or as many as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    PerSecond(u64),
    Maximum,
}

impl std::str::FromStr for Rate {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" { Ok(Self::Maximum) } else { text.parse().map(Self::PerSecond) }
    }
}

/// Measures a host monitor on a trunk.
#[derive(Debug, Parser)]
#[command(name = "trunk", bin_name = "cargo bench -p vmpulse-hostmon --bench trunk --")]
pub(crate) struct Arguments {
    /// Guests, each with a path; two scenarios of their own if it is not given.
    #[arg(long)]
    paths: Option<u32>,
    /// Heartbeats a second in all, or `max`.
    #[arg(long, value_delimiter = ',', default_values = ["10000", "100000", "max"])]
    rates: Vec<Rate>,
    /// With a key for each VM, required.
    #[arg(long)]
    authenticated: bool,
    /// How the daemon receives: ring, batched or plain.
    #[arg(long, default_value = "ring")]
    receive: String,
    /// Length of a measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each is measured, bare loop and daemon in turn.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The kernel's part is done on the receiver's core too, as where its adapter interrupts.
    #[arg(long)]
    one_core: bool,
    /// `json` for programs.
    #[arg(short, long)]
    output: Option<String>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Err(error) = bench::enter_namespace() {
        eprintln!("trunk: cannot make a network namespace: {error}; run this as root");
        std::process::exit(77);
    }
    let scenarios = scenarios(&arguments);
    let bench = Bench::new(&arguments);
    let results: Vec<_> = scenarios.into_iter().map(|scenario| bench.run(scenario)).collect();
    if arguments.output.as_deref() == Some("json") {
        report::json(&results);
    } else {
        report::table(&results);
    }
}

/// What the project demands, unless told otherwise.
fn scenarios(arguments: &Arguments) -> Vec<Scenario> {
    let scenario = |paths, rate, authenticated| Scenario { paths, rate, authenticated };
    let Some(paths) = arguments.paths else {
        let rates = arguments.rates.iter().map(|rate| scenario(10_000, *rate, arguments.authenticated));
        return rates.chain([scenario(2000, Rate::PerSecond(2000), true)]).collect();
    };
    arguments.rates.iter().map(|rate| scenario(paths, *rate, arguments.authenticated)).collect()
}
