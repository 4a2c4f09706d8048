//! Expected events that several classes share, as docs/reference/events.md says them.

use crate::class::{After, Expected, Source, Subject, Within};

const fn controller(
    event: &'static str,
    about: Subject,
    after: After,
    within: Within,
    reaction: &'static str,
) -> Expected {
    Expected { event, source: Source::Controller, about, after, within, reaction }
}

/// A guest's guardian says so within 1.75 s, on the next heartbeat's way.
pub(crate) const AGENT_FAILURE: Expected = Expected {
    event: "AGENT_FAILURE",
    source: Source::Monitor,
    about: Subject::Vm,
    after: After::On,
    within: Within::Seconds(30),
    reaction: "the guardian beats in the agent's place: the VM is not called failed",
};

/// A new agent shakes hands at the host monitor's next Hello.
pub(crate) const AGENT_BACK: Expected = Expected {
    event: "AGENT_BACK",
    source: Source::Monitor,
    about: Subject::Vm,
    after: After::Off,
    within: Within::Seconds(90),
    reaction: "the agent beats itself again",
};

pub(crate) const VM_FAILURE: Expected = controller(
    "VM_FAILURE_DETECTED",
    Subject::Vm,
    After::On,
    Within::Vmfdt,
    "detected and told; nothing is restarted in this version",
);

pub(crate) const VM_RECOVERED: Expected =
    controller("VM_RECOVERED", Subject::Vm, After::Off, Within::Seconds(120), "the incident is closed");

pub(crate) const MONITOR_FAILURE: Expected = controller(
    "VIOS_FAILURE",
    Subject::Monitor,
    After::On,
    Within::HostFdt,
    "told; VMs heard by another host monitor are judged by that one, the others are unknown and never called failed",
);

pub(crate) const ALL_UNREACHABLE: Expected = controller(
    "ALL_VIOS_UNREACHABLE",
    Subject::Host,
    After::On,
    Within::HostFdt,
    "told; all VMs of the host are unknown, none is called failed; nothing is restarted in this version",
);

pub(crate) const MONITOR_BACK: Expected = controller(
    "VIOS_HM_RESP_DETECTED",
    Subject::Monitor,
    After::Off,
    Within::Seconds(120),
    "the host monitor answers; it accuses nobody in its first 10 s",
);

pub(crate) const MODE_LOCAL: Expected = controller(
    "VIOS_MODE_LOCAL",
    Subject::Monitor,
    After::Off,
    Within::Seconds(120),
    "told when the store is back: host monitors went on by themselves and kept what they saw",
);

pub(crate) const MODE_GLOBAL: Expected = controller(
    "VIOS_MODE_GLOBAL",
    Subject::Monitor,
    After::Off,
    Within::Seconds(180),
    "everything that was kept is in the store",
);

pub(crate) const STORE_BACK: Expected = controller(
    "STORE_UNREACHABLE",
    Subject::System,
    After::Off,
    Within::Seconds(120),
    "told when the store is back; detection begins anew for VMs that were silent",
);
