//! Actions that change something: the file, or what the daemon has loaded.

use std::time::Duration;

use nix::unistd::geteuid;

use super::codes::Code;
use super::grammar::Class;
use super::{Context, Fault, Outcome, keys, scripts, typed};
use crate::command::{Reply, Request};
use crate::config::attribute::{self, SetError, Values};
use crate::config::patch::{self, Target};
use crate::config::{Application, Configuration};
use crate::config_file::{self, FileError, LockedFile};
use crate::nearest;
use crate::settings::Settings;

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
    applied(context, &configuration, format!("Application \"{name}\" added."))
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
    applied(context, &configuration, format!("Application \"{name}\" modified."))
}

/// `modify [vmm] ATTRIBUTE=VALUE ...`
pub(super) fn modify_vmm(context: &Context<'_>) -> Result<Outcome, Fault> {
    let (file, configuration) = open(context)?;
    let mut values = configuration.vmm.values.clone();
    let pairs = set_all(context, &mut values)?;
    if pairs.is_empty() {
        return Err(Fault::NoAttributes);
    }
    let text = patch::set_attributes(file.text(), Target::Root, &borrowed(&pairs));
    save(context, file, text)?;
    applied(context, &configuration, "VMM modified.".to_owned())
}

/// `delete app NAME`
pub(super) fn delete(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = name(context)?;
    let (file, configuration) = open(context)?;
    find(&configuration, name)?;
    if let Some(dependency) = configuration.dependency_of(name) {
        return Err(Fault::InDependency { name: name.to_owned(), uuid: dependency.uuid.clone() });
    }
    let text = patch::delete_application(file.text(), name);
    save(context, file, text)?;
    applied(context, &configuration, format!("Application \"{name}\" deleted."))
}

/// `sync`
pub(super) fn sync(context: &Context<'_>) -> Result<Outcome, Fault> {
    // Whatever is wrong with the one, the other is loaded.
    let keys = keys::load_in_daemon(context);
    let applications = load_in_daemon(context)?;
    let plural = if applications == 1 { "" } else { "s" };
    let done = format!("vmpulse-agentd loaded the configuration: {applications} application{plural}.");
    let mut outcome = Outcome::note(Code::Done, done);
    outcome.messages.push(keys?);
    if let Ok(configuration) = config_file::load(&context.settings.config, context.settings.max_apps) {
        outcome.messages.extend(unknown(&configuration));
    }
    Ok(outcome)
}

/// A warning for whatever the file has and this version does not know.
pub(super) fn unknown(configuration: &Configuration) -> impl Iterator<Item = (Code, String)> {
    configuration.unknown.sentences().into_iter().map(|sentence| (Code::UnknownKept, sentence))
}

pub(super) fn load_in_daemon(context: &Context<'_>) -> Result<usize, Fault> {
    match context.daemon.ask(Request::Sync).map_err(Fault::Daemon)? {
        Reply::Synced { applications } => Ok(applications),
        Reply::NotLoaded { problem } => Err(Fault::NotLoaded(problem)),
        Reply::NotAllowed => Err(Fault::NotAllowed),
        Reply::Status(_)
        | Reply::Applications { .. }
        | Reply::KeysLoaded { .. }
        | Reply::Ordered { .. }
        | Reply::Told { .. }
        | Reply::NotDone { .. } => Err(Fault::OtherReply),
    }
}

/// After a change of the file: tells the daemon with `-s`, else how to tell it.
pub(super) fn applied(context: &Context<'_>, file: &Configuration, done: String) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::note(Code::Done, done);
    outcome.messages.extend(unknown(file));
    if context.line.apply {
        load_in_daemon(context).map_err(|fault| Fault::NotApplied(Box::new(fault)))?;
    } else {
        let text = "-s not given, run `vmmgr sync` to make vmpulse-agentd load the change.";
        outcome.messages.push((Code::NotSynced, text.to_owned()));
    }
    Ok(outcome)
}

pub(super) fn name<'a>(context: &'a Context<'_>) -> Result<&'a str, Fault> {
    let missing = || Fault::Name(context.line.action, Class::App);
    context.line.name.as_deref().ok_or_else(missing)
}

pub(super) fn find<'a>(configuration: &'a Configuration, name: &str) -> Result<&'a Application, Fault> {
    configuration.application(name).ok_or_else(|| {
        let names = configuration.applications.iter().map(|application| application.name.as_str());
        Fault::NoApplication { name: name.to_owned(), near: nearest::of(name, names).map(str::to_owned) }
    })
}

pub(super) fn open(context: &Context<'_>) -> Result<(LockedFile, Configuration), Fault> {
    let Settings { config, max_apps, .. } = context.settings;
    LockedFile::open(config, *max_apps, context.progress).map_err(file_fault)
}

/// Writes the patched text.
pub(super) fn save(
    context: &Context<'_>,
    file: LockedFile,
    patched: Result<String, patch::PatchError>,
) -> Result<(), Fault> {
    let text = patched.map_err(|error| file_fault(file.patch_error(error)))?;
    file.save(&text, &context.environment.local_time).map_err(file_fault)
}

pub(super) fn file_fault(error: FileError) -> Fault {
    match error {
        // Whoever is root and is refused is refused for another reason: an immutable file.
        FileError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied && !geteuid().is_root() =>
        {
            Fault::NotAllowed
        }
        FileError::Io { .. }
        | FileError::Gone { .. }
        | FileError::Locked { .. }
        | FileError::Changed { .. }
        | FileError::Invalid { .. }
        | FileError::NoApplication(_) => Fault::File(error),
    }
}

/// Sets what the command line says, and returns it as it goes into the file.
pub(super) fn set_all(context: &Context<'_>, values: &mut Values) -> Result<Vec<(String, String)>, Fault> {
    let mut pairs = Vec::new();
    for (name, text) in &context.line.attributes {
        let attribute = values.set(name, text).map_err(|error| refused(context, error))?;
        // A parameter is in no table; what is given empty is removed by being empty in the file.
        let known = *attribute != attribute::PARAMETER;
        let text = if known { values.text(attribute.name) } else { text.as_str() };
        pairs.push((name.clone(), text.to_owned()));
    }
    Ok(pairs)
}

fn refused(context: &Context<'_>, error: SetError) -> Fault {
    match error {
        SetError::Unknown(name) => unknown_attribute(context, name),
        SetError::ReadOnly(_) | SetError::Parameter { .. } | SetError::Invalid(_) => Fault::Attribute(error),
    }
}

/// Of the class of the command line.
pub(super) fn unknown_attribute(context: &Context<'_>, name: String) -> Fault {
    let class = context.line.class.unwrap_or(Class::Vmm);
    let near = attribute::nearest(class.attributes(), &name).map(str::to_owned);
    Fault::UnknownAttribute { name, near, class }
}

pub(super) fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Whether the attributes fit together, and what was set now exists on this system.
fn check_application(context: &Context<'_>, name: &str, values: Values) -> Result<(), Fault> {
    let application = Application::new(name, values).map_err(Fault::Unfit)?;
    scripts::check_given(&application, &context.line.attributes)
}

/// Nanoseconds of the clock, moved on until the file does not have them.
pub(super) fn unique_uuid(realtime: Duration, text: &str) -> String {
    let mut nanoseconds = realtime.as_nanos();
    loop {
        let uuid = format!("{nanoseconds:019}");
        if !text.contains(&uuid) {
            return uuid;
        }
        nanoseconds += 1;
    }
}
