//! The numbered rules of `docs/protocol.md`: unique, in order, and cited rightly.
//!
//! A rule is defined as `**[A-1]**` there. Code and tests of the workspace cite it as `[A-1]`, the test vectors in their
//! `rules`, and the text itself as A-1.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may panic, its helper functions too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A rule's section letter and number.
type Rule = (char, u32);

/// Where citations are looked for, and in which files.
const CITING: [&str; 6] = ["protocol", "agent", "hostmon", "controller", "tests", "packaging"];
const ENDINGS: [&str; 3] = ["rs", "lua", "json"];

/// Rules that nothing here can cite, each with the reason.
const NOT_OURS: [(Rule, &str); 0] = [];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn specification() -> String {
    std::fs::read_to_string(workspace().join("docs/protocol.md")).unwrap()
}

/// Every `A-1` in a text, with what stands before and behind it.
fn mentions(text: &str) -> Vec<(Rule, Option<char>, &str)> {
    let mut found = Vec::new();
    for (at, letter) in text.char_indices().filter(|(_, letter)| letter.is_ascii_uppercase()) {
        let before = text[..at].chars().next_back();
        let Some(rest) = text[at + 1..].strip_prefix('-') else { continue };
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let word = before.is_some_and(|before| before.is_alphanumeric() || before == '-')
            || behind.starts_with(|next: char| next.is_alphanumeric());
        if let (Ok(number), false) = (number.parse(), word) {
            found.push(((letter, number), before, behind));
        }
    }
    found
}

fn defined() -> Vec<Rule> {
    let is_definition = |before: Option<char>, behind: &str| before == Some('[') && behind.starts_with("]**");
    let text = specification();
    let mentioned = mentions(&text).into_iter();
    mentioned.filter(|(_, before, behind)| is_definition(*before, behind)).map(|(rule, _, _)| rule).collect()
}

/// The source files that may cite rules.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|wanted| ending == *wanted)) {
            into.push(path);
        }
    }
}

/// Which files cite which rule.
fn cited() -> BTreeMap<Rule, BTreeSet<PathBuf>> {
    let mut files = Vec::new();
    CITING.iter().map(|folder| workspace().join(folder)).filter(|folder| folder.is_dir()).for_each(
        |folder| {
            sources(&folder, &mut files);
        },
    );
    let itself = Path::new(file!()).file_name();
    let mut cited: BTreeMap<Rule, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| file.file_name() != itself) {
        let text = std::fs::read_to_string(&file).unwrap();
        let (open, close) =
            if file.extension().is_some_and(|ending| ending == "json") { ('"', '"') } else { ('[', ']') };
        for (rule, before, behind) in mentions(&text) {
            if before == Some(open) && behind.starts_with(close) {
                cited.entry(rule).or_default().insert(file.clone());
            }
        }
    }
    cited
}

#[test]
fn rules_are_numbered_in_order_and_once() {
    let mut next: BTreeMap<char, u32> = BTreeMap::new();
    for (letter, number) in defined() {
        let expected = next.entry(letter).or_insert(1);
        assert_eq!((letter, number), (letter, *expected), "a number is given once, and never left out");
        *expected += 1;
    }
    assert!(next.len() >= 10, "{next:?}");
}

#[test]
fn the_text_refers_to_rules_that_exist() {
    let defined: BTreeSet<Rule> = defined().into_iter().collect();
    let letters: BTreeSet<char> = defined.iter().map(|(letter, _)| *letter).collect();
    for (rule, _, behind) in mentions(&specification()) {
        let line = behind.lines().next().unwrap_or_default();
        assert!(
            !letters.contains(&rule.0) || defined.contains(&rule),
            "{}-{} before {line:?}",
            rule.0,
            rule.1
        );
    }
}

#[test]
fn cited_rules_exist() {
    let defined: BTreeSet<Rule> = defined().into_iter().collect();
    let cited = cited();
    let unknown: Vec<_> = cited.iter().filter(|(rule, _)| !defined.contains(rule)).collect();
    assert!(unknown.is_empty(), "cited, and not defined in docs/protocol.md: {unknown:?}");
}

#[test]
fn every_rule_is_cited_by_code_or_test() {
    let defined: BTreeSet<Rule> = defined().into_iter().collect();
    let cited = cited();
    let uncited: BTreeSet<Rule> = defined.into_iter().filter(|rule| !cited.contains_key(rule)).collect();
    let excused: BTreeSet<Rule> = NOT_OURS.into_iter().map(|(rule, _)| rule).collect();
    let missing: Vec<_> = uncited.difference(&excused).collect();
    assert!(
        missing.is_empty(),
        "cited nowhere: name them where they are followed, or say why not: {missing:?}"
    );
    let needless: Vec<_> = excused.difference(&uncited).collect();
    assert!(needless.is_empty(), "excused, and cited or not defined: {needless:?}");
}

#[test]
fn mentions_are_told_from_other_words() {
    let found = |text| mentions(text).into_iter().map(|(rule, _, _)| rule).collect::<Vec<_>>();
    assert_eq!(
        found("[A-1] A-2, (X-13). HMAC-SHA256 UTF-8 SHA-256 B-x C-1b A-3-4"),
        [('A', 1), ('A', 2), ('X', 13), ('A', 3)]
    );
}
