//! What the daemon authenticates with: the mode of its settings, the keys of its key file.

use std::path::Path;

use vmpulse_local::keys::{self, KeyFileError, KeyRing};
use vmpulse_protocol::auth::Authentication;

use crate::settings::Settings;

/// Mode and keys. The key file is not looked at when the mode is off.
pub fn load(settings: &Settings) -> Result<Authentication, KeyFileError> {
    if !settings.authentication.verifies() {
        return Ok(Authentication::NONE);
    }
    Ok(read(&settings.key_file)?.authentication(settings.authentication))
}

/// The keys; none if there is no file.
pub fn read(path: &Path) -> Result<KeyRing, KeyFileError> {
    let Some(ring) = keys::read(path)? else { return Ok(KeyRing::default()) };
    path.parent().map_or(Ok(()), keys::check_directory)?;
    Ok(ring)
}
