//! What the file has and this version does not know: kept, not used, and said.

use std::fmt;

use roxmltree::Node;

use super::attribute::{self, Attribute};

/// Most findings that are kept; the rest are only counted. A file of another product has hundreds.
const KEPT: usize = 8;

/// One attribute or element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// `attribute colour of application app1`, `element <Disk>`.
    pub what: String,
    /// A name that is known and much like it.
    pub near: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "line {}, column {}: {} is not known; it is kept and not used",
            self.line, self.column, self.what
        )?;
        self.near.map_or(Ok(()), |near| write!(out, " (did you mean {near}?)"))
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first of them.
    pub first: Vec<Unknown>,
    /// How many there are.
    pub count: usize,
}

impl Findings {
    /// As sentences, the last of which counts those that are not kept.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self.first.iter().map(ToString::to_string).collect();
        let more = self.count - self.first.len();
        if more > 0 {
            sentences.push(format!("{more} more of the file's attributes and elements are not known"));
        }
        sentences
    }

    fn push(&mut self, node: Node<'_, '_>, offset: usize, what: String, near: Option<&'static str>) {
        self.count += 1;
        if self.first.len() < KEPT {
            let place = node.document().text_pos_at(offset);
            self.first.push(Unknown { line: place.row, column: place.col, what, near });
        }
    }

    fn attributes(&mut self, node: Node<'_, '_>, of: &str, own: &[&str], table: &'static [Attribute]) {
        for found in node.attributes() {
            let name = found.name();
            let free = own.contains(&"name") && name.starts_with(attribute::PARAMETER_PREFIX);
            let known = own.contains(&name) || free || attribute::find(table, name).is_some();
            if found.namespace().is_some() || !known {
                self.push(
                    node,
                    found.range().start,
                    format!("attribute {name} of {of}"),
                    attribute::nearest(table, name),
                );
            }
        }
    }
}

/// Looks at the whole document.
pub(super) fn find(root: Node<'_, '_>) -> Findings {
    let mut findings = Findings::default();
    findings.attributes(root, "Monitoring", &[], attribute::VMM);
    for node in root.children().filter(Node::is_element) {
        match node.tag_name().name() {
            "Application" => {
                let of = format!("application {}", node.attribute("name").unwrap_or_default());
                findings.attributes(node, &of, &["name"], attribute::APPLICATION);
            }
            "Dependency" => {
                let of = format!("dependency {}", node.attribute("depuuid").unwrap_or_default());
                findings.attributes(node, &of, &[], attribute::DEPENDENCY);
            }
            other => findings.push(node, node.range().start, format!("element <{other}>"), None),
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::Document;

    fn sentences(text: &str) -> Vec<String> {
        find(Document::parse(text).unwrap().root_element()).sentences()
    }

    #[test]
    fn each_has_its_place_and_the_name_that_may_have_been_meant() {
        let text = "<Monitoring log=\"2\" perod=\"1\">\n <Application name=\"a\" monitor_script=\"/m\" colour=\"red\" param.x=\"1\"/>\n <Disk/>\n\
            </Monitoring>";
        assert_eq!(
            sentences(text),
            [
                "line 1, column 21: attribute perod of Monitoring is not known; it is kept and not used (did you mean \
                 period?)",
                "line 2, column 44: attribute colour of application a is not known; it is kept and not used",
                "line 3, column 2: element <Disk> is not known; it is kept and not used",
            ]
        );
        assert!(
            sentences("<Monitoring log=\"2\"><!-- a --><Application name=\"a\" uuid=\"1\"/></Monitoring>")
                .is_empty()
        );
    }

    #[test]
    fn many_are_counted() {
        let text = format!("<Monitoring>{}</Monitoring>", "<x/>".repeat(20));
        let said = sentences(&text);
        assert_eq!((said.len(), said.last().unwrap().starts_with("12 more")), (9, true), "{said:?}");
    }
}
