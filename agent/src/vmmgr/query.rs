//! Actions that only look: at the file, and at the daemon.

use serde_json::{Map, Value, json};
use vmpulse_local::command::CallError;
use vmpulse_local::exit::Exit;

use super::{Context, Fault, Format, Outcome, show};
use crate::command::{DaemonStatus, LiveApplication, LiveScript, Reply, Request};
use crate::config::attribute::{self, Attribute, PARAMETER_PREFIX, SetError, Values};
use crate::config::value::Kind;
use crate::config::{Application, Configuration};
use crate::config_file;
use crate::settings::identity;

/// What a query shows that is no attribute of the file.
const LIVE: [&str; 5] = ["VmUUID", "status", "suspended", "announced_silence", "last_script"];

/// `query app [NAME]`
pub(super) fn applications(context: &Context<'_>) -> Result<Outcome, Fault> {
    check_only(context, attribute::APPLICATION)?;
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
    Ok(Outcome::shown(text))
}

/// `query [vmm]`
pub(super) fn vmm(context: &Context<'_>) -> Result<Outcome, Fault> {
    check_only(context, attribute::VMM)?;
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
    Ok(Outcome::shown(text))
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
        Some(Reply::Status(status)) => Ok(Some(status)),
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

fn load(context: &Context<'_>) -> Result<Configuration, Fault> {
    config_file::load(&context.settings.config, context.settings.max_apps).map_err(Fault::File)
}

fn wanted<'a>(
    context: &Context<'_>,
    configuration: &'a Configuration,
) -> Result<Vec<&'a Application>, Fault> {
    let Some(name) = context.line.name.as_deref() else {
        return Ok(configuration.applications.iter().collect());
    };
    let found = configuration.application(name).ok_or_else(|| Fault::NoApplication(name.to_owned()))?;
    Ok(vec![found])
}

fn check_only(context: &Context<'_>, table: &'static [Attribute]) -> Result<(), Fault> {
    let names = context.line.only.iter().flatten();
    let live = |name: &str| LIVE.contains(&name) || name.starts_with(PARAMETER_PREFIX);
    let mut unknown = names.filter(|name| !live(name) && attribute::find(table, name).is_none());
    unknown.next().map_or(Ok(()), |name| Err(Fault::Attribute(SetError::Unknown(name.clone()))))
}

fn is_wanted(context: &Context<'_>, name: &str) -> bool {
    context.line.only.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
}

/// An application of the file, with what the daemon says of it.
struct Shown<'a> {
    application: &'a Application,
    status: String,
    colour: String,
    /// Why the daemon says nothing.
    remark: &'static str,
    restarts: u32,
    last_script: Option<&'a LiveScript>,
}

impl<'a> Shown<'a> {
    fn new(application: &'a Application, live: Option<&'a [LiveApplication]>) -> Self {
        let found = live.and_then(|live| live.iter().find(|live| live.uuid == application.uuid));
        match found {
            Some(live) => Self {
                application,
                status: live.status.clone(),
                colour: live.colour.clone(),
                remark: "",
                restarts: live.nooftimes_restarted,
                last_script: live.last_script.as_ref(),
            },
            None => Self {
                application,
                status: "NOT_MONITORED".to_owned(),
                colour: "GRAY".to_owned(),
                remark: if live.is_some() {
                    "not loaded, run `vmmgr sync`"
                } else {
                    "vmpulse-agentd is not running"
                },
                restarts: 0,
                last_script: None,
            },
        }
    }
}

fn block(context: &Context<'_>, shown: &Shown<'_>) -> String {
    let remark = if shown.remark.is_empty() { String::new() } else { format!(", {}", shown.remark) };
    let status = format!("{} ({}){remark}", shown.status, shown.colour);
    let restarts = shown.restarts.to_string();
    let extra = [("nooftimes_restarted", restarts.as_str()), ("status", status.as_str())];
    let values = &shown.application.values;
    format!("Application name={}\n{}", shown.application.name, lines(context, values, &extra))
}

fn object(context: &Context<'_>, shown: &Shown<'_>) -> Value {
    let restarts = shown.restarts.to_string();
    let extra = [("nooftimes_restarted", restarts.as_str()), ("status", shown.status.as_str())];
    let mut members = members(context, &shown.application.values, &extra);
    members.insert("name".to_owned(), json!(shown.application.name));
    if is_wanted(context, "status") {
        members.insert("colour".to_owned(), json!(shown.colour));
        members.insert("loaded".to_owned(), json!(shown.remark.is_empty()));
    }
    if is_wanted(context, "last_script") {
        members.insert("last_script".to_owned(), json!(shown.last_script));
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

fn lines(context: &Context<'_>, values: &Values, extra: &[(&'static str, &str)]) -> String {
    let attributes = pairs(context, values, extra).map(|(name, _, text)| format!(" {name}={text}\n"));
    attributes.chain(parameters(context, values).map(|(name, text)| format!(" {name}={text}\n"))).collect()
}

fn members(context: &Context<'_>, values: &Values, extra: &[(&'static str, &str)]) -> Map<String, Value> {
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
