//! What shall go wrong on a wire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Way;

/// One thousand in a thousand: always.
pub const ALWAYS: u16 = 1000;
/// Longest delay: beyond it a frame is as good as lost, whatever the timeouts of the trunk.
pub const LONGEST_DELAY_MS: u32 = 60_000;
/// Longest burst of losses: at 20 frames a second, the most one guest sends, it lasts longer than any detection time.
pub const LONGEST_BURST: u16 = 20_000;

/// Most bits that are flipped in a damaged frame unless said otherwise.
pub const FLIPS: u16 = 8;
/// And at most: more is no other damage.
pub const MOST_FLIPS: u16 = 64;

/// Which directions are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// None.
    #[default]
    None,
    /// Nothing passes from guests to the monitor.
    Up,
    /// Nothing passes from the monitor to guests.
    Down,
    /// Nothing passes.
    Both,
}

impl Cut {
    /// Whether nothing passes this way.
    #[must_use]
    pub const fn stops(self, way: Way) -> bool {
        matches!((self, way), (Cut::Both, _) | (Cut::Up, Way::Up) | (Cut::Down, Way::Down))
    }
}

/// What shall go wrong, with how many of a thousand frames. The form of a settings file; what it does not name does not go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Frames of a thousand that are lost.
    pub loss_per_mille: u16,
    /// Frames that are lost one after the other whenever one is, at least 1; the share of all stays `loss_per_mille`.
    pub loss_burst: u16,
    /// Frames of a thousand that come twice.
    pub duplicate_per_mille: u16,
    /// Frames of a thousand in which bits are flipped behind the EtherType. Addresses, tags and EtherType stay, so that a
    /// damaged frame reaches whom it was meant for, who must notice by himself; a frame with other addresses would only be a lost one.
    pub corrupt_per_mille: u16,
    /// Most bits that are flipped in one of them, at least 1; every number up to it is as likely.
    pub corrupt_bits: u16,
    /// Shortest delay of a frame, in milliseconds.
    pub delay_from_ms: u32,
    /// Longest delay of a frame; every time between is as likely.
    pub delay_to_ms: u32,
    /// Whether a frame waits for those that came before it. Otherwise a delay that varies changes their order.
    pub keep_order: bool,
    /// Which directions are cut.
    pub cut: Cut,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss_per_mille: 0,
            loss_burst: 1,
            duplicate_per_mille: 0,
            corrupt_per_mille: 0,
            corrupt_bits: FLIPS,
            delay_from_ms: 0,
            delay_to_ms: 0,
            keep_order: false,
            cut: Cut::None,
        }
    }
}

impl Faults {
    /// Whether they can be.
    ///
    /// # Errors
    /// Which number cannot be, and what can.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("loss_per_mille", self.loss_per_mille),
            ("duplicate_per_mille", self.duplicate_per_mille),
            ("corrupt_per_mille", self.corrupt_per_mille),
        ];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| *share > ALWAYS) {
            return Err(format!("{name} is {share}: it must be 0 to {ALWAYS}"));
        }
        if !(1..=LONGEST_BURST).contains(&self.loss_burst) {
            return Err(format!("loss_burst is {}: it must be 1 to {LONGEST_BURST}", self.loss_burst));
        }
        if !(1..=MOST_FLIPS).contains(&self.corrupt_bits) {
            return Err(format!("corrupt_bits is {}: it must be 1 to {MOST_FLIPS}", self.corrupt_bits));
        }
        if self.delay_from_ms > self.delay_to_ms || self.delay_to_ms > LONGEST_DELAY_MS {
            return Err(format!(
                "the delay is {}..{} ms: it must grow, and end at {LONGEST_DELAY_MS} at the latest",
                self.delay_from_ms, self.delay_to_ms
            ));
        }
        Ok(())
    }

    /// Shortest and longest delay.
    pub(super) fn delays(&self) -> (Duration, Duration) {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        (ms(self.delay_from_ms), ms(self.delay_to_ms))
    }

    /// For people: what goes wrong, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        let share = |per_mille: u16| format!("{}.{} %", per_mille / 10, per_mille % 10);
        let mut words = Vec::new();
        match self.cut {
            Cut::None => {}
            Cut::Up => words.push("cut up".to_owned()),
            Cut::Down => words.push("cut down".to_owned()),
            Cut::Both => words.push("cut".to_owned()),
        }
        if self.loss_per_mille > 0 {
            let burst =
                if self.loss_burst > 1 { format!(", {} at a time", self.loss_burst) } else { String::new() };
            words.push(format!("{} lost{burst}", share(self.loss_per_mille)));
        }
        if self.duplicate_per_mille > 0 {
            words.push(format!("{} twice", share(self.duplicate_per_mille)));
        }
        if self.corrupt_per_mille > 0 {
            words.push(format!(
                "{} damaged by up to {} bits",
                share(self.corrupt_per_mille),
                self.corrupt_bits
            ));
        }
        if self.delay_to_ms > 0 {
            let order = if self.keep_order { ", in order" } else { "" };
            words.push(format!("delayed {}..{} ms{order}", self.delay_from_ms, self.delay_to_ms));
        }
        if words.is_empty() { "nothing goes wrong".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_named() {
        let good = Faults { loss_per_mille: 1000, delay_to_ms: 200, ..Faults::default() };
        assert_eq!(good.check(), Ok(()));
        for (bad, word) in [
            (Faults { loss_per_mille: 1001, ..good }, "loss_per_mille"),
            (Faults { duplicate_per_mille: 2000, ..good }, "duplicate_per_mille"),
            (Faults { corrupt_per_mille: u16::MAX, ..good }, "corrupt_per_mille"),
            (Faults { loss_burst: 0, ..good }, "loss_burst"),
            (Faults { corrupt_bits: 0, ..good }, "corrupt_bits"),
            (Faults { delay_from_ms: 201, ..good }, "201..200"),
            (Faults { delay_to_ms: 60_001, ..good }, "60000"),
        ] {
            let text = bad.check().unwrap_err();
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_settings_file_names_what_goes_wrong_and_nothing_unknown() {
        let read = |text| serde_json::from_str::<Faults>(text);
        let faults = read(r#"{"loss_per_mille": 100, "cut": "up"}"#).unwrap();
        assert_eq!(faults, Faults { loss_per_mille: 100, cut: Cut::Up, ..Faults::default() });
        assert_eq!(faults.describe(), "cut up, 10.0 % lost");
        assert!(read(r#"{"los_per_mille": 100}"#).is_err());
        assert_eq!(Faults::default().describe(), "nothing goes wrong");
    }

    #[test]
    fn a_cut_stops_its_ways() {
        let stopped = |cut: Cut| [Way::Up, Way::Down].map(|way| cut.stops(way));
        assert_eq!(stopped(Cut::None), [false, false]);
        assert_eq!(stopped(Cut::Up), [true, false]);
        assert_eq!(stopped(Cut::Down), [false, true]);
        assert_eq!(stopped(Cut::Both), [true, true]);
    }
}
