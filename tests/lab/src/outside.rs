//! Worlds seen from outside: starting one, hearing its outcome, ending it without leaving anything.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::artifacts::OWN_PROGRAM;
use crate::error::{Lab, LabError};
use crate::isolate;
use crate::kit::Kit;
use crate::outcome::Outcome;
use crate::process::start_error;
use crate::progress::last_lines;
use crate::wait;
use crate::workspace::{Workspace, read};
use crate::world;

/// A world takes at most this long to vanish after its first process was killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Where a world's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To ours, as it comes.
    Shown,
    /// Into its log only.
    Quiet,
}

/// A world running in namespaces of its own. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct RunningWorld {
    child: Option<Child>,
    copier: Option<JoinHandle<()>>,
    outcome: PathBuf,
    log: PathBuf,
}

impl RunningWorld {
    /// Starts a world that performs `job`; with `keep` it lives on after us.
    pub(crate) fn start(workspace: &Workspace, kit: &Kit, job: &str, stage: Stage, keep: bool) -> Lab<Self> {
        let log = workspace.lab_dir("logs")?.join(format!("world-{job}.log"));
        let outcome = workspace.lab_dir("results")?.join(format!("{job}.json"));
        let _ = std::fs::remove_file(&outcome);
        let _ = std::fs::remove_dir_all(workspace.lab()?.join("failures").join(job));
        let errors = File::create(&log).map_err(LabError::file("create", &log))?;
        let output = match stage {
            Stage::Shown => Stdio::piped(),
            Stage::Quiet => Stdio::from(errors.try_clone().map_err(LabError::file("write", &log))?),
        };
        let mut command = isolate::command(kit.privilege(), !keep);
        command.arg(kit.program(OWN_PROGRAM)).args(["inside", "world", job, "--kit"]).arg(kit.save()?);
        command.arg("--outcome").arg(&outcome).args(keep.then_some("--keep"));
        let child = command.stdout(output).stderr(errors).spawn();
        let mut child = child.map_err(|source| start_error(&command, source))?;
        let copier = child.stdout.take().map(|pipe| std::thread::spawn(move || copy(pipe)));
        Ok(RunningWorld { child: Some(child), copier, outcome, log })
    }

    /// Waits until its job is done; `tick` is called now and then.
    pub(crate) fn wait(&mut self, limit: Duration, mut tick: impl FnMut()) -> Lab<Outcome> {
        let (path, log) = (self.outcome.clone(), self.log.clone());
        wait::until(limit, "a world to do its job", || {
            tick();
            if let Some(outcome) = Outcome::load(&path) {
                return Ok(Some(outcome));
            }
            match self.try_wait()? {
                None => Ok(None),
                Some(status) => Ok(Some(Outcome::load(&path).unwrap_or_else(|| lost(&status, &log)))),
            }
        })
    }

    /// The world's first process, as this process namespace numbers it.
    pub(crate) fn first_process(&self) -> Option<i32> {
        let child = self.child.as_ref()?;
        world::host_pid_of_child(i32::try_from(child.id()).ok()?)
    }

    /// Lets the world live on after us.
    pub(crate) fn let_go(mut self) {
        self.child = None;
        self.copier = None;
    }

    /// Ends the world and waits until its processes are gone.
    pub(crate) fn end(&mut self) -> Lab<()> {
        let first = self.first_process();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(copier) = self.copier.take() {
            let _ = copier.join();
        }
        let Some(first) = first else { return Ok(()) };
        wait::until_ended(END_LIMIT, "the world's processes to end", || {
            Ok((!Path::new(&format!("/proc/{first}")).exists()).then_some(()))
        })
    }

    fn try_wait(&mut self) -> Lab<Option<String>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let status = child
            .try_wait()
            .map_err(|source| LabError::System { action: "look after a world".into(), source })?;
        Ok(status.map(|status| status.to_string()))
    }
}

impl Drop for RunningWorld {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn lost(status: &str, log: &Path) -> Outcome {
    let said = read(log).unwrap_or_default();
    Outcome::lost(format!(
        "the world ended early ({status}); the end of its log {}:\n{}",
        log.display(),
        wait::indented(&last_lines(&said, 20))
    ))
}

/// Passes on what the world says until nobody in it can say any more.
fn copy(mut pipe: impl Read) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        let mut out = std::io::stdout();
        let _ = out.write_all(chunk.get(..count).unwrap_or_default());
        let _ = out.flush();
    }
}
