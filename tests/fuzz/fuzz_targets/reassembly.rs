//! See [`vmpulse_fuzz::reassembly`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmpulse_fuzz::reassembly::run(data));
