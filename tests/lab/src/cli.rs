//! The command line: what people use, and the hidden commands that the lab runs inside its namespaces.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::qemu::AccelChoice;
use crate::verify::Part;

/// How many worlds run at once unless told otherwise: what two cores carry without disturbing each other.
const DEFAULT_JOBS: usize = 2;

#[derive(Debug, Parser)]
#[command(
    name = "vmpulse-lab",
    bin_name = "cargo lab",
    version,
    about = "The lab of vmpulse: real daemons, real guests"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How worlds are made.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Making {
    /// How real guests run
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) accel: AccelChoice,
    /// Take the programs as they were last built
    #[arg(long)]
    pub(crate) no_build: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole chain: guests, host monitors, store, controller, and what happens when guests die
    Demo {
        /// Leave it running to play with; `cargo lab enter` goes in, `cargo lab end` ends it
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        making: Making,
    },
    /// Everything a change must pass: formatting, lints, tests, the static agent, the lab's scenarios
    Verify {
        /// Only these parts
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Part>,
        /// How many worlds run at once
        #[arg(long, default_value_t = DEFAULT_JOBS)]
        jobs: usize,
        #[command(flatten)]
        making: Making,
    },
    /// List the scenarios
    List,
    /// Run scenarios by name; all of them if none is named
    Run {
        names: Vec<String>,
        /// How many worlds run at once
        #[arg(long, default_value_t = DEFAULT_JOBS)]
        jobs: usize,
        #[command(flatten)]
        making: Making,
    },
    /// Inject failures at random into real daemons and many guests, and judge what they do
    Soak {
        #[command(flatten)]
        options: crate::soak::Options,
        #[command(flatten)]
        making: Making,
    },
    /// Check this machine, install and fetch what is missing, and build; run nothing
    Prepare {
        #[command(flatten)]
        making: Making,
    },
    /// Enter the world that `cargo demo --keep` left: host, guest1, guest2 or vm3
    Enter {
        /// Where to go
        #[arg(default_value = "host")]
        place: String,
        /// Run this instead of a shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// End the world that `cargo demo --keep` left
    End,
    /// What the lab runs inside its own namespaces
    #[command(hide = true)]
    Inside {
        #[command(subcommand)]
        command: Inside,
    },
}

/// Commands that make sense inside the lab's namespaces only.
#[derive(Debug, Subcommand)]
pub(crate) enum Inside {
    /// The first process of a world
    World {
        /// `demo` or a scenario's name
        job: String,
        /// What the world is made from
        #[arg(long)]
        kit: PathBuf,
        /// Where the outcome goes
        #[arg(long)]
        outcome: PathBuf,
        /// Stay when done
        #[arg(long)]
        keep: bool,
    },
    /// The first process of a guest made of namespaces
    GuestInit { name: String },
    /// Capture an interface into a file
    Capture { interface: String, file: PathBuf },
    /// Send the frames given on standard input
    Send { interface: String },
    /// Send as many frames of a kind as this machine can
    Flood {
        interface: String,
        #[arg(value_enum)]
        kind: crate::frames::FloodKind,
        /// The address flooded
        #[arg(long)]
        to: String,
        /// The sender's own address
        #[arg(long)]
        from: String,
        /// The UUID claimed, where one is
        #[arg(long)]
        uuid: String,
        #[arg(long)]
        seconds: u64,
    },
    /// Connect standard input and output with a real guest's shell, or run one command in it
    Attach {
        socket: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_command_for_the_inside_keeps_its_own_flags() {
        let arguments = Arguments::try_parse_from(["lab", "enter", "guest1", "--", "vmmgr", "-s", "sync"]);
        let Ok(Arguments { command: Command::Enter { place, command } }) = arguments else {
            panic!("{arguments:?}")
        };
        assert_eq!((place.as_str(), command.len()), ("guest1", 3));
    }
}
