//! A world: one host with its trunks, host monitors' namespaces and guests, all inside namespaces that nobody else
//! sees and that vanish with the process that made them.
//!
//! ```text
//!   namespace viosA         namespace host              namespaces of the guests
//!   +--------------+       +------------------+  vepa  +--------------------------+
//!   | host monitor |-veth--| trunkA --macvlan-|--------| eth0   agent   (pseudo)  |
//!   +--------------+       |        --macvtap-|---+    +--------------------------+
//!   +--------------+       |                  |   |    +--------------------------+
//!   | host monitor |-veth--| trunkB           |   +----| eth0   QEMU    (real)    |
//!   +--------------+       +------------------+        +--------------------------+
//!   namespace viosB
//! ```

mod private;
mod pseudo_guest;
mod real_guest;
mod trunk;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::process::{Place, run, sh};
use crate::workspace::make_dir;

pub(crate) use private::DISK;
pub(crate) use pseudo_guest::{PseudoGuest, collect_orphans, host_pid_of_child, run_init};
pub(crate) use real_guest::RealGuest;
pub(crate) use trunk::{Topology, Trunk};

/// Where a world keeps its files; private to its mount namespace.
pub(crate) const WORLD_DIR: &str = "/run/lab";

/// One host and everything around it.
#[derive(Debug)]
pub(crate) struct World {
    kit: Kit,
    trunks: Vec<Trunk>,
}

impl World {
    /// Makes an empty world. The process must already be inside fresh namespaces.
    pub(crate) fn create(kit: Kit) -> Lab<World> {
        require_isolation()?;
        private::make_folders_private()?;
        for name in ["", "logs", "sockets", "store", "settings", "state", "run"] {
            make_dir(Path::new(WORLD_DIR).join(name))?;
        }
        sh(&Place::Here, "ip link set lo up")?;
        add_namespace("host")?;
        Ok(World { kit, trunks: Vec::new() })
    }

    /// What the world is made from.
    pub(crate) fn kit(&self) -> &Kit {
        &self.kit
    }

    /// Adds a trunk to the host, with the namespace of its host monitor at the other end.
    pub(crate) fn add_trunk(&mut self, letter: char) -> Lab<Trunk> {
        let topology = self.topology();
        let trunk = Trunk::create(letter, topology)?;
        self.trunks.push(trunk.clone());
        Ok(trunk)
    }

    /// Adds a trunk as an administrator makes one, by `hmmgr trunk create`: policed, and with the monitor's end in the
    /// host's own namespace.
    pub(crate) fn add_policed_trunk(&mut self, letter: char) -> Lab<Trunk> {
        let trunk = Trunk::create_policed(&self.kit, letter, self.topology())?;
        self.trunks.push(trunk.clone());
        Ok(trunk)
    }

    /// The trunks in the order they were added.
    pub(crate) fn trunks(&self) -> &[Trunk] {
        &self.trunks
    }

    /// Starts a guest made of namespaces, with an adapter on every trunk.
    pub(crate) fn start_pseudo_guest(&self, number: u8) -> Lab<PseudoGuest> {
        PseudoGuest::start(&self.trunks, number)
    }

    /// The same, with an adapter on these trunks.
    pub(crate) fn start_pseudo_guest_on(&self, number: u8, trunks: &[Trunk]) -> Lab<PseudoGuest> {
        PseudoGuest::start(trunks, number)
    }

    /// Starts a real guest, with an adapter on every trunk; it boots by itself.
    pub(crate) fn start_real_guest(&self, number: u8, files: &[(String, Vec<u8>)]) -> Lab<RealGuest> {
        RealGuest::start(self, number, files)
    }

    /// Outside a user namespace trunks are VEPA; inside one macvtap's device node cannot be made, so trunks are
    /// bridges with isolated ports there.
    fn topology(&self) -> Topology {
        if self.kit.real_root { Topology::Vepa } else { Topology::IsolatedBridge }
    }
}

/// A folder of the world.
pub(crate) fn dir(name: &str) -> PathBuf {
    Path::new(WORLD_DIR).join(name)
}

/// The log file of one process.
pub(crate) fn log_file(name: &str) -> PathBuf {
    dir("logs").join(format!("{name}.log"))
}

/// Makes a named network namespace with its loopback up.
pub(crate) fn add_namespace(name: &str) -> Lab<()> {
    sh(&Place::Here, &format!("ip netns add {name}"))?;
    let mut command = Place::net(name).command("sh");
    // The kernel would give each adapter an IPv6 address by itself, and a trunk is to carry no IP. A kernel
    // without IPv6 has no such file.
    command.args(["-c", "f=/proc/sys/net/ipv6/conf/default/disable_ipv6; [ ! -e $f ] || echo 1 > $f"]);
    run(command)?.ok()?;
    sh(&Place::Here, &format!("ip -n {name} link set lo up")).map(drop)
}

/// A UUID that names one thing of a world: `kind` 1 for guests, 2 for host monitors.
pub(crate) fn uuid(kind: u8, number: u8) -> String {
    format!("7e57ab1e-{kind:04x}-4000-8000-{number:012x}")
}

/// Copies logs, captures and the store to `target`, for looking into a failure afterwards.
pub(crate) fn keep_evidence(target: &Path) -> Lab<()> {
    let _ = fs::remove_dir_all(target);
    for name in ["logs", "settings", "store", "records"] {
        let from = dir(name);
        if !from.is_dir() {
            continue;
        }
        let to = make_dir(target.join(name))?;
        for entry in fs::read_dir(&from).map_err(LabError::file("read", &from))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let copy = to.join(entry.file_name());
                fs::copy(entry.path(), &copy).map_err(LabError::file("write", &copy))?;
            }
        }
    }
    Ok(())
}

/// The world is made only where it cannot touch the machine's own network: in the first process of a namespace.
fn require_isolation() -> Lab<()> {
    if std::process::id() == 1 {
        return Ok(());
    }
    Err(LabError::Unexpected("a world is made inside namespaces of its own only; use `cargo lab run`".into()))
}
