//! What `simulate` prints. Whoever reads it may have seen enough: `simulate --seed 7 --trace | head`.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// As of a program that SIGPIPE ended, by which a shell knows it: 128 and the number of the signal.
const READER_GONE: i32 = 141;
/// As for a plan that cannot be run.
const CANNOT_PRINT: i32 = 2;

macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

macro_rules! put {
    ($($text:tt)*) => { $crate::say::text(format_args!($($text)*)) };
}

/// Prints a line; ends the program when nobody reads it any more, since what is run is run for that alone.
pub(crate) fn line(line: fmt::Arguments<'_>) {
    text(format_args!("{line}\n"));
}

/// Likewise, what has its line ends.
pub(crate) fn text(text: fmt::Arguments<'_>) {
    if let Err(error) = io::stdout().write_fmt(text) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(READER_GONE);
        }
        eprintln!("simulate: cannot print: {error}");
        std::process::exit(CANNOT_PRINT);
    }
}
