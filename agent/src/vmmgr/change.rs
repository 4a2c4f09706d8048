//! Actions that change something: the file, or what the daemon has loaded.

use std::path::Path;
use std::time::Duration;

use super::grammar::Class;
use super::{Context, Fault, Outcome, keys, typed};
use crate::command::{Reply, Request};
use crate::config::attribute::{self, SetError, Values};
use crate::config::command_line;
use crate::config::patch::{self, Target};
use crate::config::value::Kind;
use crate::config::{Application, Configuration, Vmm};
use crate::config_file::{FileError, LockedFile};
use crate::runner::script::{self, Missing};
use crate::runner::users::Users;

/// Code of the message that something was done.
pub(super) const DONE: u16 = 100;
/// Code of the message that the daemon does not know it yet.
const NOT_SYNCED: u16 = 101;

/// `add app NAME ATTRIBUTE=VALUE ...`
pub(super) fn add(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = name(context)?;
    let (file, configuration) = open(context)?;
    if configuration.application(name).is_some() {
        return Err(Fault::Exists(name.to_owned()));
    }
    if configuration.applications.len() >= context.settings.max_apps {
        return Err(Fault::TooMany(context.settings.max_apps));
    }
    let uuid = unique_uuid(context.environment.realtime, file.text());
    let mut values = Values::new(attribute::APPLICATION);
    values.set_uuid(&uuid).map_err(|invalid| Fault::Attribute(SetError::Invalid(invalid)))?;
    let mut pairs = vec![("name".to_owned(), name.to_owned()), ("uuid".to_owned(), uuid)];
    pairs.extend(set_all(context, &mut values)?);
    pairs.extend(typed::prepare(context, name, &mut values)?);
    check_application(context, name, values)?;
    let text = patch::add_application(file.text(), &borrowed(&pairs));
    save(context, file, text)?;
    applied(context, format!("Application \"{name}\" added."))
}

/// `modify app NAME ATTRIBUTE=VALUE ...`
pub(super) fn modify(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = name(context)?;
    let (file, configuration) = open(context)?;
    let mut values = find(&configuration, name)?.values.clone();
    let pairs = set_all(context, &mut values)?;
    if pairs.is_empty() {
        return Err(Fault::NoAttributes);
    }
    typed::check_changed(context, name, &values)?;
    check_application(context, name, values)?;
    let text = patch::set_attributes(file.text(), Target::Application(name), &borrowed(&pairs));
    save(context, file, text)?;
    applied(context, format!("Application \"{name}\" modified."))
}

/// `modify [vmm] ATTRIBUTE=VALUE ...`
pub(super) fn modify_vmm(context: &Context<'_>) -> Result<Outcome, Fault> {
    let (file, configuration) = open(context)?;
    let Vmm { mut values, .. } = configuration.vmm;
    let pairs = set_all(context, &mut values)?;
    if pairs.is_empty() {
        return Err(Fault::NoAttributes);
    }
    let text = patch::set_attributes(file.text(), Target::Root, &borrowed(&pairs));
    save(context, file, text)?;
    applied(context, "VMM modified.".to_owned())
}

/// `delete app NAME`
pub(super) fn delete(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = name(context)?;
    let (file, configuration) = open(context)?;
    find(&configuration, name)?;
    let text = patch::delete_application(file.text(), name);
    save(context, file, text)?;
    applied(context, format!("Application \"{name}\" deleted."))
}

/// `sync`
pub(super) fn sync(context: &Context<'_>) -> Result<Outcome, Fault> {
    // Whatever is wrong with the one, the other is loaded.
    let keys = keys::load_in_daemon(context);
    let applications = load_in_daemon(context)?;
    let done = format!("vmpulse-agentd loaded the configuration: {applications} applications.");
    let mut outcome = Outcome::note(DONE, done);
    outcome.notes.push(keys?);
    Ok(outcome)
}

fn load_in_daemon(context: &Context<'_>) -> Result<usize, Fault> {
    match context.daemon.ask(Request::Sync).map_err(Fault::Daemon)? {
        Reply::Synced { applications } => Ok(applications),
        Reply::NotLoaded { problem } => Err(Fault::NotLoaded(problem)),
        Reply::NotAllowed => Err(Fault::NotAllowed),
        Reply::Status(_)
        | Reply::Applications { .. }
        | Reply::KeysLoaded { .. }
        | Reply::Told { .. }
        | Reply::NotDone { .. } => Err(Fault::OtherReply),
    }
}

