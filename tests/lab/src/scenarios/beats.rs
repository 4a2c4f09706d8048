//! Whether guests really beat, as seen where they send: what a monitor did not hear is its fault or the trunk's only if
//! it was sent.

use std::time::Duration;

use crate::daemons::Chain;
use crate::error::{Lab, LabError};
use crate::frames::{Capture, Frame};
use crate::process::Place;

/// Tenths of an interval after which a path is MISSING.
const MISSING_TENTHS: u128 = 19;

/// Captures on the guests' own adapters; they end with this value.
pub(super) struct Beats {
    sent: Vec<Sent>,
}

struct Sent {
    uuid: String,
    trunk: usize,
    mac: String,
    capture: Capture,
}

impl Beats {
    /// Of these guests, on every trunk.
    pub(super) fn watch(chain: &Chain, uuids: &[String]) -> Lab<Beats> {
        let mut sent = Vec::new();
        for guest in chain.guests.iter().filter(|guest| uuids.iter().any(|uuid| uuid == guest.uuid())) {
            for (index, trunk) in chain.world.trunks().iter().enumerate() {
                let name = format!("{}-{}", guest.name(), trunk.adapter());
                let capture = Capture::start(&Place::net(guest.name()), &trunk.adapter(), &name)?;
                let mac = trunk.guest_mac(guest.number());
                sent.push(Sent { uuid: guest.uuid().to_string(), trunk: index, mac, capture });
            }
        }
        Ok(Beats { sent })
    }

    /// Judges a guest that was seen late or was accused on a trunk: fails, unless this machine kept it from beating,
    /// which proves nothing.
    pub(super) fn judge(&mut self, uuid: &str, trunk: usize, interval_ms: u64, seen: &str) -> Lab<()> {
        let found = self.sent.iter_mut().find(|sent| sent.uuid == uuid && sent.trunk == trunk);
        let Some(sent) = found else { return Err(LabError::Unexpected(seen.to_string())) };
        let gap = longest_gap(&sent.capture.frames()?, &sent.mac).as_millis();
        if gap * 10 >= u128::from(interval_ms) * MISSING_TENTHS {
            return Err(LabError::Skipped(format!(
                "this machine kept {uuid} from beating for {gap} ms: {seen}"
            )));
        }
        Err(LabError::Unexpected(format!(
            "a guest that beat at least every {gap} ms was taken for late: {seen}"
        )))
    }
}

fn longest_gap(captured: &[Frame], mac: &str) -> Duration {
    let beats: Vec<Duration> = captured
        .iter()
        .filter(|frame| frame.is_heartbeat() && frame.from() == mac)
        .map(|frame| frame.at)
        .collect();
    let gaps = beats.iter().zip(beats.iter().skip(1)).map(|(earlier, later)| later.saturating_sub(*earlier));
    gaps.max().unwrap_or_default()
}
