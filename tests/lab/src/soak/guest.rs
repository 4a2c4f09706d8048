//! One guest of a soak: a pseudo guest with a disk, an agent as guests get it, and one application; and an init that starts the
//! agent again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vmpulse_soak::fact::{Fact, Said as Announced};

use super::log::Log;
use crate::error::{Lab, LabError};
use crate::process::{self, Daemon, Said, run, signal};
use crate::wait::Stopwatch;
use crate::workspace::{make_dir, write};
use crate::world::{self, DISK, PseudoGuest, Trunk, World};

/// Of the agent's process.
pub(super) const AGENT: &str = "vmpulse-agentd";
/// Of its guardian's, as the kernel keeps it.
pub(super) const GUARDIAN: &str = "vmpulse-guardian";
/// As the simulator's init does.
const AGENT_RESTART: Duration = Duration::from_secs(2);
/// A killed process is collected at once, however loaded the machine.
const COLLECT_LIMIT: Duration = Duration::from_secs(20);
/// The only application of each guest.
const APP: &str = "app1";

/// What was announced by a command that has not ended yet.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Suspension(bool),
    Quiet,
}

#[derive(Debug)]
struct Question {
    asked: Asked,
    since: Stopwatch,
    child: Child,
}

/// What a guest was told of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A host monitor knows of its suspension, or of its end.
    Suspension(bool),
    /// A silence is granted, for so many milliseconds from now at least.
    Quiet(u64),
}

impl Question {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Nothing, if nobody answered, or if the administrator has said something else since.
    fn answer(self, suspended: bool) -> Option<Answer> {
        let output = self.child.wait_with_output().ok()?;
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        match self.asked {
            Asked::Suspension(wanted) => {
                let heard = answer.pointer("/suspension/heard").and_then(Value::as_bool).unwrap_or(false);
                (heard && suspended == wanted).then_some(Answer::Suspension(wanted))
            }
            Asked::Quiet => {
                let granted = answer.pointer("/quiet/granted_ms").and_then(Value::as_u64)?;
                let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
                let left = granted.saturating_sub(passed);
                (left > 0).then_some(Answer::Quiet(left))
            }
        }
    }
}

/// How its agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentState {
    Up,
    Hangs,
    /// It is started again when this has run long enough.
    Restarting(Stopwatch),
    Down,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guest {
    vm: usize,
    host: usize,
    programs: PathBuf,
    disk: PathBuf,
    inside: PseudoGuest,
    agent: Option<Daemon>,
    state: AgentState,
    on: bool,
    frozen: bool,
    suspended: bool,
    broken: bool,
    /// Counts changes of its application's configuration: each ends a final state.
    changes: u32,
    /// Numbers announced silences, so that their order can be told.
    announced: u32,
    questions: Vec<Question>,
}

impl Guest {
    /// Makes it, with its agent; `vm` counts from 0.
    pub(super) fn start(
        world: &World,
        log: &mut Log,
        (vm, host): (usize, usize),
        number: u8,
        trunks: &[Trunk],
    ) -> Lab<Guest> {
        let disk = make_dir(world::dir("disks").join(format!("guest{number}")))?;
        make_dir(disk.join("state"))?;
        log.note(Fact::Started(vm, host))?;
        let inside = world.start_pseudo_guest_on(number, trunks)?;
        let programs = world.kit().static_agent.clone();
        let mut guest = Guest {
            vm,
            host,
            programs,
            disk,
            inside,
            agent: None,
            state: AgentState::Down,
            on: true,
            frozen: false,
            suspended: false,
            broken: false,
            changes: 0,
            announced: 0,
            questions: Vec::new(),
        };
        guest.write_scripts()?;
        guest.start_agent(log)?;
        Ok(guest)
    }

    /// `guest1`.
    pub(super) fn name(&self) -> &str {
        self.inside.name()
    }

    /// Its VM's UUID.
    pub(super) fn uuid(&self) -> &str {
        self.inside.uuid()
    }

    /// The last byte of its addresses.
    pub(super) fn number(&self) -> u8 {
        self.inside.number()
    }

    /// From 0.
    pub(super) const fn vm(&self) -> usize {
        self.vm
    }

    /// From 0.
    pub(super) const fn host(&self) -> usize {
        self.host
    }

    /// Whether it runs, with an agent that does.
    pub(super) fn runs(&self) -> bool {
        self.on && !self.frozen && self.state == AgentState::Up
    }

    /// Whether its administrator said so last.
    pub(super) const fn suspended(&self) -> bool {
        self.suspended
    }

    /// Resident memory of its agent and of its guardian, in KiB.
    pub(super) fn resident_kib(&self) -> (u64, u64) {
        let of = |program: &str| self.inside.resident_kib(program).unwrap_or(0);
        (of(AGENT), of(GUARDIAN))
    }

