//! Links an image: no start files, no libraries, the platform's linker script.

use std::env;

fn main() {
    let script = env::var("DEP_PLATFORM_X86_SCRIPT").expect("platform-x86 sets it");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rerun-if-changed={script}");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
    // A hosted target's linker is the C compiler, which would add those of a program.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none") {
        for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
