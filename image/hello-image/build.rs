//! Links an image: no start files, no libraries, the platform's linker script.

use std::env;

fn main() {
    let script = env::var("DEP_PLATFORM_X86_SCRIPT").expect("platform-x86 sets it");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rerun-if-changed={script}");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
    // Sections follow each other in the file too: without it the linker fills pages, since a kernel
    // would map them.
    let hosted = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none");
    println!("cargo::rustc-link-arg-bins={}", if hosted { "-Wl,--nmagic" } else { "--nmagic" });
    // Nobody reads the table of sections but who looks for the texts of defmt's frames. A linker
    // that cannot leave it out warns, and keeps it.
    if env::var_os("CARGO_FEATURE_DEFMT").is_none() {
        println!("cargo::rustc-link-arg-bins={}", if hosted { "-Wl,-z,nosectionheader" } else { "-znosectionheader" });
    }
    // A hosted target's linker is the C compiler, which would add those of a program.
    if hosted {
        for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
