//! Splits "path arguments" into words, without a shell.

/// Most words of a command line; a longer one is a mistake.
const MAX_WORDS: usize = 64;

/// Why a text is no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote without its partner.
    #[error("a quote is not closed")]
    OpenQuote,
    /// Nothing follows the backslash.
    #[error("nothing follows the last backslash")]
    OpenEscape,
    /// More words than a command line may have.
    #[error("more than {MAX_WORDS} words")]
    TooMany,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Between,
    Plain,
    Quoted(char),
}

/// Words are parted by blanks. `'...'` and `"..."` keep blanks; a backslash keeps the next character, but not
/// within `'...'`. Nothing is expanded: no variables, no patterns, no redirection.
pub fn split(text: &str) -> Result<Vec<String>, SplitError> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut mode = Mode::Between;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        mode = match (mode, character) {
            (Mode::Quoted(quote), _) if character == quote => Mode::Plain,
            (Mode::Quoted('"') | Mode::Plain | Mode::Between, '\\') => {
                word.push(characters.next().ok_or(SplitError::OpenEscape)?);
                if mode == Mode::Between { Mode::Plain } else { mode }
            }
            (Mode::Quoted(_), _) => {
                word.push(character);
                mode
            }
            (Mode::Plain | Mode::Between, '\'' | '"') => Mode::Quoted(character),
            (Mode::Plain, ' ') => {
                words.push(std::mem::take(&mut word));
                Mode::Between
            }
            (Mode::Between, ' ') => Mode::Between,
            (Mode::Plain | Mode::Between, _) => {
                word.push(character);
                Mode::Plain
            }
        };
    }
    match mode {
        Mode::Quoted(_) => return Err(SplitError::OpenQuote),
        Mode::Plain => words.push(word),
        Mode::Between => {}
    }
    if words.len() > MAX_WORDS { Err(SplitError::TooMany) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_quotes_and_backslashes() {
        for (text, words) in [
            ("", vec![]),
            ("   ", vec![]),
            ("/a/b", vec!["/a/b"]),
            ("  /a  -x   y ", vec!["/a", "-x", "y"]),
            ("/a 'b c' \"d 'e' \\\" f\" g\\ h", vec!["/a", "b c", "d 'e' \" f", "g h"]),
            ("/a '' x\"\"y 'a\\b'", vec!["/a", "", "xy", "a\\b"]),
            ("/a $HOME *.c; ls | x", vec!["/a", "$HOME", "*.c;", "ls", "|", "x"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert_eq!(split("/a 'b"), Err(SplitError::OpenQuote));
        assert_eq!(split("/a \\"), Err(SplitError::OpenEscape));
        assert_eq!(split(&"a ".repeat(65)), Err(SplitError::TooMany));
    }
}
