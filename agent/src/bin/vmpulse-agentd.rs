//! The guest agent's daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vmpulse_agent::config_file;
use vmpulse_agent::driver;
use vmpulse_agent::keys;
use vmpulse_agent::settings::{SETTINGS_VARIABLE, Settings, SettingsSource};
use vmpulse_local::errors::chain as error_chain;
use vmpulse_local::exit::Exit;

/// Heartbeats to the host monitors, and monitors the applications of this guest.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Settings file (else the variable VMPULSE_AGENT_SETTINGS, else /etc/vmpulse/agent.toml).
    #[arg(long, value_name = "PATH")]
    settings: Option<PathBuf>,
    /// Check settings and configuration, and do nothing else.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let variable = std::env::var_os(SETTINGS_VARIABLE).map(PathBuf::from);
    let source = SettingsSource { named: arguments.settings, variable };
    let exit = match source.load() {
        Ok(settings) if arguments.check_config => check(&settings),
        Ok(settings) => run(settings, source),
        Err(error) => fail(&error, Exit::Config),
    };
    exit.into()
}

fn check(settings: &Settings) -> Exit {
    if let Err(error) = keys::load(settings) {
        return fail(&error, Exit::Config);
    }
    match config_file::load(&settings.config, settings.max_apps) {
        Ok(configuration) => {
            println!(
                "{}: good, {} applications",
                settings.config.display(),
                configuration.applications.len()
            );
            Exit::Done
        }
        Err(error) => fail(&error, Exit::Config),
    }
}

fn run(settings: Settings, source: SettingsSource) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::OsError),
    };
    let exit = runtime.block_on(async {
        match driver::start(settings, source) {
            Ok(daemon) => daemon.run().await,
            Err(error) => fail(&error, error.exit()),
        }
    });
    // What still waits is of no use to anybody, and must not delay the end.
    runtime.shutdown_background();
    exit
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("vmpulse-agentd: {}", error_chain(error));
    exit
}
