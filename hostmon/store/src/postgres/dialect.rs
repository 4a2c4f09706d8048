//! From what SQLite reads to what PostgreSQL reads.

use std::fmt::Write;

/// Parameters are `$1` instead of `?1`; hints for SQLite's planner (`INDEXED BY name`, `CROSS JOIN`) go. No statement has
/// any of them within a text.
pub(super) fn translate(sql: &str) -> String {
    let mut words = sql.split(' ').peekable();
    let mut translated = String::with_capacity(sql.len());
    while let Some(word) = words.next() {
        match (word, words.peek()) {
            ("INDEXED", Some(&"BY")) => {
                words.next();
                // The index's name, and what follows it in the next line.
                let rest = words.next().and_then(|name| name.split_once('\n')).map(|(_, rest)| rest);
                let _ = write!(translated, "\n{} ", rest.unwrap_or_default());
            }
            ("CROSS", Some(&"JOIN")) => {}
            _ => {
                translated.push_str(word);
                translated.push(' ');
            }
        }
    }
    translated.replace('?', "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_hints() {
        let words = |sql| translate(sql).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words("UPDATE a SET b = ?2 WHERE c = ?1"), "UPDATE a SET b = $2 WHERE c = $1");
        let hinted = "SELECT x FROM a t INDEXED BY of_a\n   WHERE t.x = ?1 AND y IN (SELECT z FROM b INDEXED BY c JOIN d)
                      CROSS JOIN e ON e.x = t.x";
        let plain = "SELECT x FROM a t WHERE t.x = $1 AND y IN (SELECT z FROM b JOIN d) JOIN e ON e.x = t.x";
        assert_eq!(words(hinted), plain);
    }
}
