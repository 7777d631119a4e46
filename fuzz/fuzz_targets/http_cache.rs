#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| understudy::http::fuzzing::http_cache(bytes));
