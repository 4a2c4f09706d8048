//! Everything a world is made from, prepared outside and handed to the process inside as one file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifacts;
use crate::cli::Making;
use crate::error::{Lab, LabError};
use crate::kernel::{self, GuestKernel};
use crate::preflight::{self, Privilege, Purpose};
use crate::qemu::{Accel, choose};
use crate::workspace::{Workspace, read, write};

/// What worlds are made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kit {
    /// The daemons and commands of the host.
    pub(crate) programs: PathBuf,
    /// The statically linked agent.
    pub(crate) static_agent: PathBuf,
    /// What the real guest runs.
    pub(crate) kernel: GuestKernel,
    /// How the real guest runs.
    pub(crate) accel: Accel,
    /// Whether we are root of this machine, not only of a user namespace.
    pub(crate) real_root: bool,
    /// Where logs of failures are kept.
    pub(crate) lab_dir: PathBuf,
}

impl Kit {
    /// Checks, fetches and builds all of it, telling what it does.
    pub(crate) fn prepare(workspace: &Workspace, purpose: Purpose, making: Making) -> Lab<Kit> {
        let privilege = preflight::check(workspace, purpose)?;
        preflight::check_kernel(privilege)?;
        Kit::prepare_checked(workspace, privilege, purpose, making)
    }

    /// As [`Kit::prepare`], when the machine has been checked already.
    pub(crate) fn prepare_checked(
        workspace: &Workspace,
        privilege: Privilege,
        purpose: Purpose,
        making: Making,
    ) -> Lab<Kit> {
        let kernel = kernel::provide(workspace)?;
        let programs = artifacts::host(workspace, !making.no_build)?;
        let static_agent = artifacts::static_agent(workspace, !making.no_build)?;
        if purpose != Purpose::Worlds {
            artifacts::tools(workspace, !making.no_build)?;
        }
        let accel = choose(workspace, &kernel, making.accel)?;
        let real_root = privilege == Privilege::Root;
        Ok(Kit { programs, static_agent, kernel, accel, real_root, lab_dir: workspace.lab()? })
    }

    /// The privilege worlds are made with.
    pub(crate) fn privilege(&self) -> Privilege {
        if self.real_root { Privilege::Root } else { Privilege::UserNamespace }
    }

    /// One of the host's programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Puts it where the process inside finds it.
    pub(crate) fn save(&self) -> Lab<PathBuf> {
        let path = self.lab_dir.join("kit.json");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| LabError::Unexpected(format!("the kit has no JSON form: {error}")))?;
        write(&path, text)?;
        Ok(path)
    }

    /// Reads what [`Kit::save`] wrote.
    pub(crate) fn load(path: &Path) -> Lab<Kit> {
        serde_json::from_str(&read(path)?)
            .map_err(|error| LabError::Unexpected(format!("{} is no kit: {error}", path.display())))
    }
}
