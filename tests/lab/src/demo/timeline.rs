//! The narrator: prints what is done with its real output, and keeps the times of what happened.

use crate::error::Lab;
use crate::process::Said;
use crate::wait::{Stopwatch, indented};

/// Prints the story and remembers the moments.
#[derive(Debug)]
pub(crate) struct Timeline {
    watch: Stopwatch,
    moments: Vec<(f64, String)>,
}

impl Timeline {
    /// Time starts now.
    pub(crate) fn start() -> Timeline {
        Timeline { watch: Stopwatch::start(), moments: Vec::new() }
    }

    /// A heading.
    pub(crate) fn chapter(&self, text: &str) {
        println!("\n== {text}");
    }

    /// A remark.
    pub(crate) fn remark(&self, text: &str) {
        println!("   {text}");
    }

    /// Something happened now.
    pub(crate) fn moment(&mut self, text: impl Into<String>) {
        let (seconds, text) = (self.watch.seconds(), text.into());
        println!("   t+{seconds:6.1} s  {text}");
        self.moments.push((seconds, text));
    }

    /// Shows a command as it was typed at `place`, with all it said; fails if it failed.
    pub(crate) fn show(&self, place: &str, typed: &str, said: Said) -> Lab<Said> {
        print!("\n   {place}# {typed}\n{}", indented(said.text().trim_end()));
        if said.status.success() { Ok(said) } else { Err(said.error()) }
    }

    /// All moments, as a table.
    pub(crate) fn print(&self) {
        println!("\n== Timeline");
        for (seconds, text) in &self.moments {
            println!("   t+{seconds:6.1} s  {text}");
        }
    }
}
