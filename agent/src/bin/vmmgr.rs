//! The guest agent's command; also answers to the name ksysvmmgr.

use std::path::PathBuf;
use std::process::ExitCode;

use vmpulse_agent::settings::SETTINGS_VARIABLE;
use vmpulse_agent::vmmgr::service::Systemd;
use vmpulse_agent::vmmgr::{self, Environment};
use vmpulse_local::clock::MonotonicClock;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let environment = Environment {
        program: arguments.next().unwrap_or_default(),
        settings_variable: std::env::var_os(SETTINGS_VARIABLE).map(PathBuf::from),
        realtime: MonotonicClock::start().realtime(),
        systemd: Systemd::default(),
        local_time: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
    };
    let arguments: Vec<String> = arguments.collect();
    vmmgr::run(&arguments, &environment, &mut std::io::stdout(), &mut std::io::stderr()).into()
}
