//! A single key: made, read from where somebody put it, and printed when somebody asks for it.

use std::io::{self, Read};

use vmpulse_protocol::auth::Key;
use zeroize::Zeroizing;

/// More than a key with blanks and line ends around it.
const SECRET_BYTES: usize = 256;

/// Why no key was read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system refused.
    #[error("cannot read the key")]
    Io(#[source] io::Error),
    /// What was read is none.
    #[error("what was given is no key: expected 64 hexadecimal digits, as `key export` prints them")]
    Malformed,
}

/// A new key from the kernel's source of randomness; waits until that has gathered enough.
///
/// # Errors
/// What the system said.
pub fn generate() -> io::Result<Key> {
    let mut bytes = Zeroizing::new([0; Key::LENGTH]);
    crate::random::fill(bytes.as_mut_slice())?;
    Ok(Key::from_bytes(*bytes))
}

/// Reads a key as [`secret_line`] writes it; blanks and line ends around it do not matter.
///
/// # Errors
/// [`SecretError`].
pub fn read_secret(mut from: impl Read) -> Result<Key, SecretError> {
    let mut buffer = Zeroizing::new([0; SECRET_BYTES]);
    let length = fill(&mut from, buffer.as_mut_slice()).map_err(SecretError::Io)?;
    let text = buffer.get(..length).filter(|_| length < SECRET_BYTES).ok_or(SecretError::Malformed)?;
    let text = std::str::from_utf8(text.trim_ascii()).map_err(|_| SecretError::Malformed)?;
    text.parse().map_err(|_| SecretError::Malformed)
}

/// The key as 64 hexadecimal digits with a line end; wiped when dropped.
#[must_use]
pub fn secret_line(key: &Key) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::with_capacity(2 * Key::LENGTH + 1));
    push_hex(&mut line, key);
    line.push(b'\n');
    line
}

/// Two digits a byte, lower case. The vector must have room: growing would leave a copy behind.
pub(super) fn push_hex(text: &mut Vec<u8>, key: &Key) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    for byte in key.as_bytes() {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0x0f));
    }
}

/// Reads until the end or until the buffer is full, without a copy anywhere else. Returns how much there was.
pub(super) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = generate().unwrap();
        let line = secret_line(&key);
        assert_eq!((line.len(), line.capacity()), (65, 65), "growing would leave a copy behind");
        assert_eq!(read_secret(line.as_slice()).unwrap(), key);
        let upper = format!("  {}\r\n", String::from_utf8(line.to_vec()).unwrap().trim().to_uppercase());
        assert_eq!(read_secret(upper.as_bytes()).unwrap(), key);
        assert_ne!(generate().unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let long = "ab".repeat(200);
        for text in ["", "\n", "abcd", &"g".repeat(64), &format!("1 {}", "ab".repeat(32)), &long] {
            let error = read_secret(text.as_bytes()).unwrap_err();
            assert!(matches!(error, SecretError::Malformed), "{text}");
            assert!(text.trim().is_empty() || !format!("{error} {error:?}").contains(text.trim()), "{error}");
        }
    }
}
