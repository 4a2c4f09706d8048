//! From facts to findings. Pure.

mod around;
mod daemon;
mod trunk;

use super::{Facts, Finding};

/// Everything that is wrong, the host's first, then trunk by trunk.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = around::host(facts);
    for one in &facts.trunks {
        findings.extend(trunk::adapters(one));
        findings.extend(trunk::isolation(one));
        findings.extend(daemon::daemon(one));
    }
    findings
}

fn finding(
    name: &'static str,
    place: impl Into<String>,
    what: impl Into<String>,
    why: &'static str,
    remedy: impl Into<String>,
) -> Finding {
    Finding { finding: name, place: place.into(), what: what.into(), why, remedy: remedy.into() }
}

#[cfg(test)]
mod tests;
