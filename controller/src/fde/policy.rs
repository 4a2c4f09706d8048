//! The settings that hold for a VM, and where each comes from.

use serde::Serialize;
use vmpulse_store::{DetectionSpeed, SystemSettings, VmSettings};

/// VMFDT = host_failure_detection_time + k x this.
pub const SPEED_STEP_S: u32 = 50;

/// The heartbeat interval of host monitors that nobody configured. What a host monitor is told otherwise in its own
/// settings is not in the store.
pub const DEFAULT_HEARTBEAT_INTERVAL_MS: u32 = 10_000;

/// Where a value comes from: the lowest level that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// The system's settings.
    System,
    /// The VM's own settings.
    Vm,
}

impl Origin {
    /// As shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::System => "system",
            Self::Vm => "vm",
        }
    }
}

/// A value with its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Effective<T> {
    /// What holds.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

/// The detection settings that hold for one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// The threshold: a VM silent for so long is failed. Its origin is `vm` when
    /// `vm_failure_detection_time` replaces the formula, else `system`.
    pub vmfdt_ms: Effective<u64>,
    /// Of the system.
    pub host_failure_detection_time_s: u32,
    /// The k of the formula.
    pub speed: Effective<DetectionSpeed>,
    /// Pause between heartbeats asked of the VM.
    pub heartbeat_interval_ms: Effective<u32>,
}

impl Detection {
    /// What holds for a VM with settings `vm` in a system with settings `system`.
    #[must_use]
    pub fn of(system: &SystemSettings, vm: &VmSettings) -> Self {
        let speed = vm.vm_failure_detection_speed.map_or(
            Effective { value: system.vm_failure_detection_speed, origin: Origin::System },
            |value| Effective { value, origin: Origin::Vm },
        );
        let by_formula = u64::from(system.host_failure_detection_time_s)
            .saturating_add(u64::from(steps(speed.value) * SPEED_STEP_S))
            .saturating_mul(1000);
        Self {
            vmfdt_ms: vm.vm_failure_detection_time_ms.map_or(
                Effective { value: by_formula, origin: speed.origin },
                |value| Effective { value: u64::from(value), origin: Origin::Vm },
            ),
            host_failure_detection_time_s: system.host_failure_detection_time_s,
            speed,
            heartbeat_interval_ms: vm.heartbeat_interval_ms.map_or(
                Effective { value: DEFAULT_HEARTBEAT_INTERVAL_MS, origin: Origin::Default },
                |value| Effective { value, origin: Origin::Vm },
            ),
        }
    }
}

/// The k of the formula.
const fn steps(speed: DetectionSpeed) -> u32 {
    match speed {
        DetectionSpeed::Fast => 1,
        DetectionSpeed::Normal => 2,
        DetectionSpeed::Slow => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmfdt_s(host_s: u32, speed: DetectionSpeed) -> u64 {
        let system =
            SystemSettings { host_failure_detection_time_s: host_s, vm_failure_detection_speed: speed };
        Detection::of(&system, &VmSettings::default()).vmfdt_ms.value / 1000
    }

    #[test]
    fn the_formula_gives_the_documented_values() {
        let table = [DetectionSpeed::Fast, DetectionSpeed::Normal, DetectionSpeed::Slow]
            .map(|speed| (vmfdt_s(90, speed), vmfdt_s(600, speed)));
        assert_eq!(table, [(140, 650), (190, 700), (240, 750)]);
    }

    #[test]
    fn the_lowest_level_that_says_so_wins() {
        let system = SystemSettings::default();
        let inherited = Detection::of(&system, &VmSettings::default());
        assert_eq!(inherited.speed, Effective { value: DetectionSpeed::Normal, origin: Origin::System });
        assert_eq!(inherited.vmfdt_ms, Effective { value: 190_000, origin: Origin::System });
        assert_eq!(inherited.heartbeat_interval_ms, Effective { value: 10_000, origin: Origin::Default });
        let slow =
            VmSettings { vm_failure_detection_speed: Some(DetectionSpeed::Slow), ..VmSettings::default() };
        let detection = Detection::of(&system, &slow);
        assert_eq!(detection.speed.origin, Origin::Vm);
        assert_eq!(detection.vmfdt_ms, Effective { value: 240_000, origin: Origin::Vm });
        let seconds = VmSettings {
            heartbeat_interval_ms: Some(100),
            vm_failure_detection_time_ms: Some(300),
            ..VmSettings::default()
        };
        let detection = Detection::of(&system, &seconds);
        assert_eq!(detection.vmfdt_ms, Effective { value: 300, origin: Origin::Vm });
        assert_eq!(detection.heartbeat_interval_ms, Effective { value: 100, origin: Origin::Vm });
    }
}
