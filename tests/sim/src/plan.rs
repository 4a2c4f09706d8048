//! What a run is: a cluster, what happens to it when, and how long it goes on. As text, so that every run, random or not, can
//! be kept, read, changed and repeated.
//!
//! ```text
//! # Lines beginning with # are for people.
//! cluster hosts=2 trunks=2 vms=4 apps=1
//! at 60 guest vm1 freeze
//! at 400.5 guest vm1 thaw
//! end 700
//! ```

mod action;
pub mod random;
mod text;

use vmpulse_protocol::time::Instant;
use vmpulse_store::DetectionSpeed;

pub use action::{Action, ControllerAction, GuestAction, MonitorAction, StoreAction, TrunkAction};
pub use text::PlanError;

/// More than anybody needs; a world is built for each.
pub const HOSTS_MAXIMUM: usize = 16;
/// See above.
pub const TRUNKS_MAXIMUM: usize = 4;
/// See above.
pub const VMS_MAXIMUM: usize = 1000;
/// See above.
pub const APPS_MAXIMUM: usize = 8;
/// See above.
pub const CONTROLLERS_MAXIMUM: usize = 4;

/// Who there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Of every random stream.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// Trunks of each, with a host monitor each.
    pub trunks: usize,
    /// How many VMs; the first is on the first host, the second on the second, and so on.
    pub vms: usize,
    /// Applications in each VM.
    pub apps: usize,
    /// Whether agents have guardians.
    pub guardian: bool,
    /// How long a VM may be silent.
    pub detection: DetectionSpeed,
    /// Pause between two polls of the controller.
    pub poll_interval_ms: u64,
    /// How many controllers; actions are done to the first.
    pub controllers: usize,
    /// Whether host monitors run canaries.
    pub canary: bool,
    /// Whether guests have keys, and host monitors hear nobody without.
    pub auth: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            seed: 1,
            hosts: 1,
            trunks: 2,
            vms: 2,
            apps: 0,
            guardian: true,
            detection: DetectionSpeed::Fast,
            poll_interval_ms: 20_000,
            controllers: 1,
            canary: false,
            auth: false,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who there is.
    pub cluster: Cluster,
    /// What happens, by time.
    pub actions: Vec<(Instant, Action)>,
    /// When it is over.
    pub end: Instant,
    /// Whether everything is to be well again at the end: faults were healed long before.
    pub converges: bool,
}
