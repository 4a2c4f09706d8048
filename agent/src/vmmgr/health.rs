//! `health [NAME]`: what the health endpoint answers, as an exit status.

use vmpulse_local::exit::Exit;

use super::{Context, Fault, Format, Outcome, show};
use crate::command::{LiveApplication, Reply, Request};
use crate::health::{ApplicationHealth, Health};

/// Exit 0 if all applications, or the one that is named, are healthy; else 1, also when nobody can tell.
pub(super) fn health(context: &Context<'_>) -> Result<Outcome, Fault> {
    let applications = match context.daemon.ask(Request::Applications) {
        Ok(Reply::Applications { applications }) => applications,
        Ok(_) => return Err(Fault::OtherReply),
        Err(error) => return Err(Fault::Daemon(error)),
    };
    let all = Health::new(applications.into_iter().map(application).collect());
    let health = match context.line.name.as_deref() {
        Some(name) => match all.only(name) {
            Some(health) => health,
            None => return Err(Fault::NoApplication { name: name.to_owned(), near: None }),
        },
        None => all,
    };
    let text = match context.line.format {
        Format::Text => health.applications.iter().map(line).collect(),
        Format::Json => show::json(&serde_json::json!(health)),
    };
    let exit = if health.healthy { Exit::Done } else { Exit::Failed };
    Ok(Outcome { exit, ..Outcome::shown(text) })
}

fn application(live: LiveApplication) -> ApplicationHealth {
    ApplicationHealth {
        name: live.name,
        status: live.status,
        colour: live.colour,
        healthy: live.healthy,
        monitored: live.monitored,
    }
}

fn line(application: &ApplicationHealth) -> String {
    let ApplicationHealth { name, status, colour, healthy, .. } = application;
    format!("{name}: {}, {status} ({colour})\n", if *healthy { "healthy" } else { "not healthy" })
}
