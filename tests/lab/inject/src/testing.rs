//! A machine in a temporary folder, for tests.

use std::fs;
use std::path::PathBuf;

use crate::context::Context;
use crate::marker::{self, Wanted};

/// The group it is marked for.
pub(crate) const GROUP: &str = "rehearsal";

/// The machine; gone with this value.
pub(crate) struct Machine {
    pub(crate) context: Context,
    _folder: tempfile::TempDir,
}

impl Machine {
    /// With an identity, and no mark.
    pub(crate) fn unmarked() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let context = Context {
            state_dir: at("run/vmpulse-inject"),
            marker: at("etc/vmpulse/test-group"),
            root: folder.path().to_owned(),
            program: PathBuf::from("/bin/false"),
            mark: None,
        };
        let machine = Machine { context, _folder: folder };
        machine.write("/etc/machine-id", "0123456789abcdef\n");
        machine
    }

    /// Marked for [`GROUP`], with these targets.
    pub(crate) fn marked(targets: &[&str]) -> Machine {
        let mut machine = Machine::unmarked();
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        let wanted = Wanted { group: GROUP.to_owned(), hours: None, targets };
        machine.context.mark = Some(marker::mark(&machine.context, &wanted).unwrap());
        machine
    }

    /// Writes a file of it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.context.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}
