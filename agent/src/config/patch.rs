//! Changes of the file's text that leave every other byte as it is.

use std::ops::Range;

use quick_xml::escape::escape;
use roxmltree::{Document, Node};

use super::ConfigError;
use super::read::parse;

/// What a new file begins with.
pub const EMPTY_FILE: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Monitoring version=\"1.0\">\n</Monitoring>\n";

/// The element that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `Monitoring`.
    Root,
    /// `Application` of that name.
    Application(&'a str),
    /// `Dependency` of that depuuid.
    Dependency(&'a str),
}

/// Why a text could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is not well-formed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing of that name is in it.
    #[error("there is no application {0}")]
    NoApplication(String),
    /// No such depuuid is in it.
    #[error("there is no dependency {0}")]
    NoDependency(String),
}

/// Bytes that replace a range of the text.
struct Edit {
    range: Range<usize>,
    text: String,
}

/// Sets attributes of one element: the values of those it has are replaced, others are added behind them.
pub fn set_attributes(text: &str, target: Target<'_>, pairs: &[(&str, &str)]) -> Result<String, PatchError> {
    let document = parse(text)?;
    let node = find(&document, target)?;
    let mut edits = Vec::new();
    let mut added = String::new();
    for (name, value) in pairs {
        match node.attribute_node(*name) {
            Some(found) => edits.push(Edit { range: found.range_value(), text: escape(*value).into_owned() }),
            None => added.push_str(&format!(" {name}=\"{}\"", escape(*value))),
        }
    }
    let behind = end_of_attributes(node, text);
    edits.push(Edit { range: behind..behind, text: added });
    Ok(apply(text, edits))
}

/// Adds an application behind the last element.
pub fn add_application(text: &str, pairs: &[(&str, &str)]) -> Result<String, PatchError> {
    add_element(text, "Application", pairs)
}

/// Adds a dependency behind the last element.
pub fn add_dependency(text: &str, pairs: &[(&str, &str)]) -> Result<String, PatchError> {
    add_element(text, "Dependency", pairs)
}

fn add_element(text: &str, tag: &str, pairs: &[(&str, &str)]) -> Result<String, PatchError> {
    let document = parse(text)?;
    let mut element = format!("<{tag}");
    for (name, value) in pairs {
        element.push_str(&format!(" {name}=\"{}\"", escape(*value)));
    }
    element.push_str("/>");
    let root = document.root_element();
    let edit = match root.children().rfind(Node::is_element) {
        Some(last) => insert(last.range().end, format!("\n{}{element}", indentation(last, text))),
        None => first_child(root, text, &element),
    };
    Ok(apply(text, vec![edit]))
}

/// Deletes an application, with its line if it has one to itself.
pub fn delete_application(text: &str, name: &str) -> Result<String, PatchError> {
    delete(text, Target::Application(name))
}

/// Deletes a dependency, with its line if it has one to itself.
pub fn delete_dependency(text: &str, uuid: &str) -> Result<String, PatchError> {
    delete(text, Target::Dependency(uuid))
}

fn delete(text: &str, target: Target<'_>) -> Result<String, PatchError> {
    let document = parse(text)?;
    let range = find(&document, target)?.range();
    Ok(apply(text, vec![Edit { range: whole_lines(text, range), text: String::new() }]))
}

fn find<'a, 'input>(
    document: &'a Document<'input>,
    target: Target<'_>,
) -> Result<Node<'a, 'input>, PatchError> {
    let root = document.root_element();
    let child = |tag, attribute, text| {
        root.children().find(|node| node.has_tag_name(tag) && node.attribute(attribute) == Some(text))
    };
    match target {
        Target::Root => Ok(root),
        Target::Application(name) => {
            child("Application", "name", name).ok_or_else(|| PatchError::NoApplication(name.to_owned()))
        }
        Target::Dependency(uuid) => {
            child("Dependency", "depuuid", uuid).ok_or_else(|| PatchError::NoDependency(uuid.to_owned()))
        }
    }
}

fn insert(offset: usize, text: String) -> Edit {
    Edit { range: offset..offset, text }
}

/// Behind the last attribute, or behind the element's name.
fn end_of_attributes(node: Node<'_, '_>, text: &str) -> usize {
    let start = node.range().start;
    let name_end = || {
        let tag = text.get(start..).unwrap_or_default();
        start + tag.find(|c: char| c.is_whitespace() || c == '/' || c == '>').unwrap_or(tag.len())
    };
    node.attributes().map(|attribute| attribute.range().end).max().unwrap_or_else(name_end)
}

/// Where the first element of `root` goes: into `<Monitoring/>`, which is opened, or before `</Monitoring>`.
fn first_child(root: Node<'_, '_>, text: &str, element: &str) -> Edit {
    let source = text.get(root.range()).unwrap_or_default();
    if source.ends_with("/>") && !root.has_children() {
        let name = source.trim_start_matches('<').split(|c: char| c.is_whitespace() || c == '/').next();
        let closing = format!(">\n  {element}\n</{}>", name.unwrap_or_default());
        return Edit { range: root.range().end - 2..root.range().end, text: closing };
    }
    let closing = root.range().start + source.rfind("</").unwrap_or(source.len());
    let line_before = text.get(..closing).is_some_and(|before| before.ends_with('\n'));
    insert(closing, format!("{}  {element}\n", if line_before { "" } else { "\n" }))
}

/// The blanks before an element that begins its line.
fn indentation<'t>(node: Node<'_, '_>, text: &'t str) -> &'t str {
    let before = text.get(..node.range().start).unwrap_or_default();
    let line = before.rfind('\n').and_then(|end| before.get(end + 1..)).unwrap_or_default();
    if line.trim().is_empty() { line } else { "  " }
}

/// `range` with its indentation and line end, if nothing else is on its lines.
fn whole_lines(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    let start = before.trim_end_matches([' ', '\t']).len();
    let alone_before = text.get(..start).is_some_and(|rest| rest.ends_with('\n'));
    let after = text.get(range.end..).unwrap_or_default();
    let rest = after.trim_start_matches([' ', '\t', '\r']);
    match rest.strip_prefix('\n') {
        Some(next_line) if alone_before => start..text.len() - next_line.len(),
        Some(_) | None => range,
    }
}

/// Applies from the back, so that earlier offsets stay valid.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.range.start));
    let mut changed = text.to_owned();
    for edit in edits {
        changed.replace_range(edit.range, &edit.text);
    }
    changed
}

#[cfg(test)]
mod tests;
