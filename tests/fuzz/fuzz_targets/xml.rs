//! See [`vmpulse_fuzz::xml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmpulse_fuzz::xml::run(data));
