//! Namespaces that end with their maker: the command that everything else runs under.

use std::process::Command;

use crate::preflight::Privilege;
use crate::process::Place;

/// A command to be given a program and its arguments, which will run in mount, network and process namespaces
/// of its own. With `tied` it also ends when the calling process dies, however that dies. It is a session of its own,
/// so that neither Ctrl-C nor the end of a terminal reaches into it: whoever started it ends it.
pub(crate) fn command(privilege: Privilege, tied: bool) -> Command {
    let mut command = if tied {
        let mut command = Place::Here.command("setpriv");
        command.args(["--pdeathsig", "KILL", "setsid"]);
        command
    } else {
        Place::Here.command("setsid")
    };
    command.arg("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--net"]);
    match privilege {
        Privilege::Root => {}
        Privilege::UserNamespace => {
            command.args(["--user", "--map-root-user"]);
        }
    }
    command.arg("--");
    command
}
