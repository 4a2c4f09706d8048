//! One element of a request, and what may be in it.

use std::str::FromStr;

use roxmltree::{Document, Node};
use vmpulse_store::HostKey;

use crate::passthru::request::{Code, Refusal};

/// Longest value of a name, in bytes.
const MAX_VALUE_BYTES: usize = 255;

#[derive(Clone, Copy)]
pub(super) struct Element<'a, 'input>(Node<'a, 'input>);

impl<'a, 'input> Element<'a, 'input> {
    /// The document element, which must be called `name`.
    pub(super) fn root(
        document: &'a Document<'input>,
        name: &str,
        attributes: &[&str],
    ) -> Result<Self, Refusal> {
        let root = Self(document.root_element());
        if root.name() == name {
            root.checked(attributes)
        } else {
            Err(root.malformed(format!("{} is not expected: the request is in {name}", root.name())))
        }
    }

    fn name(self) -> &'a str {
        self.0.tag_name().name()
    }

    fn checked(self, attributes: &[&str]) -> Result<Self, Refusal> {
        match self.0.attributes().find(|have| !attributes.contains(&have.name())) {
            Some(unknown) => {
                Err(self.malformed(format!("{} has no attribute {}", self.name(), unknown.name())))
            }
            None => Ok(self),
        }
    }

    /// Its elements, which must all be called `name`.
    pub(super) fn some_children(self, name: &str, attributes: &[&str]) -> Result<Vec<Self>, Refusal> {
        let mut children = Vec::new();
        for node in self.0.children() {
            if node.is_element() {
                let child = Self(node);
                if child.name() != name {
                    return Err(child.malformed(format!(
                        "{} does not belong in {}",
                        child.name(),
                        self.name()
                    )));
                }
                children.push(child.checked(attributes)?);
            } else if node.is_pi()
                || node.text().is_some_and(|text| node.is_text() && !text.trim().is_empty())
            {
                return Err(Self(node).malformed(format!("only elements belong in {}", self.name())));
            }
        }
        Ok(children)
    }

    /// The same, at least one.
    pub(super) fn children(self, name: &str, attributes: &[&str]) -> Result<Vec<Self>, Refusal> {
        let children = self.some_children(name, attributes)?;
        if children.is_empty() {
            Err(self.malformed(format!("{name} is missing in {}", self.name())))
        } else {
            Ok(children)
        }
    }

    /// The same, at most one.
    pub(super) fn optional_child(self, name: &str, attributes: &[&str]) -> Result<Option<Self>, Refusal> {
        let children = self.some_children(name, attributes)?;
        match children.get(1) {
            Some(second) => Err(second.malformed(format!("there may be only one {name} in {}", self.name()))),
            None => Ok(children.first().copied()),
        }
    }

    /// The same, exactly one.
    pub(super) fn only_child(self, name: &str, attributes: &[&str]) -> Result<Self, Refusal> {
        let child = self.optional_child(name, attributes)?;
        child.ok_or_else(|| self.malformed(format!("{name} is missing in {}", self.name())))
    }

    /// Nothing is in it.
    pub(super) fn empty(self) -> Result<(), Refusal> {
        match self.0.children().find(|node| node.is_element()) {
            Some(child) => Err(Self(child).malformed(format!("nothing belongs in {}", self.name()))),
            None => self.some_children("", &[]).map(drop),
        }
    }

    pub(super) fn attribute(self, name: &str) -> Option<&'a str> {
        self.0.attribute(name)
    }

    pub(super) fn required(self, name: &str) -> Result<&'a str, Refusal> {
        self.attribute(name)
            .ok_or_else(|| self.malformed(format!("{} needs the attribute {name}", self.name())))
    }

    pub(super) fn id<T: FromStr>(self, name: &str) -> Result<T, Refusal> {
        let text = self.required(name)?;
        text.parse().map_err(|_| {
            self.malformed(format!(
                "{name} {text:?} is not a UUID of the form 01234567-89ab-cdef-0123-456789abcdef"
            ))
        })
    }

    pub(super) fn host_key(self) -> Result<HostKey, Refusal> {
        let part = |name| self.printable(name, self.required(name)?).map(str::to_owned);
        Ok(HostKey { machine_type: part("machine_type")?, model: part("model")?, serial: part("serial")? })
    }

    /// A value for people: not empty, not long, nothing unseen in it.
    pub(super) fn printable<'t>(self, name: &str, text: &'t str) -> Result<&'t str, Refusal> {
        if text.trim().is_empty() || text.len() > MAX_VALUE_BYTES || text.contains(char::is_control) {
            let what = format!("{name} must have 1 to {MAX_VALUE_BYTES} bytes and no control characters");
            return Err(self.malformed(what));
        }
        Ok(text)
    }

    pub(super) fn malformed(self, what: impl Into<String>) -> Refusal {
        self.refuse(Code::Malformed, what)
    }

    /// With the place in the input.
    pub(super) fn refuse(self, code: Code, what: impl Into<String>) -> Refusal {
        let place = self.0.document().text_pos_at(self.0.range().start);
        Refusal::new(code, format!("{}, at line {} column {}", what.into(), place.row, place.col))
    }
}
