//! The agent in a guest made of namespaces, with its command.

use std::path::PathBuf;

use crate::error::Lab;
use crate::kit::Kit;
use crate::process::{Daemon, Said, run, run_with_input};
use crate::world::{self, PseudoGuest};

/// The agent of one guest. The guest's end is its end too.
#[derive(Debug)]
pub(crate) struct Agent {
    programs: PathBuf,
    daemon: Option<Daemon>,
    name: String,
}

impl Agent {
    /// Writes its settings in the guest and starts it there. `as_shipped`: as guests get it, not as built for tests. `more`: lines of
    /// settings.
    pub(crate) fn start(kit: &Kit, guest: &PseudoGuest, as_shipped: bool, more: &str) -> Lab<Agent> {
        // The folder as shipped is the machine's own here.
        let settings = format!("vm_uuid = \"{}\"\nstate_dir = \"/etc/vmpulse/state\"\n{more}", guest.uuid());
        guest.write("/etc/vmpulse/agent.toml", &settings)?;
        let programs = if as_shipped { &kit.static_agent } else { &kit.programs };
        let name = format!("{}.agent", guest.name());
        let mut agent = Agent { programs: programs.clone(), daemon: None, name };
        agent.restart(guest)?;
        Ok(agent)
    }

    /// Starts it, again if it was stopped or crashed.
    pub(crate) fn restart(&mut self, guest: &PseudoGuest) -> Lab<()> {
        self.daemon = None;
        let command = guest.place().command(self.programs.join("vmpulse-agentd"));
        self.daemon = Some(Daemon::start(&self.name, command, &world::log_file(&self.name))?);
        Ok(())
    }

    /// Fails if it has ended.
    pub(crate) fn still_runs(&mut self) -> Lab<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::still_runs)
    }

    /// SIGKILL.
    pub(crate) fn crash(&mut self, guest: &PseudoGuest) -> Lab<()> {
        guest.crash("vmpulse-agentd")?;
        self.daemon = None;
        Ok(())
    }

    /// SIGTERM, and waits for its orderly end.
    pub(crate) fn stop(&mut self, guest: &PseudoGuest) -> Lab<()> {
        guest.stop("vmpulse-agentd")?;
        self.daemon = None;
        Ok(())
    }

    /// Runs `vmmgr` in the guest.
    pub(crate) fn vmmgr(&self, guest: &PseudoGuest, line: &str) -> Lab<Said> {
        self.vmmgr_words(guest, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `vmmgr` in the guest with words that may hold blanks.
    pub(crate) fn vmmgr_words(&self, guest: &PseudoGuest, words: &[&str]) -> Lab<Said> {
        let mut command = guest.place().command(self.programs.join("vmmgr"));
        command.args(words);
        run(command)
    }

    /// Runs `vmmgr` in the guest with something at its standard input.
    pub(crate) fn vmmgr_with_input(&self, guest: &PseudoGuest, line: &str, input: &str) -> Lab<Said> {
        let mut command = guest.place().command(self.programs.join("vmmgr"));
        command.args(line.split_whitespace());
        run_with_input(command, input.as_bytes())
    }
}
