//! Random numbers from the kernel.
//!
//! By the system call, not by `/dev/random`: a guest that has just booted has no entropy yet, and only a process that waits in the
//! system call makes the kernel gather some. One that polls the device, as libraries do where they cannot be sure of the
//! call, can wait for ever.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes` with numbers fit for secrets. Shortly after boot this waits, for a second or so, until there are any.
///
/// # Errors
/// What the system said.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fillings_differ_to_the_last_byte() {
        let mut buffers = [[0; 300]; 2];
        for buffer in &mut buffers {
            fill(buffer).unwrap();
        }
        assert_ne!(buffers[0], buffers[1]);
        assert!(buffers.iter().all(|buffer| buffer[280..] != [0; 20]));
        fill(&mut []).unwrap();
    }
}
