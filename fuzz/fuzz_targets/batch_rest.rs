#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| understudy::wire::fuzzing::batch_rest(bytes));
