//! `query CLASS [NAME,...]`.

mod app;
mod event;
mod host;
mod node_event;
mod system;
mod vios;
mod vm;

use jiff::tz::TimeZone;
use vmpulse_store::Store;

use super::block::{View, render};
use super::parse::{Command, Invocation, UsageError};
use super::words::Class;
use super::{Answer, CliError};

/// What can be queried in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Applications in guests.
    App,
    /// What happened.
    Event,
    /// Hosts.
    Host,
    /// Settings and the state of the whole.
    System,
    /// Host monitors.
    Vios,
    /// Guests.
    Vm,
}

impl Topic {
    /// Of a class; `None` if it cannot be queried yet.
    #[must_use]
    pub const fn of(class: Class) -> Option<Self> {
        match class {
            Class::App => Some(Self::App),
            Class::Event => Some(Self::Event),
            Class::Host => Some(Self::Host),
            Class::System => Some(Self::System),
            Class::Vios => Some(Self::Vios),
            Class::Vm => Some(Self::Vm),
            Class::Anticollocation
            | Class::Collocation
            | Class::Endpoint
            | Class::HostGroup
            | Class::Cluster
            | Class::Notify
            | Class::Snapshot
            | Class::Workgroup => None,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// [`CliError`].
pub fn run(
    topic: Topic,
    invocation: &Invocation,
    command: &Command,
    store: &mut dyn Store,
    zone: &TimeZone,
) -> Result<Answer, CliError> {
    if topic != Topic::Event {
        attributes(command, &[])?;
    }
    let shown = Shown { invocation, zone };
    let names = &command.names;
    match topic {
        Topic::App => shown.answer(&app::views(store, names)?, "No application was reported yet."),
        Topic::Event => shown.events(store, command),
        Topic::Host => shown.answer(&host::views(store, names)?, "No host is registered."),
        Topic::System => shown.system(store, names),
        Topic::Vios => shown.answer(&vios::views(store, names)?, "No host monitor is known."),
        Topic::Vm => shown.answer(&vm::views(store, names)?, "No VM is registered."),
    }
}

/// Refuses attributes that are not among `known`.
pub(super) fn attributes(command: &Command, known: &[&str]) -> Result<(), UsageError> {
    let unknown = command.attributes.iter().find(|(name, _)| !known.contains(&name.as_str()));
    match unknown {
        None => Ok(()),
        Some((attribute, _)) => Err(UsageError::UnknownAttribute {
            of: format!("{} {}", command.action.name(), command.class.map_or("", Class::name)),
            attribute: attribute.clone(),
            known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
        }),
    }
}

struct Shown<'a> {
    invocation: &'a Invocation,
    zone: &'a TimeZone,
}

impl Shown<'_> {
    fn answer<V: View>(&self, views: &[V], nothing: &str) -> Result<Answer, CliError> {
        let data = render(views, self.invocation.output, self.invocation.verbose, self.zone);
        Ok(Answer { data, note: views.is_empty().then(|| nothing.to_owned()) })
    }

    fn events(&self, store: &mut dyn Store, command: &Command) -> Result<Answer, CliError> {
        let source = event::Source::of(command)?;
        attributes(command, source.attributes())?;
        let nothing = "There is no such event.";
        match source {
            event::Source::Controller => self.answer(&event::views(store, command, self.zone)?, nothing),
            event::Source::Vios => self.answer(&node_event::views(store, command, self.zone)?, nothing),
        }
    }

    fn system(&self, store: &mut dyn Store, names: &[String]) -> Result<Answer, CliError> {
        if let Some(name) = names.first() {
            return Err(CliError::NotYet { what: format!("query system {name}") });
        }
        let views = [system::view(store)?];
        self.answer(&views, "")
    }
}

/// Keeps what `names` name (everything if there are none); refuses a name that nothing has.
pub(super) fn named<T>(
    things: Vec<T>,
    names: &[String],
    class: &'static str,
    query: &'static str,
    is_called: impl Fn(&T, &str) -> bool,
) -> Result<Vec<T>, CliError> {
    if let Some(name) = names.iter().find(|name| !things.iter().any(|thing| is_called(thing, name))) {
        return Err(CliError::NoSuch { class, name: name.clone(), query });
    }
    let wanted = |thing: &T| names.is_empty() || names.iter().any(|name| is_called(thing, name));
    Ok(things.into_iter().filter(wanted).collect())
}
