//! Edge: whether what a typed application needs is installed, and what its agent says of itself. For `vmmgr`, before
//! anything is written: the daemon would only find out when it is too late to ask.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::runner::script::{self, Missing};
use crate::types::metadata::{MAX_BYTES, Metadata, MetadataError};
use crate::types::ocf::Agent;
use crate::types::{SYSTEMCTL, Type, Typed};

/// The time the OCF standard gives `meta-data`, with room for a busy guest.
const PATIENCE: Duration = Duration::from_secs(10);

/// There if and only if systemd is the init (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Where an agent may keep things while it is asked; it should keep none.
const SCRATCH: &str = "/tmp";

/// Why a typed application would not work here.
#[derive(Debug, thiserror::Error)]
pub enum TypeCheckError {
    /// No such agent.
    #[error("type={kind}: {agent} is not installed: {} {problem}. {hint}", path.display())]
    NotInstalled {
        /// Of the application.
        kind: Type,
        /// `ocf:PROVIDER:AGENT`
        agent: String,
        /// Its program.
        path: PathBuf,
        /// Missing or not executable.
        problem: &'static str,
        /// What to install, or to set.
        hint: String,
    },
    /// It does not say what it is.
    #[error("type={kind}: {agent} does not answer meta-data as it should: {problem}")]
    NoMetadata {
        /// Of the application.
        kind: Type,
        /// `ocf:PROVIDER:AGENT`
        agent: String,
        /// Why not.
        problem: String,
    },
    /// Its parameters are wrong.
    #[error("type={kind}: {agent}: {problem}")]
    Parameter {
        /// Of the application.
        kind: Type,
        /// `ocf:PROVIDER:AGENT`
        agent: String,
        /// Which, and what there is.
        problem: String,
    },
    /// systemd knows no such unit.
    #[error("type=SYSTEMD: there is no unit {unit}; `systemctl list-unit-files` lists those that are")]
    NoUnit {
        /// As given.
        unit: String,
    },
    /// systemd is not the init of this guest.
    #[error("type=SYSTEMD: systemd does not run this system ({SYSTEMD} is not there); give scripts instead")]
    NoSystemd,
}

/// Checks what stands behind the type of an application of that name, and returns the times its agent wants for its
/// actions, as attributes. None for a type without times of its own.
pub fn check(
    ocf_root: &Path,
    typed: &Typed,
    application: &str,
) -> Result<Vec<(&'static str, u64)>, TypeCheckError> {
    if let Some(agent) = typed.agent() {
        return Ok(agent_metadata(ocf_root, typed, agent, application)?.times.attributes());
    }
    typed.unit().map_or(Ok(()), check_unit)?;
    Ok(Vec::new())
}

fn check_unit(unit: &str) -> Result<(), TypeCheckError> {
    if !Path::new(SYSTEMD).is_dir() {
        return Err(TypeCheckError::NoSystemd);
    }
    let mut command = Command::new(SYSTEMCTL);
    match output(command.args(["show", "--property=LoadState", "--value", "--", unit]), PATIENCE) {
        // A systemd that does not answer now may do so later, and the unit is then known.
        Ok(state) if state.trim() == "not-found" => Err(TypeCheckError::NoUnit { unit: unit.to_owned() }),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn agent_metadata(
    ocf_root: &Path,
    typed: &Typed,
    agent: &Agent,
    application: &str,
) -> Result<Metadata, TypeCheckError> {
    let (kind, name, path) = (typed.kind(), agent.full_name(), agent.path(ocf_root));
    script::check(&path).map_err(|missing| TypeCheckError::NotInstalled {
        kind,
        agent: name.clone(),
        path: path.clone(),
        problem: problem(missing),
        hint: hint(kind),
    })?;
    let mut command = Command::new(&path);
    let environment = agent.environment(ocf_root, Path::new(SCRATCH), application);
    command.arg("meta-data").envs(environment).env("LANG", "C").current_dir("/");
    let metadata = output(&mut command, PATIENCE)
        .map_err(|error| error.to_string())
        .and_then(|text| Metadata::read(&text).map_err(|error: MetadataError| error.to_string()))
        .map_err(|problem| TypeCheckError::NoMetadata { kind, agent: name.clone(), problem })?;
    match metadata.first_fault(agent) {
        Some(problem) => Err(TypeCheckError::Parameter { kind, agent: name, problem }),
        None => Ok(metadata),
    }
}

const fn problem(missing: Missing) -> &'static str {
    match missing {
        Missing::NotThere => "does not exist",
        Missing::NoFile => "is not a file",
        Missing::NotExecutable => "is not executable",
    }
}

fn hint(kind: Type) -> String {
    let install = match kind {
        Type::SapHana => "Install the package resource-agents, and SAP's host agent",
        Type::Ocf | Type::Oracle | Type::Db2 | Type::Postgresql | Type::Mariadb => {
            "Install the package resource-agents"
        }
        Type::Nagios | Type::Systemd => "Install it",
    };
    format!("{install}; or, where agents are elsewhere, set ocf_root in agent.toml")
}

/// What a program prints, within its time and at most [`MAX_BYTES`]. Its exit code does not matter if the text is good.
fn output(command: &mut Command, patience: Duration) -> io::Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let Some(stdout) = child.stdout.take() else { return Err(io::Error::other("it has no output")) };
    let answer = read_in_time(stdout, patience);
    end(&mut child);
    answer
}

