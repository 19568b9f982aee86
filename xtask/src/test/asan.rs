//! Tests under AddressSanitizer, which sees memory used after it was freed, beyond its end, or
//! never freed.
//!
//! What the kernel writes by io_uring it does not see; what we read or free too early or too often
//! it does.

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::steps::{passed, read_along};
use crate::program::{self, cargo};

/// The leaks that are meant, with reasons.
const LEAKS: &str = "xtask/src/test/leaks.txt";

/// The sanitizer is an unstable flag of the compiler, but its runtime comes with the stable one:
/// the flag is allowed for this build only.
pub(super) fn check(sh: &Shell) -> Result<()> {
    let target = cmd!(sh, "rustc --print host-tuple").read()?;
    need_runtime(sh)?;
    need_symbolizer(sh)?;
    let (cargo, leaks) = (cargo(), sh.current_dir().join(LEAKS));
    let suppressions = format!("suppressions={}", leaks.display());
    let packages = ["-p", "lcore-pool", "-p", "core-reactor", "-p", "core-uring", "-p", "net-impl-uring"];
    // The compiler's refusals are the same here, and IPv6 takes the same memory as IPv4.
    let skip = ["--skip", "s07_what_must_not_compile", "--skip", "v6::"];
    let tests = cmd!(sh, "{cargo} test --no-fail-fast --target {target} {packages...} --lib --tests -- {skip...}")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", program::target()?.join("asan"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        // A pool that is too large for the machine is an error, not the end.
        .env("ASAN_OPTIONS", "allocator_may_return_null=1:detect_leaks=1")
        .env("LSAN_OPTIONS", suppressions);
    let said = read_along(tests)?;
    ensure!(said.lines().map(passed).sum::<u64>() > 0, "no test ran");
    all_met(&sh.read_file(leaks)?, &said)
}

/// That each leak that is meant was found shows that leaks are looked for, and that none of them is
/// there for nothing.
fn all_met(leaks: &str, said: &str) -> Result<()> {
    let meant = leaks.lines().filter_map(|line| line.strip_prefix("leak:"));
    let unmet: Vec<_> = meant.filter(|name| !said.lines().any(|line| line.split_whitespace().last() == Some(name))).collect();
    ensure!(unmet.is_empty(), "LeakSanitizer did not meet what {LEAKS} expects: {}", unmet.join(", "));
    Ok(())
}

fn need_runtime(sh: &Shell) -> Result<()> {
    let libs = cmd!(sh, "rustc --print target-libdir").quiet().read()?;
    let there = sh.read_dir(libs)?.iter().any(|path| path.to_string_lossy().ends_with("_rt.asan.a"));
    if !there {
        bail!("the toolchain has no AddressSanitizer: rustup's have it, for Linux on x86_64 and aarch64");
    }
    Ok(())
}

/// Without names the leaks that are meant cannot be told from others.
fn need_symbolizer(sh: &Shell) -> Result<()> {
    let there = cmd!(sh, "llvm-symbolizer --version").quiet().ignore_stdout().ignore_stderr().run();
    there.context("llvm-symbolizer is not there: install it with `apt-get install llvm`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAKS: &str = "# why\nleak:a::b\nleak:c::\n";

    #[test]
    fn each_leak_that_is_meant_must_be_met() {
        let said = "Suppressions used:\n  count      bytes template\n      3         96 a::b\n      1          4 c::\n";
        all_met(LEAKS, said).expect("both are there");
        let why = all_met(LEAKS, "running 3 tests\ntest a::b\n").unwrap_err().to_string();
        assert!(why.ends_with(": c::"), "{why}");
        assert!(all_met(LEAKS, "").is_err());
    }
}
