//! The tests of what asks the system for things, run as an ordinary user: with the limits that
//! users have by default, and with small ones.
//!
//! As root everything is allowed, so that what a limit refuses is never met. Root gives its rights
//! up for this; anybody else runs the tests as they are.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};
use xshell::{Shell, cmd};

use super::steps::{passed, read_along};
use crate::program::{self, Built, cargo};

/// What is left out, because it is the same once more, of which the system asks nothing else: the
/// other address family, and the whole suite over the smallest rings. The step `tests` has both.
const LEFT_OUT: [&str; 2] = ["v6::", "tiny::"];

/// Limits of a process, soft and hard, and what is run with them.
struct Limits {
    about: &'static str,
    /// Memory that may be locked, bytes (RLIMIT_MEMLOCK).
    memlock: (u64, u64),
    /// Descriptors (RLIMIT_NOFILE).
    nofile: (u64, u64),
    packages: &'static [Package],
}

/// A package, and those of its test programs that are run; none named are all.
struct Package(&'static str, &'static [&'static str]);

const ORDINARY: [Package; 7] = [
    Package("platform-linux", &[]),
    Package("core-uring", &[]),
    Package("net-impl-posix", &[]),
    Package("net-impl-uring", &[]),
    Package("lcore-rpc", &[]),
    Package("lcore", &[]),
    Package("hello-sock", &[]),
];

/// Those that have rings, and what is said when there can be none.
const SCARCE: [Package; 3] = [Package("core-uring", &[]), Package("net-impl-uring", &[]), Package("hello-sock", &["choice", "host"])];

const LIMITS: [Limits; 2] = [
    // What systemd gives a user.
    Limits { about: "default limits", memlock: (8 << 20, 8 << 20), nofile: (1024, 524_288), packages: &ORDINARY },
    // Too little for sends without a copy, and enough for rings. What is done with less than that,
    // hello-sock's tests show (s58). Descriptors are what tests raise as they need.
    Limits { about: "small limits", memlock: (1 << 20, 8 << 20), nofile: (256, 8192), packages: &SCARCE },
];

/// The user and the group that have no rights (`nobody`).
const NOBODY: &str = "65534";

pub(super) fn check(sh: &Shell) -> Result<()> {
    for tool in ["prlimit", "setpriv"] {
        cmd!(sh, "{tool} --version").quiet().ignore_stdout().run().with_context(|| format!("{tool} is not there: install util-linux"))?;
    }
    let mut build = Command::new(cargo());
    build.args(["test", "--no-run"]).args(ORDINARY.iter().flat_map(|package| ["-p", package.0]));
    let tests: Vec<_> = program::artifacts(build)?.into_iter().filter(|built| built.test).collect();
    let home = tempfile::tempdir().context("could not make a folder for the user")?;
    let mut drop = Vec::new();
    if rustix::process::geteuid().is_root() {
        let path = home.path();
        cmd!(sh, "chown {NOBODY}:{NOBODY} {path}").quiet().run()?;
        drop = rights(sh, &tests)?;
    }
    for limits in &LIMITS {
        println!("\n-- {}: memlock {} KiB, nofile {}:{}", limits.about, limits.memlock.0 >> 10, limits.nofile.0, limits.nofile.1);
        for test in limits.of(&tests)? {
            // Its servers live in namespaces of their own, where the right to pass through a closed
            // folder is gone.
            if test.name == "host" && drop.iter().any(|option| option.contains("dac_read_search")) {
                println!("left out, as the repository lies in a folder that is closed to others: {}", test.name);
                continue;
            }
            let said = read_along(limits.command(sh, test, &drop, home.path()))
                .with_context(|| format!("{} of {} as an ordinary user with {}", test.name, test.package.display(), limits.about))?;
            ensure!(said.lines().any(|line| line.starts_with("test result: ok")), "{} ran no tests", test.name);
            println!("{} tests of {} passed with {}", said.lines().map(passed).sum::<u64>(), test.name, limits.about);
        }
    }
    Ok(())
}

/// What gives root's rights up. Where the repository lies in a folder that is closed to others, the
/// one right that stays is to read and to pass through folders.
fn rights(sh: &Shell, tests: &[Built]) -> Result<Vec<&'static str>> {
    let mut drop = vec!["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let program = &tests.first().context("there are no tests")?.executable;
    // By way of `env`: setpriv itself has its rights until it starts something.
    let try_it = |drop: &[&str]| cmd!(sh, "env {drop...} env {program} --list").quiet().ignore_stdout().ignore_stderr().run();
    if try_it(&drop).is_err() {
        drop.extend(["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]);
        try_it(&drop).with_context(|| {
            format!(
                "user {NOBODY} cannot run {}: have the repository where all users can read it, or set CARGO_TARGET_DIR",
                program.display()
            )
        })?;
    }
    Ok(drop)
}

impl Limits {
    /// Those of the tests that are run with these limits.
    fn of<'a>(&self, tests: &'a [Built]) -> Result<Vec<&'a Built>> {
        let mut chosen = Vec::new();
        for Package(package, names) in self.packages {
            let all: Vec<_> = tests.iter().filter(|test| test.package.ends_with(package)).collect();
            for name in *names {
                ensure!(all.iter().any(|test| test.name == *name), "{package} has no tests {name}");
            }
            chosen.extend(all.into_iter().filter(|test| names.is_empty() || names.contains(&test.name.as_str())));
        }
        Ok(chosen)
    }

    /// Runs a test program in the folder of its package, as cargo does.
    fn command<'a>(&self, sh: &'a Shell, test: &Built, drop: &[&str], home: &Path) -> xshell::Cmd<'a> {
        let (memlock, nofile) = (pair("memlock", Resource::Memlock, self.memlock), pair("nofile", Resource::Nofile, self.nofile));
        let (program, package) = (&test.executable, &test.package);
        // Rings are charged to the user, whichever test and process has them: one test at a time
        // knows what is left.
        let has_rings = ["core-uring", "net-impl-uring"].iter().any(|name| package.ends_with(name));
        let threads = if has_rings { "--test-threads=1" } else { "--test-threads=2" };
        let skip = LEFT_OUT.iter().flat_map(|name| ["--skip", name]);
        cmd!(sh, "env -C {package} prlimit {memlock} {nofile} {drop...} {program} {threads} {skip...}")
            .env("HOME", home)
            .env("TMPDIR", home)
    }
}

/// An option of prlimit: soft and hard limit, as much as is wanted and allowed.
fn pair(name: &str, resource: Resource, (soft, hard): (u64, u64)) -> String {
    let hard = getrlimit(resource).maximum.map_or(hard, |most| most.min(hard));
    format!("--{name}={}:{hard}", soft.min(hard))
}
