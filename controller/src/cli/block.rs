//! `Key:<padding>value` blocks. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::StoreTime;

use super::parse::Output;
use crate::events::printable;

/// Where values begin.
const COLUMN: usize = 21;
/// Keys that reach beyond it have their values at a multiple of this, less one.
const WIDE_STEP: usize = 8;
/// Blanks that at least follow a longer key.
const WIDE_GAP: usize = 2;

/// One thing as shown.
#[derive(Clone, Debug, Default)]
pub struct Block(Vec<(&'static str, Vec<String>)>);

impl Block {
    /// Adds a line.
    #[must_use]
    pub fn line(mut self, key: &'static str, value: impl ToString) -> Self {
        self.0.push((key, vec![value.to_string()]));
        self
    }

    /// Adds a line if there is a value.
    #[must_use]
    pub fn line_if(self, key: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.line(key, value),
            None => self,
        }
    }

    /// Adds values one below the other; `none` if there are none.
    #[must_use]
    pub fn list(mut self, key: &'static str, values: Vec<String>) -> Self {
        self.0.push((key, if values.is_empty() { vec!["none".to_owned()] } else { values }));
        self
    }

    fn write(&self, out: &mut String) {
        for (key, values) in &self.0 {
            let column = column(key.len() + 1);
            let mut head = format!("{key}:");
            for value in values {
                out.push_str(&format!("{head:column$}{}\n", printable(value)));
                head.clear();
            }
        }
    }
}

/// Where the value of a key begins that is `length` long with its colon.
fn column(length: usize) -> usize {
    if length < COLUMN { COLUMN } else { (length + WIDE_GAP).div_ceil(WIDE_STEP) * WIDE_STEP - 1 }
}

/// Something that can be shown.
pub trait View: Serialize {
    /// For people. JSON always says everything.
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block;
}

/// All of them: blocks with an empty line between, or one JSON array.
#[must_use]
pub fn render<V: View>(views: &[V], output: Output, verbose: bool, zone: &TimeZone) -> String {
    match output {
        Output::Json => json(&views),
        Output::Text => {
            let blocks = views.iter().map(|view| {
                let mut text = String::new();
                view.block(verbose, zone).write(&mut text);
                text
            });
            blocks.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Indented, with a line end.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    // Our own types have text keys and finite numbers only.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// For people: local time with its zone.
#[must_use]
pub fn local(at: StoreTime, zone: &TimeZone) -> String {
    let stamp = Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `1 second`, `2 seconds`.
#[must_use]
pub fn seconds(count: u64) -> String {
    format!("{count} second{}", if count == 1 { "" } else { "s" })
}

/// Serialises a store time as RFC 3339.
pub(crate) fn rfc3339<S: serde::Serializer>(at: &StoreTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.rfc3339())
}

/// Serialises a store time, if there is one, as RFC 3339.
pub(crate) fn rfc3339_if<S: serde::Serializer>(at: &Option<StoreTime>, to: S) -> Result<S::Ok, S::Error> {
    at.map(StoreTime::rfc3339).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_padded_as_documented() {
        let block = Block::default()
            .line("Name", "vmraix1")
            .line("VM_failure_detection_speed", "normal")
            .list("Heartbeating_with", vec!["usaxvib063ccpx1".to_owned(), "usaxvia063ccpx1".to_owned()])
            .line("VM_max_restart_count", 3)
            .line_if("Absent", None::<u32>)
            .list("Empty", Vec::new());
        let mut text = String::new();
        block.write(&mut text);
        assert_eq!(
            text,
            "Name:                vmraix1\n\
             VM_failure_detection_speed:    normal\n\
             Heartbeating_with:   usaxvib063ccpx1\n\
             \x20                    usaxvia063ccpx1\n\
             VM_max_restart_count:  3\n\
             Empty:               none\n"
        );
    }

    #[test]
    fn a_value_stays_on_its_line() {
        let mut text = String::new();
        Block::default().line("Name", "a\nUUID: forged\x1b[1m").write(&mut text);
        assert_eq!(text, "Name:                a?UUID: forged?[1m\n");
    }

    #[test]
    fn local_time_has_its_zone() {
        let at = StoreTime(1_581_331_886_000_000);
        assert_eq!(local(at, &TimeZone::posix("CST6").unwrap()), "2020-02-10 04:51:26 CST");
        assert_eq!(local(at, &TimeZone::UTC), "2020-02-10 10:51:26 UTC");
    }
}
