//! Keys and marks between their thread and the core.

use std::collections::{HashMap, HashSet};

use nix::unistd::geteuid;
use vmpulse_local::command::{CommandCall, Peer};
use vmpulse_protocol::auth::Mode;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::Driver;
use super::key_thread::{Job, KeyReply, KeyThread};
use crate::keys::Loaded;
use crate::monitor::Input;
use crate::status::KeysLoaded;

pub(super) struct Secrets {
    pub(super) thread: KeyThread,
    mode: Mode,
    key_dir: String,
    /// VMs that must be authenticated because they once were.
    marked: HashSet<VmUuid>,
    /// Those of them of which the thread has not said yet that it knows.
    under_way: HashSet<VmUuid>,
}

impl Secrets {
    pub(super) fn new(thread: KeyThread, mode: Mode, key_dir: String) -> Self {
        Self { thread, mode, key_dir, marked: HashSet::new(), under_way: HashSet::new() }
    }

    /// VMs of which an administrator demands less than until now.
    fn relaxed(&self, loaded: &Loaded) -> HashSet<VmUuid> {
        // With another mode marks change nothing.
        let matters = self.mode == Mode::Optional;
        self.marked.iter().filter(|vm| matters && !loaded.marked.contains(*vm)).copied().collect()
    }
}

impl Driver {
    pub(super) fn on_keys(&mut self, now: Instant, reply: KeyReply) {
        match reply {
            KeyReply::Loaded { loaded, call } => {
                let told = self.told(&loaded);
                self.use_keys(now, loaded);
                if let Some(call) = call {
                    call.reply(&told);
                }
            }
            KeyReply::Marked { vms, problem } => {
                vms.iter().for_each(|vm| {
                    self.secrets.under_way.remove(vm);
                });
                if let Some(problem) = problem {
                    self.on_key_problem(now, problem);
                }
            }
        }
    }

    /// Gives keys to the core.
    pub(super) fn use_keys(&mut self, now: Instant, mut loaded: Loaded) {
        for vm in &self.secrets.under_way {
            loaded.mark(*vm);
        }
        let relaxed = self.secrets.relaxed(&loaded);
        let Loaded { authentication, marked, vms, problems, new_problems } = loaded;
        if !relaxed.is_empty() {
            // An authenticated path is not replaced by a plain one, so it has to be closed first: without keys it is.
            let mut without: HashMap<_, _> = authentication.clone();
            without.retain(|vm, _| !relaxed.contains(vm));
            self.monitor.handle_input(now, Input::Keys(without));
        }
        self.secrets.marked = marked;
        self.monitor.handle_input(now, Input::Keys(authentication));
        let mode = self.secrets.mode;
        let count = problems.len();
        self.desk.info(format!("keys of {vms} VMs read, {count} problems; authentication is {mode}"));
        for problem in new_problems {
            self.on_key_problem(now, problem);
        }
    }

    fn on_key_problem(&mut self, now: Instant, problem: String) {
        self.desk.warn(problem.as_str());
        self.monitor.handle_input(now, Input::KeyProblem(problem));
    }

    /// The core demands it from now on; the mark is for the next start and for the host's other monitors.
    pub(super) fn on_authenticated(&mut self, vm: VmUuid) {
        if self.secrets.marked.insert(vm) {
            self.desk.info(format!("VM {vm} is authenticated for the first time; from now on it must be"));
            self.secrets.under_way.insert(vm);
            self.secrets.thread.push(Job::Mark(vm));
        }
    }

    pub(super) fn load_keys(&mut self) {
        self.secrets.thread.push(Job::Load(None));
    }

    /// The answer comes when the keys are in use.
    pub(super) fn on_key_command(&mut self, call: CommandCall, job: impl FnOnce(CommandCall) -> Job) {
        if may_change(call.peer) {
            self.secrets.thread.push(job(call));
        } else {
            call.refuse("only root may change anything");
        }
    }

    fn told(&self, loaded: &Loaded) -> KeysLoaded {
        KeysLoaded {
            trunk: self.monitor.config().trunk.clone(),
            authentication: self.secrets.mode.to_string(),
            key_dir: self.secrets.key_dir.clone(),
            vms: loaded.vms,
            problems: loaded.problems.clone(),
        }
    }
}

/// Root, or whoever the daemon runs as.
fn may_change(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == geteuid().as_raw()
}
