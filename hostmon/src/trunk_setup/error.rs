//! Why a trunk could not be made, looked at or taken away.

use std::path::PathBuf;

use vmpulse_local::exit::Exit;
use vmpulse_local::lock::LockError;

use super::programs::ProgramError;
use super::seen::NotUnderstood;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum TrunkError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
    /// Something else has the name, or stands where the trunk should.
    #[error("trunk {name}: {what}")]
    InTheWay {
        /// The trunk.
        name: String,
        /// What, and what to do.
        what: String,
    },
    /// No trunk of that name was made here.
    #[error("there is no trunk {name} here; {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Which there are.
        known: String,
    },
    /// Guests would lose their adapters.
    #[error(
        "guests stand on trunk {name} and would lose their adapters for as long as they run: {adapters}. Shut them \
         down first, or say --force"
    )]
    Guests {
        /// The trunk.
        name: String,
        /// Their adapters.
        adapters: String,
    },
    /// It did what it could and something is still wrong.
    #[error("trunk {name} cannot be put in order: {wrong}")]
    Unsettled {
        /// The trunk.
        name: String,
        /// What.
        wrong: String,
    },
    /// This kernel has no place for the rules.
    #[error(
        "this kernel ({release}) cannot police what leaves an adapter: that needs Linux 5.16 with CONFIG_NETFILTER_EGRESS; \
         make the trunk with --policing off"
    )]
    Kernel {
        /// Its version.
        release: String,
        /// What `nft` said.
        source: ProgramError,
    },
    /// What is kept of a trunk cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Record {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is kept of a trunk is none of it.
    #[error("{} does not describe a trunk; remove it and make the trunk again", path.display())]
    Spoilt {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Box<toml::de::Error>,
    },
    /// Another command is at it.
    #[error("another command is changing a trunk")]
    Lock(#[from] LockError),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A program said something else than expected.
    #[error(transparent)]
    NotUnderstood(#[from] NotUnderstood),
}

impl TrunkError {
    /// The exit code of a command that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::InTheWay { .. } | Self::Unknown { .. } | Self::Guests { .. } | Self::Unsettled { .. } => {
                Exit::Failed
            }
            Self::Kernel { .. } => Exit::Unavailable,
            Self::Record { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Record { .. } | Self::NotUnderstood(_) => Exit::OsError,
            Self::Spoilt { .. } => Exit::Config,
            Self::Lock(source) => source.exit(),
            Self::Program(source) => source.exit(),
        }
    }
}