/// In a thread, since a pipe has no time limit. One that never ends is left behind with the command.
fn read_in_time(stdout: ChildStdout, patience: Duration) -> io::Result<String> {
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(MAX_BYTES as u64 + 1).read_to_end(&mut text);
        // Nobody listens only when the time is over.
        let _ = say.send(read.map(|_| text));
    });
    let late =
        |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs()));
    let text = said.recv_timeout(patience).map_err(late)??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn end(child: &mut Child) {
    // One that has ended already is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Values;
    use crate::config::attribute::APPLICATION;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn typed(pairs: &[(&str, &str)]) -> Typed {
        let mut values = Values::new(APPLICATION);
        for (name, text) in pairs {
            values.set(name, text).unwrap();
        }
        Typed::new(&values).unwrap().unwrap()
    }

    fn agent(root: &Path, body: &str) {
        let folder = root.join("resource.d/own");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("thing"), body).unwrap();
        fs::set_permissions(folder.join("thing"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    const THING: [(&str, &str); 2] = [("type", "OCF"), ("instancename", "ocf:own:thing")];

    fn text(root: &Path, pairs: &[(&str, &str)]) -> String {
        check(root, &typed(pairs), "app1").unwrap_err().to_string()
    }

    #[test]
    fn an_agent_is_asked_and_its_faults_are_named() {
        let root = tempfile::tempdir().unwrap();
        let missing = text(root.path(), &THING);
        assert!(
            missing.contains("ocf:own:thing is not installed") && missing.contains("resource-agents"),
            "{missing}"
        );
        agent(
            root.path(),
            "#!/bin/sh\n[ \"$1\" = meta-data ] && echo \"<resource-agent><parameter name='a'/>\
            <action name='monitor' timeout='9'/></resource-agent>\"\n",
        );
        let times = check(root.path(), &typed(&THING), "app1").unwrap();
        assert_eq!(times, [("monitor_period", 10), ("monitor_timeout", 9)]);
        let wrong = text(root.path(), &[&THING[..], &[("param.b", "1")]].concat());
        assert!(wrong.ends_with("it has no parameter b; it has a"), "{wrong}");
        agent(root.path(), "#!/bin/sh\necho what?\n");
        assert!(text(root.path(), &THING).contains("does not answer meta-data"));
        let product = text(root.path(), &[("type", "ORACLE"), ("instancename", "ORCL")]);
        assert!(product.contains("type=ORACLE: ocf:heartbeat:oracle is not installed"), "{product}");
    }

    #[test]
    fn one_that_never_answers_is_ended() {
        let mut command = Command::new("/bin/sleep");
        let error = output(command.arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_plug_in_needs_nothing_but_itself() {
        assert!(check(Path::new("/nowhere"), &typed(&[("type", "NAGIOS")]), "app1").unwrap().is_empty());
    }
}
