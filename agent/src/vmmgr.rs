//! The command `vmmgr`: changes the configuration file, and asks the daemon.
//!
//! The file can be changed and shown without the daemon; `-s` or `vmmgr sync` makes the daemon load it.

mod announce;
mod change;
mod fault;
pub mod grammar;
mod health;
mod help;
mod keys;
mod query;
mod show;
mod typed;

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmpulse_local::command::{self, CallError};
use vmpulse_local::exit::Exit;
use zeroize::Zeroizing;

use crate::command::{Reply, Request};
use crate::settings::Settings;
pub use fault::Fault;
use grammar::{Action, Class, CommandLine, Format};
pub use keys::KeyFault;

/// The daemon answers from memory; a busy one takes milliseconds.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);

/// Prefix of the messages, and the name that changes it.
const PREFIXES: [(&str, &str); 2] = [("ksysvmmgr", "KSYSVMMGR"), ("vmmgr", "VMMGR")];

/// The daemon as `vmmgr` sees it.
pub trait Daemon {
    /// Asks it.
    fn ask(&self, request: Request) -> Result<Reply, CallError>;
}

/// The daemon behind its socket.
#[derive(Debug)]
pub struct SocketDaemon {
    /// The command socket.
    pub socket: PathBuf,
}

impl Daemon for SocketDaemon {
    fn ask(&self, request: Request) -> Result<Reply, CallError> {
        command::call(&self.socket, &request, DAEMON_TIMEOUT)
    }
}

/// What the command needs from outside.
#[derive(Debug)]
pub struct Environment {
    /// How it was called: first argument.
    pub program: String,
    /// `VMPULSE_AGENT_SETTINGS`.
    pub settings_variable: Option<PathBuf>,
    /// Wall clock, since 1970.
    pub realtime: Duration,
    /// The same for people: "2026-11-21 03:00:00".
    pub local_time: String,
}

/// What an action works with.
struct Context<'a> {
    line: &'a CommandLine,
    settings: &'a Settings,
    environment: &'a Environment,
    daemon: &'a dyn Daemon,
    /// Says something while it takes its time, on stderr.
    progress: &'a dyn Fn(&str),
}

/// What came of it.
struct Outcome {
    /// For stdout. Wiped: it may be a key.
    text: Zeroizing<String>,
    /// A message that is no error, with its code.
    notes: Vec<(u16, String)>,
    /// A message that something was done, and not as it was wanted.
    warnings: Vec<(u16, String)>,
    exit: Exit,
}

impl Outcome {
    fn shown(text: String) -> Self {
        Self { text: Zeroizing::new(text), notes: Vec::new(), warnings: Vec::new(), exit: Exit::Done }
    }

    fn note(code: u16, text: String) -> Self {
        Self { notes: vec![(code, text)], ..Self::shown(String::new()) }
    }
}

/// Runs the command; data go to `stdout`, messages to `stderr`.
pub fn run(
    arguments: &[String],
    environment: &Environment,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Exit {
    let connect =
        |settings: &Settings| -> Box<dyn Daemon> { Box::new(SocketDaemon { socket: settings.socket() }) };
    run_with(arguments, environment, &connect, stdout, stderr)
}

fn run_with(
    arguments: &[String],
    environment: &Environment,
    connect: &dyn Fn(&Settings) -> Box<dyn Daemon>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Exit {
    let said = RefCell::new(&mut *stderr);
    // There is nowhere to complain about a closed stderr.
    let progress = |text: &str| drop(writeln!(said.borrow_mut(), "{text}"));
    let done = grammar::parse(arguments).and_then(|line| {
        let settings = Settings::load(line.settings.as_deref(), environment.settings_variable.as_deref())
            .map_err(Fault::Settings)?;
        let daemon = connect(&settings);
        dispatch(&Context {
            line: &line,
            settings: &settings,
            environment,
            daemon: daemon.as_ref(),
            progress: &progress,
        })
    });
    let prefix = prefix(&environment.program);
    match done {
        Ok(outcome) => match write(&outcome, prefix, stdout, stderr) {
            Ok(()) => outcome.exit,
            // Whoever reads has seen enough: `vmmgr help | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => outcome.exit,
            Err(error) => complain(&Fault::Output(error), prefix, stderr),
        },
        Err(fault) => complain(&fault, prefix, stderr),
    }
}

fn dispatch(context: &Context<'_>) -> Result<Outcome, Fault> {
    let line = context.line;
    match (line.action, line.class) {
        (Action::Help, _) => Ok(Outcome::shown(help::text(prefix(&context.environment.program)))),
        (Action::Status, _) => query::status(context),
        (Action::Sync, _) => change::sync(context),
        (Action::Health, _) => health::health(context),
        (Action::Quiet, _) => announce::quiet(context),
        (Action::Suspend, Some(Class::Vmm) | None) => announce::suspension(context, true),
        (Action::Resume, Some(Class::Vmm) | None) => announce::suspension(context, false),
        (Action::Start | Action::Stop | Action::Suspend | Action::Resume, _)
        | (_, Some(Class::Dependency)) => {
            let class = line.class.map_or("", Class::name);
            Err(Fault::NotYet(format!("{} {class}", line.action.name())))
        }
        (Action::Query, Some(Class::Key)) => keys::query(context),
        (Action::Add, Some(Class::Key)) => keys::create(context),
        (Action::Import, _) => keys::import(context),
        (Action::Export, _) => keys::export(context),
        (Action::Delete, Some(Class::Key)) => keys::delete(context),
        (Action::Query, Some(Class::App)) => query::applications(context),
        (Action::Query, Some(Class::Vmm) | None) => query::vmm(context),
        (Action::Add, Some(Class::App | Class::Vmm) | None) => change::add(context),
        (Action::Modify, Some(Class::App)) => change::modify(context),
        (Action::Modify, Some(Class::Vmm | Class::Key) | None) => change::modify_vmm(context),
        (Action::Delete, Some(Class::App | Class::Vmm) | None) => change::delete(context),
    }
}

fn write(
    outcome: &Outcome,
    prefix: &str,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> std::io::Result<()> {
    stdout.write_all(outcome.text.as_bytes())?;
    stdout.flush()?;
    for (code, text) in &outcome.notes {
        writeln!(stderr, "{prefix}-{code:03}(INFO): {text}")?;
    }
    for (code, text) in &outcome.warnings {
        writeln!(stderr, "{prefix}-{code:03}(WARNING): {text}")?;
    }
    Ok(())
}

fn complain(fault: &Fault, prefix: &str, stderr: &mut dyn Write) -> Exit {
    // There is nowhere left to complain about a closed stderr.
    let _ = writeln!(stderr, "{prefix}-{:03}(ERROR): {fault}", fault.code());
    fault.exit()
}

fn prefix(program: &str) -> &'static str {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    PREFIXES.iter().find(|(called, _)| *called == name).map_or("VMMGR", |(_, prefix)| *prefix)
}

#[cfg(test)]
mod tests;
