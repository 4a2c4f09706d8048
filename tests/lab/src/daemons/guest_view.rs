//! A guest as its administrator sees it: a shell, `vmmgr`, and what it says of the applications.

use std::time::Duration;

use serde_json::Value;

use super::{Chain, text_of};
use crate::error::{Lab, LabError, expect};
use crate::process::run;
use crate::wait;

/// One guest of a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestView<'a> {
    chain: &'a Chain,
    guest: usize,
}

impl<'a> GuestView<'a> {
    /// The guest, counted from 0, with its loopback adapter up.
    pub(crate) fn enter(chain: &'a Chain, guest: usize) -> Lab<GuestView<'a>> {
        let view = GuestView { chain, guest };
        view.sh("ip link set lo up").map(|_| view)
    }

    /// Runs a line of shell in it; fails unless it succeeds.
    pub(crate) fn sh(&self, line: &str) -> Lab<String> {
        let mut command = self.chain.guest(self.guest)?.place().command("sh");
        command.args(["-ec", line]);
        run(command)?.ok()
    }

    /// Writes a file in it, executable if it is a script.
    pub(crate) fn write(&self, path: &str, content: &str) -> Lab<()> {
        self.chain.guest(self.guest)?.write(path, content)
    }

    /// Adds an application; `words` are parted by blanks.
    pub(crate) fn add(&self, name: &str, words: &str) -> Lab<()> {
        self.vmmgr(&format!("-s add app {name} {words}")).map(drop)
    }

    /// Runs `vmmgr`; fails unless it succeeds.
    pub(crate) fn vmmgr(&self, line: &str) -> Lab<String> {
        self.chain.agent(self.guest)?.vmmgr(self.chain.guest(self.guest)?, line)?.ok()
    }

    /// As [`GuestView::vmmgr`], with words that may hold blanks.
    pub(crate) fn vmmgr_words(&self, words: &[&str]) -> Lab<String> {
        self.chain.agent(self.guest)?.vmmgr_words(self.chain.guest(self.guest)?, words)?.ok()
    }

    /// What `vmmgr query app` says of an application.
    pub(crate) fn application(&self, name: &str) -> Lab<Value> {
        let text = self.vmmgr(&format!("-o json query app {name}"))?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|error| LabError::Unexpected(format!("vmmgr printed no JSON: {error}")))?;
        Ok(answer.pointer("/applications/0").cloned().unwrap_or_default())
    }

    /// Waits until an application has a property; what was seen last goes into the error.
    pub(crate) fn wait_for(
        &self,
        name: &str,
        limit: Duration,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Lab<Value> {
        wait::until_value(limit, &format!("{name} {what}"), || self.application(name), good)
    }

    /// Waits for a state.
    pub(crate) fn wait_for_status(&self, name: &str, status: &str, limit: Duration) -> Lab<Value> {
        self.wait_for(name, limit, &format!("to be {status}"), |app| text_of(app, "status") == status)
    }

    /// Fails unless what the last script of an application printed has these words.
    pub(crate) fn expect_output(&self, name: &str, words: &str) -> Lab<()> {
        let app = self.application(name)?;
        let output = app.pointer("/last_script/output").and_then(Value::as_str).unwrap_or_default();
        expect(output.contains(words), || format!("{name} should say \"{words}\", and says:\n{app:#}"))
    }
}
