//! What daemons do, as events: of one that is simulated, and of one that was recorded.

use vmpulse_agent::ame::AmeOutput;
use vmpulse_agent::guardian::watch::{Failure, WatchOutput};
use vmpulse_agent::trunks::TrunkOutput;
use vmpulse_hostmon::monitor::Note;
use vmpulse_hostmon::tracker::Edge;
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::HostMonitorWrite;

use crate::event::Event;
use crate::names::{Hm, Vm};

/// ACKR, ACK, SYN and HEL: no heartbeat has any of them.
const NO_HEARTBEAT: u8 = 0x80 | 0x40 | 0x04 | 0x02;

/// Whether a packet is a heartbeat, and then whether it is a guardian's; read from its bytes, not by the product.
pub(crate) fn beat(payload: &[u8]) -> Option<bool> {
    let flags = *payload.get(3)?;
    let text = payload.get(8..11)?;
    let length = usize::from(u16::from_be_bytes([*payload.get(4)?, *payload.get(5)?]));
    (flags & NO_HEARTBEAT == 0 && text == b"HB:").then_some(length == 4)
}

/// What a guardian says of its agent.
pub(crate) const fn guarded(output: &WatchOutput) -> Option<&'static str> {
    match output {
        WatchOutput::Beat { .. } => None,
        WatchOutput::Failed(Failure::Hangs) => Some("the guardian finds that the agent hangs or died"),
        WatchOutput::Failed(Failure::Died) => {
            Some("the guardian finds that the agent died and was started again")
        }
        WatchOutput::Recovered => Some("the guardian sees the agent live again"),
    }
}

/// What an engine says of its applications.
pub(crate) fn managed(vm: Vm, output: &AmeOutput) -> Option<Event> {
    match output {
        AmeOutput::StatusChanged { app, from, to } => Some(Event::App(vm, format!("{app} {from} to {to}"))),
        AmeOutput::StartScript(_)
        | AmeOutput::KillScript { .. }
        | AmeOutput::Waits { .. }
        | AmeOutput::Changed(_)
        | AmeOutput::Table(_) => None,
    }
}

/// What an agent says of its paths.
pub(crate) fn connected(vm: Vm, output: &TrunkOutput) -> Option<Event> {
    match output {
        TrunkOutput::Log(event) => (!event.is_detail()).then(|| Event::Agent(vm, event.to_string())),
        TrunkOutput::Transmit { .. }
        | TrunkOutput::ReportWanted { .. }
        | TrunkOutput::ReportTaken { .. }
        | TrunkOutput::SuspensionHeard
        | TrunkOutput::ShutdownDone => None,
    }
}

/// It wants this written.
pub(crate) fn written(hm: Hm, number: u64, write: &HostMonitorWrite) -> Event {
    Event::Written(hm, number, kind_of(write))
}

/// It notes this. `vm`: whom a UUID is of.
pub(crate) fn noted(hm: Hm, note: &Note, mut vm: impl FnMut(VmUuid) -> Option<Vm>) -> Event {
    let says = || Event::Monitor(hm, note.to_string());
    let edge = match note {
        Note::Edge(edge) => edge,
        Note::Opened { vm: uuid, .. } => {
            return vm(*uuid).map_or_else(says, |vm| Event::Opened(vm, hm));
        }
        Note::Closed { vm: uuid, reason } => {
            let closed = |vm| Event::PathClosed(vm, hm, reason.to_string());
            return vm(*uuid).map_or_else(says, closed);
        }
        Note::Stranger { .. }
        | Note::Announced { .. }
        | Note::Agent { .. }
        | Note::Dying { .. }
        | Note::Quiet { .. }
        | Note::QuietOver { .. }
        | Note::LeftOut { .. }
        | Note::StoreLost
        | Note::StoreBack
        | Note::Moved { .. }
        | Note::Configured { .. }
        | Note::Removed { .. }
        | Note::Remark { .. } => return says(),
    };
    match *edge {
        Edge::Detected { vm: uuid } => vm(uuid).map(|vm| Event::Detected(vm, hm)),
        Edge::Missing { vm: uuid, age, common } => vm(uuid).map(|vm| Event::Missing { vm, hm, age, common }),
        Edge::Blind => Some(Event::Blind(hm, true)),
        Edge::Sighted => Some(Event::Blind(hm, false)),
        Edge::Deferred { .. } => None,
    }
    .unwrap_or_else(says)
}

/// A controller recorded an event.
pub(crate) fn told(name: String, incident: String, vm: impl FnOnce(VmUuid) -> Option<Vm>) -> Event {
    let uuid = incident.split(':').nth(1).and_then(|uuid| uuid.parse().ok());
    let vm = uuid.and_then(vm);
    Event::Told { name, incident, vm }
}

/// What a write is, and what tells it from others of its kind; without tags and addresses, which say nothing to a reader.
fn kind_of(write: &HostMonitorWrite) -> String {
    let about = |what: &str, vm: &VmUuid| format!("{what} {}", &vm.to_string()[32..]);
    match write {
        HostMonitorWrite::Started(_) => "STARTED".to_owned(),
        HostMonitorWrite::Heartbeat => "HEARTBEAT".to_owned(),
        HostMonitorWrite::NodeChanged { state, mode, .. } => format!("NODE {state} {mode}"),
        HostMonitorWrite::Configured { version, .. } => format!("CONFIGURED {version}"),
        HostMonitorWrite::ModeChanged { mode, .. } => format!("MODE {mode}"),
        HostMonitorWrite::Isolated { isolated } => format!("ISOLATED {isolated}"),
        HostMonitorWrite::PathGuardian { vm, guardian } => format!("{} {guardian}", about("GUARDIAN", vm)),
        HostMonitorWrite::NodeEvent { kind, .. } => format!("NODE_EVENT {kind}"),
        HostMonitorWrite::TrunkHeard { heard } => format!("TRUNK_HEARD {heard}"),
        HostMonitorWrite::PathOpened { vm, .. } => about("OPENED", vm),
        HostMonitorWrite::PathDetected { vm } => about("DETECTED", vm),
        HostMonitorWrite::PathMissing { vm, .. } => about("MISSING", vm),
        HostMonitorWrite::PathQuiet { vm } => about("PATH_QUIET", vm),
        HostMonitorWrite::PathForgotten { vm } => about("FORGOTTEN", vm),
        HostMonitorWrite::Suspended { vm, reason, .. } => format!("{} {reason}", about("SUSPENDED", vm)),
        HostMonitorWrite::Resumed { vm, .. } => about("RESUMED", vm),
        HostMonitorWrite::QuietAsked { vm, reason, .. } => format!("{} {reason}", about("QUIET_ASKED", vm)),
        HostMonitorWrite::QuietEnded { vm, .. } => about("QUIET_ENDED", vm),
        HostMonitorWrite::QuietOver { vm, .. } => about("QUIET_OVER", vm),
        HostMonitorWrite::Doorbell { vm, bits } => format!("{} {bits:#x}", about("DOORBELL", vm)),
        HostMonitorWrite::Report { vm, .. } => about("REPORT", vm),
        HostMonitorWrite::ReportCleared { vm, .. } => about("REPORT_CLEARED", vm),
        HostMonitorWrite::RequestDone { .. } => "REQUEST_DONE".to_owned(),
        HostMonitorWrite::Discovered { kind, .. } => format!("DISCOVERED {kind}"),
        HostMonitorWrite::Conflict { kind, .. } => format!("CONFLICT {kind:?}"),
    }
}
