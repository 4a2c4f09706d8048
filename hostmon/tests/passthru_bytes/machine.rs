//! A machine with a store of its own, and its `hmmgr`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use vmpulse_store::{FixedClock, PostgresStore, SqliteStore, Store};

/// How long ago it is for [`Machine::long_ago`], in microseconds: longer than a path is waited for.
const LONG_US: i64 = 200_000_000;

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    url: String,
    /// Of the last answers that had any, in their order: what `{hsTag}` and `{tag}` in a request stand for.
    hs_tag: String,
    tag: String,
}

/// What was asked, and what came.
pub(crate) struct Answer {
    pub(crate) request: String,
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Machine {
    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("health.db").display());
        Self::new(folder, url)
    }

    pub(crate) fn on_postgres(url: &str) -> Self {
        Self::new(tempfile::tempdir().unwrap(), url.to_owned())
    }

    fn new(folder: tempfile::TempDir, url: String) -> Self {
        let path = folder.path().display();
        let settings = format!("store = {url:?}\nrun_dir = \"{path}\"\nstate_dir = \"{path}\"\n");
        std::fs::write(folder.path().join("hostmon.toml"), settings).unwrap();
        Self { folder, url, hs_tag: "0".to_owned(), tag: "0".to_owned() }
    }

    /// The host monitor with this UUID runs here.
    pub(crate) fn is_home_of(&self, uuid: &str) {
        std::fs::write(self.folder.path().join("eth1.uuid"), uuid).unwrap();
    }

    pub(crate) fn store(&self) -> Box<dyn Store> {
        vmpulse_store::open(&self.url).unwrap()
    }

    /// The store some minutes ago.
    pub(crate) fn long_ago(&self) -> Box<dyn Store> {
        let now = self.store().now().unwrap().0;
        let clock = Box::new(FixedClock(Arc::new(AtomicI64::new(now - LONG_US))));
        match self.url.strip_prefix("sqlite://") {
            Some(path) => Box::new(SqliteStore::open(path.as_ref(), clock).unwrap()),
            None => Box::new(PostgresStore::open_with(&self.url, Some(clock)).unwrap()),
        }
    }

    /// Runs `hmmgr passthru`.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
        command.arg("passthru").env_remove("VMPULSE_LOG");
        command.env("VMPULSE_HOSTMON_SETTINGS", self.folder.path().join("hostmon.toml"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // One that is too long is not read to its end.
        let _closed = child.stdin.take().unwrap().write_all(request.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Answer { request: request.to_owned(), code: output.status.code().unwrap(), text }
    }

    /// The same with `{hsTag}` and `{tag}` filled in.
    pub(crate) fn ask_on(&mut self, request: &str) -> Answer {
        let answer = self.ask(&request.replace("{hsTag}", &self.hs_tag).replace("{tag}", &self.tag));
        let value = |start: &str| answer.text.split(start).nth(1)?.split('"').next().map(str::to_owned);
        self.hs_tag = value(" hsTag=\"").unwrap_or_else(|| std::mem::take(&mut self.hs_tag));
        self.tag = value("<message tag=\"").unwrap_or_else(|| std::mem::take(&mut self.tag));
        // Compared as it was asked: tags of answers are each store's own.
        Answer { request: request.to_owned(), ..answer }
    }
}
