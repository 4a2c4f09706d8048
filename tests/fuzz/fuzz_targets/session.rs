//! See [`vmpulse_fuzz::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmpulse_fuzz::session::run(data));
