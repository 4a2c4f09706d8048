//! Judges a soak: see the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vmpulse_soak::judge::judge;

#[derive(Parser)]
#[command(name = "vmpulse-soak", version, about = "Judges what a soak of real daemons noted and recorded")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a verdict as JSON; what was found is in it, and no error
    Judge {
        /// With cast.json, facts.jsonl and what daemons recorded
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Judge { folder } = Arguments::parse().command;
    match judge(&folder) {
        Ok(verdict) => {
            println!("{}", serde_json::to_string_pretty(&verdict).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vmpulse-soak: {error}");
            ExitCode::FAILURE
        }
    }
}
