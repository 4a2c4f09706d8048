//! A plan, run and judged.

use vmpulse_store::StoreError;

use crate::checkers::{self, Violation};
use crate::plan::{Action, Plan};
use crate::trace::{Sink, Trace};
use crate::world::World;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the trace.
    pub hash: String,
    /// How many events there were.
    pub events: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// The last lines of the trace, until something was found.
    pub last: Vec<String>,
}

impl Outcome {
    /// Whether nothing was found.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Runs a plan; every line that is no detail goes to `sink` as well.
///
/// # Errors
/// The world's store cannot be made.
pub fn run(plan: &Plan, sink: Option<Sink<'_>>) -> Result<Outcome, StoreError> {
    let world = World::new(plan.clone(), Trace::new(sink), checkers::all(plan), None)?;
    let (trace, violations) = world.run();
    Ok(Outcome {
        hash: trace.hash(),
        events: trace.events(),
        violations,
        last: trace.last().map(str::to_owned).collect(),
    })
}

/// Runs a plan whose daemons record into this directory; nothing is judged.
///
/// # Errors
/// As [`run`].
pub fn record(plan: &Plan, directory: &std::path::Path) -> Result<(), StoreError> {
    World::new(plan.clone(), Trace::new(None), Vec::new(), Some(directory))?.run();
    Ok(())
}

/// Every event of a plan's run, whose host monitors record into this directory.
#[cfg(test)]
pub(crate) fn recorded(
    plan: &Plan,
    directory: &std::path::Path,
) -> Vec<(vmpulse_protocol::time::Instant, crate::event::Event)> {
    let events = checkers::Everything::default();
    let all: Vec<Box<dyn checkers::Checker>> = vec![Box::new(events.clone())];
    World::new(plan.clone(), Trace::new(None), all, Some(directory)).unwrap().run();
    events.take()
}

/// Leaves out actions that a failing plan fails without, as long as the same checker is the first to find something.
///
/// # Errors
/// As [`run`].
pub fn shrink(plan: &Plan) -> Result<Plan, StoreError> {
    let finder = |plan: &Plan| -> Result<Option<&'static str>, StoreError> {
        Ok(run(plan, None)?.violations.first().map(|violation| violation.checker))
    };
    let found = finder(plan)?;
    let mut plan = plan.clone();
    let mut size = plan.actions.len() / 2;
    while found.is_some() && size > 0 {
        let mut at = 0;
        while at < plan.actions.len() {
            let mut smaller = plan.clone();
            let end = (at + size).min(smaller.actions.len());
            // What heals stays: without it everything would be found to be ill.
            let mut place = 0;
            smaller.actions.retain(|(_, action)| {
                let chosen = (at..end).contains(&place);
                place += 1;
                !chosen || *action == Action::Heal
            });
            if smaller.actions.len() < plan.actions.len() && finder(&smaller)? == found {
                plan = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    Ok(plan)
}
