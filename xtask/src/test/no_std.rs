//! The check that the no_std crates need no std and no libc.
//!
//! Two looks, because each is blind to something. `nostd-check/` links them into a program without
//! std, libc and start files, and runs it: that finds std (two panic handlers) and a call into libc
//! that nothing provides. The `libc` crate, however, brings its library along to the linker, so the
//! dependency tree is looked through for it and its like.

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::steps::need_clippy;
use crate::program::cargo;

/// The no_std crates, with the features that images take.
const CRATES: [(&str, &str); 15] = [
    ("lcore-logging", ""),
    ("lcore-pool", ""),
    ("core-reactor", ""),
    ("net-group", ""),
    ("net-link", "--features=dhcp,ipv6"),
    ("net-impl-smoltcp", ""),
    ("sim-net", ""),
    ("net-impl-mem", ""),
    ("lcore-async", "--features=embedded-io-async"),
    ("lcore-nvme", "--features=auth"),
    ("nvmf", ""),
    ("bdev", ""),
    ("bdev-malloc", ""),
    ("bdev-fault", ""),
    ("hello-sock", "--no-default-features"),
];

/// What an image consists of: a workspace of its own, whose build dependencies are no part of it.
const IMAGE: [&str; 2] = ["hello-image", "smallest"];

/// Crates that are doors to the operating system, whatever they say of std.
const DOORS: [&str; 8] = ["errno", "io-uring", "libc", "mio", "nix", "rustix", "socket2", "windows-sys"];

pub(super) fn check(sh: &Shell) -> Result<()> {
    need_clippy(sh)?;
    let cargo = cargo();
    let format = "{p}|{f}";
    for (package, features) in CRATES {
        let features = features.split_ascii_whitespace();
        let tree = cmd!(sh, "{cargo} tree -p {package} {features...} -e normal,no-proc-macro --prefix none --format {format}").read()?;
        look_through(package, &tree)?;
    }
    for package in IMAGE {
        let _in = sh.push_dir("image");
        let features = if package == "hello-image" { "--features=smoltcp,pollers,tasks,log" } else { "--no-default-features" };
        let tree =
            cmd!(sh, "{cargo} tree --locked -p {package} {features} -e normal,no-proc-macro --prefix none --format {format}").read()?;
        look_through(package, &tree)?;
    }
    // The versions that the product has; cargo takes out what this program does not need.
    sh.copy_file("Cargo.lock", "nostd-check/Cargo.lock")?;
    let _in = sh.push_dir("nostd-check");
    cmd!(sh, "{cargo} clippy -- -D warnings").run()?;
    cmd!(sh, "{cargo} build").run()?;
    cmd!(sh, "{cargo} run --quiet")
        .run()
        .context("the exit code is the number of the check that failed in nostd-check/src/main.rs, or 101 for a panic")
}

/// Each line is a package with its version, a bar, and its features.
fn look_through(of: &str, tree: &str) -> Result<()> {
    ensure!(!tree.trim().is_empty(), "cargo tree says nothing of {of}");
    for line in tree.lines() {
        let (package, features) = line.split_once('|').with_context(|| format!("cargo tree says {line:?}"))?;
        let name = package.split(' ').next().unwrap_or_default();
        if DOORS.contains(&name) {
            bail!("{of} depends on {name}, which needs an operating system (`cargo tree -p {of} -e normal -i {name}` shows by whom)");
        }
        if features.split(',').any(|feature| feature == "std") {
            bail!("{of} depends on {package} with its feature std: take it with default-features = false");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_std_passes() {
        look_through("pool", "pool v0.1.0 (/src/pool)|log\nlog v0.4.35|\nspin v0.12.3|mutex,once\n").expect("nothing wrong with it");
    }

    #[test]
    fn libc_std_and_silence_are_found() {
        let why = |tree| format!("{:#}", look_through("pool", tree).expect_err("must be found"));
        assert!(why("pool v0.1.0|\nlibc v0.2.191|\n").contains("depends on libc"));
        assert!(why("pool v0.1.0|\nlog v0.4.35|kv,std\n").contains("log v0.4.35 with its feature std"));
        assert!(why("\n").contains("says nothing"));
    }
}
