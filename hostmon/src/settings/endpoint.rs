//! The settings of the status endpoint.

use std::net::SocketAddr;
use std::path::PathBuf;

use vmpulse_local::settings::Fault;

use super::Settings;
use crate::endpoint::server::Tcp;
use crate::endpoint::tls::TlsFiles;

impl Settings {
    /// The Unix socket of the status endpoint. Not called as a command socket, which `hmmgr` looks for by its name.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        self.run_dir.join(format!("status-{}.sock", self.trunk))
    }

    /// The status endpoint's TCP side, if it has one.
    #[must_use]
    pub fn status_tcp(&self) -> Option<Tcp> {
        let files = TlsFiles {
            certificate: self.status_cert.clone(),
            key: self.status_key.clone(),
            authorities: self.status_client_ca.clone(),
        };
        self.status_listen.parse().ok().map(|address| Tcp { address, files })
    }
}

/// TCP is mutual TLS or nothing: whoever gets in learns which guests are alive.
pub(super) fn fault(settings: &Settings) -> Option<Fault> {
    let files = [
        ("status_cert", &settings.status_cert),
        ("status_key", &settings.status_key),
        ("status_client_ca", &settings.status_client_ca),
    ];
    let listen = &settings.status_listen;
    if listen.is_empty() {
        let said = files.into_iter().find(|(_, path)| !path.as_os_str().is_empty())?;
        return Some((said.0, "is for status_listen, which is not set".to_owned()));
    }
    if listen.parse::<SocketAddr>().is_err() {
        let problem =
            format!("{listen:?} is no address and port, as \"192.0.2.1:9095\" or \"[2001:db8::1]:9095\"");
        return Some(("status_listen", problem));
    }
    let (key, path) = files.into_iter().find(|(_, path)| !path.is_absolute())?;
    let problem = if path.as_os_str().is_empty() {
        "status_listen is by mutual TLS only: name the file".to_owned()
    } else {
        format!("{:?} is not an absolute path", path.display().to_string())
    };
    Some((key, problem))
}
