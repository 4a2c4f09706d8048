//! A guest with a kernel of its own, on every trunk of the host.

use std::path::PathBuf;

use crate::error::Lab;
use crate::image;
use crate::process::{Place, Said};
use crate::qemu::{Machine, Qemu};
use crate::workspace::write;
use crate::world::{self, World};

/// Enough to read from.
const DISK_BYTES: usize = 1 << 20;

/// A running real guest; it ends with this value.
#[derive(Debug)]
pub(crate) struct RealGuest {
    name: String,
    uuid: String,
    number: u8,
    qemu: Qemu,
}

/// Files of a guest are in its memory, while it boots more than once.
fn more_mib(files: &[(String, Vec<u8>)]) -> u32 {
    const TIMES: usize = 3;
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    u32::try_from((bytes * TIMES) >> 20).unwrap_or(u32::MAX / 2)
}

impl RealGuest {
    pub(super) fn start(world: &World, number: u8, files: &[(String, Vec<u8>)]) -> Lab<RealGuest> {
        let name = format!("vm{number}");
        let sockets = world::dir("sockets");
        let initrd: PathBuf = sockets.join(format!("{name}.initrd"));
        let kit = world.kit();
        let uuid = world::uuid(1, number);
        let mut files = files.to_vec();
        if !cfg!(target_arch = "x86_64") {
            // Only a PC's firmware tells a kernel that is started directly its UUID.
            files.push(("/etc/vmpulse/agent.toml".into(), format!("vm_uuid = \"{uuid}\"\n").into_bytes()));
        }
        image::build(&kit.kernel, &kit.static_agent, &files, &initrd)?;
        let adapters: Lab<Vec<_>> =
            world.trunks().iter().map(|trunk| trunk.attach_emulator(number, &sockets)).collect();
        let disk = sockets.join(format!("{name}.disk"));
        write(&disk, vec![0; DISK_BYTES])?;
        let machine = Machine {
            more_mib: more_mib(&files),
            disk: Some(disk),
            name: name.clone(),
            uuid: uuid.clone(),
            accel: kit.accel,
            kernel: kit.kernel.image.clone(),
            initrd,
            adapters: adapters?,
            sockets,
            logs: world::dir("logs"),
        };
        let qemu = Qemu::start(&Place::net("host"), machine)?;
        write(&world::dir("run").join(format!("{name}.shell")), qemu.shell_socket().display().to_string())?;
        Ok(RealGuest { name, uuid, number, qemu })
    }

    /// `vm3`.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// The UUID its firmware tells its kernel.
    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its number in the world, the last byte of its adapters' addresses.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Waits until its /init has done its work and the agent is being started.
    pub(crate) fn wait_until_up(&mut self) -> Lab<()> {
        self.qemu.wait_until_up()
    }

    /// Switches it off, whatever it does, and starts it again.
    pub(crate) fn restart(self) -> Lab<RealGuest> {
        let qemu = self.qemu.restart(&Place::net("host"))?;
        Ok(RealGuest { qemu, ..self })
    }

    /// Runs a shell command line in it.
    pub(crate) fn shell(&self, line: &str) -> Lab<Said> {
        self.qemu.shell(line)
    }

    /// Makes its kernel panic; nothing in it runs any more, while the emulator goes on.
    pub(crate) fn crash_kernel(&self) -> Lab<()> {
        self.qemu.shell_and_forget("echo c > /proc/sysrq-trigger")
    }

    /// Its disk stops (true), or works again.
    pub(crate) fn stop_disk(&self, stopped: bool) -> Lab<()> {
        self.qemu.stop_disk(stopped)
    }

    /// What its kernel and /init have said so far.
    pub(crate) fn console(&self) -> String {
        self.qemu.console()
    }

    /// Its state as the emulator sees it.
    pub(crate) fn status(&self) -> Lab<String> {
        self.qemu.status()
    }
}
