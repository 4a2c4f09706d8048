//! Is this host monitor gone, and with it the host?

use serde::Serialize;
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{HostMonitorStatus, MonitorMode, NodeState, REASON_NODE_SHUTDOWN, as_text};

/// Everything a decision about a host monitor is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostMonitorCase {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub id: HostMonitorId,
    /// Name of its trunk adapter, once it ran.
    pub trunk: Option<String>,
    /// State of its node.
    pub state: NodeState,
    /// Why the state is what it is.
    pub reason: u32,
    /// Its mode.
    pub mode: MonitorMode,
    /// Whether its heartbeats to the store come on time.
    pub responsive: bool,
    /// Age of its last heartbeat, as far as it may be believed; `None` before the first.
    pub heartbeat_age_ms: Option<u64>,
    /// Of the system.
    pub host_failure_detection_time_s: u32,
}

impl HostMonitorCase {
    /// From the store's answer, with the age as far as it may be believed.
    #[must_use]
    pub fn new(status: &HostMonitorStatus, heartbeat_age_ms: Option<u64>, detection_time_s: u32) -> Self {
        Self {
            id: status.id,
            trunk: status.trunk.clone(),
            state: status.state,
            reason: status.reason,
            mode: status.mode,
            responsive: status.responsive,
            heartbeat_age_ms,
            host_failure_detection_time_s: detection_time_s,
        }
    }
}

/// What was decided about a host monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum HostMonitorVerdict {
    /// Registered, never started, or taken out: nothing to judge.
    NotWatched,
    /// It answers.
    Responding,
    /// Late, not for long enough to say more.
    Late,
    /// Shut down on purpose: not a failure.
    ShutDown,
    /// Gone without a word, or so it says.
    Failed {
        /// How.
        how: HostMonitorFailure,
    },
}

/// How a host monitor failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostMonitorFailure {
    /// No heartbeat to the store for host_failure_detection_time.
    Silent,
    /// Its node is DOWN, and not on purpose.
    NodeDown,
    /// Its core loop is not turning.
    Stalled,
}

impl HostMonitorFailure {
    /// In words, after "the host monitor".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Silent => "does not answer",
            Self::NodeDown => "is down",
            Self::Stalled => "is running but does not work",
        }
    }
}

/// Decides about one host monitor. Depends on `case` and nothing else.
#[must_use]
pub fn decide(case: &HostMonitorCase) -> HostMonitorVerdict {
    let Some(age_ms) = case.heartbeat_age_ms else { return HostMonitorVerdict::NotWatched };
    let failed = |how| HostMonitorVerdict::Failed { how };
    match case.state {
        NodeState::Removed => HostMonitorVerdict::NotWatched,
        NodeState::Down if case.reason & REASON_NODE_SHUTDOWN != 0 => HostMonitorVerdict::ShutDown,
        NodeState::Down => failed(HostMonitorFailure::NodeDown),
        NodeState::Up if age_ms >= u64::from(case.host_failure_detection_time_s) * 1000 => {
            failed(HostMonitorFailure::Silent)
        }
        NodeState::Up if !case.responsive => HostMonitorVerdict::Late,
        NodeState::Up => match case.mode {
            MonitorMode::Down => failed(HostMonitorFailure::Stalled),
            MonitorMode::Global | MonitorMode::Local => HostMonitorVerdict::Responding,
        },
    }
}

/// What its host monitors together say of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostVerdict {
    /// At least one monitor answers.
    Reachable,
    /// Every monitor that ever ran is gone, at least one of them without a word.
    Unreachable,
    /// Nothing new can be said: monitors are late, were never started, or all were shut down on purpose.
    NoConclusion,
}

/// Decides about a host from the verdicts on its monitors, in any order.
#[must_use]
pub fn decide_host(monitors: &[HostMonitorVerdict]) -> HostVerdict {
    let any = |wanted: fn(&HostMonitorVerdict) -> bool| monitors.iter().any(wanted);
    if any(|verdict| *verdict == HostMonitorVerdict::Responding) {
        HostVerdict::Reachable
    } else if any(|verdict| *verdict == HostMonitorVerdict::Late) {
        HostVerdict::NoConclusion
    } else if any(|verdict| matches!(verdict, HostMonitorVerdict::Failed { .. })) {
        HostVerdict::Unreachable
    } else {
        HostVerdict::NoConclusion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(age_s: u64) -> HostMonitorCase {
        HostMonitorCase {
            id: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".parse().unwrap(),
            trunk: None,
            state: NodeState::Up,
            reason: 0,
            mode: MonitorMode::Global,
            responsive: age_s < 75,
            heartbeat_age_ms: Some(age_s * 1000),
            host_failure_detection_time_s: 90,
        }
    }

    #[test]
    fn silence_counts_from_host_failure_detection_time_on() {
        assert_eq!(decide(&case(1)), HostMonitorVerdict::Responding);
        assert_eq!(decide(&case(80)), HostMonitorVerdict::Late);
        assert_eq!(decide(&case(90)), HostMonitorVerdict::Failed { how: HostMonitorFailure::Silent });
        assert_eq!(
            decide(&HostMonitorCase { host_failure_detection_time_s: 600, ..case(90) }),
            HostMonitorVerdict::Late
        );
    }

    #[test]
    fn a_shutdown_on_purpose_is_no_failure_however_long_ago() {
        let down = |reason| HostMonitorCase { state: NodeState::Down, reason, ..case(206_498) };
        assert_eq!(decide(&down(REASON_NODE_SHUTDOWN)), HostMonitorVerdict::ShutDown);
        assert_eq!(decide(&down(0)), HostMonitorVerdict::Failed { how: HostMonitorFailure::NodeDown });
    }

    #[test]
    fn what_never_ran_or_was_taken_out_is_not_watched() {
        let never = HostMonitorCase { heartbeat_age_ms: None, ..case(0) };
        assert_eq!(decide(&never), HostMonitorVerdict::NotWatched);
        let removed = HostMonitorCase { state: NodeState::Removed, ..case(500) };
        assert_eq!(decide(&removed), HostMonitorVerdict::NotWatched);
    }

    #[test]
    fn a_monitor_whose_loop_stands_still_has_failed() {
        let stalled = HostMonitorCase { mode: MonitorMode::Down, ..case(1) };
        assert_eq!(decide(&stalled), HostMonitorVerdict::Failed { how: HostMonitorFailure::Stalled });
        let local = HostMonitorCase { mode: MonitorMode::Local, ..case(1) };
        assert_eq!(decide(&local), HostMonitorVerdict::Responding);
    }

    #[test]
    fn one_monitor_that_answers_keeps_its_host_reachable() {
        use HostMonitorVerdict::*;
        let failed = Failed { how: HostMonitorFailure::Silent };
        assert_eq!(decide_host(&[failed, Responding]), HostVerdict::Reachable);
        assert_eq!(decide_host(&[failed, failed]), HostVerdict::Unreachable);
        assert_eq!(decide_host(&[failed, ShutDown]), HostVerdict::Unreachable);
        assert_eq!(decide_host(&[failed, NotWatched]), HostVerdict::Unreachable);
        assert_eq!(decide_host(&[failed, Late]), HostVerdict::NoConclusion);
        assert_eq!(decide_host(&[ShutDown, ShutDown]), HostVerdict::NoConclusion);
        assert_eq!(decide_host(&[]), HostVerdict::NoConclusion);
    }
}
