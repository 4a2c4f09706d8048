//! What the status endpoint asks the loop, and its thread.

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use vmpulse_local::command::{SocketFile, bind_socket};
use vmpulse_local::monitor_answer::{Condition, Hears, VmAnswer};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::startup::{SOCKET_MODE, StartError, socket_group};
use super::status::{absent_status, milliseconds, mode, path_status};
use super::{Driver, Woken};
use crate::endpoint::{QUESTIONS_MAXIMUM, Question, Whole, server};
use crate::settings::Settings;
use crate::status::PathStatus;

/// The loop's end. The socket's file goes with it.
pub(super) struct Endpoint {
    questions: mpsc::Receiver<Question>,
    _file: SocketFile,
}

impl Endpoint {
    pub(super) fn start(settings: &Settings) -> Result<Self, StartError> {
        let system = |source| StartError::System { what: "start the status endpoint's thread", source };
        let tcp = settings.status_tcp();
        if let Some(tcp) = &tcp {
            // Read again by whoever uses it; here it is to be found out whether that can be done at all.
            tcp.files.server()?;
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(system)?;
        let (listener, file) = {
            let _there = runtime.enter();
            bind_socket(&settings.status_path(), SOCKET_MODE, socket_group())?
        };
        let (ask, questions) = mpsc::channel(QUESTIONS_MAXIMUM);
        server::start(runtime, server::run(listener, tcp, ask)).map_err(system)?;
        Ok(Self { questions, _file: file })
    }

    /// The next question; never, if the thread is gone.
    pub(super) async fn question(&mut self) -> Woken {
        match self.questions.recv().await {
            Some(question) => Woken::Question(question),
            None => std::future::pending().await,
        }
    }
}

impl Driver {
    /// Whoever asked may have gone: that is no concern of the loop.
    pub(super) fn on_question(&self, now: Instant, question: Question) {
        match question {
            Question::Vm(vm, reply) => drop(reply.send(self.vm_answer(now, vm))),
            Question::Condition(reply) => drop(reply.send(self.condition())),
            Question::Whole(reply) => {
                let snapshot = self.snapshot(now);
                drop(reply.send(Whole::new(move || snapshot.whole())));
            }
        }
    }

    fn condition(&self) -> Condition {
        let config = self.monitor.config();
        Condition {
            host_monitor: config.identity.uuid.to_string(),
            trunk: config.trunk.clone(),
            incarnation: config.incarnation.to_string(),
            mode: mode(&self.store.view()).to_string(),
            trunk_heard: self.monitor.hears_trunk(),
            isolated: self.monitor.is_isolated(),
            blind: self.monitor.is_blind(),
            removed: self.monitor.is_removed(),
        }
    }

    /// Costs three look-ups, however many VMs there are.
    fn vm_answer(&self, now: Instant, vm: VmUuid) -> VmAnswer {
        let monitor = self.condition();
        let quiet_left_ms = self.monitor.quiet_left(now, vm).map(milliseconds);
        let hears_trunk = monitor.trunk_heard;
        let base = VmAnswer {
            monitor,
            vm: vm.to_string(),
            hears: Hears::Unknown,
            state: "NOT_KNOWN".to_owned(),
            last_heartbeat_age_ms: None,
            interval_ms: None,
            guardian: false,
            quiet_left_ms,
            suspended: None,
        };
        if let Some(view) = self.monitor.path(now, vm) {
            return with_path(base, path_status(&view, hears_trunk));
        }
        let Some(absent) = self.monitor.absent_view(now, vm) else { return base };
        let absent = absent_status(&absent, hears_trunk);
        VmAnswer {
            hears: hears(&absent.state),
            last_heartbeat_age_ms: absent.silent_ms,
            suspended: absent.suspended.map(|reason| reason.to_string()),
            state: absent.state,
            ..base
        }
    }
}

fn with_path(base: VmAnswer, path: PathStatus) -> VmAnswer {
    VmAnswer {
        hears: hears(&path.state),
        last_heartbeat_age_ms: path.last_heartbeat_age_ms,
        interval_ms: Some(path.interval_ms).filter(|interval| *interval > 0),
        guardian: path.guardian,
        suspended: path.suspended.map(|reason| reason.to_string()),
        state: path.state,
        ..base
    }
}

/// Only what was judged is silence: not an announced one, nor one that the monitor may have missed the end of.
fn hears(state: &str) -> Hears {
    match state {
        "BEATING" => Hears::Heard,
        "MISSING" => Hears::Silent,
        _ => Hears::Unknown,
    }
}
