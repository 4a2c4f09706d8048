//! Everything that is read as XML: the agent's configuration, requests to the store, application reports.
//!
//! The first byte says as which of them the rest is read; for a configuration three more choose a change.

mod configuration;
mod reports;
mod requests;

/// Reads these bytes as they say.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            let Some((change, text)) = rest.split_first_chunk() else { return };
            if let Ok(text) = std::str::from_utf8(text) {
                configuration::check(*change, text);
            }
        }
        1 => requests::check(rest),
        _ => reports::check(rest),
    }
}
