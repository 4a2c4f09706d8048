//! The host monitor's own UUID, kept over its restarts.

use std::fs;
use std::io;
use std::path::Path;

use vmpulse_protocol::id::HostMonitorId;

/// Reads the UUID kept for this trunk, or makes one and keeps it.
pub(super) fn load_or_create(state_dir: &Path, trunk: &str) -> io::Result<HostMonitorId> {
    let path = state_dir.join(format!("{trunk}.uuid"));
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} holds {text:?}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(state_dir, &path),
        Err(error) => Err(error),
    }
}

fn create(state_dir: &Path, path: &Path) -> io::Result<HostMonitorId> {
    let mut bytes = [0; 16];
    vmpulse_local::random::fill(&mut bytes)?;
    // A random UUID says so: version 4, RFC 9562 variant.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let id = HostMonitorId::from_bytes(bytes);
    fs::create_dir_all(state_dir)?;
    let temporary = path.with_extension("uuid.new");
    fs::write(&temporary, format!("{id}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path(), "trunkA").unwrap();
        assert_eq!(load_or_create(folder.path(), "trunkA").unwrap(), first);
        assert_ne!(load_or_create(folder.path(), "trunkB").unwrap(), first);
        assert_eq!(first.to_string().as_bytes()[14], b'4');
    }

    #[test]
    fn a_spoilt_file_is_refused_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trunkA.uuid"), "x").unwrap();
        assert!(load_or_create(folder.path(), "trunkA").is_err());
    }
}
