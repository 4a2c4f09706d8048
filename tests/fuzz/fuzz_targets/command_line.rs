//! See [`vmpulse_fuzz::command_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmpulse_fuzz::command_line::run(data));
