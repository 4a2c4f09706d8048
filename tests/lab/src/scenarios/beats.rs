//! Whether guests really beat, as seen where they send: what a monitor did not hear is its fault or the trunk's only if
//! it was sent.

use std::time::Duration;

use crate::daemons::Chain;
use crate::error::{Lab, LabError};
use crate::frames::Capture;
use crate::process::Place;

/// Tenths of an interval after which a path is MISSING.
const MISSING_TENTHS: u64 = 19;

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

    /// Whether a monitor that called a guest late, some time from `earliest` to `latest` on the wall clock, was right: the
    /// guest had sent nothing for as long as makes a path MISSING. It is this machine that kept it from beating then.
    pub(super) fn was_silent(
        &mut self,
        (uuid, trunk): (&str, usize),
        interval_ms: u64,
        earliest: Duration,
        latest: Duration,
    ) -> Lab<bool> {
        let found = self.sent.iter_mut().find(|sent| sent.uuid == uuid && sent.trunk == trunk);
        let Some(sent) = found else { return Err(LabError::Unexpected(format!("{uuid} is not watched"))) };
        let from = latest.saturating_sub(Duration::from_millis(interval_ms * MISSING_TENTHS / 10));
        let frames = sent.capture.frames()?;
        let mut beats = frames.iter().filter(|frame| frame.is_heartbeat() && frame.from() == sent.mac);
        Ok(!beats.any(|beat| from < beat.at && beat.at <= earliest))
    }
}
