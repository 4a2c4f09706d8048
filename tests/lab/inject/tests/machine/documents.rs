//! What docs/operating/rehearsal.md says is what the program does.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Machine;

const DOCUMENT: &str = "../../../docs/operating/rehearsal.md";
const PATHS: &str = "../../../docs/operating/rehearsal-paths.md";
const EVENTS: &str = "../../../docs/reference/events.md";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn classes() -> Vec<Value> {
    let machine = Machine::unmarked();
    serde_json::from_str(&machine.does(&["-o", "json", "list"])).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// Name and columns of the rows of the table of classes.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let table = document.split("\n## The classes\n").nth(1).unwrap();
    let lines = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let mut columns = line.trim_matches('|').split('|').map(|column| column.trim().to_owned());
        (columns.next().unwrap().trim_matches('`').to_owned(), columns.collect())
    });
    rows.collect()
}

#[test]
fn the_table_has_the_classes_in_their_order_and_every_class_a_section() {
    let document = read(DOCUMENT);
    let listed: BTreeSet<String> = classes().iter().map(|class| text(class, "name").to_owned()).collect();
    let documented: BTreeSet<String> = rows(&document).into_iter().map(|(name, _)| name).collect();
    assert_eq!(documented, listed);
    let headings = document.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: BTreeSet<String> = headings.flat_map(|line| line.split(", ")).map(str::to_owned).collect();
    assert_eq!(explained, listed);
}

#[test]
fn the_table_names_the_places_and_the_events_of_each_class() {
    let rows = rows(&read(DOCUMENT));
    for class in classes() {
        let (_, columns) = rows.iter().find(|(name, _)| name == text(&class, "name")).unwrap();
        for place in class["places"].as_array().unwrap() {
            let place = place.as_str().unwrap().split('-').next().unwrap();
            assert!(columns[0].contains(place), "{class}: {place} is not in {}", columns[0]);
        }
        for expected in class["expected"].as_array().unwrap() {
            let column = if text(expected, "after") == "on" { &columns[1] } else { &columns[2] };
            let same = |column: &str| column.starts_with("as `") || column == "the same";
            assert!(
                column.contains(text(expected, "event")) || same(column),
                "{}: {} is not in {column}",
                text(&class, "name"),
                expected
            );
        }
    }
}

#[test]
fn every_expected_event_is_one_that_the_product_tells() {
    let events = read(EVENTS);
    for class in classes() {
        for expected in class["expected"].as_array().unwrap() {
            let name = text(expected, "event");
            let is_there = events.lines().any(|line| {
                line.split('|').nth(1).is_some_and(|first| first.split(',').any(|one| one.trim() == name))
            });
            assert!(is_there, "{name} is not in docs/reference/events.md");
        }
    }
}

/// Lines of blocks: after a prompt, and without what is explained beside them.
fn commands(document: &str) -> Vec<String> {
    let commands = document.lines().filter_map(|line| line.split_once("# vmpulse-inject "));
    commands.map(|(_, words)| words.split("   ").next().unwrap().to_owned()).collect()
}

#[test]
fn the_commands_of_the_documents_are_understood() {
    for (path, at_least) in [(DOCUMENT, 20), (PATHS, 5)] {
        let document = read(path);
        let commands = commands(&document);
        assert!(commands.len() >= at_least, "{path}: {commands:?}");
        // One without a prompt would not be looked at.
        let bare =
            document.lines().find(|line| line.starts_with("vmpulse-inject ") && !line.contains("CLASS"));
        assert_eq!(bare, None, "{path}");
        for command in commands {
            let words = command.split_whitespace();
            let parsed = vmpulse_inject::cli::command()
                .try_get_matches_from(std::iter::once("vmpulse-inject").chain(words));
            assert!(parsed.is_ok(), "{path}: {command}: {}", parsed.unwrap_err());
        }
    }
}
