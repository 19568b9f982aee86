//! lcore inside a C program: a static library with one function. `tests/from_c.rs` links it as C
//! programs are.
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

/// The linked backends and transports as a line of names: what `-N` takes in this program.
// SAFETY: the only function of this name in the program.
#[unsafe(no_mangle)]
pub extern "C" fn lcore_linked() -> *const c_char {
    static NAMES: OnceLock<CString> = OnceLock::new();
    let names = || [lcore::net_backends(), lcore::transports()].concat().join(" ");
    NAMES.get_or_init(|| CString::new(names()).unwrap_or_default()).as_ptr()
}

/// How many methods of RPC are linked, and sources of statistics.
// SAFETY: the only function of this name in the program.
#[cfg(feature = "rpc")]
#[unsafe(no_mangle)]
pub extern "C" fn lcore_registered(methods: &mut usize, sources: &mut usize) {
    *methods = lcore::rpc::LCORE_RPC_METHODS.len();
    *sources = lcore::LCORE_STATS.len();
}

/// Runs an application that ends at once, and answers its exit code: 0 if it found a backend by
/// itself.
// SAFETY: the only function of this name in the program.
#[unsafe(no_mangle)]
pub extern "C" fn lcore_run() -> u8 {
    let run = |app: lcore::App| {
        app.try_run(|_, app| {
            app.stop(0);
            Ok(())
        })
    };
    run(lcore::App::new("from_c").network()).unwrap_or_else(|why| why.exit_code())
}
