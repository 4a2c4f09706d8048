//! What a resource agent says of itself (`meta-data`): its parameters, and the time its actions should be given. Pure.

use std::time::Duration;

use roxmltree::{Document, Node, ParsingOptions};

use super::ocf::{Agent, CHECK_LEVEL};

/// Largest meta-data read, in bytes; the largest of the package resource-agents have 20 KiB.
pub const MAX_BYTES: usize = 256 * 1024;

/// Most nodes of it.
const MAX_NODES: u32 = 20_000;

/// Longest time that is believed, in seconds: one day, as for the attributes.
const DAY_S: u64 = 86_400;

/// A parameter of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Without it the agent does nothing.
    pub required: bool,
}

/// The times of an agent's actions, in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Of start.
    pub start_s: Option<u64>,
    /// Of stop.
    pub stop_s: Option<u64>,
    /// Of monitor.
    pub monitor_s: Option<u64>,
    /// Between two monitors.
    pub interval_s: Option<u64>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its times.
    pub times: Times,
}

/// Why a text is no meta-data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its meta-data cannot be read: {0}")]
pub struct MetadataError(String);

impl Metadata {
    /// Reads what `AGENT meta-data` prints.
    pub fn read(text: &str) -> Result<Self, MetadataError> {
        if text.len() > MAX_BYTES {
            return Err(MetadataError(format!("more than {MAX_BYTES} bytes")));
        }
        // Every agent names its DTD; the parser loads none, and the text is the agent's, which runs as root anyway.
        let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|error| MetadataError(error.to_string()))?;
        let root = document.root_element();
        if !root.has_tag_name("resource-agent") {
            return Err(MetadataError(format!("it is a {}, not a resource-agent", root.tag_name().name())));
        }
        let named = |tag| root.descendants().filter(move |node: &Node<'_, '_>| node.has_tag_name(tag));
        let times = named("action").fold(Times::default(), add_action);
        Ok(Self { parameters: named("parameter").filter_map(parameter).collect(), times })
    }

    /// What is wrong with the parameters of an agent, if anything is.
    #[must_use]
    pub fn first_fault(&self, agent: &Agent) -> Option<String> {
        let known = |name: &str| {
            name == CHECK_LEVEL || self.parameters.iter().any(|parameter| parameter.name == name)
        };
        if let Some((name, _)) = agent.parameters().find(|(name, _)| !known(name)) {
            let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            return Some(format!("it has no parameter {name}; it has {}", names.join(", ")));
        }
        let given = |name: &str| agent.parameters().any(|(given, _)| given == name);
        let missing =
            self.parameters.iter().find(|parameter| parameter.required && !given(&parameter.name))?;
        Some(format!("its parameter {0} must be given (param.{0}=VALUE)", missing.name))
    }
}

fn parameter(node: Node<'_, '_>) -> Option<Parameter> {
    let name = node.attribute("name")?.to_owned();
    Some(Parameter { name, required: node.attribute("required") == Some("1") })
}

/// The first of a name counts: those for promoted resources follow.
fn add_action(times: Times, node: Node<'_, '_>) -> Times {
    let time = |attribute| node.attribute(attribute).and_then(seconds);
    match node.attribute("name") {
        Some("start") => Times { start_s: times.start_s.or_else(|| time("timeout")), ..times },
        Some("stop") => Times { stop_s: times.stop_s.or_else(|| time("timeout")), ..times },
        Some("monitor") => Times {
            monitor_s: times.monitor_s.or_else(|| time("timeout")),
            interval_s: times.interval_s.or_else(|| time("interval")),
            ..times
        },
        Some(_) | None => times,
    }
}

/// `30`, `30s`, `2m`, `500ms`; rounded up, and none for 0.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let ms = match text.strip_prefix(digits)? {
        "" | "s" | "sec" => number.checked_mul(1000)?,
        "ms" | "msec" => number,
        "m" | "min" => number.checked_mul(60_000)?,
        "h" | "hr" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    let seconds = Duration::from_millis(ms).as_millis().div_ceil(1000);
    u64::try_from(seconds).ok().filter(|seconds| (1..=DAY_S).contains(seconds))
}

impl Times {
    /// Attributes with these times, for those that an administrator has not given. The period is made longer than the
    /// time limit where the agent's own is not.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, u64)> {
        let period = match (self.interval_s, self.monitor_s) {
            (Some(interval), Some(limit)) => Some(interval.max(limit + 1).min(DAY_S)),
            (interval, limit) => interval.or(limit.map(|limit| limit + 1)),
        };
        // A limit of a whole day leaves no period that is longer.
        let monitor = self.monitor_s.map(|limit| limit.min(DAY_S - 1));
        let pairs = [
            ("monitor_period", period),
            ("monitor_timeout", monitor),
            ("start_stabilization_time", self.start_s),
            ("stop_stabilization_time", self.stop_s),
        ];
        pairs.into_iter().filter_map(|(name, time)| Some((name, time?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMMY: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="Dummy" version="1.0"><version>1.0</version>
<parameters><parameter name="state" unique="1"><content type="string" default="x" /></parameter>
<parameter name="sid" required="1"><content type="string"/></parameter></parameters>
<actions><action name="start" timeout="20s"/><action name="stop" timeout="2m"/>
<action name="monitor" timeout="30s" interval="30s" depth="0"/>
<action name="monitor" role="Promoted" timeout="99s" interval="29s"/><action name="meta-data" timeout="5s"/></actions>
</resource-agent>"#;

    #[test]
    fn times_and_parameters_of_an_agent() {
        let metadata = Metadata::read(DUMMY).unwrap();
        let times = metadata.times.attributes();
        assert_eq!(
            times,
            [
                ("monitor_period", 31),
                ("monitor_timeout", 30),
                ("start_stabilization_time", 20),
                ("stop_stabilization_time", 120)
            ]
        );
        let agent = Agent::heartbeat("Dummy");
        assert!(metadata.first_fault(&agent).unwrap().contains("sid must be given (param.sid=VALUE)"));
        let agent = agent.set("sid", "x");
        assert_eq!(metadata.first_fault(&agent), None);
        assert_eq!(
            metadata.first_fault(&agent.set("stat", "x")).unwrap(),
            "it has no parameter stat; it has state, sid"
        );
    }

    #[test]
    fn times_in_every_form() {
        for (text, expected) in [
            ("30", Some(30)),
            ("30s", Some(30)),
            (" 2m ", Some(120)),
            ("1h", Some(3600)),
            ("1500ms", Some(2)),
            ("0", None),
            ("", None),
            ("s", None),
            ("-5", None),
            ("5 s", None),
            ("2d", None),
            ("86401", None),
            ("99999999999999999999", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_metadata_says_so() {
        for text in
            ["", "no xml", "<other/>", &format!("<resource-agent>{}</resource-agent>", " ".repeat(MAX_BYTES))]
        {
            assert!(Metadata::read(text).is_err());
        }
        assert_eq!(Metadata::read("<resource-agent/>").unwrap(), Metadata::default());
    }
}
