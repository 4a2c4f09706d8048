//! Changes of a VM's keys, as `hmmgr key` makes them. Each is done whole or not at all.

use vmpulse_local::exit::Exit;
use vmpulse_local::keys::{
    AddError, KeyFileError, KeyRing, LockedKeyFile, generate, make_private_directory, secret_line,
};
use vmpulse_protocol::auth::{Key, KeyId};
use vmpulse_protocol::id::VmUuid;
use zeroize::Zeroizing;

use super::KeyDirectory;

/// Why a key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The key file cannot be read or written.
    #[error("the keys of VM {vm} cannot be used")]
    File {
        /// Whose.
        vm: VmUuid,
        /// Why.
        source: KeyFileError,
    },
    /// There is a key already.
    #[error("VM {vm} has key {id} already; `hmmgr key rotate {vm}` makes a successor")]
    HasKey {
        /// Whose.
        vm: VmUuid,
        /// Its key.
        id: KeyId,
    },
    /// There is no key.
    #[error("VM {vm} has no key; make one with `hmmgr key create {vm}`")]
    NoKey {
        /// Whose.
        vm: VmUuid,
    },
    /// There is no such key.
    #[error("VM {vm} has no key {id}; `hmmgr key list` shows its keys")]
    NoSuchKey {
        /// Whose.
        vm: VmUuid,
        /// Which.
        id: KeyId,
    },
    /// Two keys are valid already.
    #[error(
        "VM {vm} has keys {} and {}, and at most two are valid at once: remove the one that its guest does not use any \
         more (`hmmgr key list`, `hmmgr key remove {vm} --id N`)",
        ids[0], ids[1]
    )]
    Full {
        /// Whose.
        vm: VmUuid,
        /// Its keys.
        ids: [KeyId; 2],
    },
    /// The key does not go with the other one.
    #[error("VM {vm}: {reason}")]
    NotNew {
        /// Whose.
        vm: VmUuid,
        /// Why.
        reason: AddError,
    },
    /// No random numbers.
    #[error("the system gave no random numbers")]
    Random(#[source] std::io::Error),
}

impl ChangeError {
    /// The exit code of a command that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::File { source, .. } => source.exit(),
            Self::Random(_) => Exit::OsError,
            Self::HasKey { .. }
            | Self::NoKey { .. }
            | Self::NoSuchKey { .. }
            | Self::Full { .. }
            | Self::NotNew { .. } => Exit::Failed,
        }
    }
}

/// What became of a key that was to be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is there now.
    Added,
    /// It was there already.
    Known,
}

/// A rotation that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key so far.
    pub from: KeyId,
    /// Its successor.
    pub to: KeyId,
}

impl KeyDirectory {
    /// Makes a VM's first key.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn create(&self, vm: VmUuid, id: Option<KeyId>) -> Result<KeyId, ChangeError> {
        let (file, mut ring) = self.open(vm)?;
        if let Some(id) = ring.last() {
            return Err(ChangeError::HasKey { vm, id });
        }
        let id = id.unwrap_or_else(|| ring.next_id());
        add(vm, &mut ring, id, generate().map_err(ChangeError::Random)?)?;
        save(vm, file, &ring)?;
        Ok(id)
    }

    /// Takes in a key that was made elsewhere.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn import(&self, vm: VmUuid, id: KeyId, key: Key) -> Result<Imported, ChangeError> {
        let (file, mut ring) = self.open(vm)?;
        if ring.key(id) == Some(&key) {
            return Ok(Imported::Known);
        }
        add(vm, &mut ring, id, key)?;
        save(vm, file, &ring)?;
        Ok(Imported::Added)
    }

    /// Makes the successor of a VM's key; both are valid until one is removed.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn rotate(&self, vm: VmUuid) -> Result<Rotated, ChangeError> {
        let (file, mut ring) = self.open(vm)?;
        let from = ring.last().ok_or(ChangeError::NoKey { vm })?;
        let to = ring.next_id();
        add(vm, &mut ring, to, generate().map_err(ChangeError::Random)?)?;
        save(vm, file, &ring)?;
        Ok(Rotated { from, to })
    }

    /// Forgets a key. Returns what is left.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn remove(&self, vm: VmUuid, id: KeyId) -> Result<KeyRing, ChangeError> {
        let (file, mut ring) = self.open(vm)?;
        ring.remove(id).map_err(|_| ChangeError::NoSuchKey { vm, id })?;
        save(vm, file, &ring)?;
        Ok(ring)
    }

    /// A key as 64 hexadecimal digits with a line end.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn export(&self, vm: VmUuid, id: KeyId) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
        let ring = self.read(vm).map_err(|source| ChangeError::File { vm, source })?;
        ring.key(id).map(secret_line).ok_or(ChangeError::NoSuchKey { vm, id })
    }

    fn open(&self, vm: VmUuid) -> Result<(LockedKeyFile, KeyRing), ChangeError> {
        let opened = make_private_directory(&self.path).and_then(|()| LockedKeyFile::open(&self.file(vm)));
        opened.map_err(|source| ChangeError::File { vm, source })
    }
}

fn add(vm: VmUuid, ring: &mut KeyRing, id: KeyId, key: Key) -> Result<(), ChangeError> {
    ring.add(id, key).map_err(|error| match error {
        AddError::Full(ids) => ChangeError::Full { vm, ids },
        AddError::SameId(_) | AddError::SameKey(_) => ChangeError::NotNew { vm, reason: error },
    })
}

fn save(vm: VmUuid, file: LockedKeyFile, ring: &KeyRing) -> Result<(), ChangeError> {
    file.save(ring).map_err(|source| ChangeError::File { vm, source })
}
