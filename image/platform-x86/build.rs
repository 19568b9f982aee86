//! Tells the images where the linker script is, as `DEP_PLATFORM_X86_SCRIPT`.

use std::env;
use std::path::PathBuf;

fn main() {
    let script = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("image.ld");
    println!("cargo::metadata=script={}", script.display());
    println!("cargo::rerun-if-changed=image.ld");
}
