#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| understudy::mirror::fuzzing::delta(bytes));
