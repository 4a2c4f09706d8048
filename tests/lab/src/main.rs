//! The lab of vmpulse: real daemons in network namespaces, a real guest in an emulator.
//!
//! `cargo demo` shows the whole chain in a few minutes; `cargo verify` is everything a change must pass;
//! `cargo lab` lists and runs single scenarios and enters a world that was left running.

mod artifacts;
mod cli;
mod daemons;
mod demo;
mod error;
mod frames;
mod image;
mod inside;
mod isolate;
mod keep;
mod kernel;
mod kit;
mod leftovers;
mod outcome;
mod outside;
mod preflight;
mod process;
mod progress;
mod qemu;
mod scenarios;
mod soak;
mod tshark;
mod verify;
mod wait;
mod workspace;
mod world;

use std::process::ExitCode;

use clap::Parser;

use cli::Command;
use error::Lab;

fn main() -> ExitCode {
    match run(cli::Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            progress::say(&format!("vmpulse-lab: {}", error.explain()));
            error.exit_code()
        }
    }
}

fn run(command: Command) -> Lab<ExitCode> {
    if let Command::Inside { command } = command {
        return inside::run(command).map(|()| ExitCode::SUCCESS);
    }
    wait::listen_for_interrupts()?;
    let workspace = workspace::Workspace::find()?;
    match command {
        Command::Demo { keep, making } => demo::run(&workspace, keep, making),
        Command::Verify { only, jobs, making } => verify::run(&workspace, &only, jobs, making),
        Command::List => scenarios::list(),
        Command::Run { names, jobs, making } => scenarios::run(&workspace, &names, jobs, making),
        Command::Soak { options, making } => soak::run(&workspace, &options, making),
        Command::Prepare { making } => {
            kit::Kit::prepare(&workspace, preflight::Purpose::Verify, making).map(|_| ExitCode::SUCCESS)
        }
        Command::Enter { place, command } => keep::enter(&workspace, &place, &command),
        Command::End => keep::end(&workspace),
        Command::Inside { .. } => Ok(ExitCode::SUCCESS),
    }
}
