//! The thread that reads keys and keeps marks, so that the loop never waits for the disk.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use vmpulse_local::command::CommandCall;
use vmpulse_local::errors;
use vmpulse_protocol::id::VmUuid;

use crate::keys::{Keeper, Loaded};

/// Between looks at what the other host monitors of this host have marked.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

/// What is to be done.
pub(super) enum Job {
    /// Read everything anew; whoever asked for it is to be answered.
    Load(Option<CommandCall>),
    /// Do not demand any more that this VM is authenticated, and read everything anew.
    Relax(VmUuid, CommandCall),
    /// Keep that this VM was authenticated.
    Mark(VmUuid),
}

/// What was done.
pub(super) enum KeyReply {
    Loaded {
        loaded: Loaded,
        call: Option<CommandCall>,
    },
    /// With what went wrong, if that is new.
    Marked {
        vms: Vec<VmUuid>,
        problem: Option<String>,
    },
}

/// The driver's end. Both queues are unbounded as channels: a VM is marked once, and commands are bounded by their
/// connections.
pub(super) struct KeyThread {
    jobs: Sender<Job>,
    replies: UnboundedReceiver<KeyReply>,
}

impl KeyThread {
    pub(super) fn start(keeper: Keeper) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let (replies, received) = unbounded_channel();
        let worker = Worker { keeper, waiting, replies, failing: false };
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || worker.run())?;
        Ok(Self { jobs, replies: received })
    }

    pub(super) fn push(&self, job: Job) {
        // The thread ends only with the daemon.
        let _ = self.jobs.send(job);
    }

    /// Cancel-safe; pends for ever once the thread has ended, which it does not before the daemon.
    pub(super) async fn reply(&mut self) -> KeyReply {
        match self.replies.recv().await {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }
}

struct Worker {
    keeper: Keeper,
    waiting: Receiver<Job>,
    replies: UnboundedSender<KeyReply>,
    /// Marks could not be written, which was told.
    failing: bool,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.waiting.recv_timeout(LOOK_PERIOD) {
                Ok(job) => self.work(job),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(loaded) = self.keeper.look() {
                        self.tell(KeyReply::Loaded { loaded, call: None });
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Marks that wait behind each other are written together.
    fn work(&mut self, job: Job) {
        let mut vms = Vec::new();
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Mark(vm) => vms.push(vm),
                Job::Load(call) => {
                    self.mark(std::mem::take(&mut vms));
                    self.load(call);
                }
                Job::Relax(vm, call) => {
                    self.mark(std::mem::take(&mut vms));
                    self.keeper.relax(vm);
                    self.load(Some(call));
                }
            }
            next = self.waiting.try_recv().ok();
        }
        self.mark(vms);
    }

    fn load(&mut self, call: Option<CommandCall>) {
        let loaded = self.keeper.load();
        self.tell(KeyReply::Loaded { loaded, call });
    }

    fn mark(&mut self, vms: Vec<VmUuid>) {
        if vms.is_empty() {
            return;
        }
        let failed = self.keeper.mark(&vms).err();
        let is_new = failed.is_some() && !self.failing;
        self.failing = failed.is_some();
        let problem = failed.filter(|_| is_new).map(|error| {
            let error = errors::chain(&error);
            format!("after a restart it is not known which VMs must be authenticated: {error}; this is tried again")
        });
        self.tell(KeyReply::Marked { vms, problem });
    }

    fn tell(&self, reply: KeyReply) {
        // The driver is gone only when the process ends.
        let _ = self.replies.send(reply);
    }
}
