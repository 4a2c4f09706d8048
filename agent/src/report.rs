//! The application report: what the agent tells the controller. `docs/reference/report.md` is its definition.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use vmpulse_protocol::time::Instant;

use crate::ame::ApplicationStatus;

/// Version of the format.
const VERSION: &str = "1.0";

/// Longest version in a report, in bytes as it is written. With it an application takes at most 920 bytes, and 256 of them
/// and [`MAX_OUTPUTS_BYTES`] fit the largest message, 256 KiB. Only a version full of `<`, `&` and quotes, which are written longer, is ever cut.
const VERSION_BYTES: usize = 576;

/// How much of the end of an application's output is told, in bytes before escaping.
const MAX_OUTPUT_BYTES: usize = 200;

/// How much of all outputs is told, in bytes.
const MAX_OUTPUTS_BYTES: usize = 16 * 1024;

/// Builds the reports of one life of the agent.
#[derive(Clone, Debug)]
pub struct Reporter {
    vm_uuid: String,
    incarnation: u64,
    sequence: u64,
}

impl Reporter {
    /// `incarnation` is drawn at each start.
    #[must_use]
    pub const fn new(vm_uuid: String, incarnation: u64) -> Self {
        Self { vm_uuid, incarnation, sequence: 0 }
    }

    /// The next report, of the state `now`. `output`: what the last script of an application of that name printed.
    pub fn build<'o>(
        &mut self,
        now: Instant,
        applications: impl Iterator<Item = ApplicationStatus>,
        output: impl Fn(&str) -> &'o str,
    ) -> Vec<u8> {
        self.sequence += 1;
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <report version=\"{VERSION}\" vm=\"{}\" incarnation=\"{:016x}\" sequence=\"{}\">\n",
            escape(&self.vm_uuid),
            self.incarnation,
            self.sequence
        );
        let mut outputs = MAX_OUTPUTS_BYTES;
        for application in applications {
            let text = escape(end_of(output(&application.name))).into_owned();
            // Where there is no room for all of them those of the first applications are told.
            let told = if text.len() <= outputs { text.as_str() } else { "" };
            outputs -= told.len();
            element(&mut xml, now, &application, told);
        }
        xml.push_str("</report>\n");
        xml.into_bytes()
    }
}

/// The end of an output, whole characters.
fn end_of(output: &str) -> &str {
    let start = output.len().saturating_sub(MAX_OUTPUT_BYTES);
    let start = (start..output.len()).find(|index| output.is_char_boundary(*index)).unwrap_or(start);
    output.get(start..).unwrap_or_default()
}

/// `output` is escaped.
fn element(xml: &mut String, now: Instant, application: &ApplicationStatus, output: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "  <application name=\"{}\" uuid=\"{}\" status=\"{}\" colour=\"{}\" critical=\"{}\" monitored=\"{}\" \
         max_restart=\"{}\" nooftimes_restarted=\"{}\" version=\"{}\" last_result=\"{}\" last_change_s=\"{}\" last_output=\"{output}\"/>",
        escape(&application.name),
        application.uuid,
        application.status,
        application.status.colour(),
        if application.critical { "yes" } else { "no" },
        u8::from(application.monitored),
        application.max_restart,
        application.restarts,
        written_within(&application.version, VERSION_BYTES),
        application.last_result,
        now.since(application.changed_at).as_secs(),
    );
}

/// As much of `text` as is at most `bytes` long when it is written as an attribute.
fn written_within(text: &str, bytes: usize) -> String {
    let mut written = String::new();
    for character in text.chars() {
        let mut buffer = [0; 4];
        let piece = escape(&*character.encode_utf8(&mut buffer));
        if written.len() + piece.len() > bytes {
            break;
        }
        written.push_str(&piece);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ame::{Ame, RunResult, Status};
    use crate::config::Configuration;

    fn application() -> ApplicationStatus {
        ApplicationStatus {
            name: "app1".to_owned(),
            uuid: "1567267349133928000".to_owned(),
            status: Status::Failure,
            critical: true,
            monitored: true,
            max_restart: 3,
            restarts: 2,
            version: "12 \"b\" <x> & 'y'".to_owned(),
            last_result: RunResult::TimedOut,
            changed_at: Instant::from_millis(1000),
            stopped: false,
            waits_for: Vec::new(),
        }
    }

    #[test]
    fn every_attribute_of_the_page_is_there() {
        let mut reporter = Reporter::new("61be20f0-09a8-4753-b5e5-564f8a545ed5".to_owned(), 0x5c0f_fee0);
        let _ = reporter.build(Instant::ZERO, std::iter::empty(), |_| "");
        let xml = reporter.build(Instant::from_millis(43_999), std::iter::once(application()), |name| {
            assert_eq!(name, "app1");
            "no <answer>"
        });
        let text = String::from_utf8(xml).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        let page = include_str!("../../docs/reference/report.md");
        let mut found = Vec::new();
        for node in [root, root.first_element_child().unwrap()] {
            found.extend(node.attributes().map(|attribute| (attribute.name(), attribute.value())));
            for attribute in node.attributes() {
                assert!(page.contains(&format!("\n| {} |", attribute.name())), "{}", attribute.name());
            }
        }
        assert_eq!(
            found,
            [
                ("version", "1.0"),
                ("vm", "61be20f0-09a8-4753-b5e5-564f8a545ed5"),
                ("incarnation", "000000005c0ffee0"),
                ("sequence", "2"),
                ("name", "app1"),
                ("uuid", "1567267349133928000"),
                ("status", "FAILURE"),
                ("colour", "RED"),
                ("critical", "yes"),
                ("monitored", "1"),
                ("max_restart", "3"),
                ("nooftimes_restarted", "2"),
                ("version", "12 \"b\" <x> & 'y'"),
                ("last_result", "TIMOUT"),
                ("last_change_s", "42"),
                ("last_output", "no <answer>"),
            ]
        );
    }

    #[test]
    fn the_largest_configuration_fits_one_message() {
        let mut reporter = Reporter::new(String::new(), 1);
        let large = ApplicationStatus { name: "n".repeat(64), version: "\"".repeat(256), ..application() };
        let quotes = "\"".repeat(2048);
        let report = reporter.build(Instant::ZERO, std::iter::repeat_n(large, 256), |_| &quotes);
        assert!(report.len() <= 256 * 1024, "{}", report.len());
        let ame = Ame::new(Configuration::default(), &crate::ame::Past::default(), Instant::ZERO);
        assert!(!reporter.build(Instant::ZERO, ame.applications(), |_| "").is_empty());
    }

    #[test]
    fn the_end_of_an_output_is_told_in_whole_characters() {
        assert_eq!(end_of("short"), "short");
        assert_eq!(end_of(&"ä".repeat(150)), "ä".repeat(100));
        assert_eq!(end_of(&format!("{}x", "ä".repeat(150))), format!("{}x", "ä".repeat(99)));
    }
}
