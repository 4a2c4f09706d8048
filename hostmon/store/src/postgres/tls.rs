//! TLS to the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::access;
use crate::StoreError;

/// What the two sides prove themselves with.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// Whom to believe who the server is.
    pub(super) root: PathBuf,
    /// Certificate and key of this user, if the server asks for them.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Reads them anew: they may have been renewed.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, StoreError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.root)? {
            roots.add(certificate).map_err(|error| unusable(&self.root, &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let building = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.root, &error))?
            .with_root_certificates(roots);
        let config = match &self.own {
            None => building.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                building
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| unusable(certificate, &error))?
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>);
    let found = read.map_err(|error| unusable(path, &error))?;
    if found.is_empty() {
        return Err(access(format!("{} holds no certificate", path.display())));
    }
    Ok(found)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    access(format!("{}: {error}", path.display()))
}
