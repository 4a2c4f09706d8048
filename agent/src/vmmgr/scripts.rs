//! Scripts and their user are looked at when they are set: what the daemon could not run later is refused at once.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use vmpulse_link::{Identity, in_own_session};

use super::Fault;
use crate::config::attribute::{self, Attribute};
use crate::config::value::Kind;
use crate::config::{Application, command_line};
use crate::runner::script::{self, Missing};
use crate::runner::users::{User, Users};

/// How much of a script is read: as much of its first line as the kernel looks at.
const BEGINNING_BYTES: u64 = 256;

/// Checks what `given` sets: the scripts, or the user and then every script.
pub(super) fn check_given(application: &Application, given: &[(String, String)]) -> Result<(), Fault> {
    let kinds = || given.iter().filter_map(|(name, _)| attribute::find(attribute::APPLICATION, name));
    if kinds().any(|attribute| attribute.kind == Kind::User) {
        return check_all(application);
    }
    if !kinds().any(|attribute| attribute.kind == Kind::Script) {
        return Ok(());
    }
    check(application, |attribute| kinds().any(|given| given == attribute))
}

/// Checks all scripts of an application, and its user.
pub(super) fn check_all(application: &Application) -> Result<(), Fault> {
    check(application, |_| true)
}

fn check(application: &Application, wanted: impl Fn(&Attribute) -> bool) -> Result<(), Fault> {
    let user = Users::system().lookup(&application.user);
    let user = user.ok_or_else(|| Fault::User(application.user.clone()))?;
    let scripts = application.values.iter().filter(|(attribute, _)| attribute.kind == Kind::Script);
    scripts
        .filter(|(attribute, text)| !text.is_empty() && wanted(attribute))
        .try_for_each(|(attribute, text)| check_script(attribute.name, text, &user))
}

fn check_script(attribute: &'static str, command: &str, user: &User) -> Result<(), Fault> {
    let words = command_line::split(command).unwrap_or_default();
    let path = words.into_iter().next().unwrap_or_default();
    match problem(Path::new(&path), user) {
        None => Ok(()),
        Some(problem) => Err(Fault::Script { attribute, path, problem }),
    }
}

/// Why it cannot be run.
fn problem(path: &Path, user: &User) -> Option<String> {
    if let Err(missing) = script::check(path) {
        return Some(words(missing).to_owned());
    }
    let beginning = beginning(path);
    if let Some(interpreter) = interpreter(&beginning)
        && let Err(missing) = script::check(Path::new(&interpreter))
    {
        return Some(format!("is run by {interpreter}, as its first line says, which {}", words(missing)));
    }
    // A script is read by its interpreter, a program by the kernel.
    let is_read = !beginning.starts_with(b"\x7fELF");
    may_execute(path, user, is_read).is_some_and(|may| !may).then(|| {
        let what = if is_read { "read and executed" } else { "executed" };
        format!("cannot be {what} by user {}; mind the directories above it, too", user.name)
    })
}

const fn words(missing: Missing) -> &'static str {
    match missing {
        Missing::NotThere => "does not exist",
        Missing::NoFile => "is not a file",
        Missing::NotExecutable => "is not executable (chmod +x)",
    }
}

/// Empty if it cannot be read, which root always can.
fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGINNING_BYTES).read_to_end(&mut bytes));
    if read.is_ok() { bytes } else { Vec::new() }
}

/// What stands behind `#!`, without its argument.
fn interpreter(beginning: &[u8]) -> Option<String> {
    let line = beginning.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // A path that is longer than what was read is left to the kernel.
    let whole = beginning.contains(&b'\n') || line.contains(&b' ') || beginning.len() < 256;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().filter(|_| whole).map(str::to_owned)
}

/// Whether the system lets this user execute it: asked of the system itself, as that user, because modes alone do not
/// say it. Nothing if it cannot be asked: only root can become somebody else.
fn may_execute(path: &Path, user: &User, is_read: bool) -> Option<bool> {
    if user.uid == 0 || !geteuid().is_root() {
        return None;
    }
    let test = if is_read { "test -x \"$1\" && test -r \"$1\"" } else { "test -x \"$1\"" };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", test, "sh"]).arg(path);
    in_own_session(
        &mut command,
        Some(Identity { uid: user.uid, gid: user.gid, groups: user.groups.clone() }),
    );
    command.current_dir("/").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status().ok()?.code()? {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn user(uid: u32) -> User {
        User { name: "somebody".to_owned(), uid, gid: uid, home: "/".to_owned(), groups: vec![uid] }
    }

    #[test]
    fn the_interpreter_must_be_there() {
        for (beginning, found) in [
            ("#!/bin/sh\nexit 0", Some("/bin/sh")),
            ("#! /usr/bin/env  perl\n", Some("/usr/bin/env")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n", None),
            ("exit 0", None),
            ("", None),
        ] {
            assert_eq!(interpreter(beginning.as_bytes()).as_deref(), found, "{beginning}");
        }
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#!/no/such/shell -x\n").unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        let said = problem(&script, &user(0)).unwrap();
        assert_eq!(said, "is run by /no/such/shell, as its first line says, which does not exist");
        assert_eq!(problem(Path::new("/bin/sh"), &user(0)), None);
    }

    #[test]
    fn the_user_must_be_able_to_run_it() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can become somebody else");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "exit 0\n").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(directory.path(), 0o755);
        for (bits, ok) in [(0o755, true), (0o750, false), (0o711, false), (0o705, true)] {
            mode(&script, bits);
            assert_eq!(problem(&script, &user(65534)).is_none(), ok, "{bits:o}");
            assert_eq!(problem(&script, &user(0)), None, "{bits:o}");
        }
        mode(directory.path(), 0o700);
        let said = problem(&script, &user(65534)).unwrap();
        assert!(said.contains("cannot be read and executed by user somebody"), "{said}");
    }
}
