//! How the adapter of a trunk's canary is called, and known from guests'. Pure.

use super::plan::MONITOR_SUFFIX;
use super::seen::Link;

/// What the canary's adapter has behind the trunk's name.
const CANARY_SUFFIX: &str = "-cy";
/// Longest name of an adapter, without that.
const STEM_MAXIMUM: usize = 15 - CANARY_SUFFIX.len();
/// What its mark begins with; the host monitor's UUID follows.
const MARK: &str = "vmpulse canary of ";

/// The name of the canary's adapter, from that of the adapter that the host monitor listens on.
#[must_use]
pub fn canary_name(trunk: &str) -> String {
    let stem = trunk.strip_suffix(MONITOR_SUFFIX).filter(|stem| !stem.is_empty()).unwrap_or(trunk);
    let stem = stem.get(..stem.floor_char_boundary(STEM_MAXIMUM)).unwrap_or(stem);
    format!("{stem}{CANARY_SUFFIX}")
}

/// The mark of the adapter of this host monitor's canary.
#[must_use]
pub fn canary_mark(host_monitor: &str) -> String {
    format!("{MARK}{host_monitor}")
}

/// Whether an adapter is a canary's and no guest's. Guests cannot set marks: only the host can.
#[must_use]
pub fn is_canary(link: &Link) -> bool {
    link.alias.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_called_as_its_trunk() {
        for (trunk, name) in [
            ("trunkA-hm", "trunkA-cy"),
            ("eth1", "eth1-cy"),
            ("-hm", "-hm-cy"),
            ("fifteen-letters", "fifteen-lett-cy"),
        ] {
            assert_eq!(canary_name(trunk), name);
            assert!(name.len() <= 15);
        }
    }
}
