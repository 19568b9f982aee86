//! Links without start files and libraries.

use std::env;

fn main() {
    // A hosted target's linker is the C compiler, which would add those of a program.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none") {
        for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
