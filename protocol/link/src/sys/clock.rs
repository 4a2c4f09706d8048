//! What the kernel thinks of the wall clock.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;

/// See [`clock_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Something keeps it in step with another clock.
    pub synchronised: bool,
    /// How far it may be off at most, in microseconds, as whatever keeps it says.
    pub max_error_us: i64,
}

/// Asks for the state of the wall clock; changes nothing, and needs no privilege.
///
/// # Errors
/// What the kernel says: a sandbox may forbid the call.
pub fn clock_state() -> io::Result<ClockState> {
    // SAFETY: a structure of plain numbers, for which zeros are valid; no mode is set, so nothing is changed.
    let mut state: libc::timex = unsafe { zeroed() };
    // SAFETY: the kernel writes into a structure that is valid during the call.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    let synchronised = result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0;
    Ok(ClockState { synchronised, max_error_us: state.maxerror as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_asked_and_the_answer_is_of_one_piece() {
        let state = clock_state().unwrap();
        assert!(state.max_error_us >= 0, "{state:?}");
        assert_eq!(clock_state().unwrap().synchronised, state.synchronised);
    }
}
