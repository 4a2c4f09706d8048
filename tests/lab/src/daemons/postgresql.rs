//! PostgreSQL servers for stories of which one is the store.

use vmpulse_test_postgres::Server;

use crate::error::{Lab, LabError};
use crate::kit::Kit;

/// A server is somebody else's than root's: where we are root in a user namespace only, there is nobody.
pub(crate) fn needs_another_user(kit: &Kit) -> Lab<()> {
    if kit.real_root {
        return Ok(());
    }
    Err(LabError::Skipped("PostgreSQL does not run as root, and there is no other user here".into()))
}

/// Starts a server of the world's own, whose new database is the world's health store.
pub(crate) fn serve_store(kit: &Kit) -> Lab<(Server, String)> {
    needs_another_user(kit)?;
    let mut server = Server::start().map_err(not_started)?;
    let database = server.database();
    super::use_store(server.url("postgres", &database));
    Ok((server, database))
}

/// A machine may truly have none.
pub(crate) fn not_started(reason: String) -> LabError {
    if reason.starts_with("SKIPPED") { LabError::Skipped(reason) } else { LabError::Unexpected(reason) }
}
