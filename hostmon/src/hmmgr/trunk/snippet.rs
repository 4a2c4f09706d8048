//! `hmmgr trunk snippet`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vmpulse_local::exit::Exit;

use super::{Output, print};
use crate::trunk_setup::TrunkError;
use crate::trunk_setup::plan::Adapter;
use crate::trunk_setup::snippet::{For, Snippet, note, snippets};
use crate::trunk_setup::work::Works;

#[derive(Debug, Args)]
pub(in crate::hmmgr) struct Wanted {
    /// The trunk.
    name: Adapter,
    /// For whom.
    #[arg(long = "for", value_enum, value_name = "WHOM")]
    whom: For,
    /// Write the files into this folder, in place of printing them. Files of these names are replaced.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// As `-o json` shows it.
#[derive(Serialize)]
struct Report<'a> {
    trunk: &'a Adapter,
    files: Vec<File<'a>>,
    note: String,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    text: &'a str,
    /// Where it was written.
    path: Option<PathBuf>,
}

pub(super) fn run(works: &Works, output: Output, wanted: &Wanted) -> Result<Exit, TrunkError> {
    let plan = works.records().get(&wanted.name)?;
    let files = snippets(&plan, wanted.whom).map_err(TrunkError::Usage)?;
    let note = note(&plan, wanted.whom);
    if let Some(folder) = &wanted.write {
        files.iter().try_for_each(|file| write(folder, file))?;
    }
    let path = |file: &Snippet| wanted.write.as_ref().map(|folder| folder.join(&file.name));
    let text = match output {
        Output::Json => {
            let files =
                files.iter().map(|file| File { name: &file.name, text: &file.text, path: path(file) });
            let report = Report { trunk: &plan.name, files: files.collect(), note };
            serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
        }
        Output::Text => files.iter().map(|file| shown(file, path(file))).collect::<String>() + &note + "\n",
    };
    Ok(print(&text, Exit::Done))
}

fn shown(file: &Snippet, path: Option<PathBuf>) -> String {
    let mut text = String::new();
    let _ = match path {
        Some(path) => writeln!(text, "wrote {}", path.display()),
        None => writeln!(text, "==> {} <==\n{}", file.name, file.text),
    };
    text
}

/// Whole or not at all.
fn write(folder: &Path, file: &Snippet) -> Result<(), TrunkError> {
    let path = folder.join(&file.name);
    let draft = folder.join(format!(".{}.new", file.name));
    let written = fs::write(&draft, &file.text).and_then(|()| fs::rename(&draft, &path));
    written.map_err(|source| TrunkError::Record { action: "write", path, source })
}
