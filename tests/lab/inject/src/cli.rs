//! The command line.

mod expecting;
mod list;
mod mark;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use vmpulse_local::exit::Exit;

use crate::class::{After, AnyClass, State};
use crate::classes;
use crate::context::Context;
use crate::engine::{self, Done};
use crate::error::{Inject, InjectError};
use crate::options::Options;
use crate::record::Saved;
use crate::worker;

/// Does what the command line says.
pub fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match run(&matches) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("vmpulse-inject: {error}");
            error.exit()
        }
    }
}

/// The whole command line: one subcommand for each class.
#[must_use]
pub fn command() -> Command {
    let state =
        Arg::new("state").long("state").value_name("DIR").value_parser(value_parser!(PathBuf)).global(true);
    let marker = Arg::new("marker")
        .long("marker")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .global(true);
    let root = Arg::new("root").long("root").hide(true).value_parser(value_parser!(PathBuf)).global(true);
    let output = Arg::new("output")
        .short('o')
        .long("output")
        .value_parser(["text", "json"])
        .default_value("text")
        .global(true);
    let hidden = Command::new(worker::SUBCOMMAND).hide(true).arg(Arg::new("class").required(true));
    Command::new("vmpulse-inject")
        .about("Makes failures on purpose, in marked test groups, and undoes them")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .args([
            state.help("the folder of the state files"),
            marker.help("the mark of the test group"),
            root,
            output,
        ])
        .subcommand(Command::new("list").about("the classes of failures"))
        .subcommands(mark::commands())
        .subcommand(expecting::command())
        .subcommand(hidden)
        .subcommands(classes::all().map(class_command))
}

fn class_command(class: &'static dyn AnyClass) -> Command {
    let about = class.about();
    let action = Arg::new("action").required(true).value_parser(["on", "off", "status"]);
    let group = Arg::new("group")
        .long("group")
        .value_name("NAME")
        .help("the test group this machine is marked for; needed by `on`");
    Command::new(about.name)
        .about(about.what)
        .arg(action)
        .arg(group)
        .args(class.arguments())
        .args(expecting::arguments())
}

fn run(matches: &ArgMatches) -> Inject<Exit> {
    let Some((word, own)) = matches.subcommand() else {
        return Err(InjectError::Usage("a class is missing.".to_owned()));
    };
    let context = context(matches)?;
    let looks = word == "list"
        || word == "watch"
        || own.try_get_one::<String>("action").ok().flatten().is_some_and(|action| action == "status");
    if !looks {
        need_root(&context)?;
    }
    let json = own.get_one::<String>("output").is_some_and(|form| form == "json");
    match (word, classes::named(word)) {
        ("list", _) => Ok(list::list(json)),
        ("mark", _) => mark::mark(&context, own, json),
        ("watch", _) => expecting::watch_only(own, json),
        ("unmark", _) => mark::unmark(&context, json),
        (worker::SUBCOMMAND, _) => work(&context, own),
        (_, Some(class)) => act(class, &context, own, json),
        (_, None) => Err(InjectError::Usage(format!("there is no class {word}."))),
    }
}

fn context(matches: &ArgMatches) -> Inject<Context> {
    let mut context = Context::here()?;
    if let Some(dir) = matches.get_one::<PathBuf>("state") {
        context.state_dir.clone_from(dir);
    }
    if let Some(file) = matches.get_one::<PathBuf>("marker") {
        context.marker.clone_from(file);
    }
    // For tests: another folder in the place of `/`.
    if let Some(folder) = matches.get_one::<PathBuf>("root") {
        context.root.clone_from(folder);
    }
    Ok(context)
}

fn act(class: &dyn AnyClass, context: &Context, own: &ArgMatches, json: bool) -> Inject<Exit> {
    let name = class.about().name;
    match own.get_one::<String>("action").map(String::as_str) {
        Some("on") => {
            let group = own.get_one::<String>("group");
            let group = group
                .ok_or_else(|| InjectError::Usage("`on` needs --group NAME: the test group.".to_owned()))?;
            let options = Options::new(own.clone());
            expecting::act(class, context, own, After::On, json, |told_at, check| {
                engine::on(class, context, group, &options, told_at, check)
            })
        }
        Some("off") => {
            expecting::act(class, context, own, After::Off, json, |_, _| engine::off(class, context))
        }
        Some(_) | None => {
            let status = Status { state: engine::status(class, context)?, since: since(context, name)? };
            tell(json, &status, || status.text(name));
            Ok(if matches!(status.state, State::Unsupported(_)) { Exit::Unavailable } else { Exit::Done })
        }
    }
}

fn told(name: &str, done: &Done) -> String {
    match done {
        Done::Made(details) => format!("{name} ON: {details}"),
        Done::AlreadyOn(details) => format!("{name} ON already: {details}"),
        Done::Undone => format!("{name} OFF: undone and checked"),
        Done::AlreadyOff => format!("{name} OFF already"),
    }
}

/// What `status` shows.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    state: State,
    /// When the failure was made, or begun.
    #[serde(serialize_with = "rfc3339")]
    since: Option<jiff::Timestamp>,
}

impl Status {
    fn text(&self, name: &str) -> String {
        let since = self
            .since
            .filter(|_| self.state != State::Off)
            .map(|since| format!(", since {}", local(since)))
            .unwrap_or_default();
        format!("{name}: {}{since}", described(&self.state))
    }
}

fn rfc3339<S: serde::Serializer>(time: &Option<jiff::Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(to)
}

fn since(context: &Context, name: &str) -> Inject<Option<jiff::Timestamp>> {
    Ok(Saved::read(context, name)?.and_then(|saved| timestamp(saved.since)))
}

/// Of seconds since 1970.
fn timestamp(seconds: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

/// For people: local, with its zone.
fn local(time: jiff::Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Nearly everything here is root's alone; who is not learns it before anything is tried. A machine in a folder is anybody's.
fn need_root(context: &Context) -> Inject<()> {
    if context.root != std::path::Path::new("/") || nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    Err(InjectError::Refused("only root may break this machine, mark it, or undo anything.".to_owned()))
}

fn described(state: &State) -> String {
    match state {
        State::On(details) => format!("ON: {details}"),
        State::Off => "OFF".to_owned(),
        State::Passed(what) => format!("over: {what}"),
        State::Partly(what) => format!("PARTLY on: {what}"),
        State::Unsupported(why) => format!("unsupported: {why}"),
    }
}

fn tell(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) {
    if json {
        println!("{}", serde_json::to_string(value).unwrap_or_default());
    } else {
        println!("{}", text());
    }
}

fn work(context: &Context, own: &ArgMatches) -> Inject<Exit> {
    let name = own.get_one::<String>("class").map(String::as_str).unwrap_or_default();
    let class =
        classes::named(name).ok_or_else(|| InjectError::Usage(format!("there is no class {name}.")))?;
    let saved = Saved::read(context, name)?
        .ok_or_else(|| InjectError::Failed(format!("{name} has no state file.")))?;
    class.work(context, saved.before)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
