//! What follows `quiet`: how long and why.

use vmpulse_protocol::message::{QUIET_REASON_MAXIMUM, is_quiet_reason};

use crate::vmmgr::fault::Fault;

/// `TIME REASON`, or `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuietWords {
    /// Heartbeats may stop.
    For {
        /// For so long: 1 to 600,000 milliseconds.
        ms: u32,
        /// Why: printable ASCII, not empty.
        reason: String,
    },
    /// They are back.
    End,
}

/// Longest silence that can be asked for: nobody is granted more in an hour.
const QUIET_MAXIMUM_MS: u32 = 600_000;

/// `TIME REASON`, or `end`.
pub(super) fn words(words: &[&str]) -> Result<QuietWords, Fault> {
    let Some((time, reason)) = words.split_first() else {
        return Err(Fault::Quiet("for how long, and why?".to_owned()));
    };
    if time.eq_ignore_ascii_case("end") {
        let surplus = reason.first().map(|word| Fault::Quiet(format!("\"{word}\" behind end is too much")));
        return surplus.map_or(Ok(QuietWords::End), Err);
    }
    let no_time = || Fault::Quiet(format!("\"{time}\" is no time, as 500ms, 60s, 5m"));
    let ms = milliseconds(time).ok_or_else(no_time)?;
    if !(1..=QUIET_MAXIMUM_MS).contains(&ms) {
        return Err(Fault::QuietValue(format!("\"{time}\" is not within 1ms to 600s")));
    }
    let reason = reason.join(" ");
    if reason.trim().is_empty() {
        return Err(Fault::Quiet("say why; operators see it".to_owned()));
    }
    if !is_quiet_reason(&reason) {
        let bounds = format!("printable ASCII, at most {QUIET_REASON_MAXIMUM} characters");
        return Err(Fault::QuietValue(format!("the reason must be {bounds}")));
    }
    Ok(QuietWords::For { ms, reason })
}

/// `500ms`, `60s`, `5m`; seconds without a unit. As much as fits if it is more.
fn milliseconds(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms: u32 = match text.strip_prefix(digits)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u32::MAX).saturating_mul(unit_ms))
}
