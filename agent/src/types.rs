//! Typed applications: what runs, in which environment, and what its exit code means, by the `type` attribute. Pure.
//!
//! | type | start, stop, monitor | success of the monitor |
//! |---|---|---|
//! | none | the application's scripts | 0 |
//! | NAGIOS | the application's scripts | 0 and 1: OK and WARNING |
//! | SYSTEMD | `systemctl start`, `stop`, `is-active` | 0 |
//! | OCF and the products | the resource agent with its action | by the OCF standard, see [`ocf`] |
//!
//! A script that is given takes the place of the type's own for its action and is judged by 0 alone.

pub mod metadata;
pub mod ocf;
mod products;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::ame::{Outcome, ScriptKind};
use crate::config::Values;
use ocf::Agent;

/// There on systems with and without a merged `/usr`.
pub const SYSTEMCTL: &str = "/bin/systemctl";

/// Longest name of a systemd unit (`UNIT_NAME_MAX`).
const MAX_UNIT_BYTES: usize = 255;

/// Highest exit code of a monitoring plug-in that is no failure: WARNING.
const NAGIOS_WARNING: i32 = 1;

/// Values of the attribute `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any OCF resource agent.
    Ocf,
    /// The monitor script is a monitoring plug-in.
    Nagios,
    /// A systemd unit.
    Systemd,
    /// Oracle Database.
    Oracle,
    /// IBM Db2.
    Db2,
    /// SAP HANA.
    SapHana,
    /// PostgreSQL.
    Postgresql,
    /// MariaDB and MySQL.
    Mariadb,
}

impl Type {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Ocf,
        Self::Nagios,
        Self::Systemd,
        Self::Oracle,
        Self::Db2,
        Self::SapHana,
        Self::Postgresql,
        Self::Mariadb,
    ];

    /// As in the attribute.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ocf => "OCF",
            Self::Nagios => "NAGIOS",
            Self::Systemd => "SYSTEMD",
            Self::Oracle => "ORACLE",
            Self::Db2 => "DB2",
            Self::SapHana => "SAPHANA",
            Self::Postgresql => "POSTGRESQL",
            Self::Mariadb => "MARIADB",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|candidate| candidate.name() == text)
    }

    /// Whether it supplies start, stop and monitor, so that no script need be given.
    #[must_use]
    pub const fn supplies_scripts(self) -> bool {
        match self {
            Self::Nagios => false,
            Self::Ocf
            | Self::Systemd
            | Self::Oracle
            | Self::Db2
            | Self::SapHana
            | Self::Postgresql
            | Self::Mariadb => true,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// Why attributes make no typed application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// A value that nothing can be done without, or that does not fit the type.
    #[error("type={kind}: {problem}")]
    Attribute {
        /// The type.
        kind: Type,
        /// Which attribute, what is wrong, what would be right.
        problem: String,
    },
    /// `param.` of an application without a resource agent.
    #[error("param.{name} is for applications of type OCF or of a product; this one is of {kind}")]
    NoParameters {
        /// Of the parameter.
        name: String,
        /// The type, or "no type".
        kind: String,
    },
}

impl TypeError {
    fn of(kind: Type, problem: impl Into<String>) -> Self {
        Self::Attribute { kind, problem: problem.into() }
    }
}

/// What stands behind a type.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    Plugin,
    Unit(String),
    Agent(Agent),
}

/// The typed side of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    kind: Type,
    means: Means,
    monitor_period: Duration,
}

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Program, then its arguments.
    pub words: Vec<String>,
    /// Added to the environment of every script.
    pub environment: Vec<(String, String)>,
}

/// What an invocation depends on besides the application's attributes.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Where OCF resource agents are installed.
    pub ocf_root: &'a Path,
    /// Where they keep what need not outlive a restart of the guest.
    pub ocf_state: &'a Path,
    /// Name of the application.
    pub application: &'a str,
    /// When the run is killed.
    pub time_limit: Duration,
}

