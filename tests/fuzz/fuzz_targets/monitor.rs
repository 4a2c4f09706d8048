//! See [`vmpulse_fuzz::monitor`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmpulse_fuzz::monitor::run(data));
