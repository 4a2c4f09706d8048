//! The word that may have been meant.

/// The one of `words` that is most like `text`, if one is like it at all: at most a third of its letters are wrong,
/// missing, too many or exchanged, or it is the beginning of the word.
pub(crate) fn of<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let letters = text.chars().count();
    let allowed = (letters / 3).max(1);
    let begins = |word: &str| letters >= 3 && word.starts_with(&text);
    words
        .map(|word| {
            (if begins(word) { 0 } else { strsim::damerau_levenshtein(&text, &word.to_lowercase()) }, word)
        })
        .filter(|(distance, word)| *distance <= allowed && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_understood_and_other_words_are_not() {
        let words = || ["monitor_period", "monitor_script", "log", "on"].into_iter();
        for (text, meant) in [
            ("monitor_perid", Some("monitor_period")),
            ("Monitor_Script", Some("monitor_script")),
            ("monitor_sc", Some("monitor_script")),
            ("lgo", Some("log")),
            ("logg", Some("log")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(of(text, words()), meant, "{text}");
        }
    }
}
