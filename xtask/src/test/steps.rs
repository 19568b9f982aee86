//! The steps of the test command, in the order in which they run: the quick ones first.

use std::io::{BufRead, BufReader, pipe};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use super::{asan, deny, kv, no_std, packages, rpc, user, wire, words};
use crate::program::{self, cargo};

/// A check with a name. It runs at the top of the repository.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&Shell) -> Result<()>,
}

pub(super) const STEPS: [Step; 22] = [
    Step { name: "fmt", about: "the code is formatted", run: fmt },
    Step { name: "words", about: "comments wrap, and what the table of facts names is there", run: words::check },
    Step { name: "deny", about: "dependencies have licences that may be, come from the registry, and are there once", run: deny::check },
    Step { name: "clippy", about: "no lint has anything to say", run: clippy },
    Step { name: "docs", about: "the documentation builds and its links lead somewhere", run: docs },
    Step {
        name: "book",
        about: "the book builds, every page is in it, links lead somewhere, and its commands run",
        run: crate::book::check,
    },
    Step { name: "tests", about: "unit, integration and documentation tests", run: tests },
    Step { name: "user", about: "the tests pass for an ordinary user too, with the default limits and with small ones", run: user::check },
    Step { name: "tap", about: "the network suite passes over smoltcp on a TAP device, with the kernel's TCP as its peer", run: tap },
    Step { name: "rpc", about: "SPDK's own client calls hello-sock's methods, and sets a target up, which a host uses", run: rpc::check },
    Step { name: "faults", about: "hello-sock serves its other peers through two minutes of random faults", run: faults },
    Step { name: "wire", about: "Wireshark finds nothing malformed in what nvme-perf and nvmf-tgt say to each other", run: wire::check },
    Step { name: "kv", about: "redis-cli and redis-benchmark are content with hello-kv", run: kv::check },
    Step { name: "features", about: "builds without a backend, and with each kind of logging", run: features },
    Step { name: "packages", about: "each crate that users need packages, and compiles from its package", run: packages::check },
    Step {
        name: "vm",
        about: "a machine with an RDMA device boots, the tests declared for it pass in it, and its NVMe host is content with nvmf-tgt, on two kernels",
        run: vm,
    },
    Step { name: "no-std", about: "the no_std crates link and run without std and libc", run: no_std::check },
    Step { name: "loom", about: "the model checker tries every interleaving of the lock-free parts", run: loom },
    Step { name: "asan", about: "AddressSanitizer sees no misuse of memory and no leak", run: asan::check },
    Step { name: "image", about: "images build, boot on microvm and q35, and echo", run: crate::image::step },
    Step { name: "counts", about: "no hot path takes a tenth more instructions than is kept", run: |_| crate::counts::check() },
    Step { name: "bench", about: "the workspace of the benchmarks is formatted, lint-free and passes its tests", run: bench },
];

fn fmt(sh: &Shell) -> Result<()> {
    need_rustfmt(sh)?;
    let cargo = cargo();
    // The root's workspace, and those that no other step looks at.
    for folder in [".", "nostd-check", "fuzz"] {
        let _in = sh.push_dir(folder);
        cmd!(sh, "{cargo} fmt --check").run()?;
    }
    Ok(())
}

fn clippy(sh: &Shell) -> Result<()> {
    need_clippy(sh)?;
    let cargo = cargo();
    Ok(cmd!(sh, "{cargo} clippy --workspace --all-targets -- -D warnings").run()?)
}

fn docs(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    Ok(cmd!(sh, "{cargo} doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings").run()?)
}

fn tests(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    Ok(cmd!(sh, "{cargo} test --workspace").run()?)
}

