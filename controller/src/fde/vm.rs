//! Is this VM to be called failed?

use serde::Serialize;
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{StoreTime, SuspendReason, VmState, as_text};

use super::policy::Detection;

/// Everything a decision about a VM is made of. Recorded beside the decision it explains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmCase {
    /// Which VM.
    #[serde(serialize_with = "as_text")]
    pub vm: VmUuid,
    /// For people.
    pub name: String,
    /// Its monitoring state.
    pub state: VmState,
    /// Why it is suspended, if it is.
    pub suspended: Option<SuspendReason>,
    /// Whether an agent ever shook hands.
    pub agent_seen: bool,
    /// What its paths say.
    pub silence: Silence,
    /// Silence up to here does not count (HBoffset): it was announced. (Grows while a guest boots, once anything starts
    /// guests.)
    pub hb_offset_ms: u64,
    /// The settings that hold.
    pub detection: Detection,
    /// The store's time of the poll.
    pub at: StoreTime,
}

/// What the paths of a VM say. Unknown is never silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "paths")]
pub enum Silence {
    /// No path was ever open since monitoring started.
    NoPath,
    /// No path can be judged: none of their host monitors is responsive and GLOBAL.
    Unknown,
    /// Heartbeats arrive on at least one path.
    Heard,
    /// The guest announced that it may be silent, and that time is not over.
    Announced,
    /// None arrives on any path that counts.
    Silent {
        /// How long the VM has been silent altogether: the age of the youngest silence, as far as it may be believed.
        youngest_ms: u64,
        /// Age of the oldest silence of a path.
        oldest_ms: u64,
        /// Whether most other guests of its trunks fell silent with it.
        common: bool,
    },
}

/// Why a VM is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// It is not monitored.
    NotMonitored,
    /// It is suspended, by its administrator or by an announced shutdown.
    Suspended,
    /// No agent was ever seen in it.
    NoAgent,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Not judged.
    NotEligible {
        /// Why.
        why: Ineligible,
    },
    /// Nothing is known: no conclusion.
    Unknown,
    /// Heartbeats arrive.
    Heard,
    /// Silent or not, as it announced: not judged by its heartbeats. Evidence of another kind is as strong as ever.
    Announced,
    /// Silent, not for long enough.
    Waiting {
        /// Silence that counts.
        counted_ms: u64,
    },
    /// Silent for VMFDT or longer.
    Failed {
        /// Silence that counts.
        counted_ms: u64,
    },
}

/// A decision with what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The input.
    pub case: VmCase,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Decides about one VM. Depends on `case` and nothing else.
#[must_use]
pub fn decide(case: VmCase) -> Decision {
    let verdict = match (ineligible(&case), case.silence) {
        (Some(why), _) => Verdict::NotEligible { why },
        (None, Silence::NoPath | Silence::Unknown) => Verdict::Unknown,
        (None, Silence::Heard) => Verdict::Heard,
        (None, Silence::Announced) => Verdict::Announced,
        (None, Silence::Silent { youngest_ms, .. }) => {
            let counted_ms = youngest_ms.saturating_sub(case.hb_offset_ms);
            if counted_ms >= case.detection.vmfdt_ms.value {
                Verdict::Failed { counted_ms }
            } else {
                Verdict::Waiting { counted_ms }
            }
        }
    };
    Decision { case, verdict }
}

/// STARTING counts: paths are counted only if they were open since monitoring started, so one that is silent was
/// heard of before. A VM that never opened one is unknown.
fn ineligible(case: &VmCase) -> Option<Ineligible> {
    match case.state {
        VmState::Starting | VmState::Started if !case.agent_seen => Some(Ineligible::NoAgent),
        VmState::Starting | VmState::Started => None,
        VmState::Suspended => Some(Ineligible::Suspended),
        VmState::Added | VmState::Stopping | VmState::Stopped | VmState::Removing | VmState::Unknown => {
            Some(Ineligible::NotMonitored)
        }
    }
}

impl Decision {
    /// Why, in one sentence.
    #[must_use]
    pub fn rationale(&self) -> String {
        let name = &self.case.name;
        let vmfdt = seconds(self.case.detection.vmfdt_ms.value);
        match self.verdict {
            Verdict::NotEligible { why: Ineligible::NotMonitored } => format!("VM {name} is not monitored"),
            Verdict::NotEligible { why: Ineligible::Suspended } => format!("VM {name} is suspended"),
            Verdict::NotEligible { why: Ineligible::NoAgent } => {
                format!("no agent was ever seen in VM {name}")
            }
            Verdict::Unknown => {
                format!("Heartbeats of VM {name} are unknown: no host monitor that can hear it is responsive")
            }
            Verdict::Heard => format!("VM {name} is heard"),
            Verdict::Announced => format!("VM {name} announced to be silent"),
            Verdict::Waiting { counted_ms } => {
                format!(
                    "Missed HB count {} for VM {name} is less than its VMFDT {vmfdt}",
                    self.count(counted_ms)
                )
            }
            Verdict::Failed { counted_ms } => {
                let count = self.count(counted_ms);
                format!("Missed HB count {count} for VM {name} has reached its VMFDT {vmfdt}")
            }
        }
    }

    /// Whether most other guests of its trunks fell silent with it: more likely the trunk than the guest.
    #[must_use]
    pub fn common(&self) -> bool {
        matches!(self.case.silence, Silence::Silent { common: true, .. })
    }

    /// Whole seconds, unless the threshold is so short that they would hide what happens.
    fn count(&self, counted_ms: u64) -> String {
        if self.case.detection.vmfdt_ms.value < SHORT_VMFDT_MS {
            seconds(counted_ms / 100 * 100)
        } else {
            (counted_ms / 1000).to_string()
        }
    }
}

