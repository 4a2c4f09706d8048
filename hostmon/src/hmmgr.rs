//! The command `hmmgr`.

mod capture;
mod doctor;
mod event;
mod key;
mod passthru;
mod status;
mod transaction;
mod trunk;

use std::error::Error;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use vmpulse_local::exit::Exit;

use crate::settings::{SETTINGS_VARIABLE, Settings};

/// Asks the host monitors of this machine and the health store; makes the trunks of this machine.
#[derive(Debug, Parser)]
#[command(name = "hmmgr", version)]
struct Arguments {
    /// Settings file, in place of $VMPULSE_HOSTMON_SETTINGS and /etc/vmpulse/hostmon.toml.
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Health store, in place of the one in the settings.
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// How to show what is asked for.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every host monitor that runs on this machine.
    Status,
    /// Show what host monitors recorded: conflicts, refused handshakes, forgeries, what they could not hear.
    Event(event::Event),
    /// Make, change and show the keys that heartbeats of VMs are authenticated with.
    #[command(subcommand)]
    Key(key::KeyAction),
    /// Carry out one XML request to the health store: request on standard input, answer on standard output.
    Passthru,
    /// Show what became of requests to start, stop and remove VMs.
    Transaction(transaction::TransactionArguments),
    /// Make, police, check and take away the trunks of this host.
    Trunk {
        #[command(subcommand)]
        action: trunk::TrunkAction,
    },
    /// Look for what is wrong with trunks and with what they need: isolation, sizes, rules, permissions, clock, lost frames, store,
    /// keys. Sends a few frames. Ends with 1 if something is found.
    Doctor(doctor::Doctor),
    /// Write what passes on a trunk, both ways, to a pcap file for Wireshark, until interrupted.
    Capture(capture::Capture),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _closed = error.print();
            return exit_of(&error);
        }
    };
    if let Err(error) = vmpulse_local::logging::init("warn") {
        return fail(&error, Exit::Config);
    }
    let variable = std::env::var_os(SETTINGS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    match Settings::load(arguments.settings.as_deref(), variable.as_deref()) {
        Ok(settings) => match arguments.action {
            Action::Status => status::run(&settings, arguments.output),
            Action::Event(wanted) => {
                event::run(&settings, arguments.store.as_deref(), &wanted, arguments.output)
            }
            Action::Key(action) => key::run(&settings, action, arguments.output),
            Action::Passthru => passthru::run(&settings, arguments.store.as_deref()),
            Action::Transaction(wanted) => {
                transaction::run(&settings, arguments.store.as_deref(), wanted, arguments.output)
            }
            Action::Trunk { action } => trunk::run(&settings, arguments.output, action),
            Action::Doctor(wanted) => {
                doctor::run(&settings, arguments.store.as_deref(), &wanted, arguments.output)
            }
            Action::Capture(wanted) => capture::run(&settings, &wanted),
        },
        Err(error) => fail(&error, Exit::Config),
    }
}

/// Whether a command line, the program's name first, is understood; it is not carried out.
///
/// # Errors
/// The exit code of a command line that is wrong, or that only asks for help or for the version.
pub fn check(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Exit> {
    Arguments::try_parse_from(arguments).map(drop).map_err(|error| exit_of(&error))
}

/// Help and version go to standard output, and are what was asked for.
fn exit_of(error: &clap::Error) -> Exit {
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Says on standard error what went wrong and why.
fn fail(error: &dyn Error, exit: Exit) -> Exit {
    let _closed = writeln!(std::io::stderr(), "hmmgr: {}", vmpulse_local::errors::chain(error));
    exit
}

/// Writes data to standard output. A reader that went away has what it wanted.
fn print(data: &str, exit: Exit) -> Exit {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&error, Exit::OsError),
        _ => exit,
    }
}
