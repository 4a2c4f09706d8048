//! The host monitor daemon: one per trunk.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vmpulse_hostmon::driver::{self, StartError};
use vmpulse_hostmon::settings::{DEFAULT_SETTINGS, SETTINGS_VARIABLE};
use vmpulse_local::errors;
use vmpulse_local::exit::Exit;

/// Host monitor: hears the guests of one trunk and writes their health to the store.
///
/// Runs in the foreground and logs to stderr. Stop it with TERM or INT: the store is told that it was on purpose.
#[derive(Debug, Parser)]
#[command(name = "vmpulse-hostmond", version)]
struct Arguments {
    /// Settings file. Also named by the environment variable VMPULSE_HOSTMON_SETTINGS; default
    /// /etc/vmpulse/hostmon.toml.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Check the settings and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln!("vmpulse-hostmond: {}", errors::chain(&error));
            error.exit().into()
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), StartError> {
    let variable = std::env::var_os(SETTINGS_VARIABLE).map(PathBuf::from);
    let settings = driver::check_settings(arguments.settings.as_deref(), variable.as_deref())?;
    if arguments.check_config {
        let from = arguments.settings.clone().or(variable).unwrap_or_else(|| DEFAULT_SETTINGS.into());
        println!("{}: the settings are valid", from.display());
        return Ok(());
    }
    driver::run(&settings)
}
