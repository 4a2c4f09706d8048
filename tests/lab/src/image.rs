//! The real guest's whole file system: an initramfs of busybox, a few kernel modules and the static agent.

mod cpio;

use std::fs;
use std::path::{Path, PathBuf};

use crate::artifacts::GUEST_PROGRAMS;
use crate::error::{Lab, LabError};
use crate::kernel::GuestKernel;
use crate::process::Place;

use cpio::Archive;

/// The modules a virtio guest needs, in the order they must be loaded. One that the kernel has built in is not
/// found as a file and left out.
const MODULES: [&str; 13] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "virtio_blk",
    "watchdog",
    // Before the kernel's own: the first is /dev/watchdog. Kernels for clouds have none for this device.
    "i6300esb",
    "softdog",
];

/// The commands of busybox that /init, the application scripts of the lab and a curious visitor use.
const APPLETS: [&str; 34] = [
    "sh", "mount", "mkdir", "insmod", "cat", "echo", "ls", "sleep", "ip", "poweroff", "reboot", "hostname",
    "uname", "free", "grep", "dmesg", "stty", "kill", "ps", "touch", "rm", "mv", "chmod", "id", "date",
    "test", "true", "false", "tail", "head", "vi", "setsid", "pidof", "ln",
];

/// Extra files of one guest: absolute path inside and content.
pub(crate) type ExtraFile = (String, Vec<u8>);

/// Writes an initramfs with the agent to `out`.
pub(crate) fn build(kernel: &GuestKernel, agent: &Path, extra: &[ExtraFile], out: &Path) -> Lab<()> {
    let mut archive = base(kernel)?;
    archive.folder("sbin");
    for program in GUEST_PROGRAMS {
        archive.file(&format!("sbin/{program}"), 0o755, &read(&agent.join(program))?);
    }
    for (path, content) in extra {
        archive.folders_above(path);
        archive.file(path.trim_start_matches('/'), 0o755, content);
    }
    archive.file("init", 0o755, include_bytes!("image/init.sh"));
    write(out, archive)
}

/// Writes an initramfs that says `marker` on its console and does nothing else, for a test boot.
pub(crate) fn build_probe(kernel: &GuestKernel, marker: &str, out: &Path) -> Lab<()> {
    let mut archive = base(kernel)?;
    let init = format!("#!/bin/sh\nmount -t devtmpfs dev /dev\necho {marker}\nexec sleep 1000000\n");
    archive.file("init", 0o755, init.as_bytes());
    write(out, archive)
}

fn base(kernel: &GuestKernel) -> Lab<Archive> {
    let mut archive = Archive::default();
    for folder in
        ["bin", "dev", "proc", "sys", "run", "tmp", "root", "etc", "etc/vmpulse", "var", "var/log", "modules"]
    {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &read(&kernel.busybox)?);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\nvmpulse:x:900:\n");
    let found = module_files(&kernel.modules);
    let mut order = String::new();
    for name in MODULES {
        if let Some(path) = found.iter().find(|path| module_name(path) == Some(name.to_string())) {
            archive.file(&format!("modules/{name}.ko"), 0o644, &plain_module(path, &kernel.busybox)?);
            order.push_str(&format!("{name}\n"));
        }
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    Ok(archive)
}

fn write(out: &Path, archive: Archive) -> Lab<()> {
    fs::write(out, archive.finish()).map_err(LabError::file("write", out))
}

fn read(path: &Path) -> Lab<Vec<u8>> {
    fs::read(path).map_err(LabError::file("read", path))
}

/// A module of a kernel, as `insmod` takes it.
pub(crate) fn module_file(kernel: &GuestKernel, name: &str) -> Lab<Vec<u8>> {
    let found = module_files(&kernel.modules);
    let path = found.iter().find(|path| module_name(path).as_deref() == Some(name));
    let path = path.ok_or_else(|| LabError::Skipped(format!("the guest's kernel has no module {name}")))?;
    plain_module(path, &kernel.busybox)
}

/// All module files below a folder.
fn module_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.join("kernel")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    files
}

/// `virtio-net.ko.zst` is the module virtio_net.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, rest) = name.split_once(".ko")?;
    ["", ".xz", ".zst"].contains(&rest).then(|| stem.replace('-', "_"))
}

/// A module's content, unpacked if the distribution packs it.
fn plain_module(path: &Path, busybox: &Path) -> Lab<Vec<u8>> {
    let mut command = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let mut command = Place::Here.command(busybox);
            command.arg("xzcat");
            command
        }
        Some("zst") => {
            let mut command = Place::Here.command("zstd");
            command.args(["-q", "-d", "-c"]);
            command
        }
        Some(_) | None => return read(path),
    };
    command.arg(path);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| LabError::Start { program, source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(LabError::Unexpected(format!("cannot unpack the module {}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_module_by_any_of_its_file_names() {
        for file in ["virtio_net.ko", "virtio-net.ko.zst", "virtio_net.ko.xz"] {
            assert_eq!(module_name(Path::new(file)).as_deref(), Some("virtio_net"), "{file}");
        }
        assert_eq!(module_name(Path::new("virtio_net.ko.sig")), None);
    }
}
