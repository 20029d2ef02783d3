#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::time_args::time_args(bytes));