/// Needs root, for network namespaces and devices in them. A user's own namespace will do, where
/// the system lets users have one.
fn tap(sh: &Shell) -> Result<()> {
    need_clippy(sh)?;
    ensure!(sh.path_exists("/dev/net/tun"), "/dev/net/tun is not there: load TAP devices into the kernel with `modprobe tun`");
    let cargo = cargo();
    cmd!(sh, "{cargo} clippy -p net-impl-smoltcp --test tap -- -D warnings").run()?;
    cmd!(sh, "ip -V").quiet().ignore_stdout().run().context("`ip` is not there: install iproute2")?;
    if rustix::process::geteuid().is_root() {
        Ok(cmd!(sh, "{cargo} test -p net-impl-smoltcp --test tap").run()?)
    } else {
        Ok(cmd!(sh, "unshare --map-root-user {cargo} test -p net-impl-smoltcp --test tap").run()?)
    }
}

/// It prints its seed, with which the same faults can be thrown again.
fn faults(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    cmd!(sh, "{cargo} build -p hello-sock -p faults").run()?;
    Ok(cmd!(sh, "{cargo} run --quiet -p faults -- --minutes 2").run()?)
}

/// What `--workspace` cannot see, because there the features of all packages are on at once.
fn features(sh: &Shell) -> Result<()> {
    need_clippy(sh)?;
    let cargo = cargo();
    for package in ["lcore", "hello-sock"] {
        cmd!(sh, "{cargo} clippy -p {package} --no-default-features -- -D warnings").run()?;
    }
    for backend in ["program", "posix", "uring", "rpc", "observe", "metrics"] {
        cmd!(sh, "{cargo} clippy -p hello-sock --no-default-features --features {backend} -- -D warnings").run()?;
    }
    without_backend(sh)?;
    for package in ["net-link", "net-impl-smoltcp"] {
        cmd!(sh, "{cargo} clippy -p {package} --no-default-features -- -D warnings").run()?;
    }
    // CRC32C of either source, whichever the workspace takes.
    for source in ["", "std"] {
        cmd!(sh, "{cargo} test --quiet -p lcore-nvme --lib --features={source}").run()?;
    }
    cmd!(sh, "{cargo} clippy -p lcore-nvme --features auth --all-targets -- -D warnings").run()?;
    cmd!(sh, "{cargo} test --quiet -p lcore-nvme --features auth --lib --test auth").run()?;
    cmd!(sh, "{cargo} clippy -p lcore --features bytes --test face -- -D warnings").run()?;
    cmd!(sh, "{cargo} test --quiet -p lcore --features bytes --test face").run()?;
    cmd!(sh, "{cargo} test --quiet -p lcore-pool --features bytes,std").run()?;
    for feature in ["", "embedded-io-async", "files", "futures-io", "hyper", "names", "tokio"] {
        cmd!(sh, "{cargo} clippy -p lcore-async --features={feature} -- -D warnings").run()?;
    }
    crate::packages::need("a test of HTTPS", &[crate::packages::program("curl", "curl")])?;
    let all = "embedded-io-async,files,futures-io,hyper,names,tokio";
    cmd!(sh, "{cargo} clippy -p lcore-async --features {all} --all-targets -- -D warnings").run()?;
    cmd!(sh, "{cargo} test --quiet -p lcore-async --features {all}").run()?;
    for logging in ["log", "defmt", "log,observe", "defmt,observe"] {
        cmd!(sh, "{cargo} clippy -p core-reactor --features {logging} -- -D warnings").run()?;
    }
    Ok(())
}

/// A program without a backend says so, and what to do.
fn without_backend(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    let output = cmd!(sh, "{cargo} run --quiet -p hello-sock --no-default-features --features program -- -S --no-cpumask-locks")
        .ignore_status()
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "hello-sock without a backend ended with {} and not with exit code 2:\n{said}", output.status);
    for part in ["no network backend is linked", "--features posix"] {
        ensure!(said.contains(part), "hello-sock without a backend did not say {part:?}:\n{said}");
    }
    Ok(())
}

