//! Links an image: no start files, no libraries, the platform's linker script.

use std::env;

fn main() {
    let script = env::var("DEP_PLATFORM_X86_SCRIPT").expect("platform-x86 sets it");
    let bare = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    if !bare {
        // The host's linker is called by the C compiler, which would add those of a program.
        for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
