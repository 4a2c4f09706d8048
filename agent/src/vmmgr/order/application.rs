//! Orders for one application.
//!
//! Suspending and resuming are kept in the file, so that they outlive the daemon; starting and stopping are the daemon's
//! alone.

use vmpulse_local::command::CallError;

use crate::command::{Reply, Request};
use crate::config::patch::{self, Target};
use crate::vmmgr::codes::Code;
use crate::vmmgr::{Context, Fault, Outcome, change};

/// `start app NAME`
pub(super) fn start(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = known(context)?;
    Err(Fault::NotDone(name))
}

/// `stop app NAME`
pub(super) fn stop(context: &Context<'_>) -> Result<Outcome, Fault> {
    let name = known(context)?;
    Err(Fault::NotDone(name))
}

fn known(context: &Context<'_>) -> Result<String, Fault> {
    Ok(change::name(context)?.to_owned())
}

/// `suspend app NAME`
pub(super) fn suspend(context: &Context<'_>) -> Result<Outcome, Fault> {
    set_monitored(context, false)
}

/// `resume app NAME`
pub(super) fn resume(context: &Context<'_>) -> Result<Outcome, Fault> {
    set_monitored(context, true)
}

fn set_monitored(context: &Context<'_>, monitored: bool) -> Result<Outcome, Fault> {
    let name = change::name(context)?;
    let (file, configuration) = change::open(context)?;
    let application = change::find(&configuration, name)?;
    if monitored {
        change::check_scripts(application)?;
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
        }
        Err(fault) => return Err(Fault::NotApplied(Box::new(fault))),
    }
    Ok(outcome)
}
