//! The command `vmmgr`: changes the configuration file, and asks the daemon.
//!
//! The file can be changed and shown without the daemon; `-s` or `vmmgr sync` makes the daemon load it.

mod announce;
mod change;
pub mod codes;
pub mod completion;
mod dependency;
mod fault;
pub mod grammar;
mod health;
mod help;
mod keys;
mod order;
mod query;
mod reference;
mod scripts;
pub mod service;
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
use codes::Code;
pub use fault::Fault;
use grammar::{Action, Class, CommandLine, Format};
pub use keys::KeyFault;
use service::Systemd;

/// The daemon answers from memory; a busy one takes milliseconds.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);

/// Prefix of the messages, and the name that changes it.
const PREFIXES: [(&str, &str); 2] = [("ksysvmmgr", "KSYSVMMGR"), ("vmmgr", "VMMGR")];

/// How texts name this command.
const QUOTED: &str = "`vmmgr ";

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
    /// What starts and stops the daemon.
    pub systemd: Systemd,
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
    /// What is said of it, for stderr.
    messages: Vec<(Code, String)>,
    exit: Exit,
}

impl Outcome {
    fn shown(text: String) -> Self {
        Self { text: Zeroizing::new(text), messages: Vec::new(), exit: Exit::Done }
    }

    fn note(code: Code, text: String) -> Self {
        Self { messages: vec![(code, text)], ..Self::shown(String::new()) }
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
    let done = answer(arguments, environment, connect, &progress);
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

fn answer(
    arguments: &[String],
    environment: &Environment,
    connect: &dyn Fn(&Settings) -> Box<dyn Daemon>,
    progress: &dyn Fn(&str),
) -> Result<Outcome, Fault> {
    if let Some(typed) = completion::asked(arguments) {
        return Ok(completion::words(typed, environment));
    }
    let line = grammar::parse(arguments)?;
    if let Some(shell) = line.shell {
        return Ok(Outcome::shown(shell.script().to_owned()));
    }
    if line.action == Action::Help {
        return Ok(Outcome::shown(help::text(line.topic, prefix(&environment.program))));
    }
    let settings = Settings::load(line.settings.as_deref(), environment.settings_variable.as_deref())
        .map_err(Fault::Settings)?;
    let daemon = connect(&settings);
    dispatch(&Context { line: &line, settings: &settings, environment, daemon: daemon.as_ref(), progress })
}

fn dispatch(context: &Context<'_>) -> Result<Outcome, Fault> {
    let class = context.line.class;
    match context.line.action {
        Action::Help | Action::Completion => Ok(Outcome::shown(String::new())),
        Action::Status => query::status(context),
        Action::Sync => change::sync(context),
        Action::Health => health::health(context),
        Action::Quiet => announce::quiet(context),
        Action::Start => order::start(context),
        Action::Stop => order::stop(context),
        Action::Suspend => order::suspend(context),
        Action::Resume => order::resume(context),
        Action::Import => keys::import(context),
        Action::Export => keys::export(context),
        Action::Query => match class {
            Some(Class::Vmm) | None => query::vmm(context),
            Some(Class::App) => query::applications(context),
            Some(Class::Dependency) => dependency::query(context),
            Some(Class::Key) => keys::list(context),
        },
        Action::Add => match class {
            Some(Class::App | Class::Vmm) | None => change::add(context),
            Some(Class::Dependency) => dependency::add(context),
            Some(Class::Key) => keys::create(context),
        },
        Action::Modify => match class {
            Some(Class::Vmm | Class::Key) | None => change::modify_vmm(context),
            Some(Class::App) => change::modify(context),
            Some(Class::Dependency) => dependency::modify(context),
        },
        Action::Delete => match class {
            Some(Class::App | Class::Vmm) | None => change::delete(context),
            Some(Class::Dependency) => dependency::delete(context),
            Some(Class::Key) => keys::delete(context),
        },
    }
}

fn write(
    outcome: &Outcome,
    prefix: &str,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> std::io::Result<()> {
    match by_name(&outcome.text, prefix) {
        Some(text) => stdout.write_all(text.as_bytes())?,
        // As it is, without a copy: it may be a key.
        None => stdout.write_all(outcome.text.as_bytes())?,
    }
    stdout.flush()?;
    for (code, text) in &outcome.messages {
        say(stderr, prefix, *code, text)?;
    }
    Ok(())
}

fn complain(fault: &Fault, prefix: &str, stderr: &mut dyn Write) -> Exit {
    // There is nowhere left to complain about a closed stderr.
    let _ = say(stderr, prefix, fault.code(), &fault.to_string());
    fault.exit()
}

fn say(stderr: &mut dyn Write, prefix: &str, code: Code, text: &str) -> std::io::Result<()> {
    let renamed = by_name(text, prefix);
    let text = renamed.as_deref().unwrap_or(text);
    writeln!(stderr, "{prefix}-{:03}({}): {text}", code.number(), code.level().name())
}

/// With the name in it that was called, if another one is: "run `vmmgr sync`".
fn by_name(text: &str, prefix: &str) -> Option<String> {
    let named = format!("`{} ", prefix.to_lowercase());
    (named != QUOTED && text.contains(QUOTED)).then(|| text.replace(QUOTED, &named))
}

fn prefix(program: &str) -> &'static str {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    PREFIXES.iter().find(|(called, _)| *called == name).map_or("VMMGR", |(_, prefix)| *prefix)
}

#[cfg(test)]
mod tests;
