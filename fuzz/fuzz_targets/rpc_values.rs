//! See `values` of rpc's tests.
#![no_main]

#[path = "../../rpc/tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::values(bytes));
