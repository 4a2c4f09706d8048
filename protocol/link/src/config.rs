//! How a link is opened.

use crate::LinkError;

/// IEEE 802 local experimental EtherType 1, the protocol's default.
pub const DEFAULT_ETHERTYPE: u16 = 0x88B5;
/// Thousands of guests that answer at once fit, and a stall of the daemon of some seconds.
pub const DEFAULT_RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// The values below are lengths in an IEEE 802.3 header, not types.
const LOWEST_ETHERTYPE: u16 = 0x0600;
/// VLAN 0 means "no VLAN, only a priority" and 4095 is reserved.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// What to open, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Name of the adapter.
    pub interface: String,
    /// EtherType of the frames, the same on both sides.
    pub ethertype: u16,
    /// VLAN id: send tagged, and drop all other frames. Without one, tagged and untagged frames are taken.
    pub vlan: Option<u16>,
    /// Size of the kernel's receive queue. Without CAP_NET_ADMIN the kernel may give less (net.core.rmem_max).
    pub receive_buffer_bytes: usize,
}

impl LinkConfig {
    /// The defaults on `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            ethertype: DEFAULT_ETHERTYPE,
            vlan: None,
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER_BYTES,
        }
    }

    /// Whether the numbers are possible.
    ///
    /// # Errors
    /// [`LinkError::InvalidEtherType`] or [`LinkError::InvalidVlan`].
    pub fn check(&self) -> Result<(), LinkError> {
        check_ethertype(self.ethertype)?;
        match self.vlan {
            Some(vlan) if !VLANS.contains(&vlan) => Err(LinkError::InvalidVlan { vlan }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether frames can have this EtherType.
pub(crate) fn check_ethertype(ethertype: u16) -> Result<(), LinkError> {
    if ethertype < LOWEST_ETHERTYPE || ethertype == crate::frame::TPID {
        return Err(LinkError::InvalidEtherType { ethertype });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_numbers_are_refused() {
        let config = LinkConfig::new("eth0");
        assert!(config.check().is_ok());
        for ethertype in [0, 0x05FF, 0x8100] {
            let refused = LinkConfig { ethertype, ..config.clone() }.check();
            assert!(matches!(refused, Err(LinkError::InvalidEtherType { .. })), "{ethertype:#06x}");
        }
        for (vlan, possible) in [(0, false), (1, true), (4094, true), (4095, false), (0xA064, false)] {
            assert_eq!(LinkConfig { vlan: Some(vlan), ..config.clone() }.check().is_ok(), possible, "{vlan}");
        }
    }
}
