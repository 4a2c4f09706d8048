//! What a single attribute may say.

use super::command_line;

/// Longest free text, in bytes: more than a line of a terminal shows.
const MAX_TEXT_BYTES: usize = 256;

/// Longest script with its arguments, in bytes.
const MAX_SCRIPT_BYTES: usize = 1024;

/// Longest name of an application.
const MAX_NAME_BYTES: usize = 64;

/// Most names in a list: as many as there can be applications.
const MAX_NAMES: usize = 256;

/// Digits of a uuid: nanoseconds since 1970 have 19 until the year 2286.
const UUID_DIGITS: usize = 19;

/// What kind of text an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shown, not set by `vmmgr`, not judged in the file.
    ReadOnly,
    /// Set once, when the element is added: 19 digits.
    Uuid,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number in this range.
    Number {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// Seconds in this range.
    Seconds {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// Absolute path with arguments.
    Script,
    /// Name or number of a user.
    User,
    /// Names of applications, parted by commas.
    Names,
    /// Any text without control characters.
    Text,
}

/// A value that its attribute does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attribute}=\"{text}\": expected {expected}")]
pub struct InvalidValue {
    /// The attribute.
    pub attribute: &'static str,
    /// As given, shortened for display.
    pub text: String,
    /// What is allowed.
    pub expected: String,
}

impl Kind {
    /// What is allowed, for people.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::ReadOnly => "nothing: it is read-only".to_owned(),
            Self::Uuid => "19 digits".to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| if word.is_empty() { "nothing" } else { word })
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Seconds { min, max } => format!("whole seconds from {min} to {max}"),
            Self::Script => {
                format!("an absolute path, optionally with arguments, of at most {MAX_SCRIPT_BYTES} bytes")
            }
            Self::Names => {
                format!("names of applications, parted by commas without blanks, at most {MAX_NAMES}")
            }
            Self::User => "the name or number of a user of this system".to_owned(),
            Self::Text => format!("at most {MAX_TEXT_BYTES} bytes without control characters"),
        }
    }

    /// Whether `text` is allowed.
    #[must_use]
    pub fn allows(self, text: &str) -> bool {
        match self {
            Self::ReadOnly => true,
            Self::Uuid => is_uuid(text),
            Self::OneOf(words) => words.contains(&text),
            Self::Number { min, max } | Self::Seconds { min, max } => {
                whole_number(text).is_some_and(|number| (min..=max).contains(&number))
            }
            Self::Script => text.is_empty() || is_script(text),
            Self::User => is_name(text),
            Self::Names => text.is_empty() || is_names(text),
            Self::Text => text.len() <= MAX_TEXT_BYTES && is_printable(text),
        }
    }

    /// Says why `attribute` does not take `text`, if it does not.
    pub fn check(self, attribute: &'static str, text: &str) -> Result<(), InvalidValue> {
        if self.allows(text) {
            return Ok(());
        }
        let text = text.chars().take(MAX_NAME_BYTES).collect();
        Err(InvalidValue { attribute, text, expected: self.expected() })
    }
}

/// Whether `name` may be an application's; if not, what is allowed.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if is_name(name) { Ok(()) } else { Err("1 to 64 of letters, digits and _.- are allowed") }
}

/// Whether `text` is 19 digits.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    text.len() == UUID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_names(text: &str) -> bool {
    text.split(',').all(is_name) && text.split(',').count() <= MAX_NAMES
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}

fn is_script(text: &str) -> bool {
    text.len() <= MAX_SCRIPT_BYTES
        && is_printable(text)
        && command_line::split(text)
            .is_ok_and(|words| words.first().is_some_and(|path| path.starts_with('/')))
}

/// Digits only: no sign, no blanks.
fn whole_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_in_their_range() {
        let kind = Kind::Seconds { min: 1, max: 20 };
        for good in ["1", "20", "007"] {
            assert!(kind.allows(good), "{good}");
        }
        for bad in ["", "0", "21", "+5", "-1", " 5", "5s", "99999999999999999999"] {
            assert!(!kind.allows(bad), "{bad}");
        }
        let error = kind.check("monitor_period", "x").unwrap_err();
        assert_eq!(error.to_string(), "monitor_period=\"x\": expected whole seconds from 1 to 20");
    }

    #[test]
    fn names_scripts_and_texts() {
        assert!(check_name("app-1_x.y").is_ok());
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(Kind::Script.allows("/bin/x 'a b' -c"));
        for bad in ["bin/x", "/bin/x 'open", "/bin/x\n", "   "] {
            assert!(!Kind::Script.allows(bad), "{bad}");
        }
        assert!(Kind::Text.allows("a \"quoted\" <text> & more"));
        assert!(!Kind::Text.allows("tab\there") && !Kind::Text.allows(&"x".repeat(257)));
        assert!(Kind::OneOf(&["yes", "no"]).allows("yes") && !Kind::OneOf(&["yes", "no"]).allows("YES"));
    }
}
