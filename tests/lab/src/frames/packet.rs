//! Packets of the protocol, byte by byte: the lab does not use the code that it tests.

/// A packet with the given header and a right checksum, its length field as given, be it true or not.
pub(crate) fn packet(major: u8, flags: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![major, 0, 7, flags];
    bytes.extend(length);
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(place) = bytes.get_mut(7) {
        *place = sum;
    }
    bytes
}