/// First the machine itself, then what is for it: lints, which the other steps cannot see without
/// RDMA's packages, and tests.
fn vm(sh: &Shell) -> Result<()> {
    need_clippy(sh)?;
    let (cargo, xtask) = (cargo(), program::OWN);
    cmd!(sh, "{xtask} vm build").run()?;
    cmd!(sh, "{cargo} clippy -p xtask --test vm -- -D warnings").run()?;
    cmd!(sh, "{cargo} test -p xtask --test vm").run()?;
    crate::vm::lint()?;
    cmd!(sh, "{xtask} vm test").run()?;
    // Kernels differ in what they do for RDMA: what holds on the distribution's own holds on the
    // newest that it offers as well.
    cmd!(sh, "{xtask} vm test --kernel newest").run()?;
    // So do NVMe's hosts, of which the newer is the stricter.
    cmd!(sh, "{xtask} vm test nvmf").run()?;
    Ok(cmd!(sh, "{xtask} vm test nvmf --kernel newest").run()?)
}

fn loom(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    for package in ["lcore-pool", "core-reactor", "platform-linux"] {
        // Optimised, because models run many times; without link-time optimisation, because they
        // are linked once.
        let models = cmd!(sh, "{cargo} test --release -p {package} --test loom*")
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", program::target()?.join("loom"))
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        let passed: u64 = read_along(models)?.lines().map(passed).sum();
        ensure!(passed > 0, "{package}: no model ran (they are expected in its tests/loom*.rs)");
    }
    Ok(())
}

fn bench(sh: &Shell) -> Result<()> {
    need_rustfmt(sh)?;
    need_clippy(sh)?;
    ensure!(sh.path_exists("bench/Cargo.toml"), "bench/ is not there: the benchmarks live in it");
    let cargo = cargo();
    let _in = sh.push_dir("bench");
    cmd!(sh, "{cargo} fmt --check").run()?;
    cmd!(sh, "{cargo} clippy --workspace --all-targets -- -D warnings").run()?;
    Ok(cmd!(sh, "{cargo} test --workspace").run()?)
}

pub(super) fn need_rustfmt(sh: &Shell) -> Result<()> {
    need(sh, "fmt", "rustfmt")
}

pub(super) fn need_clippy(sh: &Shell) -> Result<()> {
    need(sh, "clippy", "clippy")
}

fn need(sh: &Shell, command: &str, component: &str) -> Result<()> {
    let cargo = cargo();
    let there = cmd!(sh, "{cargo} {command} --version").quiet().ignore_stdout().ignore_stderr().run();
    there.with_context(|| format!("cargo {command} is not there: install it with `rustup component add {component}`"))
}

/// Runs a command and returns what it prints, errors included, which also goes to our own output
/// line by line.
pub(super) fn read_along(cmd: Cmd<'_>) -> Result<String> {
    println!("$ {cmd}");
    let (reader, writer) = pipe()?;
    let mut child = Command::from(cmd).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    let mut text = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        println!("{line}");
        text += &line;
        text.push('\n');
    }
    let status = child.wait()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(text)
}

/// The tests that passed, by a closing line of the test runner.
pub(super) fn passed(line: &str) -> u64 {
    let count = line.strip_prefix("test result: ok. ").and_then(|rest| rest.split(' ').next());
    count.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_from_closing_lines_only() {
        assert_eq!(passed("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s"), 12);
        assert_eq!(passed("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s"), 0);
        assert_eq!(passed("running 12 tests"), 0);
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), 0);
    }

    #[test]
    fn a_command_that_fails_is_an_error_and_its_output_is_kept_otherwise() {
        let sh = Shell::new().expect("a shell");
        assert_eq!(read_along(cmd!(sh, "sh -c 'echo one; echo two >&2'")).expect("runs"), "one\ntwo\n");
        assert!(read_along(cmd!(sh, "sh -c 'exit 3'")).is_err());
    }

    #[test]
    fn step_names_are_unique() {
        let mut names = STEPS.map(|s| s.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]));
    }
}
