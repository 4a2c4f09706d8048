//! docs/reference/vmmgr.md is what the command says of itself.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/reference/vmmgr.md";

#[test]
fn the_page_is_current() {
    let output = Command::new(env!("CARGO_BIN_EXE_vmmgr")).args(["help", "markdown"]).output().unwrap();
    assert!(output.status.success());
    let made = String::from_utf8(output.stdout).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let kept = std::fs::read_to_string(page).unwrap_or_default();
    let differing = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "{PAGE} is not current, first at {differing:?}. Make it anew:\n\
         cargo run -q -p vmpulse-agent --bin vmmgr -- help markdown > {PAGE}"
    );
}
