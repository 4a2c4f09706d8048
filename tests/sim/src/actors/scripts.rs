//! The applications of a guest, as their scripts see them.

use std::time::Duration;

use vmpulse_agent::ame::{Outcome, ScriptKind};

/// A script takes this long.
pub(crate) const SCRIPT_TIME: Duration = Duration::from_millis(250);

/// One application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct App {
    runs: bool,
    /// Whatever is tried.
    broken: bool,
}

impl App {
    pub(crate) const fn new() -> Self {
        Self { runs: true, broken: false }
    }

    pub(crate) const fn set_broken(&mut self, broken: bool) {
        self.broken = broken;
        if broken {
            self.runs = false;
        }
    }

    /// What a script finds or does.
    pub(crate) const fn run(&mut self, kind: ScriptKind) -> Outcome {
        match kind {
            ScriptKind::Monitor => Outcome::Exit(if self.runs { 0 } else { 1 }),
            ScriptKind::Stop => {
                self.runs = false;
                Outcome::Exit(0)
            }
            ScriptKind::Start => {
                self.runs = !self.broken;
                Outcome::Exit(if self.runs { 0 } else { 1 })
            }
        }
    }
}

/// Name of an application, from 0.
pub(crate) fn name(number: usize) -> String {
    format!("app{}", number + 1)
}

/// The configuration file of a guest with so many.
pub(crate) fn configuration(apps: usize) -> String {
    let mut text = String::from("<Monitoring log=\"1\">\n");
    for number in 0..apps {
        text.push_str(&format!(
            "<Application name=\"{}\" uuid=\"{:019}\" monitor_script=\"/m\" stop_script=\"/t\" start_script=\"/s\" \
             monitor_period=\"30\" monitor_timeout=\"10\" monitor_failure_threshold=\"1\" max_restart=\"1\"/>\n",
            name(number),
            1_567_267_349_133_928_000_u64 + number as u64
        ));
    }
    text + "</Monitoring>"
}
