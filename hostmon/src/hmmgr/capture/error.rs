//! Why a capture cannot be.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmpulse_link::LinkError;
use vmpulse_local::exit::Exit;

use super::target::TargetError;

/// The texts are for the person who ran the command.
#[derive(Debug, Error)]
pub(super) enum CaptureError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{} is there already; name another file, or overwrite it with --force", path.display())]
    Exists { path: PathBuf },
    #[error("a capture is not for a terminal; pipe it (`| wireshark -k -i -`) or name a file")]
    Terminal,
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot write the capture; what is written of it can be read")]
    Write(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

impl CaptureError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Target(error) => error.exit(),
            Self::Link(LinkError::NoPermission { .. }) => Exit::NoPermission,
            Self::Link(LinkError::NotEthernet { .. } | LinkError::InvalidEtherType { .. }) => Exit::Config,
            Self::Link(_) => Exit::Unavailable,
            Self::Terminal => Exit::Usage,
            Self::Exists { .. } => Exit::Failed,
            Self::Create { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Create { .. } | Self::Write(_) | Self::Signals(_) => Exit::OsError,
        }
    }
}
