//! Orders for one application.
//!
//! Suspending and resuming are kept in the file, so that they outlive the daemon; starting and stopping are the daemon's
//! alone.

use vmpulse_local::command::CallError;

use crate::command::{Reply, Request};
use crate::config::patch::{self, Target};
use crate::vmmgr::codes::Code;
use crate::vmmgr::{Context, Fault, Outcome, change, query, scripts};

/// `start app NAME`
pub(super) fn start(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = known(context)?;
    scripts::check_all(change::find(&query::load(context)?, &name)?)?;
    let waits_for = order(context, Request::StartApplication { name: name.clone() })?;
    Ok(Outcome::note(Code::Done, format!("Application \"{name}\" is being started{}", waiting(&waits_for))))
}

/// `stop app NAME`
pub(super) fn stop(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = known(context)?;
    let waits_for = order(context, Request::StopApplication { name: name.clone() })?;
    Ok(Outcome::note(Code::Done, format!("Application \"{name}\" is being stopped{}", waiting(&waits_for))))
}

/// `suspend app NAME`
pub(super) fn suspend(context: &Context<'_>) -> Result<Outcome, Fault> {
    set_monitored(context, false)
}

/// `resume app NAME`
pub(super) fn resume(context: &Context<'_>) -> Result<Outcome, Fault> {
    set_monitored(context, true)
}

/// Whatever the daemon has loaded: a name that is not in the file is mistyped.
fn known(context: &Context<'_>) -> Result<String, Fault> {
    let name = change::name(context)?;
    change::find(&query::load(context)?, name)?;
    Ok(name.to_owned())
}

/// Names of those that it waits for.
fn order(context: &Context<'_>, request: Request) -> Result<Vec<String>, Fault> {
    match context.daemon.ask(request).map_err(Fault::Daemon)? {
        Reply::Ordered { waits_for } => Ok(waits_for),
        Reply::NotDone { problem } => Err(Fault::NotDone(problem)),
        Reply::NotAllowed => Err(Fault::NotAllowed),
        Reply::Status(_)
        | Reply::Applications { .. }
        | Reply::Synced { .. }
        | Reply::KeysLoaded { .. }
        | Reply::Told { .. }
        | Reply::NotLoaded { .. } => Err(Fault::OtherReply),
    }
}

fn waiting(waits_for: &[String]) -> String {
    let look = "`vmmgr -a status query app` shows how far it is.";
    if waits_for.is_empty() {
        return format!("; {look}");
    }
    format!(", when {} let it; {look}", waits_for.join(", "))
}

fn set_monitored(context: &Context<'_>, monitored: bool) -> Result<Outcome, Fault> {
    let name = change::name(context)?;
    let (file, configuration) = change::open(context)?;
    let application = change::find(&configuration, name)?;
    if monitored {
        scripts::check_all(application)?;
    }
    if application.monitored != monitored {
        let pairs = [("monitored", if monitored { "1" } else { "0" })];
        let text = patch::set_attributes(file.text(), Target::Application(name), &pairs);
        change::save(context, file, text)?;
    }
    let word = if monitored { "resumed" } else { "suspended" };
    let mut outcome = Outcome::note(Code::Done, format!("Application \"{name}\" {word}."));
    outcome.messages.extend(change::unknown(&configuration));
    match change::load_in_daemon(context) {
        Ok(_) => {}
        Err(Fault::Daemon(CallError::NotRunning { .. })) => {
            let text = "vmpulse-agentd is not running; it finds this in the file when it starts.";
            outcome.messages.push((Code::NotSynced, text.to_owned()));
            return Ok(outcome);
        }
        Err(fault) => return Err(Fault::NotApplied(Box::new(fault))),
    }
    if monitored {
        // A final state ends although nothing in the file may have changed.
        order(context, Request::ResumeApplication { name: name.to_owned() })?;
    }
    Ok(outcome)
}
