//! Where the parser has stopped, for the kinds of error that it gives no place for.

use std::string::FromUtf8Error;

use roxmltree::{Error, TextPos};

use super::{ConfigError, Problem};

/// What begins a document type declaration.
const DTD: &str = "<!DOCTYPE";

/// The place of the error in `text`.
pub(super) fn of(error: &Error, text: &str) -> TextPos {
    if *error == Error::DtdDetected {
        at(text, dtd(text))
    } else if cut_off(error).is_some() {
        // It went well up to the end.
        at(text, text.len())
    } else {
        error.pos()
    }
}

/// What is wrong, without a place: that is said once.
pub(super) fn words(error: &Error) -> String {
    if *error == Error::DtdDetected {
        return "a document type declaration (DTD) is not accepted; remove it".to_owned();
    }
    if let Some(missing) = cut_off(error) {
        return format!("the file ends here, and is not complete{missing}");
    }
    error.to_string().replace(&format!(" at {}", error.pos()), "")
}

impl ConfigError {
    /// Of bytes that are no UTF-8.
    pub(crate) fn not_utf8(error: &FromUtf8Error) -> Self {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let place = at(&good, good.len());
        let problem = Problem::Xml("what follows is not UTF-8; save the file in that encoding".to_owned());
        Self { line: place.row, column: place.col, problem }
    }
}

/// What is missing, of a file that is cut off.
fn cut_off(error: &Error) -> Option<&'static str> {
    let kinds = [
        (Error::UnexpectedEndOfStream, ""),
        (Error::UnclosedRootNode, ": its document element is not closed"),
        (Error::NoRootNode, ": it has no document element"),
    ];
    kinds.into_iter().find(|(kind, _)| kind == error).map(|(_, missing)| missing)
}

/// Line and column, both from 1, of a byte.
fn at(text: &str, offset: usize) -> TextPos {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let from_1 = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    TextPos::new(from_1(line), from_1(column))
}

/// Where the declaration begins: behind comments and processing instructions, which may mention one.
fn dtd(text: &str) -> usize {
    let mut rest = text;
    loop {
        let next = [("<!--", "-->"), ("<?", "?>")].iter().find_map(|(begin, end)| {
            let from = rest.find(begin)?;
            let earlier = rest.find(DTD).is_none_or(|declared| from < declared);
            let behind = rest.get(from..)?.find(end)? + from + end.len();
            earlier.then_some(behind)
        });
        match next.and_then(|behind| rest.get(behind..)) {
            Some(behind) => rest = behind,
            None => return rest.find(DTD).map_or(0, |declared| text.len() - rest.len() + declared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::Document;

    fn place(text: &str) -> (u32, u32, String) {
        let error = Document::parse(text).unwrap_err();
        let place = of(&error, text);
        (place.row, place.col, words(&error))
    }

    #[test]
    fn a_file_that_is_cut_off_ends_where_it_is_cut() {
        for (text, row, column) in [
            ("", 1, 1),
            ("<?xml version='1.0'?>\n", 2, 1),
            ("<Monitoring>\n", 2, 1),
            ("<Monitoring>\n  <Application name=\"a\"/>", 2, 26),
            ("<Monitoring>\n <Application name=\"\u{e4}\u{f6}", 2, 23),
            ("<Monitoring>\n <Application\n   name=", 3, 9),
            ("<Monitoring>\n <Application\n   name=\"a\" ", 3, 13),
        ] {
            let (found_row, found_column, words) = place(text);
            assert_eq!((found_row, found_column), (row, column), "{text}: {words}");
        }
    }

    #[test]
    fn every_cut_is_reported_on_the_line_of_the_cut() {
        let text = "<?xml version=\"1.0\"?>\n<!-- a -->\n<Monitoring log=\"2\"\n  period=\"1\">\n <Application name=\"a\" \
            uuid=\"1\"/>\n <!-- b -->\n <x>text &amp; more</x>\n</Monitoring>";
        for cut in 1..text.len() {
            let cut = &text[..cut];
            let (row, _, words) = place(cut);
            let last = u32::try_from(cut.matches('\n').count() + 1).unwrap();
            assert_eq!(row, last, "{words}:\n{cut}");
        }
    }

    #[test]
    fn a_declaration_is_found_behind_what_only_mentions_one() {
        let (row, column, words) =
            place("<?xml version='1.0'?>\n<!-- no <!DOCTYPE x> -->\n <!DOCTYPE a>\n<a/>");
        assert_eq!((row, column), (3, 2), "{words}");
        assert!(words.contains("DTD"), "{words}");
        assert_eq!(place("<!DOCTYPE a [<!ENTITY b '<!-- c -->'>]><a/>").0, 1);
        assert_eq!(place("<!-- <? -->\n<!-- ?> -->\n<!DOCTYPE a><a/>").0, 3);
    }
}
