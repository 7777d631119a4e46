#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| understudy::h3::fuzzing::h3_control(bytes));
