//! The tables of attributes, and values set in them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::value::{InvalidValue, Kind};
use crate::types::ocf::is_parameter;

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// As in the file and at `vmmgr`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is not in the file.
    pub default: &'static str,
    /// One line for `vmmgr help`.
    pub help: &'static str,
}

impl Attribute {
    /// Whether `vmmgr` sets it.
    #[must_use]
    pub const fn is_settable(&self) -> bool {
        !matches!(self.kind, Kind::ReadOnly | Kind::Uuid)
    }
}

const fn attribute(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Attribute {
    Attribute { name, kind, default, help }
}

const fn seconds(min: u32, max: u32) -> Kind {
    Kind::Seconds { min, max }
}

const fn count(min: u32) -> Kind {
    Kind::Number { min, max: 100 }
}

/// Longest time of a script, in seconds: one day.
const DAY: u32 = 86_400;

/// Attributes of `Monitoring`, in the order they are shown.
pub const VMM: &[Attribute] = &[
    attribute("version", Kind::ReadOnly, "1.0", "version of the file"),
    attribute("log", Kind::Number { min: 0, max: 3 }, "2", "0 errors, 1 warnings, 2 information, 3 detail"),
    attribute("period", seconds(0, 6), "1", "seconds between two rounds; 0: whenever something is due"),
    attribute(
        "rebootappstarttype",
        Kind::OneOf(&["VMM", "OS"]),
        "VMM",
        "after a boot VMM: the agent starts the applications; OS: only those that are not up in time",
    ),
    attribute("comment", Kind::ReadOnly, "", "when vmmgr last changed the file"),
];

/// Attributes of `Application` but its name, in the order they are shown.
pub const APPLICATION: &[Attribute] = &[
    attribute("version", Kind::Text, "", "of the application, for people"),
    attribute("uuid", Kind::Uuid, "", "given when the application is added"),
    attribute("desc", Kind::Text, "", "description"),
    attribute("monitored", Kind::OneOf(&["1", "0"]), "1", "0: suspended"),
    attribute(
        "monitor_script",
        Kind::Script,
        "",
        "exit 0: the application works; must be given unless type has it",
    ),
    attribute("monitor_period", seconds(2, DAY), "30", "from start to start of the monitor script"),
    attribute("monitor_timeout", seconds(1, DAY), "10", "then it is killed, which is a failure"),
    attribute("monitor_failure_threshold", count(1), "5", "successive failures before a restart"),
    attribute("stop_script", Kind::Script, "", "must be given unless type has it"),
    attribute("stop_stabilization_time", seconds(1, DAY), "25", "time allowed to the stop script"),
    attribute("stop_max_failures", count(1), "3", "successive failures before NOT_STOPPABLE"),
    attribute("start_script", Kind::Script, "", "must be given unless type has it"),
    attribute("start_stabilization_time", seconds(1, DAY), "25", "time allowed to the start script"),
    attribute("start_max_failures", count(1), "3", "successive failures before NOT_STARTABLE"),
    attribute("max_restart", count(0), "3", "restart cycles before FAILURE"),
    attribute(
        "restart_window",
        seconds(0, 365 * DAY),
        "0",
        "older cycles do not count; 0: until it works again",
    ),
    attribute("nooftimes_restarted", Kind::ReadOnly, "0", "restart cycles that count"),
    attribute("user", Kind::User, "root", "runs the scripts"),
    attribute("critical", Kind::OneOf(&["yes", "no"]), "no", "yes: the controller acts when it is RED"),
    attribute("type", Kind::OneOf(TYPES), "", "what the application is; param.NAME=VALUE for its agent"),
    attribute("instancename", Kind::Text, "", "of a typed application: agent, unit or instance"),
    attribute("database", Kind::Text, "", "of a typed application"),
    attribute("vendor_id", Kind::Text, "", "for people"),
    attribute("status", Kind::ReadOnly, "", "state and colour"),
];

/// Attributes of `Dependency`, in the order they are shown.
pub const DEPENDENCY: &[Attribute] = &[
    attribute("depuuid", Kind::Uuid, "", "given when the dependency is added"),
    attribute(
        "dependency_type",
        Kind::OneOf(&["start_sequence", "stop_sequence", "parent_child"]),
        "",
        "must be given",
    ),
    attribute("dependency_list", Kind::Names, "", "names of applications in their order, parted by commas"),
    attribute(
        "strict",
        Kind::OneOf(&["YES", "NO"]),
        "YES",
        "NO: the next begins when the previous has begun; YES: when it is NORMAL, or stopped",
    ),
];

/// Values of `type`: none, or those of [`crate::types::Type`].
const TYPES: &[&str] = &["", "OCF", "NAGIOS", "SYSTEMD", "ORACLE", "DB2", "SAPHANA", "POSTGRESQL", "MARIADB"];

/// What the attributes of a typed application's agent begin with.
pub const PARAMETER_PREFIX: &str = "param.";

/// All attributes that begin so. Not in the table: their names are the agent's.
pub const PARAMETER: Attribute =
    attribute("param.NAME", Kind::Text, "", "parameter NAME of the agent of type");

/// Most parameters of one application: twice as many as the largest agent has.
const MAX_PARAMETERS: usize = 64;

/// A value could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No such attribute.
    #[error("there is no attribute {0}")]
    Unknown(String),
    /// Not to be set.
    #[error("{0} is read-only")]
    ReadOnly(&'static str),
    /// No name for a parameter, or one too many.
    #[error(
        "{name} is no parameter that can be set: letters, digits and _, and at most {MAX_PARAMETERS} of them"
    )]
    Parameter {
        /// As given.
        name: String,
    },
    /// Not allowed.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
}

