//! The check that the unsafe parts use no memory too late and lose none: their tests under AddressSanitizer and LeakSanitizer.
//!
//! The compiler's switch for it is not stable, but stable toolchains carry its runtime for this target; `RUSTC_BOOTSTRAP` lets the switch through. Nothing else is
//! compiled that way, and the result goes to a target directory of its own. What the kernel writes is not seen; what we do with memory that was the kernel's is.

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::steps::{passed, read_along};
use crate::program::cargo;

/// Tests that are left out, by a part of their names.
const LEFT_OUT: [&str; 5] = [
    // They lose something on purpose, to see that nothing else comes of it.
    "leaked_holds_and_watches_pin_a_thread",
    "a_leaked_receiver_leaves_a_ring_that_fills_up",
    "s25_a_forgotten_object_is_only_lost",
    // Their backends are made for the rest of the program.
    "net::registry::tests",
    // It runs the compiler.
    "s07_what_must_not_compile_does_not",
];

pub(super) fn check(sh: &Shell) -> Result<()> {
    let (cargo, host) = (cargo(), host(sh)?);
    // With a target, build scripts and macros, which run in the compiler, are left as they are.
    let tests =
        cmd!(sh, "{cargo} test --target {host} --target-dir target/asan -p pool -p core-reactor -p net-impl-uring --lib --tests --");
    let tests = LEFT_OUT.iter().fold(tests, |tests, part| tests.arg("--skip").arg(part));
    let tests = tests
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // An allocation that cannot be is refused, as elsewhere; by default it ends the program.
        .env("ASAN_OPTIONS", "detect_leaks=1:allocator_may_return_null=1");
    let ran: u64 = read_along(tests)?.lines().map(passed).sum();
    ensure!(ran > 0, "no test ran");
    Ok(())
}

/// The target that the compiler makes programs for by itself.
fn host(sh: &Shell) -> Result<String> {
    let version = cmd!(sh, "rustc -vV").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
