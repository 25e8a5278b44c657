#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::run("cloud_events", bytes));
