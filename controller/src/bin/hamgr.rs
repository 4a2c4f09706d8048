//! The controller's command.

use std::io::Write as _;
use std::process::ExitCode;

use vmpulse_controller::cli::{self, CliError};
use vmpulse_local::errors::chain;
use vmpulse_local::exit::Exit;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = cli::program_name(arguments.next().as_ref());
    match cli::run(program, arguments.collect()) {
        Ok(answer) => {
            if let Some(note) = answer.note {
                eprintln!("{note}");
            }
            write_out(&answer.data)
        }
        Err(error) => {
            eprintln!("ERROR: {}", chain(&error));
            if matches!(error, CliError::Usage(_)) {
                eprintln!("`{program} -h` explains the syntax.");
            }
            error.exit().into()
        }
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_out(data: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(data.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("ERROR: cannot write the answer: {error}");
            Exit::OsError.into()
        }
        Ok(()) | Err(_) => Exit::Done.into(),
    }
}
