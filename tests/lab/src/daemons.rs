//! The daemons and commands under test, started in a world as an operator would start them.

mod agent;
mod application;
mod chain;
mod controller;
mod guest_view;
mod host_monitor;
mod injector;
pub(crate) mod keys;
pub(crate) mod postgresql;
mod recording;
pub(crate) mod requests;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::Lab;
use crate::workspace::{make_dir, write};

pub(crate) use agent::Agent;
pub(crate) use application::Application;
pub(crate) use chain::{Chain, Plan, text_of};
pub(crate) use controller::Controller;
pub(crate) use guest_view::GuestView;
pub(crate) use host_monitor::{AS_SHIPPED, HostMonitor, MonitorSettings, MonitorStatus, PathStatus};
pub(crate) use injector::Injector;
pub(crate) use recording::{Recording, capture_command};

/// Where settings are in a world and in a guest: a private folder there.
const SETTINGS_DIR: &str = "/etc/vmpulse";

/// Where the world's health store is, if not in a file.
static STORE: OnceLock<String> = OnceLock::new();

/// The world's health store is on a server; to be said before anything is started.
pub(crate) fn use_store(url: String) {
    // A world has one story, and that says it once.
    let _ = STORE.set(url);
}

/// The URL of the world's health store.
pub(crate) fn store_url() -> String {
    STORE.get().cloned().unwrap_or_else(|| format!("sqlite://{}", store_file().display()))
}

/// The file of the world's health store.
pub(crate) fn store_file() -> PathBuf {
    crate::world::dir("store").join("health.db")
}

/// Writes what `hmmgr` reads when it is told nothing: where all monitors of this machine, the store and the trunks are.
pub(crate) fn write_common_settings() -> Lab<()> {
    let text =
        format!("store = \"{}\"\nstate_dir = \"{}\"\n", store_url(), crate::world::dir("state").display());
    write_settings("hostmon.toml", &text).map(drop)
}

/// Writes a settings file; a copy is kept with the evidence of a failure.
fn write_settings(name: &str, text: &str) -> Lab<PathBuf> {
    let folder = make_dir(PathBuf::from(SETTINGS_DIR))?;
    write(&crate::world::dir("settings").join(name), text)?;
    let path = folder.join(name);
    write(&path, text)?;
    Ok(path)
}