/// Checked texts of one element, with the defaults of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    table: &'static [Attribute],
    texts: BTreeMap<&'static str, String>,
    /// By name, without the prefix; none is empty.
    parameters: BTreeMap<String, String>,
}

impl Values {
    /// All at their defaults.
    #[must_use]
    pub const fn new(table: &'static [Attribute]) -> Self {
        Self { table, texts: BTreeMap::new(), parameters: BTreeMap::new() }
    }

    /// What an administrator sets: read-only attributes are refused. An empty text puts the default back. For a
    /// parameter the attribute returned is [`PARAMETER`].
    pub fn set(&mut self, name: &str, text: &str) -> Result<&'static Attribute, SetError> {
        if let Some(parameter) = self.parameter_name(name) {
            return self.set_parameter(parameter, text).map(|()| &PARAMETER);
        }
        let attribute = find(self.table, name).ok_or_else(|| SetError::Unknown(name.to_owned()))?;
        if !attribute.is_settable() {
            return Err(SetError::ReadOnly(attribute.name));
        }
        let text = if text.is_empty() { attribute.default } else { text };
        attribute.kind.check(attribute.name, text)?;
        self.texts.insert(attribute.name, text.to_owned());
        Ok(attribute)
    }

    /// What the file says: unknown attributes are ignored.
    pub(crate) fn read(&mut self, name: &str, text: &str) -> Result<(), InvalidValue> {
        if let Some(parameter) = self.parameter_name(name) {
            return self.set_parameter(parameter, text).map_err(|error| match error {
                SetError::Invalid(invalid) => invalid,
                SetError::Unknown(_) | SetError::ReadOnly(_) | SetError::Parameter { .. } => {
                    let expected =
                        format!("a name of letters, digits and _, at most {MAX_PARAMETERS} of them");
                    InvalidValue { attribute: PARAMETER.name, text: parameter.to_owned(), expected }
                }
            });
        }
        if let Some(attribute) = find(self.table, name) {
            attribute.kind.check(attribute.name, text)?;
            self.texts.insert(attribute.name, text.to_owned());
        }
        Ok(())
    }

    /// What follows the prefix, in a table of applications.
    fn parameter_name<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(PARAMETER_PREFIX).filter(|_| find(self.table, "type").is_some())
    }

    fn set_parameter(&mut self, name: &str, text: &str) -> Result<(), SetError> {
        PARAMETER.kind.check(PARAMETER.name, text)?;
        if text.is_empty() {
            self.parameters.remove(name);
            return Ok(());
        }
        let room = self.parameters.len() < MAX_PARAMETERS || self.parameters.contains_key(name);
        if !room || !is_parameter(name) {
            return Err(SetError::Parameter { name: format!("{PARAMETER_PREFIX}{name}") });
        }
        self.parameters.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    /// Whether the text was given, and is not merely the default.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.texts.contains_key(name)
    }

    /// Parameters of the agent, by name without the prefix.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Gives a new application its uuid, or a new dependency its depuuid.
    pub fn set_uuid(&mut self, uuid: &str) -> Result<(), InvalidValue> {
        let attribute = self.table.iter().find(|attribute| attribute.kind == Kind::Uuid);
        attribute.map_or(Ok(()), |attribute| self.read(attribute.name, uuid))
    }

    /// The text of an attribute, or its default; empty for a name that is not in the table.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let default = || find(self.table, name).map_or("", |attribute| attribute.default);
        self.texts.get(name).map_or_else(default, String::as_str)
    }

    /// The number of an attribute.
    #[must_use]
    pub fn number(&self, name: &str) -> u32 {
        self.text(name).parse().unwrap_or(0)
    }

    /// The duration of an attribute.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(u64::from(self.number(name)))
    }

    /// Every attribute of the table with its text.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Attribute, &str)> {
        self.table.iter().map(|attribute| (attribute, self.text(attribute.name)))
    }
}

