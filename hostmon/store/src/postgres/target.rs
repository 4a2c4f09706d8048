//! Where the server is and how to get in: the URL, and the files that it names.
//!
//! The URL is one that `psql` understands too. What is secret is never in it, but in the file that `passfile` names, in
//! libpq's format; so the URL may be in a process list, in a log and in settings that everybody reads.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::StoreError;

/// An idle connection is tried after this, so often and so far apart: a peer that is gone is noticed within 25 s. While an
/// answer is waited for, its own deadline is much shorter.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A parsed store URL.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
    passfile: Option<PathBuf>,
    tls: Option<tls::Files>,
    /// For people: hosts and database, nothing else.
    pub(super) name: String,
}

impl Target {
    /// Whether a URL is one of PostgreSQL at all.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        url.starts_with("postgresql://") || url.starts_with("postgres://")
    }

    /// Reads a `postgresql://` URL.
    ///
    /// # Errors
    /// [`StoreError::Access`], and [`StoreError::Url`] if it is no such URL.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        if !Self::is_meant(url) {
            return Err(StoreError::Url { url: url.to_owned() });
        }
        let (plain, query) = url.split_once('?').unwrap_or((url, ""));
        let mut ours = Ours::default();
        let rest: Vec<_> = query.split('&').filter(|pair| !pair.is_empty() && !ours.take(pair)).collect();
        let separator = if rest.is_empty() { "" } else { "?" };
        let plain = format!("{plain}{separator}{}", rest.join("&"));
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            // The crate's error repeats nothing of the URL but names of settings.
            access(format!("it is not understood: {}", source_of(&error)))
        })?;
        if config.get_password().is_some() {
            return Err(access(
                "it holds a password: write it into a file and name that with passfile=/path",
            ));
        }
        if config.get_hosts().is_empty() {
            return Err(access("it names no server: write postgresql://user@server/database"));
        }
        defaults(&mut config);
        let tls = ours.tls(&config)?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { name: name(&config), config, passfile: ours.passfile, tls })
    }

    /// With the password, read anew: it may have been changed.
    pub(super) fn config(&self) -> Result<Config, StoreError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.passfile
            && let Some(password) = password(path, &config)?
        {
            config.password(password);
        }
        Ok(config)
    }

    /// `None`: without.
    pub(super) fn tls(&self) -> Result<Option<MakeRustlsConnect>, StoreError> {
        self.tls.as_ref().map(tls::Files::connector).transpose()
    }
}

/// Settings in the URL that the client library does not know.
#[derive(Default)]
struct Ours {
    passfile: Option<PathBuf>,
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
}

impl Ours {
    /// Whether it was one of ours.
    fn take(&mut self, pair: &str) -> bool {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        match key {
            "passfile" => self.passfile = Some(value.into()),
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            "sslcert" => self.sslcert = Some(value.into()),
            "sslkey" => self.sslkey = Some(value.into()),
            _ => return false,
        }
        true
    }

    /// Either the server proves who it is, or it is said that it need not: nothing between the two.
    fn tls(&self, config: &Config) -> Result<Option<tls::Files>, StoreError> {
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        match self.sslmode.as_deref() {
            Some("disable") => return Ok(None),
            None if local => return Ok(None),
            Some("verify-full") | None => {}
            Some(other) => {
                return Err(access(format!("sslmode={other} is refused: write verify-full or disable")));
            }
        }
        let Some(root) = self.sslrootcert.clone() else {
            return Err(access(
                "it says nothing of how the server proves who it is: name the file of its CA with \
                 sslrootcert=/path, or write sslmode=disable if nobody can listen in between",
            ));
        };
        let own = match (&self.sslcert, &self.sslkey) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(access("sslcert and sslkey need each other")),
        };
        Ok(Some(tls::Files { root, own }))
    }
}

/// Of several servers the one that takes writes.
fn defaults(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("vmpulse");
    }
    if config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    config.keepalives(true);
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.keepalives_interval(KEEPALIVE_INTERVAL);
    config.keepalives_retries(KEEPALIVE_RETRIES);
}

fn name(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<_> = config.get_hosts().iter().map(host).collect();
    format!("{}/{}", hosts.join(","), config.get_dbname().or(config.get_user()).unwrap_or_default())
}

pub(super) fn access(problem: impl Into<String>) -> StoreError {
    StoreError::Access { problem: problem.into() }
}

fn source_of(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The password of the first line that fits, as libpq takes it.
fn password(path: &Path, config: &Config) -> Result<Option<String>, StoreError> {
    let failed = |error: std::io::Error| access(format!("passfile {}: {error}", path.display()));
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let problem =
            format!("passfile {} may be read by others than its owner: chmod 600 it", path.display());
        return Err(access(problem));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        Some(Host::Unix(_)) | None => "localhost",
    };
    let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let found = text.lines().filter(|line| !line.starts_with('#')).map(fields).find_map(|fields| {
        let [of_host, of_port, of_database, of_user, password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = fits(&of_host, host)
            && fits(&of_port, &port)
            && fits(&of_database, database)
            && fits(&of_user, user);
        fits.then_some(password)
    });
    Ok(found)
}

/// Five of them, separated by colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let plain = if character == '\\' { characters.next() } else { Some(character) };
        match (character, fields.len()) {
            (':', ..5) => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.extend(plain);
                }
            }
        }
    }
    fields
}
