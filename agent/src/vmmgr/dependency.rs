//! The class dependency: refused until the configuration has its model.
use super::{Context, Fault, Outcome};
pub(super) fn query(_: &Context<'_>) -> Result<Outcome, Fault> {
    Err(Fault::NotDone("dependencies are not there yet".to_owned()))
}
pub(super) fn add(_: &Context<'_>) -> Result<Outcome, Fault> {
    Err(Fault::NotDone("dependencies are not there yet".to_owned()))
}
pub(super) fn modify(_: &Context<'_>) -> Result<Outcome, Fault> {
    Err(Fault::NotDone("dependencies are not there yet".to_owned()))
}
pub(super) fn delete(_: &Context<'_>) -> Result<Outcome, Fault> {
    Err(Fault::NotDone("dependencies are not there yet".to_owned()))
}
