//! See `host` of nvme's tests.
#![no_main]

#[allow(dead_code, reason = "one of three")]
#[path = "../../nvme/tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::host(bytes));