    fn write_scripts(&self) -> Lab<()> {
        let folder = make_dir(self.disk.join(APP))?;
        let there = format!("{DISK}/{APP}");
        let scripts = [
            ("monitor.sh", format!("#!/bin/sh\n[ ! -e {there}/broken ]\n")),
            ("start.sh", "#!/bin/sh\nexit 0\n".to_string()),
            ("stop.sh", "#!/bin/sh\nexit 0\n".to_string()),
        ];
        for (name, text) in scripts {
            let path = folder.join(name);
            write(&path, text)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).map_err(LabError::file("change", &path))?;
        }
        Ok(())
    }

    /// Registers its application; once, as its disk keeps that.
    pub(super) fn add_application(&self) -> Lab<()> {
        let folder = format!("{DISK}/{APP}");
        // A period that costs little with fifty guests, and a timeout that a loaded machine keeps.
        let line = format!(
            "-s add app {APP} monitor_script={folder}/monitor.sh start_script={folder}/start.sh \
             stop_script={folder}/stop.sh monitor_period=15 monitor_timeout=10 monitor_failure_threshold=1 max_restart=1"
        );
        self.vmmgr(&line)?.ok().map(drop)
    }

    /// Runs `vmmgr` in it.
    fn vmmgr(&self, line: &str) -> Lab<Said> {
        run(self.vmmgr_command(line))
    }

    fn vmmgr_command(&self, line: &str) -> Command {
        let mut command = self.inside.place().command(self.programs.join("vmmgr"));
        command.args(line.split_whitespace());
        command
    }

    /// Its applications as its agent has them: `name=STATUS`.
    pub(super) fn applications(&self) -> Lab<Vec<String>> {
        let text = self.vmmgr("-o json query app")?.ok()?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|error| LabError::Unexpected(format!("vmmgr printed no JSON: {error}")))?;
        let all = answer.pointer("/applications").and_then(Value::as_array).cloned().unwrap_or_default();
        let word =
            |app: &Value, field: &str| app.get(field).and_then(Value::as_str).unwrap_or("").to_string();
        Ok(all.iter().map(|app| format!("{}={}", word(app, "name"), word(app, "status"))).collect())
    }
}

/// What happens to it.
impl Guest {
    /// Writes the agent's settings, which are not on its disk, and starts it.
    fn start_agent(&mut self, log: &mut Log) -> Lab<()> {
        let settings = format!(
            "vm_uuid = \"{}\"\nstate_dir = \"{DISK}/state\"\nconfig = \"{DISK}/HAMonitoring.xml\"\n",
            self.inside.uuid()
        );
        self.inside.write("/etc/vmpulse/agent.toml", &settings)?;
        let name = format!("{}.agent", self.inside.name());
        let command = self.inside.place().command(self.programs.join(AGENT));
        self.agent = Some(Daemon::start(&name, command, &world::log_file(&name))?);
        self.state = AgentState::Up;
        log.note(Fact::AgentUp(self.vm))
    }

    /// Our processes that have children in it.
    fn entered(&self) -> Vec<i32> {
        self.agent.iter().map(Daemon::pid).chain(self.questions.iter().map(Question::pid)).collect()
    }

    fn agent_down(&mut self, log: &mut Log, why: &str, state: AgentState) -> Lab<()> {
        self.state = state;
        log.note(Fact::AgentDown(self.vm, why.to_string()))
    }

    /// Its init's work: an agent that was killed is started again. One that ended without being told to is an error.
    pub(super) fn supervise(&mut self, log: &mut Log) -> Lab<()> {
        match self.state {
            AgentState::Restarting(since) if since.elapsed() >= AGENT_RESTART => self.start_agent(log),
            AgentState::Up if !self.frozen => self.agent.as_mut().map_or(Ok(()), Daemon::still_runs),
            AgentState::Up | AgentState::Hangs | AgentState::Restarting(_) | AgentState::Down => Ok(()),
        }
    }

    pub(super) fn crash(&mut self, log: &mut Log) -> Lab<()> {
        if self.state != AgentState::Down {
            self.agent_down(log, "is gone with its guest", AgentState::Down)?;
        }
        log.note(Fact::Stopped(self.vm, self.host))?;
        (self.on, self.frozen) = (false, false);
        let entered = self.entered();
        self.inside.power_off(entered)?;
        self.agent = None;
        Ok(())
    }

    pub(super) fn boot(&mut self, log: &mut Log) -> Lab<()> {
        if self.on {
            return Ok(());
        }
        log.note(Fact::Started(self.vm, self.host))?;
        self.inside.power_on()?;
        self.on = true;
        self.start_agent(log)
    }