/// Below this a VMFDT is shown, and polled for, in finer steps than seconds.
pub const SHORT_VMFDT_MS: u64 = 10_000;

/// Milliseconds as seconds, with as many decimals as it takes.
#[must_use]
pub fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use vmpulse_store::{SystemSettings, VmSettings};

    use super::*;

    pub(crate) fn case(silence: Silence) -> VmCase {
        VmCase {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap(),
            name: "vmraix1".to_owned(),
            state: VmState::Started,
            suspended: None,
            agent_seen: true,
            silence,
            hb_offset_ms: 0,
            detection: Detection::of(&SystemSettings::default(), &VmSettings::default()),
            at: StoreTime(0),
        }
    }

    pub(crate) fn silent(youngest_s: u64) -> Silence {
        Silence::Silent { youngest_ms: youngest_s * 1000, oldest_ms: 3_600_000, common: false }
    }

    #[test]
    fn the_youngest_silence_decides_and_the_threshold_belongs_to_failure() {
        let waiting = decide(case(silent(50)));
        assert_eq!(waiting.verdict, Verdict::Waiting { counted_ms: 50_000 });
        assert_eq!(waiting.rationale(), "Missed HB count 50 for VM vmraix1 is less than its VMFDT 190");
        let short = Silence::Silent { youngest_ms: 189_999, oldest_ms: 9_999_999, common: false };
        assert_eq!(decide(case(short)).verdict, Verdict::Waiting { counted_ms: 189_999 });
        assert_eq!(decide(case(silent(190))).verdict, Verdict::Failed { counted_ms: 190_000 });
    }

    #[test]
    fn silence_before_the_offset_does_not_count() {
        let booting = VmCase { hb_offset_ms: 100_000, ..case(silent(200)) };
        assert_eq!(decide(booting).verdict, Verdict::Waiting { counted_ms: 100_000 });
    }

    #[test]
    fn unknown_is_never_silence() {
        assert_eq!(decide(case(Silence::Unknown)).verdict, Verdict::Unknown);
        assert_eq!(decide(case(Silence::NoPath)).verdict, Verdict::Unknown);
    }

    #[test]
    fn an_announced_silence_is_no_failure_and_does_not_count_when_it_is_over() {
        assert_eq!(decide(case(Silence::Announced)).verdict, Verdict::Announced);
        let over = VmCase { hb_offset_ms: 300_000, ..case(silent(489)) };
        assert_eq!(decide(over).verdict, Verdict::Waiting { counted_ms: 189_000 });
        let failed = VmCase { hb_offset_ms: 300_000, ..case(silent(490)) };
        assert_eq!(decide(failed).verdict, Verdict::Failed { counted_ms: 190_000 });
    }

    #[test]
    fn only_monitored_vms_with_an_agent_are_judged() {
        use Ineligible::*;
        for (state, expected) in [
            (VmState::Added, Some(NotMonitored)),
            (VmState::Starting, None),
            (VmState::Started, None),
            (VmState::Stopping, Some(NotMonitored)),
            (VmState::Stopped, Some(NotMonitored)),
            (VmState::Removing, Some(NotMonitored)),
            (VmState::Suspended, Some(Suspended)),
            (VmState::Unknown, Some(NotMonitored)),
        ] {
            let verdict = decide(VmCase { state, ..case(silent(500)) }).verdict;
            let expected =
                expected.map_or(Verdict::Failed { counted_ms: 500_000 }, |why| Verdict::NotEligible { why });
            assert_eq!(verdict, expected, "{state}");
        }
        let agentless = VmCase { agent_seen: false, ..case(silent(500)) };
        assert_eq!(decide(agentless).verdict, Verdict::NotEligible { why: NoAgent });
    }

    #[test]
    fn short_thresholds_are_told_in_tenths() {
        let settings = VmSettings { vm_failure_detection_time_ms: Some(300), ..VmSettings::default() };
        let detection = Detection::of(&SystemSettings::default(), &settings);
        let silence = Silence::Silent { youngest_ms: 219, oldest_ms: 219, common: false };
        let decision = decide(VmCase { detection, ..case(silence) });
        assert_eq!(decision.rationale(), "Missed HB count 0.2 for VM vmraix1 is less than its VMFDT 0.3");
    }

    #[test]
    fn a_decision_can_be_recorded_with_what_it_was_made_of() {
        let recorded = serde_json::to_value(decide(case(silent(200)))).unwrap();
        assert_eq!(recorded["verdict"], "failed");
        assert_eq!(recorded["counted_ms"], 200_000);
        assert_eq!(recorded["case"]["vm"], "61be20f0-09a8-4753-b5e5-564f8a545ed5");
        assert_eq!(recorded["case"]["silence"]["oldest_ms"], 3_600_000);
        assert_eq!(recorded["case"]["detection"]["vmfdt_ms"]["origin"], "system");
    }

    proptest::proptest! {
        #[test]
        fn failed_exactly_when_eligible_and_silent_for_vmfdt(
            youngest_ms in 0..1_000_000u64, extra in 0..1_000_000u64, offset in 0..50_000u64, common: bool,
        ) {
            let silence = Silence::Silent { youngest_ms, oldest_ms: youngest_ms + extra, common };
            let decision = decide(VmCase { hb_offset_ms: offset, ..case(silence) });
            let failed = youngest_ms.saturating_sub(offset) >= 190_000;
            proptest::prop_assert_eq!(matches!(decision.verdict, Verdict::Failed { .. }), failed);
        }
    }
}
