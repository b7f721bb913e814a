#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jwksd_fuzz::batch::run(data));