    pub(super) fn freeze(&mut self, log: &mut Log) -> Lab<()> {
        log.note(Fact::Frozen(self.vm))?;
        self.frozen = true;
        self.inside.freeze()
    }

    pub(super) fn thaw(&mut self, log: &mut Log) -> Lab<()> {
        if !self.frozen {
            return Ok(());
        }
        self.inside.thaw()?;
        // What runs them in the guest has stopped with them.
        for pid in self.entered() {
            signal(pid, nix::sys::signal::Signal::SIGCONT)?;
        }
        self.frozen = false;
        log.note(Fact::Thawed(self.vm))
    }

    pub(super) fn kill_agent(&mut self, log: &mut Log, for_good: bool) -> Lab<()> {
        let (why, state) = if for_good {
            ("was killed for good", AgentState::Down)
        } else {
            ("was killed", AgentState::Restarting(Stopwatch::start()))
        };
        self.agent_down(log, why, state)?;
        self.inside.crash(AGENT)
    }

    pub(super) fn hang_agent(&mut self, log: &mut Log) -> Lab<()> {
        self.agent_down(log, "hangs", AgentState::Hangs)?;
        self.inside.stun(AGENT)
    }

    pub(super) fn stop_agent(&mut self, log: &mut Log) -> Lab<()> {
        log.note(Fact::Said(self.vm, Announced::Shutdown))?;
        self.state = AgentState::Down;
        self.inside.stop(AGENT)?;
        self.agent_down(log, "ended", AgentState::Down)
    }

    pub(super) fn start_agent_again(&mut self, log: &mut Log) -> Lab<()> {
        match self.state {
            AgentState::Up | AgentState::Restarting(_) => return Ok(()),
            AgentState::Hangs => {
                log.note(Fact::AgentDown(self.vm, "is killed for its restart".to_string()))?;
                self.inside.crash(AGENT)?;
                if let Some(mut agent) = self.agent.take() {
                    // What runs it in the guest has stopped with it, and is to collect it.
                    signal(agent.pid(), nix::sys::signal::Signal::SIGCONT)?;
                    agent.wait_for_end(COLLECT_LIMIT)?;
                }
            }
            AgentState::Down => {}
        }
        self.start_agent(log)
    }

    /// What it says is read when it has been answered: see [`Guest::answers`].
    pub(super) fn suspend(&mut self, log: &mut Log, suspend: bool) -> Lab<()> {
        let (word, said) =
            if suspend { ("suspend", Announced::Suspend) } else { ("resume", Announced::Resume) };
        log.note(Fact::Said(self.vm, said))?;
        self.suspended = suspend;
        self.ask(Asked::Suspension(suspend), word)
    }

    /// The same.
    pub(super) fn quiet(&mut self, log: &mut Log, ms: u32) -> Lab<()> {
        log.note(Fact::Said(self.vm, Announced::Quiet(ms)))?;
        self.announced += 1;
        let line = if ms > 0 { format!("quiet {ms}ms q{}", self.announced) } else { "quiet end".to_string() };
        self.ask(Asked::Quiet, &line)
    }

    fn ask(&mut self, asked: Asked, line: &str) -> Lab<()> {
        let mut command = self.vmmgr_command(&format!("-o json {line}"));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().map_err(|source| process::start_error(&command, source))?;
        self.questions.push(Question { asked, since: Stopwatch::start(), child });
        Ok(())
    }

    /// What host monitors answered to announcements since the last call: `vmmgr` waits for them, and nobody for that.
    pub(super) fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut open = Vec::new();
        for mut question in std::mem::take(&mut self.questions) {
            match question.child.try_wait() {
                Ok(None) => open.push(question),
                Ok(Some(_)) => answers.extend(question.answer(self.suspended)),
                Err(_) => {}
            }
        }
        self.questions = open;
        answers
    }

    pub(super) fn break_application(&mut self, broken: bool) -> Lab<()> {
        let path = self.disk.join(APP).join("broken");
        if broken {
            self.broken = true;
            return write(&path, "");
        }
        if !std::mem::take(&mut self.broken) {
            return Ok(());
        }
        std::fs::remove_file(&path).map_err(LabError::file("remove", &path))?;
        self.changes += 1;
        // Changed settings end a final state.
        self.vmmgr(&format!("-s modify app {APP} max_restart={}", 1 + self.changes % 2))?.ok().map(drop)
    }

    /// Everything is well with it again.
    pub(super) fn heal(&mut self, log: &mut Log) -> Lab<()> {
        self.thaw(log)?;
        self.boot(log)?;
        self.start_agent_again(log)?;
        if self.suspended {
            self.suspend(log, false)?;
        }
        self.break_application(false)
    }
}
