//! Whether a PostgreSQL server holds a health store: a wrong folder in the mark must not cost somebody else's databases.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;
use crate::tool;

/// The store's own schema.
const QUERY: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'vmpulse'";
const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn";
/// A server with more is looked through so far only, and then nobody can say.
const MOST_DATABASES: usize = 50;

/// Whether one of its databases holds a store; none if that cannot be found out, as where it lets nobody in without a password.
pub(super) fn holds_store(data: &Path, first: Process) -> Option<bool> {
    let asker = Asker::of(data, first)?;
    let databases = asker.ask("postgres", DATABASES)?;
    let mut known = databases.lines().count() <= MOST_DATABASES;
    for database in databases.lines().take(MOST_DATABASES) {
        match asker.ask(database, QUERY) {
            Some(count) if count.trim() != "0" => return Some(true),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

/// Asks by the server's socket, as the user that it runs as: that one is let in almost everywhere.
struct Asker {
    psql: PathBuf,
    socket: String,
    port: String,
    user: u32,
    group: u32,
}

impl Asker {
    fn of(data: &Path, first: Process) -> Option<Asker> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        // Number, folder, start, port, folder of the socket.
        let mut lines = text.lines().map(str::trim).skip(3);
        let (port, socket) = (lines.next()?.to_owned(), lines.next()?.to_owned());
        let beside = first.program()?.parent()?.join("psql");
        let psql = if beside.exists() { beside } else { PathBuf::from("psql") };
        let owner = fs::metadata(format!("/proc/{}", first.pid)).ok()?;
        Some(Asker { psql, socket, port, user: owner.uid(), group: owner.gid() })
    }

    fn ask(&self, database: &str, query: &str) -> Option<String> {
        let mut command = Command::new(&self.psql);
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]);
        command.args(["-h", &self.socket, "-p", &self.port, "-d", database, "-c", query]);
        command.uid(self.user).gid(self.group).current_dir("/").env("PGCONNECT_TIMEOUT", "5");
        tool::run(command).ok()
    }
}
