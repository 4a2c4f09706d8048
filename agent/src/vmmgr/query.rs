//! Actions that only look: at the file, and at the daemon.

use serde_json::{Map, Value, json};
use vmpulse_local::command::CallError;
use vmpulse_local::exit::Exit;

use super::grammar::Class;
use super::{Context, Fault, Format, Outcome, change, show};
use crate::command::{DaemonStatus, LiveApplication, Reply, Request};
use crate::config::attribute::{self, PARAMETER_PREFIX, Values};
use crate::config::value::Kind;
use crate::config::{Application, Configuration};
use crate::config_file;
use crate::settings::identity;

/// What a query of vmm shows that is not in the file.
pub(super) const LIVE: [(&str, &str); 4] = [
    ("suspended", "whether the administrator of this guest has suspended monitoring"),
    ("announced_silence", "how much is left of an announced silence, and why"),
    ("VmUUID", "UUID of the virtual machine"),
    ("status", "of the daemon: active or inoperative"),
];

/// What a query of applications shows in JSON: the script that ended last, and what it printed.
const LAST_SCRIPT: &str = "last_script";

/// `query app [NAME]`
pub(super) fn applications(context: &Context<'_>) -> Result<Outcome, Fault> {
    check_only(context)?;
    let configuration = load(context)?;
    let wanted = wanted(context, &configuration)?;
    let live = live_applications(context)?;
    let shown: Vec<Shown> =
        wanted.into_iter().map(|application| Shown::new(application, live.as_deref())).collect();
    let text = match context.line.format {
        Format::Text => shown.iter().map(|shown| block(context, shown)).collect::<Vec<_>>().join("\n"),
        Format::Json => {
            let objects: Vec<Value> = shown.iter().map(|shown| object(context, shown)).collect();
            show::json(&json!({ "applications": objects }))
        }
    };
    Ok(with_unknown(text, &configuration))
}

/// `query [vmm]`
pub(super) fn vmm(context: &Context<'_>) -> Result<Outcome, Fault> {
    check_only(context)?;
    let configuration = load(context)?;
    let status = daemon_status(context)?;
    let vm_uuid = match &status {
        Some(status) => status.vm_uuid.clone(),
        None => identity::vm_uuid(&context.settings.vm_uuid),
    };
    let daemon = if status.is_some() { "active" } else { "inoperative" };
    let suspended = status.as_ref().map_or("", |status| if status.suspended { "yes" } else { "no" });
    let quiet = status.as_ref().and_then(|status| status.quiet.as_deref());
    let quiet = quiet.map_or_else(String::new, show::quiet_line);
    let extra = [
        ("suspended", suspended),
        ("announced_silence", quiet.as_str()),
        ("VmUUID", vm_uuid.as_str()),
        ("status", daemon),
    ];
    let values = &configuration.vmm.values;
    let text = match context.line.format {
        Format::Text => format!("VMM\n{}", lines(context, values, &extra)),
        Format::Json => show::json(&json!({ "vmm": members(context, values, &extra) })),
    };
    Ok(with_unknown(text, &configuration))
}

/// What is shown, with a warning for what the file has and this version does not know.
pub(super) fn with_unknown(text: String, configuration: &Configuration) -> Outcome {
    Outcome { messages: change::unknown(configuration).collect(), ..Outcome::shown(text) }
}

/// `status`: exit 1 if the daemon is not running.
pub(super) fn status(context: &Context<'_>) -> Result<Outcome, Fault> {
    let status = daemon_status(context)?;
    let group = &context.settings.query_group;
    let text = match context.line.format {
        Format::Text => show::status(status.as_ref(), group),
        Format::Json => show::json(&show::status_object(status.as_ref(), group)),
    };
    let exit = if status.is_some() { Exit::Done } else { Exit::Failed };
    Ok(Outcome { exit, ..Outcome::shown(text) })
}

/// `None` if it is not running.
fn ask(context: &Context<'_>, request: Request) -> Result<Option<Reply>, Fault> {
    match context.daemon.ask(request) {
        Ok(reply) => Ok(Some(reply)),
        Err(CallError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(Fault::Daemon(error)),
    }
}

pub(super) fn daemon_status(context: &Context<'_>) -> Result<Option<DaemonStatus>, Fault> {
    match ask(context, Request::Status)? {
        None => Ok(None),
        Some(Reply::Status(status)) => Ok(Some(*status)),
        Some(_) => Err(Fault::OtherReply),
    }
}

fn live_applications(context: &Context<'_>) -> Result<Option<Vec<LiveApplication>>, Fault> {
    match ask(context, Request::Applications)? {
        None => Ok(None),
        Some(Reply::Applications { applications }) => Ok(Some(applications)),
        Some(_) => Err(Fault::OtherReply),
    }
}

pub(super) fn load(context: &Context<'_>) -> Result<Configuration, Fault> {
    config_file::load(&context.settings.config, context.settings.max_apps).map_err(Fault::File)
}

fn wanted<'a>(
    context: &Context<'_>,
    configuration: &'a Configuration,
) -> Result<Vec<&'a Application>, Fault> {
    let Some(name) = context.line.name.as_deref() else {
        return Ok(configuration.applications.iter().collect());
    };
    Ok(vec![change::find(configuration, name)?])
}

