//! Beats in the place of `vmpulse-agentd` when that hangs or dies. Started by it, or by systemd.

use std::process::ExitCode;

use vmpulse_agent::guardian::{arguments::Arguments, driver};
use vmpulse_local::exit::Exit;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => driver::run(&arguments),
        Err(problem) => {
            eprintln!("vmpulse-guardian: {problem}");
            Exit::Usage
        }
    }
    .into()
}
