//! See `negotiate_request` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smb_direct_fuzz::negotiate_request(bytes));