/// Names behind `-a` that are no attributes are mistakes.
pub(super) fn check_only(context: &Context<'_>) -> Result<(), Fault> {
    let class = context.line.class.unwrap_or(Class::Vmm);
    let table = class.attributes();
    let names = context.line.only.iter().flatten();
    let live = |name: &str| match class {
        Class::Vmm => LIVE.iter().any(|(live, _)| *live == name),
        Class::App => name == LAST_SCRIPT || name.starts_with(PARAMETER_PREFIX),
        Class::Dependency | Class::Key => false,
    };
    let mut unknown = names.filter(|name| !live(name) && attribute::find(table, name).is_none());
    unknown.next().map_or(Ok(()), |name| Err(change::unknown_attribute(context, name.clone())))
}

fn is_wanted(context: &Context<'_>, name: &str) -> bool {
    context.line.only.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
}

/// An application of the file, with what the daemon says of it.
struct Shown<'a> {
    application: &'a Application,
    live: Option<&'a LiveApplication>,
    /// What is to be known besides the state.
    remark: String,
}

impl<'a> Shown<'a> {
    /// `live` is `None` if the daemon does not run.
    fn new(application: &'a Application, live: Option<&'a [LiveApplication]>) -> Self {
        let found = live.and_then(|live| live.iter().find(|live| live.uuid == application.uuid));
        let remark = match (found, live) {
            (Some(found), _) => remark(found),
            (None, Some(_)) => "not loaded, run `vmmgr sync`".to_owned(),
            (None, None) => "vmpulse-agentd is not running".to_owned(),
        };
        Self { application, live: found, remark }
    }

    fn status(&self) -> &str {
        self.live.map_or("NOT_MONITORED", |live| &live.status)
    }

    fn colour(&self) -> &str {
        self.live.map_or("GRAY", |live| &live.colour)
    }

    fn restarts(&self) -> String {
        self.live.map_or(0, |live| live.nooftimes_restarted).to_string()
    }
}

fn remark(live: &LiveApplication) -> String {
    let stopped = live.stopped.then(|| "stopped by hand".to_owned());
    let waits = (!live.waits_for.is_empty()).then(|| format!("waits for {}", live.waits_for.join(", ")));
    stopped.into_iter().chain(waits).collect::<Vec<_>>().join(", ")
}

fn block(context: &Context<'_>, shown: &Shown<'_>) -> String {
    let remark = if shown.remark.is_empty() { String::new() } else { format!(", {}", shown.remark) };
    let status = format!("{} ({}){remark}", shown.status(), shown.colour());
    let restarts = shown.restarts();
    let extra = [("nooftimes_restarted", restarts.as_str()), ("status", status.as_str())];
    let values = &shown.application.values;
    format!("Application name={}\n{}", shown.application.name, lines(context, values, &extra))
}

fn object(context: &Context<'_>, shown: &Shown<'_>) -> Value {
    let restarts = shown.restarts();
    let extra = [("nooftimes_restarted", restarts.as_str()), ("status", shown.status())];
    let mut members = members(context, &shown.application.values, &extra);
    members.insert("name".to_owned(), json!(shown.application.name));
    if is_wanted(context, "status") {
        members.insert("colour".to_owned(), json!(shown.colour()));
        members.insert("loaded".to_owned(), json!(shown.live.is_some()));
        members.insert("live".to_owned(), json!(shown.live));
    }
    if is_wanted(context, LAST_SCRIPT) {
        members.insert(LAST_SCRIPT.to_owned(), json!(shown.live.and_then(|live| live.last_script.as_ref())));
    }
    Value::Object(members)
}

/// Attributes in the order of their table; `extra` ones replace those of the file, or follow them.
fn pairs<'a>(
    context: &'a Context<'_>,
    values: &'a Values,
    extra: &'a [(&'static str, &'a str)],
) -> impl Iterator<Item = (&'static str, Kind, &'a str)> {
    let replaced = |name: &str| extra.iter().find(|(given, _)| *given == name).map(|(_, text)| *text);
    let own = values.iter().map(move |(attribute, text)| {
        (attribute.name, attribute.kind, replaced(attribute.name).unwrap_or(text))
    });
    let others = extra
        .iter()
        .filter(|(name, _)| values.iter().all(|(attribute, _)| attribute.name != *name))
        .map(|(name, text)| (*name, Kind::ReadOnly, *text));
    own.chain(others).filter(|(name, ..)| is_wanted(context, name))
}

pub(super) fn lines(context: &Context<'_>, values: &Values, extra: &[(&'static str, &str)]) -> String {
    let attributes = pairs(context, values, extra).map(|(name, _, text)| format!(" {name}={text}\n"));
    attributes.chain(parameters(context, values).map(|(name, text)| format!(" {name}={text}\n"))).collect()
}

pub(super) fn members(
    context: &Context<'_>,
    values: &Values,
    extra: &[(&'static str, &str)],
) -> Map<String, Value> {
    pairs(context, values, extra)
        .map(|(name, kind, text)| {
            let is_number =
                matches!(kind, Kind::Number { .. } | Kind::Seconds { .. }) || name == "nooftimes_restarted";
            let number = text.parse::<u32>().ok().filter(|_| is_number);
            (name.to_owned(), number.map_or_else(|| json!(text), |number| json!(number)))
        })
        .chain(parameters(context, values).map(|(name, text)| (name, json!(text))))
        .collect()
}

/// Of a typed application's agent, with their prefix.
fn parameters<'a>(context: &'a Context<'_>, values: &'a Values) -> impl Iterator<Item = (String, &'a str)> {
    let named = values.parameters().map(|(name, text)| (format!("{PARAMETER_PREFIX}{name}"), text));
    named.filter(|(name, _)| is_wanted(context, name))
}
