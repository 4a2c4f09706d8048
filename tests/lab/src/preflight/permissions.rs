//! May we make namespaces? And if not, what exactly stands in the way.

use std::fs;

use nix::unistd::Uid;

use crate::error::{Lab, LabError};
use crate::isolate;
use crate::process::run;

/// What the worlds are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Root of this machine.
    Root,
    /// An ordinary user who is root in a user namespace only.
    UserNamespace,
}

/// Tries what the lab will do for every world.
pub(crate) fn check() -> Lab<Privilege> {
    let privilege = if Uid::effective().is_root() { Privilege::Root } else { Privilege::UserNamespace };
    let mut command = isolate::command(privilege, true);
    command.arg("true");
    let said = run(command)?;
    if said.status.success() {
        return check_tap(privilege).map(|()| privilege);
    }
    let reason = match privilege {
        Privilege::Root => "this root may not make namespaces (in a container: it needs CAP_SYS_ADMIN, as \
                            with `docker run --privileged`)"
            .to_string(),
        Privilege::UserNamespace => refused_by(),
    };
    Err(LabError::Permission(format!("{reason}\n  unshare said: {}", said.text().trim())))
}

/// A user namespace cannot make the node of a macvtap, so real guests get a tap there.
fn check_tap(privilege: Privilege) -> Lab<()> {
    match privilege {
        Privilege::Root => Ok(()),
        Privilege::UserNamespace => {
            let opened = fs::File::options().read(true).write(true).open("/dev/net/tun");
            opened.map(drop).map_err(|error| {
                LabError::Permission(format!(
                    "without root the real guest needs /dev/net/tun, and opening it failed ({error}); run the lab as \
                     root, or let root run once: modprobe tun; chmod 666 /dev/net/tun"
                ))
            })
        }
    }
}

fn refused_by() -> String {
    let settings = [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "10000"),
    ];
    for (name, refusing, allowing) in settings {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if fs::read_to_string(path).is_ok_and(|value| value.trim() == refusing) {
            return format!(
                "without root the lab needs user namespaces, and here {name} is {refusing}; run it as root, \
                 or allow them: sudo sysctl -w {name}={allowing}"
            );
        }
    }
    "without root the lab needs user namespaces, and this kernel refuses them; run it as root".to_string()
}
