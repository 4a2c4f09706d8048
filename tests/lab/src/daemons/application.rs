//! An application of a guest whose health the lab controls: it is broken while a file is there, and neither stopping
//! nor starting it helps.

use crate::daemons::Chain;
use crate::error::{Lab, LabError};
use crate::process::Said;

/// An application in one of a chain's guests.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    guest: usize,
    name: String,
}

impl Application {
    /// Puts its scripts into a guest.
    pub(crate) fn install(chain: &Chain, guest: usize, name: &str) -> Lab<Application> {
        let application = Application { guest, name: name.to_string() };
        let folder = application.folder();
        let inside = chain.guest(guest)?;
        inside.write(&format!("{folder}/monitor.sh"), &format!("#!/bin/sh\n[ ! -e {folder}/broken ]\n"))?;
        for script in ["start", "stop"] {
            inside.write(&format!("{folder}/{script}.sh"), "#!/bin/sh\nexit 0\n")?;
        }
        Ok(application)
    }

    /// The arguments of `vmmgr` that register it, with times that let it fail for good within seconds.
    pub(crate) fn add_line(&self) -> String {
        let (name, folder) = (&self.name, self.folder());
        format!(
            "-s add app {name} monitor_script={folder}/monitor.sh start_script={folder}/start.sh \
             stop_script={folder}/stop.sh monitor_period=2 monitor_timeout=1 monitor_failure_threshold=2 max_restart=1"
        )
    }

    /// Runs `vmmgr` in its guest.
    pub(crate) fn vmmgr(&self, chain: &Chain, line: &str) -> Lab<Said> {
        let agent = chain.agents.get(self.guest);
        let agent = agent.ok_or_else(|| LabError::Unexpected("the guest has no agent".into()))?;
        agent.vmmgr(chain.guest(self.guest)?, line)
    }

    /// From now on its monitor fails.
    pub(crate) fn break_it(&self, chain: &Chain) -> Lab<()> {
        chain.guest(self.guest)?.write(&format!("{}/broken", self.folder()), "")
    }

    /// The arguments of `vmmgr` that end a final state: a changed configuration does.
    pub(crate) fn modify_line(&self) -> String {
        format!("-s modify app {} max_restart=2", self.name)
    }

    /// From now on its monitor succeeds.
    pub(crate) fn repair(&self, chain: &Chain) -> Lab<()> {
        let path = chain.guest(self.guest)?.path(&format!("{}/broken", self.folder()));
        std::fs::remove_file(&path).map_err(LabError::file("remove", &path))
    }

    fn folder(&self) -> String {
        format!("/run/{}", self.name)
    }
}
