//! Who is who: VMs are `vm1`, `vm2`...; host monitors `h1a`, `h1b` (host 1, trunks a and b), `h2a`...

use std::fmt;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::HostKey;

/// A VM, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vm(pub usize);

/// A host monitor: its host and its trunk, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hm {
    /// Which host.
    pub host: usize,
    /// Which of the host's trunks.
    pub trunk: usize,
}

impl fmt::Display for Vm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "vm{}", self.0 + 1)
    }
}

impl fmt::Display for Hm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "h{}{}", self.host + 1, char::from(b'a' + u8::try_from(self.trunk).unwrap_or(25)))
    }
}

impl Vm {
    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number: usize = text.strip_prefix("vm")?.parse().ok()?;
        number.checked_sub(1).map(Self)
    }

    /// Its UUID.
    #[must_use]
    pub fn uuid(self) -> VmUuid {
        let number = u16::try_from(self.0 + 1).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = [0x51; 16];
        bytes[14..].copy_from_slice(&number);
        VmUuid::from_bytes(bytes)
    }

    /// By its UUID.
    #[must_use]
    pub fn of(uuid: VmUuid, count: usize) -> Option<Self> {
        (0..count).map(Self).find(|vm| vm.uuid() == uuid)
    }

    /// The address of its adapter on the trunks of this letter; kept when it moves.
    #[must_use]
    pub fn mac(self, trunk: usize) -> MacAddr {
        let [high, low] = u16::try_from(self.0 + 1).unwrap_or(u16::MAX).to_be_bytes();
        MacAddr(0x52, 0x54, 0, u8::try_from(trunk).unwrap_or(u8::MAX), high, low)
    }
}

impl Hm {
    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('h')?;
        let letter = rest.chars().next_back().filter(char::is_ascii_lowercase)?;
        let host: usize = rest.strip_suffix(letter)?.parse().ok()?;
        Some(Self { host: host.checked_sub(1)?, trunk: usize::from(u8::try_from(letter).ok()? - b'a') })
    }

    /// Its UUID.
    #[must_use]
    pub fn id(self) -> HostMonitorId {
        let mut bytes = [0xaa; 16];
        bytes[14] = u8::try_from(self.host + 1).unwrap_or(u8::MAX);
        bytes[15] = u8::try_from(self.trunk + 1).unwrap_or(u8::MAX);
        HostMonitorId::from_bytes(bytes)
    }

    /// The address of its trunk adapter.
    #[must_use]
    pub fn mac(self) -> MacAddr {
        let byte = |number: usize| u8::try_from(number + 1).unwrap_or(u8::MAX);
        MacAddr(0x52, 0x54, 0xff, 0, byte(self.host), byte(self.trunk))
    }
}

/// A host's firmware name.
#[must_use]
pub fn host_key(host: usize) -> HostKey {
    HostKey { machine_type: "8408".to_owned(), model: "E8E".to_owned(), serial: format!("HOST{}", host + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for number in [0, 9, 255] {
            assert_eq!(Vm::parse(&Vm(number).to_string()), Some(Vm(number)));
            let hm = Hm { host: number, trunk: number % 3 };
            assert_eq!(Hm::parse(&hm.to_string()), Some(hm));
        }
        for text in ["vm0", "vm", "h0a", "ha", "h1", "h1A", "", "hé"] {
            assert_eq!((Vm::parse(text), Hm::parse(text)), (None, None), "{text}");
        }
    }
}
