//! `ip` and `nft`, run by their arguments and never by a shell. An edge.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use vmpulse_local::exit::Exit;

/// Where the system keeps programs that a plain user's search path often lacks.
const SYSTEM_FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// What is quoted of a program's error: it repeats the script that it refused, which may be long.
const QUOTED_BYTES: usize = 600;
/// What `nsenter` ends with when it cannot find the program it was given.
const NOT_FOUND_CODE: i32 = 127;

/// A program did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("`{program}` is not installed; install it: {how}")]
    Missing {
        /// Which.
        program: &'static str,
        /// By what command, on which system.
        how: &'static str,
    },
    /// The caller may not.
    #[error("not allowed to run `{command}`: {said}. Run it as root, or with CAP_NET_ADMIN")]
    NoPermission {
        /// The command line.
        command: String,
        /// What it said on standard error.
        said: String,
    },
    /// It failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// The command line.
        command: String,
        /// What it said on standard error.
        said: String,
    },
    /// It could not be run, or not be told what to do.
    #[error("cannot run `{command}`")]
    Io {
        /// The command line.
        command: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl ProgramError {
    /// The exit code of a command that stops for this.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } => Exit::Unavailable,
            Self::NoPermission { .. } => Exit::NoPermission,
            Self::Failed { .. } | Self::Io { .. } => Exit::OsError,
        }
    }
}

/// Runs the programs, all in one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The file of that namespace; `None`: the caller's own.
    netns: Option<PathBuf>,
}

impl Programs {
    /// In the namespace of this file, as `/proc/1/ns/net`; `None`: the caller's own.
    #[must_use]
    pub const fn new(netns: Option<PathBuf>) -> Self {
        Self { netns }
    }

    /// Runs `ip` with these arguments; returns what it says.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn ip(&self, arguments: &[&str]) -> Result<String, ProgramError> {
        self.run("ip", arguments, "")
    }

    /// Gives a script to `nft`: all of it is done, or nothing.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn nft(&self, script: &str) -> Result<String, ProgramError> {
        self.run("nft", &["-f", "-"], script)
    }

    /// Asks `nft` for JSON.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn nft_list(&self, arguments: &[&str]) -> Result<String, ProgramError> {
        self.run("nft", &[&["-j", "list"], arguments].concat(), "")
    }

    fn run(&self, program: &'static str, arguments: &[&str], input: &str) -> Result<String, ProgramError> {
        let line = [&[program], arguments].concat().join(" ");
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source: std::io::Error| {
            if source.kind() == ErrorKind::NotFound {
                return missing(self.started(program));
            }
            ProgramError::Io { command: line.clone(), source }
        };
        let mut child = command.spawn().map_err(&failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            // What refuses its input early says why on standard error.
            let _closed = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(&failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        if self.netns.is_some() && output.status.code() == Some(NOT_FOUND_CODE) {
            return Err(missing(program));
        }
        Err(refused(line, &output))
    }

    fn command(&self, program: &'static str) -> Command {
        let mut command = Command::new(self.started(program));
        if let Some(netns) = &self.netns {
            let mut option = std::ffi::OsString::from("--net=");
            option.push(netns);
            command.arg(option).arg("--").arg(program);
        }
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":");
        path.push(SYSTEM_FOLDERS);
        // The texts are looked into, so they must be in one language.
        command.env("PATH", path).env("LC_ALL", "C");
        command
    }

    /// What is really started: `nsenter` where another namespace is meant.
    fn started(&self, program: &'static str) -> &'static str {
        if self.netns.is_some() { "nsenter" } else { program }
    }
}

fn missing(program: &'static str) -> ProgramError {
    let how = match program {
        "nft" => {
            "`apt-get install nftables` on Debian and Ubuntu, `dnf install nftables` on Fedora and RHEL, \
                  `zypper install nftables` on SUSE"
        }
        "nsenter" => "it belongs to the package util-linux",
        _ => {
            "`apt-get install iproute2` on Debian and Ubuntu, `dnf install iproute` on Fedora and RHEL, \
              `zypper install iproute2` on SUSE"
        }
    };
    ProgramError::Missing { program, how }
}

fn refused(command: String, output: &Output) -> ProgramError {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut said: String = text.trim().chars().take(QUOTED_BYTES).collect();
    if said.is_empty() {
        said = output.status.to_string();
    }
    if said.contains("Operation not permitted") || said.contains("must be root") {
        ProgramError::NoPermission { command, said }
    } else {
        ProgramError::Failed { command, said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = Programs::default().run("no-such-program", &[], "").unwrap_err();
        assert!(matches!(error, ProgramError::Missing { program: "no-such-program", .. }), "{error}");
        assert_eq!(error.exit(), Exit::Unavailable);
        let text = missing("nft").to_string();
        assert!(
            text.contains("`nft` is not installed") && text.contains("apt-get install nftables"),
            "{text}"
        );
    }

    #[test]
    fn a_refusal_is_quoted_and_bounded() {
        let script = "echo oh no >&2; exit 3";
        let error = Programs::default().run("sh", &["-c", script], "").unwrap_err();
        assert!(error.to_string().ends_with("failed: oh no"), "{error}");
        let script =
            "echo 'netlink: Error: cache initialization failed: Operation not permitted' >&2; exit 1";
        let error = Programs::default().run("sh", &["-c", script], "").unwrap_err();
        assert_eq!(error.exit(), Exit::NoPermission);
        let script = "head -c 10000 /dev/zero | tr '\\0' x >&2; exit 1";
        let error = Programs::default().run("sh", &["-c", script], "").unwrap_err();
        assert!(error.to_string().len() < 800);
    }

    #[test]
    fn input_is_given() {
        assert_eq!(Programs::default().run("cat", &[], "a\n").unwrap(), "a\n");
    }
}
