//! Reads the application report of a guest (`docs/reference/report.md`). Pure.
//!
//! The bytes come from a guest and are not trusted: size, nesting, names and numbers are checked, a DTD is refused,
//! and nothing of a report that fails a check is used.

use std::collections::BTreeSet;

use crate::{ApplicationReport, Colour};
use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;
use vmpulse_protocol::id::VmUuid;

/// Longest report the format allows.
pub const REPORT_LIMIT_BYTES: usize = 256 * 1024;

/// Applications in one report: the most an agent can be configured for.
pub const APPLICATIONS_LIMIT: usize = 256;

/// XML nodes in one report: 256 applications with text between them and room for elements of later versions.
const NODES_LIMIT: u32 = 4096;

/// Longest name of an application, in bytes.
const NAME_LIMIT: usize = 64;
/// Longest version text of an application, in bytes.
const VERSION_LIMIT: usize = 256;
/// Digits of an agent's incarnation.
const INCARNATION_DIGITS: usize = 16;
/// Digits of an application's uuid.
const UUID_DIGITS: usize = 19;
/// Most restart cycles that can be configured.
const MAX_RESTART_LIMIT: u32 = 100;

/// Why a report was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReportError {
    /// Too long.
    #[error("it has {bytes} bytes, {REPORT_LIMIT_BYTES} are allowed")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A document type declaration.
    #[error("it has a document type declaration, which is not allowed")]
    Dtd,
    /// Not well-formed, or too many elements.
    #[error("it is no XML: {0}")]
    Xml(String),
    /// Another document.
    #[error("its document element is not a report")]
    NotAReport,
    /// A format this version does not know.
    #[error("its format version is not 1.x")]
    Version,
    /// Another VM's.
    #[error("it speaks for another VM")]
    OtherVm,
    /// Its incarnation or its number is missing or not valid.
    #[error("{attribute} of the report is missing or not valid")]
    Head {
        /// Which attribute.
        attribute: &'static str,
    },
    /// Too many applications.
    #[error("it has more than {APPLICATIONS_LIMIT} applications")]
    TooMany,
    /// An attribute is missing or not what it should be.
    #[error("{attribute} of application {application} is missing or not valid")]
    Attribute {
        /// Which attribute.
        attribute: &'static str,
        /// Which application, counted from 1.
        application: usize,
    },
    /// A name or uuid twice.
    #[error("application {application} has the {attribute} of another")]
    Twice {
        /// Which attribute.
        attribute: &'static str,
        /// Which application, counted from 1.
        application: usize,
    },
}

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportContent {
    /// Of the agent: 16 hexadecimal digits, drawn at each of its starts.
    pub incarnation: String,
    /// Grows with each report of one incarnation.
    pub sequence: i64,
    /// Every application that is configured in the guest.
    pub applications: Vec<ApplicationReport>,
}

/// Reads the report of `vm`.
///
/// # Errors
/// [`ReportError`]; then nothing of it may be used.
pub fn parse(payload: &[u8], vm: VmUuid) -> Result<ReportContent, ReportError> {
    if payload.len() > REPORT_LIMIT_BYTES {
        return Err(ReportError::TooLong { bytes: payload.len() });
    }
    let text = std::str::from_utf8(payload).map_err(|_| ReportError::NotText)?;
    // The parser lets an empty declaration pass.
    if text.contains("<!DOCTYPE") {
        return Err(ReportError::Dtd);
    }
    let options = ParsingOptions { nodes_limit: NODES_LIMIT, ..ParsingOptions::default() };
    let document =
        Document::parse_with_options(text, options).map_err(|error| ReportError::Xml(error.to_string()))?;
    let root = document.root_element();
    let (incarnation, sequence) = check_root(root, vm)?;
    let elements = || root.children().filter(|node| node.has_tag_name("application"));
    if elements().count() > APPLICATIONS_LIMIT {
        return Err(ReportError::TooMany);
    }
    let applications = elements()
        .enumerate()
        .map(|(index, node)| application(node, index + 1))
        .collect::<Result<Vec<_>, _>>()?;
    check_unique(&applications)?;
    Ok(ReportContent { incarnation, sequence, applications })
}

