//! `on`, `off` and `status`, the same way for every class.

use serde::Serialize;
use serde_json::Value;

use crate::class::{AnyClass, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::marker;
use crate::options::Options;
use crate::record::{self, Saved};
use crate::wait;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "done", content = "details")]
pub enum Done {
    /// The failure was made.
    Made(String),
    /// It was there already, made with the same options: nothing was changed.
    AlreadyOn(String),
    /// It was undone, and the undo was checked.
    Undone,
    /// There was nothing to undo.
    AlreadyOff,
}

/// Makes the failure, once the group's mark was found. `told_at`: the store's time before, for the undo to count from where the
/// store goes away with the failure; it is on disk before anything is made. `check` has the last word over what is planned, before
/// anything is touched.
///
/// # Errors
/// `Refused` and `Unsupported` before anything was touched; else what went wrong, after everything was restored.
pub fn on(
    class: &dyn AnyClass,
    context: &Context,
    group: &str,
    options: &Options,
    told_at: Option<String>,
    check: impl FnOnce(&Value) -> Inject<()>,
) -> Inject<Done> {
    let name = class.about().name;
    let mark = marker::check(context, group)?;
    let context = &Context { mark: Some(mark), ..context.clone() };
    let _turn = record::take_turn(context)?;
    let saved = Saved::read(context, name)?;
    let told = options.told(class);
    match (class.state(context, saved.as_ref().map(|saved| saved.before.clone()))?, saved) {
        (State::On(details), saved) => {
            // Somebody who asks for something else must not believe that he has it.
            return match saved.and_then(|saved| saved.options).filter(|options| *options != told) {
                Some(_) => Err(otherwise(name, &details)),
                None => Ok(Done::AlreadyOn(details)),
            };
        }
        (State::Unsupported(why), _) => return Err(InjectError::Unsupported(why)),
        (State::Partly(what), _) => return Err(half(name, &what)),
        // The injector was killed after the state file and before the effect, or the effect is over.
        (State::Off | State::Passed(_), Some(saved)) => undo(class, context, saved)?,
        (State::Off | State::Passed(_), None) => {}
    }
    let before = class.plan(context, options)?;
    check(&before)?;
    let mark = format!("{name}-{}-{}", std::process::id(), wait::now());
    let saved =
        Saved { class: name.to_owned(), since: wait::now(), mark, told_at, options: Some(told), before };
    saved.write(context)?;
    stop_here_if_told(name);
    match class.apply(context, saved.before.clone()).and_then(|()| check_on(class, context)) {
        Ok(details) => Ok(Done::Made(details)),
        Err(error) => Err(after_restoring(class, context, error)),
    }
}

/// Undoes it and looks whether it is undone.
///
/// # Errors
/// When it is not: loudly, and the state file stays.
pub fn off(class: &dyn AnyClass, context: &Context) -> Inject<Done> {
    let name = class.about().name;
    // Where nothing was ever made there is nothing to wait for, and no folder to make.
    let _turn = if context.state_dir.exists() { Some(record::take_turn(context)?) } else { None };
    match Saved::read(context, name)? {
        Some(saved) => undo(class, context, saved).map(|()| Done::Undone),
        None => match class.state(context, None)? {
            State::Off | State::Passed(_) | State::Unsupported(_) => Ok(Done::AlreadyOff),
            State::On(what) | State::Partly(what) => Err(InjectError::Failed(format!(
                "{name} is on ({what}), but not by this injector, or its state file is gone: undo it by hand."
            ))),
        },
    }
}

/// What is.
///
/// # Errors
/// When it cannot be known.
pub fn status(class: &dyn AnyClass, context: &Context) -> Inject<State> {
    let saved = Saved::read(context, class.about().name)?;
    class.state(context, saved.map(|saved| saved.before))
}

fn check_on(class: &dyn AnyClass, context: &Context) -> Inject<String> {
    let name = class.about().name;
    match status(class, context)? {
        State::On(details) | State::Passed(details) => Ok(details),
        State::Off => Err(InjectError::Failed(format!("{name} was made and is not there."))),
        State::Partly(what) => Err(InjectError::Failed(format!("{name} was made only in part: {what}."))),
        State::Unsupported(why) => Err(InjectError::Unsupported(why)),
    }
}

/// Restores from the state file, which is removed only when the class says that nothing is left.
fn undo(class: &dyn AnyClass, context: &Context, saved: Saved) -> Inject<()> {
    let name = class.about().name;
    // What apply added while it worked is in the file, not in what the caller has.
    let before = Saved::read(context, name)?.map_or(saved.before, |newest| newest.before);
    class.restore(context, before.clone())?;
    match class.state(context, Some(before))? {
        State::Off | State::Passed(_) | State::Unsupported(_) => Saved::remove(context, name),
        State::On(what) | State::Partly(what) => Err(InjectError::Failed(format!(
            "{name} is NOT undone: {what}. Undo it by hand; {} says what was there before.",
            context.state_file(name).display()
        ))),
    }
}

fn after_restoring(class: &dyn AnyClass, context: &Context, error: InjectError) -> InjectError {
    let restored = match Saved::read(context, class.about().name) {
        Ok(Some(saved)) => undo(class, context, saved),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match restored {
        Ok(()) => error,
        Err(left) => InjectError::Failed(format!("{error} Restoring failed, too: {left}")),
    }
}

fn otherwise(name: &str, details: &str) -> InjectError {
    InjectError::Refused(format!(
        "{name} is on with other options ({details}): run `vmpulse-inject {name} off` first. Nothing was changed."
    ))
}

fn half(name: &str, what: &str) -> InjectError {
    InjectError::Failed(format!("{name} is on in part ({what}): run `vmpulse-inject {name} off` first."))
}

/// For the test that the injector may be killed between the state file and the effect: it kills itself here.
fn stop_here_if_told(name: &str) {
    if std::env::var_os("VMPULSE_INJECT_DIE_BEFORE").is_some_and(|class| class == name) {
        std::process::abort();
    }
}