/// After a change of the file: tells the daemon with `-s`, else how to tell it.
fn applied(context: &Context<'_>, done: String) -> Result<Outcome, Fault> {
    if !context.line.apply {
        let mut outcome = Outcome::note(DONE, done);
        let text = "-s not given, run `vmmgr sync` to make vmpulse-agentd load the change.";
        outcome.notes.push((NOT_SYNCED, text.to_owned()));
        return Ok(outcome);
    }
    load_in_daemon(context).map_err(|fault| Fault::NotApplied(Box::new(fault)))?;
    Ok(Outcome::note(DONE, done))
}

fn name<'a>(context: &'a Context<'_>) -> Result<&'a str, Fault> {
    let missing = || Fault::Name(context.line.action, Class::App);
    context.line.name.as_deref().ok_or_else(missing)
}

fn find<'a>(configuration: &'a Configuration, name: &str) -> Result<&'a Application, Fault> {
    configuration.application(name).ok_or_else(|| Fault::NoApplication(name.to_owned()))
}

fn open(context: &Context<'_>) -> Result<(LockedFile, Configuration), Fault> {
    LockedFile::open(&context.settings.config, context.settings.max_apps).map_err(file_fault)
}

/// Writes the patched text.
fn save(
    context: &Context<'_>,
    file: LockedFile,
    patched: Result<String, patch::PatchError>,
) -> Result<(), Fault> {
    let text = patched.map_err(|error| file_fault(file.patch_error(error)))?;
    file.save(&text, &context.environment.local_time).map_err(file_fault)
}

fn file_fault(error: FileError) -> Fault {
    match error {
        FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Fault::NotAllowed
        }
        FileError::Io { .. }
        | FileError::Gone { .. }
        | FileError::Invalid { .. }
        | FileError::NoApplication(_) => Fault::File(error),
    }
}

/// Sets what the command line says, and returns it as it goes into the file.
fn set_all(context: &Context<'_>, values: &mut Values) -> Result<Vec<(String, String)>, Fault> {
    let mut pairs = Vec::new();
    for (name, text) in &context.line.attributes {
        let attribute = values.set(name, text).map_err(Fault::Attribute)?;
        // A parameter is in no table; what is given empty is removed by being empty in the file.
        let known = *attribute != attribute::PARAMETER;
        let text = if known { values.text(attribute.name) } else { text.as_str() };
        pairs.push((name.clone(), text.to_owned()));
    }
    Ok(pairs)
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Whether the attributes fit together, and what was set now exists on this system.
fn check_application(context: &Context<'_>, name: &str, values: Values) -> Result<(), Fault> {
    let application = Application::new(name, values).map_err(Fault::Unfit)?;
    for (name, text) in &context.line.attributes {
        let Some(attribute) = attribute::find(attribute::APPLICATION, name) else { continue };
        match attribute.kind {
            Kind::Script => check_script(attribute.name, text)?,
            Kind::User => check_user(&application.user)?,
            Kind::ReadOnly
            | Kind::Uuid
            | Kind::OneOf(_)
            | Kind::Number { .. }
            | Kind::Seconds { .. }
            | Kind::Text => {}
        }
    }
    Ok(())
}

fn check_script(attribute: &'static str, command: &str) -> Result<(), Fault> {
    let words = command_line::split(command).unwrap_or_default();
    let path = words.into_iter().next().unwrap_or_default();
    script::check(Path::new(&path)).map_err(|missing| {
        let problem = match missing {
            Missing::NotThere => "does not exist",
            Missing::NoFile => "is not a file",
            Missing::NotExecutable => "is not executable (chmod +x)",
        };
        Fault::Script { attribute, path, problem: problem.to_owned() }
    })
}

fn check_user(user: &str) -> Result<(), Fault> {
    let known = Users::system().lookup(user).is_some();
    if known { Ok(()) } else { Err(Fault::User(user.to_owned())) }
}

/// Nanoseconds of the clock, moved on until the file does not have them.
fn unique_uuid(realtime: Duration, text: &str) -> String {
    let mut nanoseconds = realtime.as_nanos();
    loop {
        let uuid = format!("{nanoseconds:019}");
        if !text.contains(&uuid) {
            return uuid;
        }
        nanoseconds += 1;
    }
}
