#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| authrelay_fuzz::relay::relay(input));
