//! Orders that take effect at once: start, stop, suspend and resume, of the daemon, the virtual machine, an application.

mod application;

use super::codes::Code;
use super::grammar::Class;
use super::service::{ServiceFault, Verb};
use super::{Context, Fault, Outcome, announce, query};

/// `start [vmm]`, `start app NAME`
pub(super) fn start(context: &Context<'_>) -> Result<Outcome, Fault> {
    match context.line.class {
        Some(Class::App) => application::start(context),
        Some(Class::Vmm | Class::Dependency | Class::Key) | None => start_daemon(context),
    }
}

/// `stop [vmm]`, `stop app NAME`
pub(super) fn stop(context: &Context<'_>) -> Result<Outcome, Fault> {
    match context.line.class {
        Some(Class::App) => application::stop(context),
        Some(Class::Vmm | Class::Dependency | Class::Key) | None => stop_daemon(context),
    }
}

/// `suspend [vmm]`, `suspend app NAME`
pub(super) fn suspend(context: &Context<'_>) -> Result<Outcome, Fault> {
    match context.line.class {
        Some(Class::App) => application::suspend(context),
        Some(Class::Vmm | Class::Dependency | Class::Key) | None => announce::suspension(context, true),
    }
}

/// `resume [vmm]`, `resume app NAME`
pub(super) fn resume(context: &Context<'_>) -> Result<Outcome, Fault> {
    match context.line.class {
        Some(Class::App) => application::resume(context),
        Some(Class::Vmm | Class::Dependency | Class::Key) | None => announce::suspension(context, false),
    }
}

fn start_daemon(context: &Context<'_>) -> Result<Outcome, Fault> {
    if let Some(pid) = process(context)? {
        return Ok(Outcome::note(
            Code::Done,
            format!("vmpulse-agentd is running already, as process {pid}."),
        ));
    }
    let systemd = &context.environment.systemd;
    if !systemd.is_there() {
        let how = "start vmpulse-agentd with whatever starts services here; it stays in the foreground";
        return Err(Fault::Service(ServiceFault::NoSystemd(how.to_owned())));
    }
    systemd.control(Verb::Start, context.progress).map_err(Fault::Service)?;
    // A daemon that ends at once was not started.
    let answers = || process(context).is_ok_and(|pid| pid.is_some());
    systemd.wait_for(answers, context.progress).map_err(Fault::Service)?;
    Ok(Outcome::note(Code::Done, "vmpulse-agentd is started.".to_owned()))
}

fn stop_daemon(context: &Context<'_>) -> Result<Outcome, Fault> {
    let systemd = &context.environment.systemd;
    let pid = process(context)?;
    if systemd.is_there() {
        systemd.control(Verb::Stop, context.progress).map_err(Fault::Service)?;
        return match process(context)? {
            None => Ok(Outcome::note(Code::Done, "vmpulse-agentd is stopped.".to_owned())),
            Some(pid) => Err(Fault::Service(ServiceFault::NotItsOwn(pid))),
        };
    }
    match pid {
        None => Ok(Outcome::note(Code::Done, "vmpulse-agentd is not running.".to_owned())),
        Some(pid) => {
            let how = format!("vmpulse-agentd is process {pid}; `kill {pid}` stops it");
            Err(Fault::Service(ServiceFault::NoSystemd(how)))
        }
    }
}

/// The daemon's; `None` if it does not run.
fn process(context: &Context<'_>) -> Result<Option<u32>, Fault> {
    Ok(query::daemon_status(context)?.map(|status| status.pid))
}
