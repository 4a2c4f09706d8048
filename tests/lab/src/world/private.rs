//! Private folders: /etc/vmpulse, /run and /var/log of one world or guest, the machine's own untouched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Lab, LabError};
use crate::process::{Place, sh};
use crate::workspace::make_dir;

/// Where a guest finds its disk; the machine's folder of that name is not touched.
pub(crate) const DISK: &str = "/mnt";

/// Gives this mount namespace its own /run, /var/log and /etc/vmpulse, all empty and gone with it.
pub(super) fn make_folders_private() -> Lab<()> {
    // Whoever enters later starts from here too.
    std::env::set_current_dir("/").map_err(LabError::file("change to", Path::new("/")))?;
    sh(&Place::Here, "mount --make-rprivate /")?;
    for folder in ["/run", "/var/log"] {
        sh(&Place::Here, &format!("mount -t tmpfs -o mode=755 vmpulse-lab {folder}"))?;
    }
    make_dir(PathBuf::from("/run/vmpulse"))?;
    overlay_etc()
}

/// A guest whose folder exists among the world's disks has that at [`DISK`]: it outlives the guest.
pub(super) fn attach_disk(folder: &Path) -> Lab<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    sh(&Place::Here, "mount --make-rprivate /")?;
    sh(&Place::Here, &format!("mount --bind {} {DISK}", folder.display())).map(drop)
}

/// Puts an empty /etc/vmpulse into /etc without touching the machine's: a private folder whose every other entry
/// leads to the machine's own.
fn overlay_etc() -> Lab<()> {
    let stage = make_dir(PathBuf::from("/run/etc"))?;
    sh(&Place::Here, "mount -t tmpfs -o mode=755 vmpulse-lab /run/etc")?;
    let hidden = make_dir(stage.join(".machine"))?;
    sh(&Place::Here, &format!("mount --rbind /etc {}", hidden.display()))?;
    for entry in fs::read_dir("/etc").map_err(LabError::file("read", Path::new("/etc")))?.flatten() {
        let link = stage.join(entry.file_name());
        // A link is repeated as it is: most point out of /etc and would miss from one folder deeper.
        let target =
            fs::read_link(entry.path()).unwrap_or_else(|_| Path::new(".machine").join(entry.file_name()));
        if entry.file_name() != "vmpulse" && entry.file_name() != ".machine" {
            symlink(target, &link).map_err(LabError::file("create", &link))?;
        }
    }
    make_dir(stage.join("vmpulse"))?;
    sh(&Place::Here, "mount --move /run/etc /etc").map(drop)
}
