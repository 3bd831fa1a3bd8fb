#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| authrelay_fuzz::smtp_session::smtp_session(input));
