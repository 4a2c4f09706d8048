//! What Wireshark's command line says of a capture with the project's dissector.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Lab, LabError};
use crate::process::{Place, run};
use crate::workspace::{make_dir, write};
use crate::world;

const SCRIPT: &str = include_str!("../../../packaging/wireshark/hvncp.lua");
/// Between fields; no text of a field has it.
const SEPARATOR: &str = "\u{1f}";

/// The dissector, put where tshark finds it and nothing of the user's own.
#[derive(Debug)]
pub(crate) struct Tshark {
    script: PathBuf,
    folder: PathBuf,
}

impl Tshark {
    /// Writes the dissector into the world.
    pub(crate) fn with_dissector() -> Lab<Tshark> {
        let folder = make_dir(world::dir("wireshark"))?;
        let script = folder.join("hvncp.lua");
        write(&script, SCRIPT)?;
        Ok(Tshark { script, folder })
    }

    /// For every frame that `filter` lets through (an empty one: for each) the values of fields, as text. A field
    /// that a frame has not is empty, one that it has several times is all of them joined by commas.
    pub(crate) fn fields(&self, capture: &Path, filter: &str, fields: &[&str]) -> Lab<Vec<Vec<String>>> {
        let mut words = vec!["-T", "fields", "-E", "occurrence=a", "-E", "quote=n"];
        let separator = format!("separator={SEPARATOR}");
        words.extend(["-E", &separator]);
        words.extend(fields.iter().flat_map(|field| ["-e", field]));
        let text = self.run(capture, filter, &words)?;
        let rows = text.lines().map(|line| line.split(SEPARATOR).map(str::to_string).collect::<Vec<_>>());
        let rows: Vec<_> = rows.collect();
        match rows.iter().find(|row| row.len() != fields.len()) {
            Some(row) => Err(LabError::Unexpected(format!("tshark gave {row:?} for the fields {fields:?}"))),
            None => Ok(rows),
        }
    }

    /// tshark with the dissector, addresses as numbers; `-r` and what is wanted are to be added.
    pub(crate) fn command(&self) -> Command {
        let mut command = Place::Here.command("tshark");
        command.env("WIRESHARK_CONFIG_DIR", &self.folder).env("HOME", &self.folder);
        command.arg("-n").arg("-X").arg(format!("lua_script:{}", self.script.display()));
        command
    }

    /// Two passes, so that what is known only later is shown too.
    fn run(&self, capture: &Path, filter: &str, words: &[&str]) -> Lab<String> {
        let mut command = self.command();
        command.arg("-2").arg("-r").arg(capture).args(words);
        if !filter.is_empty() {
            command.args(["-Y", filter]);
        }
        let said = run(command)?;
        // A script with an error in it is only complained about; nothing is dissected then.
        if said.stderr.contains("Lua") {
            return Err(LabError::Unexpected(format!("tshark cannot use the dissector:\n{}", said.stderr)));
        }
        said.ok()
    }
}
