//! `hmmgr passthru`.

use std::io::Read;
use std::path::Path;

use vmpulse_local::exit::Exit;
use vmpulse_protocol::id::HostMonitorId;

use super::{fail, print};
use crate::passthru::{MAX_REQUEST_BYTES, answer};
use crate::settings::Settings;

/// Longest UUID file: its text and a line end, with room for blanks.
const MAX_UUID_FILE_BYTES: u64 = 128;

pub(super) fn run(settings: &Settings, store: Option<&str>) -> Exit {
    let mut request = Vec::new();
    // One byte more than allowed, so that a longer request is seen to be one.
    let limit = u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if let Err(error) = std::io::stdin().lock().take(limit).read_to_end(&mut request) {
        return fail(&error, Exit::OsError);
    }
    let url = store.unwrap_or(&settings.store);
    let (response, done) = answer(&request, &local_host_monitors(settings), || vmpulse_store::open(url));
    print(&response, if done { Exit::Done } else { Exit::Failed })
}

/// The host monitors of this machine: the one in the settings, and those that keep their UUID in the state folder.
fn local_host_monitors(settings: &Settings) -> Vec<HostMonitorId> {
    let files = std::fs::read_dir(&settings.state_dir).into_iter().flatten().flatten();
    let kept = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "uuid"))
        .filter_map(|path| read_id(&path));
    settings.uuid.into_iter().chain(kept).collect()
}

fn read_id(path: &Path) -> Option<HostMonitorId> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_UUID_FILE_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
