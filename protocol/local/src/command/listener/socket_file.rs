//! The socket's file: made under another name, given its mode and group, and only then put in place.
//!
//! So nobody can connect before the mode holds, and a stale file is replaced in one step.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use crate::command::CommandError;
use crate::lock::make_parent;

/// Connections the kernel holds for us while all of ours are in use.
const BACKLOG: i32 = 64;
/// The group data base. Read directly: a static binary must not load name service modules of its host.
const GROUP_FILE: &str = "/etc/group";

/// Removes the file when dropped, if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// A socket of another kind than the command socket, made with the same care; within a running tokio runtime.
///
/// # Errors
/// [`CommandError`].
pub fn bind_socket(
    path: &Path,
    mode: u32,
    group: Option<&str>,
) -> Result<(UnixListener, SocketFile), CommandError> {
    SocketFile::create(path, mode, group)
}

impl SocketFile {
    pub(super) fn create(
        path: &Path,
        mode: u32,
        group: Option<&str>,
    ) -> Result<(UnixListener, Self), CommandError> {
        let failed = |action| move |source| CommandError::Io { action, path: path.to_owned(), source };
        let gid = group.map(group_id).transpose()?;
        make_parent(path).map_err(failed("make the directory of"))?;
        refuse_if_taken(path)?;
        let draft = draft_name(path);
        let made = make(&draft, mode, gid).and_then(|(listener, identity)| {
            fs::rename(&draft, path)?;
            Ok((listener, Self { path: path.to_owned(), identity }))
        });
        if made.is_err() {
            let _ = fs::remove_file(&draft);
        }
        made.map_err(failed("create"))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make(draft: &Path, mode: u32, gid: Option<u32>) -> io::Result<(UnixListener, (u64, u64))> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SockAddr::unix(draft)?)?;
    if gid.is_some() {
        chown(draft, None, gid)?;
    }
    fs::set_permissions(draft, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, identity(draft)?))
}

/// A live socket and a file of another kind are left alone.
fn refuse_if_taken(path: &Path) -> Result<(), CommandError> {
    let taken = || CommandError::InUse { path: path.to_owned() };
    let failed = |source| CommandError::Io { action: "look at", path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(CommandError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // Without blocking: a daemon that hangs with a full queue is alive too.
    match connect(path) {
        Ok(()) => Err(taken()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(taken()),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn connect(path: &Path) -> io::Result<()> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?.connect(&SockAddr::unix(path)?)
}

fn draft_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn group_id(group: &str) -> Result<u32, CommandError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let failed =
        |source| CommandError::Io { action: "look up the group of", path: GROUP_FILE.into(), source };
    let text = fs::read_to_string(GROUP_FILE).map_err(failed)?;
    find_group(&text, group).ok_or_else(|| CommandError::NoSuchGroup { group: group.to_owned() })
}

/// The number of `group` in lines of `name:password:number:members`.
fn find_group(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nvmpulse-admin:x:998:alice\nvmpulse:x:997:bob,carol\nbroken\n+::::\n";
        assert_eq!(find_group(text, "vmpulse"), Some(997));
        assert_eq!(find_group(text, "vm"), None);
        assert_eq!(find_group(text, "broken"), None);
        assert!(matches!(group_id("4711"), Ok(4711)));
    }
}
