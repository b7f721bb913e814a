#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jwksd_fuzz::tls::run(data));
