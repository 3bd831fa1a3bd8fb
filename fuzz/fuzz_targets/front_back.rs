#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| authrelay_fuzz::front_back::front_back(input));
