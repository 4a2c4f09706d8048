//! The controller's daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vmpulse_controller::daemon;
use vmpulse_controller::settings::Settings;
use vmpulse_local::errors::chain;
use vmpulse_local::exit::Exit;
use vmpulse_local::logging;

/// Polls the health store, detects failures and tells of them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings file [default: $VMPULSE_CONTROLLER_SETTINGS, else /etc/vmpulse/controller.toml if it is there]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Check the settings and end
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match Settings::load(arguments.settings.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, Exit::Config),
    };
    if arguments.check_config {
        return check(&settings);
    }
    if let Err(error) = logging::init(&settings.log) {
        return fail(&error, Exit::Config);
    }
    match daemon::run(&settings) {
        Ok(()) => Exit::Done.into(),
        Err(error) => fail(&error, error.exit()),
    }
}

fn check(settings: &Settings) -> ExitCode {
    match logging::init(&settings.log) {
        Ok(_) => {
            println!("settings are valid");
            Exit::Done.into()
        }
        Err(error) => fail(&error, Exit::Config),
    }
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    eprintln!("vmpulse-controllerd: {}", chain(error));
    exit.into()
}
