//! Typed applications at `add` and `modify`: what they need is checked at once, and the times that their agent asks for
//! are written into the file, where they can be seen and changed.

use super::{Context, Fault};
use crate::config::Unfit;
use crate::config::attribute::{PARAMETER_PREFIX, Values};
use crate::type_check;
use crate::types::Typed;

/// Attributes that say what stands behind a type.
const MEANS: [&str; 3] = ["type", "instancename", "database"];

/// For a new application: sets the times that its agent's meta-data gives and the command line does not, and returns
/// them as they go into the file.
pub(super) fn prepare(
    context: &Context<'_>,
    name: &str,
    values: &mut Values,
) -> Result<Vec<(String, String)>, Fault> {
    let times = check(context, name, values)?;
    let mut pairs = Vec::new();
    for (attribute, seconds) in times {
        if values.is_given(attribute) {
            continue;
        }
        let seconds = fitting(attribute, seconds, values).to_string();
        values.set(attribute, &seconds).map_err(Fault::Attribute)?;
        pairs.push((attribute.to_owned(), seconds));
    }
    Ok(pairs)
}

/// For a changed one: checks what stands behind its type if that was changed.
pub(super) fn check_changed(context: &Context<'_>, name: &str, values: &Values) -> Result<(), Fault> {
    let means = |given: &str| MEANS.contains(&given) || given.starts_with(PARAMETER_PREFIX);
    if context.line.attributes.iter().any(|(given, _)| means(given)) {
        check(context, name, values)?;
    }
    Ok(())
}

fn check(context: &Context<'_>, name: &str, values: &Values) -> Result<Vec<(&'static str, u64)>, Fault> {
    match Typed::new(values).map_err(|error| Fault::Unfit(Unfit::Type(error)))? {
        Some(typed) => type_check::check(&context.settings.ocf_root, &typed, name).map_err(Fault::TypeCheck),
        None => Ok(Vec::new()),
    }
}

/// The period stays greater than the time limit, whichever of them was given.
fn fitting(attribute: &str, seconds: u64, values: &Values) -> u64 {
    let other = |name| u64::from(values.number(name));
    match attribute {
        "monitor_period" if values.is_given("monitor_timeout") => seconds.max(other("monitor_timeout") + 1),
        "monitor_timeout" if values.is_given("monitor_period") => {
            seconds.min(other("monitor_period").saturating_sub(1)).max(1)
        }
        _ => seconds,
    }
}
