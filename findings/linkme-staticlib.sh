#!/bin/sh
# linkme 0.3.37, rustc 1.95 and GNU ld 2.40 (seen 2026-11-29): of a distributed slice whose elements lie in another crate, those are lost when a static library
# (crate-type = ["staticlib"]) is linked into a C program, although Rust code names that crate by `use part as _;`. A Rust program of the same crates has them.
# The linker takes from an archive only the objects that something refers to, and nothing refers to an element. What helps is a reference to the element itself.
#
# Seen: "rust: 1; c: 0; c, with a reference: 1" (elements found). Fails if that changes. Needs cargo, a C compiler and the package linkme.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir -p slice/src part/src both/src
package() { printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n' "$1"; }

printf '[workspace]\nmembers = ["slice", "part", "both"]\nresolver = "3"\n' >Cargo.toml
{ package slice; printf '[dependencies]\nlinkme = "=0.3.37"\n'; } >slice/Cargo.toml
printf '#[linkme::distributed_slice]\npub static NAMES: [&str];\n' >slice/src/lib.rs
{ package part; printf '[dependencies]\nlinkme = "=0.3.37"\nslice = { path = "../slice" }\n'; } >part/Cargo.toml
printf '#[linkme::distributed_slice(slice::NAMES)]\npub static NAME: &str = "part";\n' >part/src/lib.rs
{
    package both
    printf '[lib]\ncrate-type = ["staticlib", "rlib"]\n[features]\nrefer = []\n[dependencies]\nslice = { path = "../slice" }\npart = { path = "../part" }\n'
} >both/Cargo.toml
cat >both/src/lib.rs <<'RUST'
#[cfg(not(feature = "refer"))]
use part as _;
#[unsafe(no_mangle)]
pub extern "C" fn elements() -> usize {
    #[cfg(feature = "refer")]
    std::hint::black_box(&part::NAME);
    slice::NAMES.len()
}
RUST
printf 'fn main() { println!("{}", both::elements()); }\n' >both/src/main.rs
printf '#include <stdio.h>\nsize_t elements(void);\nint main(void) { printf("%%zu\\n", elements()); return 0; }\n' >main.c

export CARGO_TARGET_DIR="$dir/target"
unset RUSTFLAGS
in_c() {
    cargo build --quiet -p both --lib "$@"
    "${CC:-cc}" main.c -o in_c target/debug/libboth.a -lgcc_s -lutil -lpthread -lm -ldl
    ./in_c
}
in_rust=$(cargo run --quiet -p both)
without=$(in_c)
with=$(in_c --features refer)
echo "rust: $in_rust; c: $without; c, with a reference: $with"
[ "$in_rust $without $with" = "1 0 1" ]