/// Returns the agent's incarnation and the report's number.
fn check_root(root: Node<'_, '_>, vm: VmUuid) -> Result<(String, i64), ReportError> {
    if !root.has_tag_name("report") {
        return Err(ReportError::NotAReport);
    }
    let major = root.attribute("version").and_then(|version| version.split('.').next());
    if major != Some("1") {
        return Err(ReportError::Version);
    }
    if root.attribute("vm").and_then(|text| text.parse().ok()) != Some(vm) {
        return Err(ReportError::OtherVm);
    }
    let named = |attribute, fits: fn(&str) -> bool| {
        root.attribute(attribute).filter(|text| fits(text)).ok_or(ReportError::Head { attribute })
    };
    let incarnation = named("incarnation", is_incarnation)?.to_owned();
    let sequence = named("sequence", |text| decimal(text).is_some())?.parse();
    sequence.map(|sequence| (incarnation, sequence)).map_err(|_| ReportError::Head { attribute: "sequence" })
}

fn is_incarnation(text: &str) -> bool {
    text.len() == INCARNATION_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn application(node: Node<'_, '_>, number: usize) -> Result<ApplicationReport, ReportError> {
    let fields = Fields { node, number };
    let status = fields.checked("status", |text| colour_of(text).is_some())?.to_owned();
    let colour = fields.parsed("colour", Colour::parse)?;
    if colour_of(&status) != Some(colour) {
        return Err(ReportError::Attribute { attribute: "colour", application: number });
    }
    Ok(ApplicationReport {
        name: fields.checked("name", is_name)?.to_owned(),
        uuid: fields
            .checked("uuid", |text| {
                text.len() == UUID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
            })?
            .to_owned(),
        status,
        colour,
        critical: fields.parsed("critical", |text| flag(text, "yes", "no"))?,
        monitored: fields.parsed("monitored", |text| flag(text, "1", "0"))?,
        max_restart: fields.parsed("max_restart", |text| {
            decimal(text)?.try_into().ok().filter(|cycles| *cycles <= MAX_RESTART_LIMIT)
        })?,
        restarted: fields.parsed("nooftimes_restarted", |text| decimal(text)?.try_into().ok())?,
        version: fields
            .checked("version", |text| text.len() <= VERSION_LIMIT && !text.chars().any(char::is_control))?
            .to_owned(),
        last_result: fields
            .checked("last_result", |text| matches!(text, "NORMAL" | "ABNORM" | "TIMOUT" | "NOTSET"))?
            .to_owned(),
        last_change_age_s: fields.parsed("last_change_s", storable_age)?,
    })
}

struct Fields<'a, 'input> {
    node: Node<'a, 'input>,
    number: usize,
}

impl<'a> Fields<'a, '_> {
    fn parsed<T>(
        &self,
        attribute: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ReportError> {
        let wrong = ReportError::Attribute { attribute, application: self.number };
        self.node.attribute(attribute).and_then(parse).ok_or(wrong)
    }

    fn checked(
        &self,
        attribute: &'static str,
        fits: impl FnOnce(&str) -> bool,
    ) -> Result<&'a str, ReportError> {
        self.parsed(attribute, |text| fits(text).then_some(text))
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(allowed)
}

/// The colour that belongs to a status; `None` if there is no such status.
fn colour_of(status: &str) -> Option<Colour> {
    match status {
        "NOT_MONITORED" => Some(Colour::Gray),
        "UNSET" | "FAILING" | "TO_STOP" | "TO_START" => Some(Colour::Yellow),
        "NORMAL" => Some(Colour::Green),
        "NOT_STOPPABLE" | "NOT_STARTABLE" | "ABNORMAL" | "FAILURE" => Some(Colour::Red),
        _ => None,
    }
}

fn flag(text: &str, yes: &str, no: &str) -> Option<bool> {
    if text == yes {
        Some(true)
    } else if text == no {
        Some(false)
    } else {
        None
    }
}

/// Digits only: no sign, no blank.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Databases count in signed 64 bits.
fn storable_age(text: &str) -> Option<u64> {
    decimal(text).filter(|age| i64::try_from(*age).is_ok())
}

fn check_unique(applications: &[ApplicationReport]) -> Result<(), ReportError> {
    let (mut names, mut uuids) = (BTreeSet::new(), BTreeSet::new());
    for (index, application) in applications.iter().enumerate() {
        let twice = |attribute| Err(ReportError::Twice { attribute, application: index + 1 });
        if !names.insert(&application.name) {
            return twice("name");
        }
        if !uuids.insert(&application.uuid) {
            return twice("uuid");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
    const INCARNATION: &str = "5c0ffee012345678";

    const SAMPLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<report version="1.0" vm="61be20f0-09a8-4753-b5e5-564f8a545ed5" incarnation="5c0ffee012345678" sequence="17">
  <application name="app1" uuid="1567267349133928000" status="NORMAL" colour="GREEN" critical="yes" monitored="1" max_restart="3" nooftimes_restarted="1" version="12.4" last_result="NORMAL" last_change_s="42" last_output=""/>
  <application name="app2" uuid="1567267349133928001" status="FAILURE" colour="RED" critical="no" monitored="1" max_restart="3" nooftimes_restarted="3" version="" last_result="ABNORM" last_change_s="3" last_output="no answer on port 8080"/>
</report>
"#;

    fn read(text: &str) -> Result<Vec<ApplicationReport>, ReportError> {
        parse(text.as_bytes(), VM.parse().unwrap()).map(|content| content.applications)
    }

    #[test]
    fn it_says_which_report_of_which_start_of_the_agent_it_is() {
        let content = parse(SAMPLE.as_bytes(), VM.parse().unwrap()).unwrap();
        assert_eq!((content.incarnation.as_str(), content.sequence), ("5c0ffee012345678", 17));
        for (from, to, attribute) in [
            ("incarnation=\"5c0ffee012345678\"", "", "incarnation"),
            ("5c0ffee012345678", "5C0FFEE012345678", "incarnation"),
            ("5c0ffee012345678", "5c0ffee01234567", "incarnation"),
            ("sequence=\"17\"", "", "sequence"),
            ("\"17\"", "\"-1\"", "sequence"),
            ("\"17\"", "\"9223372036854775808\"", "sequence"),
        ] {
            assert_eq!(read(&SAMPLE.replacen(from, to, 1)), Err(ReportError::Head { attribute }), "{to}");
        }
    }

    #[test]
    fn the_documented_report_is_read() {
        let applications = read(SAMPLE).unwrap();
        assert_eq!(applications.len(), 2);
        assert_eq!(
            applications[1],
            ApplicationReport {
                name: "app2".to_owned(),
                uuid: "1567267349133928001".to_owned(),
                status: "FAILURE".to_owned(),
                colour: Colour::Red,
                critical: false,
                monitored: true,
                max_restart: 3,
                restarted: 3,
                version: String::new(),
                last_result: "ABNORM".to_owned(),
                last_change_age_s: 3,
            }
        );
        assert!(applications[0].critical && applications[0].version == "12.4");
    }

    #[test]
    fn the_sample_is_the_one_of_the_reference() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/report.md"));
        assert!(page.unwrap().contains(SAMPLE.trim_end()));
    }

    #[test]
    fn what_is_not_known_is_ignored_and_no_application_is_fine() {
        let later = SAMPLE
            .replace("version=\"1.0\" vm", "version=\"1.7\" new=\"x\" vm")
            .replace("</report>", "<dependency name=\"d\"/></report>");
        assert_eq!(read(&later).unwrap().len(), 2);
        let empty =
            format!("<report version=\"1.0\" vm=\"{VM}\" incarnation=\"{INCARNATION}\" sequence=\"1\"/>");
        assert_eq!(read(&empty), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_valid_is_refused_and_named() {
        let attribute = |attribute| ReportError::Attribute { attribute, application: 1 };
        for (from, to, expected) in [
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "<!DOCTYPE report>", ReportError::Dtd),
            ("report", "rapport", ReportError::NotAReport),
            ("version=\"1.0\" vm", "version=\"2.0\" vm", ReportError::Version),
            ("61be20f0", "71be20f0", ReportError::OtherVm),
            ("app1", "", attribute("name")),
            ("app1", "a pp", attribute("name")),
            ("app1", "../../etc", attribute("name")),
            ("1567267349133928000", "156726734913392800x", attribute("uuid")),
            ("\"NORMAL\" colour", "\"WELL\" colour", attribute("status")),
            ("GREEN", "RED", attribute("colour")),
            ("GREEN", "PINK", attribute("colour")),
            ("critical=\"yes\"", "critical=\"maybe\"", attribute("critical")),
            ("critical=\"yes\"", "", attribute("critical")),
            ("monitored=\"1\"", "monitored=\"2\"", attribute("monitored")),
            ("max_restart=\"3\"", "max_restart=\"101\"", attribute("max_restart")),
            ("restarted=\"1\"", "restarted=\"+1\"", attribute("nooftimes_restarted")),
            ("restarted=\"1\"", "restarted=\"4294967296\"", attribute("nooftimes_restarted")),
            ("12.4", "12&#10;4", attribute("version")),
            ("last_result=\"NORMAL\"", "last_result=\"GOOD\"", attribute("last_result")),
            ("\"42\"", "\"-42\"", attribute("last_change_s")),
            ("\"42\"", "\"9223372036854775808\"", attribute("last_change_s")),
        ] {
            assert_eq!(
                read(&SAMPLE.replacen(from, to, if from == "report" { 9 } else { 1 })),
                Err(expected),
                "{to}"
            );
        }
        let twice = |attribute| Err(ReportError::Twice { attribute, application: 2 });
        assert_eq!(read(&SAMPLE.replace("app2", "app1")), twice("name"));
        assert_eq!(read(&SAMPLE.replace("8001", "8000")), twice("uuid"));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let vm = VM.parse().unwrap();
        assert_eq!(parse(&[0xff, 0xfe], vm), Err(ReportError::NotText));
        assert_eq!(parse(&vec![b' '; 300_000], vm), Err(ReportError::TooLong { bytes: 300_000 }));
        let open =
            format!("<report version=\"1.0\" vm=\"{VM}\" incarnation=\"{INCARNATION}\" sequence=\"1\">");
        for body in ["<a>".repeat(80_000), "<a/>".repeat(60_000), "<a><b/>".repeat(5_000)] {
            assert!(matches!(read(&format!("{open}{body}")), Err(ReportError::Xml(_))));
        }
        let one = SAMPLE.lines().nth(2).unwrap();
        let short = "<application/>".repeat(APPLICATIONS_LIMIT + 1);
        assert_eq!(read(&format!("{open}{short}</report>")), Err(ReportError::TooMany));
        let most: String = (0..APPLICATIONS_LIMIT)
            .map(|n| one.replace("app1", &format!("app{n}")).replace("8000\"", &format!("8{n:03}\"")))
            .collect();
        assert_eq!(read(&format!("{open}{most}</report>")).unwrap().len(), APPLICATIONS_LIMIT);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_and_damaged_bytes_never_panic(bytes: Vec<u8>, cut in 0..1000usize, value: u8) {
            let vm = VM.parse().unwrap();
            let _ = parse(&bytes, vm);
            let mut damaged = SAMPLE.trim_end().as_bytes().to_vec();
            let cut = cut % damaged.len();
            damaged[cut] = value;
            let _ = parse(&damaged, vm);
            damaged.truncate(cut);
            proptest::prop_assert!(parse(&damaged, vm).is_err());
        }
    }
}
