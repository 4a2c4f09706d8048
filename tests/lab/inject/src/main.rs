//! `vmpulse-inject`: makes failures on purpose.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmpulse_inject::cli::main(std::env::args_os()).into()
}
