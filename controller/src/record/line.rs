//! What a line of a record says. Enumerations grow at their ends; anything else is a new
//! [`VERSION`](vmpulse_local::recorder::VERSION).

use std::borrow::Cow;
use std::fmt::{self, Debug, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::StoreError;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What<'a> {
    /// A poll.
    Turn { attention: bool },
    /// Reports are looked for.
    Reports,
    /// The core was told that the store failed, or is another one.
    Failure(#[serde(borrow)] Cow<'a, str>),
    /// The core read the clock: it was as late as the line says.
    Clock,
    /// The core asked the store.
    Call {
        /// The method.
        name: &'a str,
        /// Checksum of the arguments.
        asked: u32,
        #[serde(borrow)]
        answer: Answer<'a>,
    },
    /// What was begun last is over; with a checksum of its outcome, unless the store failed.
    Done(Option<u32>),
}

/// What the store said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer<'a> {
    /// As JSON: the store's types get fields, which those who read what was written before do without.
    Fine(#[serde(borrow)] Cow<'a, str>),
    /// The one error that the core tells from others.
    UnknownVm([u8; 16]),
    /// Any other.
    Failed(#[serde(borrow)] Cow<'a, str>),
}

impl Answer<'_> {
    pub(super) fn of<T: Serialize>(answer: &Result<T, StoreError>) -> Self {
        match answer {
            Ok(answer) => Self::Fine(serde_json::to_string(answer).unwrap_or_default().into()),
            Err(error) => {
                if let StoreError::UnknownVm(vm) = error {
                    return Self::UnknownVm(*vm.as_bytes());
                }
                Self::Failed(error.to_string().into())
            }
        }
    }

    /// The same again; `Err` in the outer result if it cannot be understood.
    pub(super) fn again<T: DeserializeOwned>(&self) -> Result<Result<T, StoreError>, serde_json::Error> {
        Ok(match self {
            Self::Fine(json) => Ok(serde_json::from_str(json)?),
            Self::UnknownVm(vm) => Err(StoreError::UnknownVm(VmUuid::from_bytes(*vm))),
            Self::Failed(text) => Err(StoreError::Backend(text.clone().into_owned().into())),
        })
    }
}

/// Of anything, by how it is printed for people like us.
pub(super) fn sum(what: &impl Debug) -> u32 {
    struct Hashing(crc32fast::Hasher);
    impl Write for Hashing {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut hashing = Hashing(crc32fast::Hasher::new());
    // It only fails if what is printed does.
    let _ = write!(hashing, "{what:?}");
    hashing.0.finalize()
}