impl Typed {
    /// From the attributes of an application; `None` if it has no type.
    pub fn new(values: &Values) -> Result<Option<Self>, TypeError> {
        let Some(kind) = Type::named(values.text("type")) else {
            return refuse_parameters(values, "no type").map(|()| None);
        };
        let means = match kind {
            Type::Nagios => refuse_parameters(values, kind.name()).map(|()| Means::Plugin)?,
            Type::Systemd => {
                refuse_parameters(values, kind.name())?;
                Means::Unit(unit(values.text("instancename"))?)
            }
            Type::Ocf => Means::Agent(ocf_agent(values)?),
            Type::Oracle | Type::Db2 | Type::SapHana | Type::Postgresql | Type::Mariadb => {
                Means::Agent(products::agent(kind, values)?)
            }
        };
        Ok(Some(Self { kind, means, monitor_period: values.seconds("monitor_period") }))
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// The resource agent behind it, if there is one.
    #[must_use]
    pub const fn agent(&self) -> Option<&Agent> {
        match &self.means {
            Means::Agent(agent) => Some(agent),
            Means::Plugin | Means::Unit(_) => None,
        }
    }

    /// The systemd unit, if it is one.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        match &self.means {
            Means::Unit(unit) => Some(unit),
            Means::Plugin | Means::Agent(_) => None,
        }
    }

    /// What to run for an action for which the application has no script. Nothing for NAGIOS, which supplies none.
    #[must_use]
    pub fn invocation(&self, action: ScriptKind, surroundings: Surroundings<'_>) -> Invocation {
        match &self.means {
            Means::Plugin => Invocation::default(),
            Means::Unit(unit) => {
                let words: &[&str] = match action {
                    ScriptKind::Start => &[SYSTEMCTL, "start", "--", unit],
                    ScriptKind::Stop => &[SYSTEMCTL, "stop", "--", unit],
                    ScriptKind::Monitor => &[SYSTEMCTL, "is-active", "--", unit],
                };
                Invocation { words: words.iter().map(ToString::to_string).collect(), ..Invocation::default() }
            }
            Means::Agent(agent) => agent.invocation(action, self.monitor_period, surroundings),
        }
    }

    /// What the end of a run counts as. `own_script`: the application's script ran, not the type's.
    #[must_use]
    pub fn judge(&self, action: ScriptKind, own_script: bool, outcome: Outcome) -> Outcome {
        let Outcome::Exit(code) = outcome else { return outcome };
        match &self.means {
            Means::Plugin if action == ScriptKind::Monitor && code == NAGIOS_WARNING => Outcome::Exit(0),
            Means::Agent(_) if !own_script => ocf::judge(action, code),
            Means::Plugin | Means::Unit(_) | Means::Agent(_) => outcome,
        }
    }
}

fn refuse_parameters(values: &Values, kind: &str) -> Result<(), TypeError> {
    let refused =
        |(name, _): (&str, &str)| TypeError::NoParameters { name: name.to_owned(), kind: kind.to_owned() };
    values.parameters().next().map(refused).map_or(Ok(()), Err)
}

/// A name that systemctl takes for a unit and for nothing else.
fn unit(text: &str) -> Result<String, TypeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let good = (1..=MAX_UNIT_BYTES).contains(&text.len()) && text.bytes().all(allowed);
    if good && !text.starts_with(['-', '.']) {
        return Ok(text.to_owned());
    }
    let problem = format!("instancename=\"{text}\" is no name of a systemd unit; for example nginx.service");
    Err(TypeError::of(Type::Systemd, problem))
}

fn ocf_agent(values: &Values) -> Result<Agent, TypeError> {
    if !values.text("database").is_empty() {
        let problem = "database is not used; give the agent's own parameter as param.NAME=VALUE";
        return Err(TypeError::of(Type::Ocf, problem));
    }
    let text = values.text("instancename");
    let agent = Agent::named(text).ok_or_else(|| {
        let problem = format!(
            "instancename=\"{text}\" names no agent; give ocf:PROVIDER:AGENT, as ocf:heartbeat:pgsql"
        );
        TypeError::of(Type::Ocf, problem)
    })?;
    Ok(agent.with(values.parameters()))
}

#[cfg(test)]
mod tests;
