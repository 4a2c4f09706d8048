//! Which request wants what. Pure.

use vmpulse_local::monitor_answer::VM_TARGET;
use vmpulse_protocol::id::VmUuid;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Metrics of the whole monitor.
    Metrics,
    /// Metrics of single VMs.
    VmMetrics,
    /// What `hmmgr status -o json` says.
    Status,
    /// Whether it is well.
    Health,
    /// One VM.
    Vm(VmUuid),
}

/// Why a request is not answered: the code and reason of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing here.
    NotFound,
    /// Nothing can be changed here.
    NotAllowed,
    /// That is no UUID of a VM.
    NotAVm,
}

impl Refusal {
    /// Its code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::NotAllowed => 405,
            Self::NotAVm => 400,
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "there are /metrics, /metrics/vms, /status, /health and /vm/UUID",
            Self::NotAllowed => "only GET and HEAD are answered",
            Self::NotAVm => "name a VM by its UUID, as /vm/61be20f0-09a8-4753-b5e5-564f8a545ed5",
        }
    }
}

/// What a request wants: its method, and its target without a query.
///
/// # Errors
/// [`Refusal`].
pub fn route(method: &str, path: &str) -> Result<Route, Refusal> {
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::NotAllowed);
    }
    match path {
        "/metrics" => Ok(Route::Metrics),
        "/metrics/vms" => Ok(Route::VmMetrics),
        "/status" => Ok(Route::Status),
        "/health" => Ok(Route::Health),
        _ => {
            let vm = path.strip_prefix(VM_TARGET).ok_or(Refusal::NotFound)?;
            vm.parse().map(Route::Vm).map_err(|_| Refusal::NotAVm)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmpulse_local::monitor_answer::vm_target;

    #[test]
    fn every_target_has_its_route() {
        let vm = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
        for (method, path, wanted) in [
            ("GET", "/metrics", Ok(Route::Metrics)),
            ("HEAD", "/metrics/vms", Ok(Route::VmMetrics)),
            ("GET", "/status", Ok(Route::Status)),
            ("GET", "/health", Ok(Route::Health)),
            ("GET", &vm_target(vm), Ok(Route::Vm(vm.parse().unwrap()))),
            ("GET", "/vm/", Err(Refusal::NotAVm)),
            ("GET", "/vm/../status", Err(Refusal::NotAVm)),
            ("GET", "/", Err(Refusal::NotFound)),
            ("GET", "/metrics/", Err(Refusal::NotFound)),
            ("POST", "/metrics", Err(Refusal::NotAllowed)),
            ("get", "/metrics", Err(Refusal::NotAllowed)),
        ] {
            assert_eq!(route(method, path), wanted, "{method} {path}");
        }
    }
}
