//! A PostgreSQL server of a test's own: in a temporary folder, on a Unix socket there, gone with the test however it ends.
//!
//! Needs the programs of the Debian package `postgresql`; no service of the system is touched. PostgreSQL refuses to run as
//! root: then it runs as the package's user `postgres`.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For `initdb` and until a server that starts takes connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The package's user.
const USER: &str = "postgres";

/// A running server. It ends with the thread that started it.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    settings: String,
    port: u16,
    process: Option<Child>,
    databases: u32,
}

impl Server {
    /// A server on a Unix socket, or why there cannot be one: a sentence that begins with SKIPPED.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self, String> {
        Self::start_with(5432, "", |_| Ok(()))
    }

    /// The same with a port, which names the socket too, more lines of settings, and files that `prepare` puts into the data
    /// folder.
    ///
    /// # Errors
    /// As [`Server::start`], and what `prepare` says.
    pub fn start_with(
        port: u16,
        settings: &str,
        prepare: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Self, String> {
        let programs = programs().ok_or("SKIPPED: PostgreSQL is not installed (apt install postgresql)")?;
        let folder = tempfile::Builder::new().prefix("vmpulse-pg-").tempdir().map_err(|e| e.to_string())?;
        let mut server =
            Self { programs, folder, settings: settings.to_owned(), port, process: None, databases: 0 };
        server.own(server.folder.path())?;
        let data = server.data();
        let words =
            ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"];
        let mut initdb = server.command("initdb");
        initdb.arg("-D").arg(&data).args(words);
        ran(&mut initdb)?;
        prepare(&data)?;
        for entry in fs::read_dir(&data).map_err(|e| e.to_string())? {
            server.own(&entry.map_err(|e| e.to_string())?.path())?;
        }
        server.launch()?;
        Ok(server)
    }

    /// Starts it again after [`Server::kill`].
    ///
    /// # Errors
    /// If it does not take connections in time.
    pub fn launch(&mut self) -> Result<(), String> {
        let mut settings = format!(
            "listen_addresses = ''\nport = {}\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\nmax_connections = 60\n",
            self.port,
            self.folder.path().display()
        );
        let _ = writeln!(settings, "{}", self.settings);
        let file = self.data().join("test.conf");
        fs::write(&file, settings).map_err(|e| e.to_string())?;
        self.own(&file)?;
        let log = fs::File::create(self.folder.path().join("log")).map_err(|e| e.to_string())?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg(format!("--config-file={}", file.display()));
        command.arg(format!("--hba-file={}/pg_hba.conf", self.data().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().map_err(|e| e.to_string())?);
        self.wait_until_ready()
    }

    // A harness for tests: a server that starts is waited for by the clock.
    #[allow(clippy::disallowed_methods)]
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + START_TIMEOUT;
        while Instant::now() < until {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || self.sql("postgres", "SELECT 1").is_ok() {
                break;
            }
        }
        self.sql("postgres", "SELECT 1").map(drop).map_err(|said| {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            format!("PostgreSQL does not start: {said}\n{log}")
        })
    }

    /// Where its socket is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Of its first process.
    ///
    /// # Panics
    /// While it does not run.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// The URL of a database for a user, by the socket.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgresql://{user}@{folder}:{}/{database}", self.port)
    }

    /// A port that nobody listens on now.
    ///
    /// # Errors
    /// If there is none.
    pub fn free_port() -> Result<u16, String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
    }

    /// Makes an empty database that sorts as people do, not by bytes. Returns its name.
    ///
    /// # Panics
    /// If the server does not.
    #[allow(clippy::expect_used)]
    pub fn database(&mut self) -> String {
        self.databases += 1;
        let name = format!("store{}", self.databases);
        let plain = format!("CREATE DATABASE {name} TEMPLATE template0");
        let made = self.sql("postgres", &format!("{plain} LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"));
        // Not before version 15.
        made.or_else(|_| self.sql("postgres", &plain)).expect("the server makes a database");
        name
    }

    /// Runs SQL by `psql` as the superuser. Returns its lines, columns separated by `|`.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1"]);
        psql.arg(self.url(USER, database)).arg("-c").arg(sql);
        ran(&mut psql)
    }

    /// Runs a file of SQL by `psql` as the superuser.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql_file(&self, database: &str, file: &Path) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"]).arg(self.url(USER, database));
        ran(psql.arg("-f").arg(file))
    }

    /// Sends a signal, as `STOP`, to the server's every process.
    ///
    /// # Panics
    /// If it cannot be sent.
    #[allow(clippy::expect_used)]
    pub fn signal(&self, signal: &str) {
        let first = self.pid().to_string();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        let mut kill = Command::new("kill");
        kill.arg("-s").arg(signal).arg(&first).args(children.split_whitespace());
        // A child may have ended meanwhile.
        kill.stderr(Stdio::null()).status().expect("kill runs");
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if self.process.is_some() {
            self.signal("CONT");
            self.signal("QUIT");
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// A program of PostgreSQL as the user that it may run as; it gets SIGQUIT when the calling thread ends.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=QUIT");
        if is_root() {
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        }
        // initdb wants to be able to be where it is.
        command.arg("--").arg(self.programs.join(program)).current_dir(self.folder.path());
        command
    }

    fn own(&self, path: &Path) -> Result<(), String> {
        if is_root() {
            ran(Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(path))?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether its programs are on this machine.
#[must_use]
pub fn is_installed() -> bool {
    programs().is_some()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Debian keeps them by version, off the search path; others on it.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn ran(command: &mut Command) -> Result<String, String> {
    let said = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned());
    }
    Err(format!("{command:?}: {} {}", said.status, String::from_utf8_lossy(&said.stderr)))
}
