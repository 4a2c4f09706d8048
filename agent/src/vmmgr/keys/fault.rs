//! What can go wrong with keys.

use vmpulse_local::command::CallError;
use vmpulse_local::keys::{AddError, KeyFileError, SecretError};
use vmpulse_protocol::auth::KeyId;

use crate::vmmgr::Fault;
use crate::vmmgr::codes::Code;

/// Why nothing was done with a key. The codes never change their meaning.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// 070.
    #[error("\"{0}\" is no key id; give a number from 1 to 255")]
    Id(String),
    /// 071.
    #[error("the key file cannot be used; nothing was changed")]
    File(#[source] KeyFileError),
    /// 072.
    #[error("{0}; nothing was changed")]
    Add(AddError),
    /// 073.
    #[error("there is no key {0}; `vmmgr query key` lists them")]
    NoKey(KeyId),
    /// 074.
    #[error("{0}; nothing was changed")]
    Secret(SecretError),
    /// 074.
    #[error("cannot open {path}; nothing was changed")]
    Source {
        /// The file that was named.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// 075.
    #[error("vmpulse-agentd keeps the keys that it had: {0}; correct that and run `vmmgr sync`")]
    NotLoaded(String),
    /// 076.
    #[error("the key file is changed, but vmpulse-agentd was not told; run `vmmgr sync`")]
    NotTold(#[source] CallError),
    /// 077.
    #[error("the system gave no random numbers; nothing was changed")]
    Random(#[source] std::io::Error),
}

impl KeyFault {
    /// The number in `VMMGR-070(ERROR)`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Id(_) => Code::KeyId,
            Self::File(_) => Code::KeyFile,
            Self::Add(_) => Code::KeyAdd,
            Self::NoKey(_) => Code::NoKey,
            Self::Secret(_) | Self::Source { .. } => Code::KeySource,
            Self::NotLoaded(_) => Code::KeyNotLoaded,
            Self::NotTold(_) => Code::KeyNotTold,
            Self::Random(_) => Code::Random,
        }
    }
}

impl From<KeyFault> for Fault {
    fn from(fault: KeyFault) -> Self {
        Self::Key(fault)
    }
}