/// The attribute of that name.
#[must_use]
pub fn find(table: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    table.iter().find(|attribute| attribute.name == name)
}

/// The attribute that may have been meant by a name that is not in the table.
#[must_use]
pub fn nearest(table: &'static [Attribute], name: &str) -> Option<&'static str> {
    crate::nearest::of(name, table.iter().map(|attribute| attribute.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_or_means_not_given() {
        for attribute in VMM.iter().chain(APPLICATION).chain(DEPENDENCY) {
            assert!(
                attribute.kind.allows(attribute.default) || attribute.default.is_empty(),
                "{}",
                attribute.name
            );
            assert!(!attribute.help.is_empty());
        }
    }

    #[test]
    fn the_types_are_those_of_the_module() {
        let names: Vec<&str> = crate::types::Type::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(TYPES.split_first(), Some((&"", names.as_slice())));
    }

    #[test]
    fn parameters_are_set_removed_and_bounded() {
        let mut values = Values::new(APPLICATION);
        assert_eq!(values.set("param.pgdata", "/x y").unwrap().name, "param.NAME");
        assert_eq!(values.parameters().collect::<Vec<_>>(), [("pgdata", "/x y")]);
        assert!(values.set("param.pgdata", "").is_ok());
        assert_eq!(values.parameters().count(), 0);
        for bad in ["param.", "param.a-b", "param.a.b", "param.ä"] {
            assert!(matches!(values.set(bad, "x"), Err(SetError::Parameter { .. })), "{bad}");
            assert!(values.read(bad, "x").is_err(), "{bad}");
        }
        assert!(matches!(values.set("param.a", "tab\t"), Err(SetError::Invalid(_))));
        for number in 0..MAX_PARAMETERS {
            assert!(values.set(&format!("param.p{number}"), "x").is_ok());
        }
        assert!(values.set("param.p0", "y").is_ok());
        assert!(values.set("param.more", "x").is_err());
        let mut vmm = Values::new(VMM);
        assert!(matches!(vmm.set("param.a", "x"), Err(SetError::Unknown(_))));
    }

    #[test]
    fn setting_checks_and_restores_defaults() {
        let mut values = Values::new(APPLICATION);
        assert_eq!(values.number("monitor_period"), 30);
        assert!(values.set("monitor_period", "40").is_ok());
        assert_eq!(values.seconds("monitor_period"), Duration::from_secs(40));
        assert!(values.set("monitor_period", "").is_ok());
        assert_eq!(values.text("monitor_period"), "30");
        assert_eq!(values.set("uuid", "1"), Err(SetError::ReadOnly("uuid")));
        assert_eq!(values.set("nooftimes_restarted", "1"), Err(SetError::ReadOnly("nooftimes_restarted")));
        assert_eq!(values.set("colour", "1"), Err(SetError::Unknown("colour".to_owned())));
        assert!(matches!(values.set("max_restart", "101"), Err(SetError::Invalid(_))));
    }
}
