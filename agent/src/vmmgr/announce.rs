//! What is announced to the host monitors: a silence, and that monitoring is suspended or resumed.
//!
//! Exit 0 means that all of them have it, and as it was wanted; anything less is said, and is exit 1.

use serde_json::{Value, json};
use vmpulse_local::exit::Exit;

use super::codes::Code;
use super::grammar::QuietWords;
use super::show::{self, milliseconds};
use super::{Context, Fault, Format, Outcome};
use crate::command::{LiveTold, Reply, Request};

/// The daemon is asked so often whether all host monitors have answered; each time it waits for 1.5 s.
const ROUNDS: usize = 4;

/// `quiet TIME REASON`, `quiet end`
pub(super) fn quiet(context: &Context<'_>) -> Result<Outcome, Fault> {
    let Some(words) = &context.line.quiet else {
        return Err(Fault::Quiet("say for how long and why".to_owned()));
    };
    let (ms, reason) = match words {
        QuietWords::For { ms, reason } => (*ms, reason.clone()),
        QuietWords::End => (0, String::new()),
    };
    let mut paths = tell(context, Request::Quiet { ms, reason: reason.clone() }, true)?;
    for path in paths.iter_mut().filter(|path| path.granted_ms == Some(0)) {
        path.answer = if ms == 0 { "ended" } else { "refused" }.to_owned();
    }
    let (done, warnings) = match words {
        QuietWords::For { .. } => (announced(ms, &reason), quiet_warnings(ms, &paths)),
        QuietWords::End => ("The announced silence is over.".to_owned(), end_warnings(&paths)),
    };
    let object = json!({
        "asked_ms": ms,
        "granted_ms": granted(&paths),
        "reason": reason,
        "as_asked": warnings.is_empty(),
        "paths": paths,
    });
    Ok(outcome(context, &paths, ("quiet", object), done, warnings))
}

/// `suspend [vmm]`, `resume [vmm]`
pub(super) fn suspension(context: &Context<'_>, suspend: bool) -> Result<Outcome, Fault> {
    let paths = tell(context, Request::Suspension { suspend }, false)?;
    let word = if suspend { "suspended" } else { "resumed" };
    let done = format!("Monitoring of this virtual machine is {word}.");
    // One that knows is enough: it has told the store.
    let heard = paths.iter().any(|path| path.answer == "acknowledged");
    let mut warnings = Vec::new();
    if !heard {
        warnings.push(format!(
            "No host monitor knows yet that monitoring is {word}: {}. The first one that is reached will be told, also \
             after a restart.",
            why_nobody(&paths)
        ));
    }
    let object = json!({ "suspended": suspend, "heard": heard, "paths": paths });
    Ok(outcome(context, &paths, ("suspension", object), done, warnings))
}

/// Tells the daemon, and waits for the host monitors; says whom it waits for if that takes longer.
fn tell(context: &Context<'_>, request: Request, quiet: bool) -> Result<Vec<LiveTold>, Fault> {
    let mut request = request;
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        match context.daemon.ask(request).map_err(Fault::Daemon)? {
            Reply::Told { settled: true, paths } => return Ok(paths),
            Reply::Told { settled: false, paths } => told = paths,
            Reply::NotDone { problem } => return Err(Fault::NotDone(problem)),
            Reply::NotAllowed => return Err(Fault::NotAllowed),
            Reply::Status(_)
            | Reply::Applications { .. }
            | Reply::Synced { .. }
            | Reply::KeysLoaded { .. }
            | Reply::Ordered { .. }
            | Reply::NotLoaded { .. } => return Err(Fault::OtherReply),
        }
        let waiting = told.iter().filter(|path| is_open(path)).count();
        let all = told.len();
        (context.progress)(&format!("waiting for {waiting} of {all} host monitors to acknowledge ..."));
        request = Request::Told { quiet };
    }
    Ok(told)
}

/// Whether an answer is still to come.
fn is_open(path: &LiveTold) -> bool {
    path.answer == "waiting" || path.answer == "acknowledged"
}

/// The silence that is in force by what was granted: all host monitors of a VM grant the same one.
fn granted(paths: &[LiveTold]) -> Option<u64> {
    paths.iter().filter_map(|path| path.granted_ms).max()
}

fn announced(ms: u32, reason: &str) -> String {
    format!("Announced to be silent for {}: {reason}", milliseconds(ms.into()))
}

fn quiet_warnings(asked_ms: u32, paths: &[LiveTold]) -> Vec<String> {
    let mut warnings = Vec::new();
    match granted(paths) {
        None => warnings.push(format!(
            "No host monitor has granted a silence: {}. Heartbeats that stop now look like a failure.",
            why_nobody(paths)
        )),
        Some(0) => warnings.push(
            "No silence was granted: this virtual machine has had its 600 s of the last hour, or the host monitors grant \
             none. Heartbeats that stop now look like a failure."
                .to_owned(),
        ),
        Some(ms) if ms < asked_ms.into() => warnings.push(format!(
            "Only {} of the {} that were asked for are granted: after that silence counts again.",
            milliseconds(ms),
            milliseconds(asked_ms.into())
        )),
        Some(_) => {}
    }
    if granted(paths).is_some() {
        let missing = paths.iter().filter(|path| path.granted_ms.is_none());
        warnings.extend(missing.map(|path| {
            format!("The host monitor on {} did not acknowledge: {}.", path.adapter, words(path))
        }));
    }
    warnings
}

fn end_warnings(paths: &[LiveTold]) -> Vec<String> {
    if paths.iter().any(|path| path.granted_ms == Some(0) || path.answer == "acknowledged") {
        return Vec::new();
    }
    vec![format!(
        "No host monitor knows yet that the announced silence is over: {}. The first one that is reached will be told.",
        why_nobody(paths)
    )]
}

fn why_nobody(paths: &[LiveTold]) -> String {
    if paths.is_empty() {
        return "no path to one is open (`vmmgr status`)".to_owned();
    }
    let of_path = |path: &LiveTold| format!("{}: {}", path.adapter, words(path));
    paths.iter().map(of_path).collect::<Vec<_>>().join("; ")
}

/// A path's answer for people.
pub(super) fn words(path: &LiveTold) -> String {
    match (path.answer.as_str(), path.granted_ms) {
        ("ended", _) => "ended".to_owned(),
        ("refused", _) | ("granted", Some(0)) => "refused".to_owned(),
        ("granted", Some(ms)) => format!("granted {}", milliseconds(ms)),
        ("acknowledged", _) => "acknowledged".to_owned(),
        ("waiting", _) => "no answer".to_owned(),
        ("lost", _) => "the path was lost".to_owned(),
        ("too_old", _) => "it speaks protocol version 2.0, which has no announced silence".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn outcome(
    context: &Context<'_>,
    paths: &[LiveTold],
    object: (&str, Value),
    done: String,
    warnings: Vec<String>,
) -> Outcome {
    let text = match context.line.format {
        Format::Text => show::told(paths),
        Format::Json => show::json(&Value::Object([(object.0.to_owned(), object.1)].into_iter().collect())),
    };
    let mut outcome = Outcome::shown(text);
    if warnings.is_empty() {
        outcome.messages.push((Code::Done, done));
    } else {
        outcome.exit = Exit::Failed;
        outcome.messages = warnings.into_iter().map(|text| (Code::NotAsWanted, text)).collect();
    }
    outcome
}
