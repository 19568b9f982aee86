//! `vm test`: the tests that packages declare for the machine, built, and run one after the other
//! in one machine.
//!
//! A package declares them in its Cargo.toml; each key may be left out:
//!
//! ```toml
//! [package.metadata.vm]
//! features = ["rdma"]           # cargo features that they are built with
//! tests = ["verbs", "faults"]   # test targets; without it all, the library's unit tests too
//! skip = ["v6::"]               # tests with this in their name are left out, which the table says
//! ```

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use super::guest::{Job, quoted};
use super::machine::{End, Event};
use super::options::{Hardware, Limit};
use super::run::{self, Ready};
use super::{build, nvmf};
use crate::program::{self, Built, Package};
use crate::{Usage, packages, repository};

/// One test binary is killed after this many seconds, so that the others get their turn.
const EACH: u64 = 400;
/// All of them, seconds.
const ALL: u64 = 900;
/// How init and the script below name a result: number, exit code, tests that passed, seconds.
const RESULT: &str = "VM_TEST=";

/// Run the tests that need the machine: those of RDMA, and those that an older kernel is good for.
///
/// A package declares them in its Cargo.toml, under [package.metadata.vm]. They are built and run
/// one after the other in one machine, as root, each with LCORE_RDMA_ADDR set to the address of an
/// RDMA device, which says that one is expected. A binary in which no test passes has failed. The
/// exit code is 0 if all passed, 1 if not, 124 when it took longer than --timeout, 125 when the
/// machine ended without a verdict.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm test
  cargo xtask vm test --list
  cargo xtask vm test nvmf
  cargo xtask vm test nvmf --minutes 10
  cargo xtask vm test -p transport-rdma -- --nocapture disconnect")]
pub(super) struct Args {
    /// `nvmf`: instead, the kernel's NVMe host goes through its steps with a target over TCP.
    #[arg(conflicts_with_all = ["package", "list", "args"])]
    suite: Option<Suite>,
    /// The target that the kernel's host meets.
    #[arg(long, value_name = "WHICH", default_value = "ours", requires = "suite")]
    target: nvmf::Target,
    /// A load of so many minutes besides, in which the target is killed and restarted three times.
    #[arg(long, value_name = "N", requires = "suite", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// Only the tests of this package (may be repeated).
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Show which packages declare which tests, and run none.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    limit: Limit,
    /// Filters and options for the test binaries.
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// A suite that is no package's.
#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    Nvmf,
}

/// What a package declares.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Declared {
    features: Vec<String>,
    tests: Option<Vec<String>>,
    skip: Vec<String>,
}

/// A test binary, and what is left out of it.
struct Test {
    built: Built,
    skip: Vec<String>,
}

/// What became of a test binary.
#[derive(Debug, PartialEq)]
struct Outcome {
    number: usize,
    code: u8,
    passed: u32,
    seconds: f64,
}

pub(super) fn main(args: &Args) -> Result<()> {
    if let Some(Suite::Nvmf) = args.suite {
        return nvmf::main(args.target, args.minutes, &args.hardware, &args.limit);
    }
    let declared = chosen(&program::workspace()?, &args.package)?;
    if args.list {
        for (package, declared) in &declared {
            let tests = declared.tests.as_ref().map_or("all its tests".into(), |tests| tests.join(", "));
            println!("{package:<20} {tests}");
        }
        return Ok(());
    }
    packages::to_boot()?;
    let mut ready = Ready::new(&args.hardware, None)?;
    let mut tests = Vec::new();
    for (package, declared) in &declared {
        for built in build(package, declared).with_context(|| format!("the tests of {package} did not build"))? {
            ready.program(&built, built.executable.to_str().context("a test's path is text")?)?;
            if built.test {
                tests.push(Test { built, skip: declared.skip.clone() });
            }
        }
    }
    let outcomes = run(&ready, &tests, args)?;
    let judged = judge(&tests, &outcomes, !args.args.is_empty());
    for (package, declared) in declared.iter().filter(|(_, declared)| !declared.skip.is_empty()) {
        println!("left out, as {package}/Cargo.toml says why: {}", declared.skip.join(", "));
    }
    judged
}

/// Lints and documentation of the packages whose tests take features, with these.
pub(super) fn lint() -> Result<()> {
    for (package, declared) in chosen(&program::workspace()?, &[])?.iter().filter(|(_, declared)| !declared.features.is_empty()) {
        let mut clippy = Command::new(program::cargo());
        clippy.args(["clippy", "-p", package, "--all-targets"]);
        checked(clippy, declared, &["--", "-D", "warnings"])?;
        let mut doc = Command::new(program::cargo());
        doc.args(["doc", "-p", package, "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        checked(doc, declared, &[])?;
    }
    Ok(())
}

fn checked(mut command: Command, declared: &Declared, rest: &[&str]) -> Result<()> {
    build::features(&mut command, &declared.features)?;
    command.args(rest).current_dir(repository());
    println!("$ {command:?}");
    let status = command.status().context("could not start cargo")?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Packages and what they declare, those of `wanted` if it names any.
fn chosen(workspace: &[Package], wanted: &[String]) -> Result<Vec<(String, Declared)>> {
    let mut declared = Vec::new();
    for package in workspace {
        let Some(value) = package.metadata.get("vm") else { continue };
        let what = Declared::deserialize(value).with_context(|| format!("[package.metadata.vm] in {}'s Cargo.toml", package.name))?;
        declared.push((package.name.clone(), what));
    }
    if let Some(unknown) = wanted.iter().find(|name| !declared.iter().any(|(package, _)| package == *name)) {
        let known = declared.iter().map(|(package, _)| package.as_str()).collect::<Vec<_>>().join(", ");
        bail!(Usage(format!("{unknown} declares no tests for the machine; these do: {known}")));
    }
    declared.retain(|(package, _)| wanted.is_empty() || wanted.contains(package));
    ensure!(!declared.is_empty(), "no package declares tests for the machine ([package.metadata.vm] in its Cargo.toml)");
    Ok(declared)
}

fn build(package: &str, declared: &Declared) -> Result<Vec<Built>> {
    let mut command = Command::new(program::cargo());
    command.args(["test", "--no-run", "-p", package]);
    for test in declared.tests.iter().flatten() {
        command.args(["--test", test]);
    }
    build::features(&mut command, &declared.features)?;
    let mut built = program::artifacts(command)?;
    built.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(built)
}

/// Runs them in one machine.
fn run(ready: &Ready, tests: &[Test], args: &Args) -> Result<Vec<Outcome>> {
    let limit = args.limit.or(ALL);
    let job = Job { hosts: 1, limit: Some(run::own_limit(limit)), ..Job::default() };
    let spec = ready.spec("machine", &job, &script(tests, &args.args))?;
    let mut outcomes = Vec::new();
    let (session, end) = run::to_the_end(&spec, limit, |event| {
        if let Event::Said(line) = event
            && let Some(result) = line.strip_prefix(RESULT)
        {
            outcomes.push(outcome(result).with_context(|| format!("the machine said {line:?}"))?);
        }
        run::show("", event)
    })?;
    match end {
        End::Exit(0) => Ok(outcomes),
        end => run::hand_on(&session, run::ONLY, end).map(|()| outcomes),
    }
}

/// The command: each binary in its package's folder, as cargo would run it.
fn script(tests: &[Test], args: &[String]) -> String {
    let mut script = format!(
        r#"echo $$ > /run/command
one() {{
    number=$1 name=$2 folder=$3
    shift 3
    echo "
== $name"
    mkdir -p "$folder" && cd "$folder"
    began=$(cut -d' ' -f1 /proc/uptime)
    {{ CARGO_MANIFEST_DIR=$folder timeout -s KILL {EACH} "$@" 2>&1; echo $? > /run/code; }} | tee /run/said
    passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' /run/said)
    echo "{RESULT}$number $(cat /run/code) ${{passed:-0}} $began $(cut -d' ' -f1 /proc/uptime)" > /dev/ttyS1
}}
"#
    );
    for (number, test) in tests.iter().enumerate() {
        let Built { package, executable, .. } = &test.built;
        let mut words = vec![test.label(), package.display().to_string(), executable.display().to_string()];
        words.extend(test.skip.iter().flat_map(|name| ["--skip".into(), name.clone()]));
        let words = words.iter().chain(args).map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        // Writing to a string cannot fail.
        let _ = writeln!(script, "one {number} {words}");
    }
    script + "exit 0\n"
}

impl Test {
    /// `net-impl-posix conformance`, as people know it.
    fn label(&self) -> String {
        let package = &self.built.package;
        format!("{} {}", package.strip_prefix(repository()).unwrap_or(package).display(), self.built.name)
    }
}

fn outcome(text: &str) -> Option<Outcome> {
    let mut words = text.split(' ');
    let number = words.next()?.parse().ok()?;
    let (code, passed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (began, ended) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
    Some(Outcome { number, code, passed, seconds: ended - began })
}

/// Prints the table; an error if a binary failed, was not heard of, or passed nothing. With a
/// filter it is enough that one passed something.
fn judge(tests: &[Test], outcomes: &[Outcome], filtered: bool) -> Result<()> {
    println!("\n{:<40} {:>7} {:>9}", "in the machine", "passed", "seconds");
    let mut failed = Vec::new();
    for (number, test) in tests.iter().enumerate() {
        let name = test.label();
        let Some(outcome) = outcomes.iter().find(|outcome| outcome.number == number) else {
            println!("{name:<40} {:>7}", "NOT RUN");
            failed.push(format!("{name} (not run)"));
            continue;
        };
        let why = match outcome.code {
            0 if outcome.passed == 0 && !filtered => Some("no test passed in it".to_owned()),
            0 => None,
            137 => Some(format!("killed, after {EACH} s or by itself")),
            code => Some(format!("exit code {code}")),
        };
        println!("{name:<40} {:>7} {:>9.1}{}", outcome.passed, outcome.seconds, if why.is_some() { "  FAILED" } else { "" });
        failed.extend(why.map(|why| format!("{name} ({why})")));
    }
    ensure!(failed.is_empty(), "failed in the machine: {}", failed.join(", "));
    ensure!(outcomes.iter().any(|outcome| outcome.passed > 0), "no test passed in the machine: is the filter right?");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn test(name: &str) -> Test {
        let built = Built { name: name.into(), executable: format!("/t/{name}-1").into(), test: true, package: repository().join("pool") };
        Test { built, skip: Vec::new() }
    }

    fn package(name: &str, metadata: serde_json::Value) -> Package {
        serde_json::from_value(json!({ "name": name, "metadata": metadata, "targets": [] })).expect("a package")
    }

    #[test]
    fn packages_declare_their_tests() {
        let workspace = [
            package("plain", json!(null)),
            package("all", json!({ "vm": {} })),
            package("some", json!({ "vm": { "features": ["rdma"], "tests": ["a", "b"], "skip": ["c"] } })),
        ];
        let found = chosen(&workspace, &[]).expect("declared");
        let some = Declared { features: vec!["rdma".into()], tests: Some(vec!["a".into(), "b".into()]), skip: vec!["c".into()] };
        assert_eq!(found, [("all".into(), Declared::default()), ("some".into(), some)]);
        assert_eq!(chosen(&workspace, &["all".into()]).expect("declared").len(), 1);
        let error = chosen(&workspace, &["plain".into()]).expect_err("refused");
        assert!(error.is::<Usage>());
        assert_eq!(error.to_string(), "plain declares no tests for the machine; these do: all, some");
    }

    #[test]
    fn a_declaration_with_a_slip_is_an_error_and_none_at_all_is_one_too() {
        let error = chosen(&[package("x", json!({ "vm": { "feature": ["rdma"] } }))], &[]).expect_err("refused");
        assert!(format!("{error:#}").starts_with("[package.metadata.vm] in x's Cargo.toml: unknown field `feature`"), "{error:#}");
        assert!(chosen(&[package("x", json!(null))], &[]).is_err());
    }

    #[test]
    fn only_binaries_that_passed_something_have_passed() {
        let tests = [test("a"), test("b")];
        let outcome = |number, code, passed| Outcome { number, code, passed, seconds: 0.5 };
        let why = |outcomes: &[Outcome], filtered| judge(&tests, outcomes, filtered).err().map(|error| error.to_string());
        assert_eq!(why(&[outcome(0, 0, 3), outcome(1, 0, 1)], false), None);
        assert_eq!(why(&[outcome(0, 0, 3), outcome(1, 0, 0)], true), None);
        assert_eq!(
            why(&[outcome(0, 0, 3), outcome(1, 0, 0)], false).as_deref(),
            Some("failed in the machine: pool b (no test passed in it)")
        );
        assert_eq!(why(&[outcome(0, 0, 3)], true).as_deref(), Some("failed in the machine: pool b (not run)"));
        assert_eq!(why(&[outcome(0, 101, 0), outcome(1, 0, 1)], true).as_deref(), Some("failed in the machine: pool a (exit code 101)"));
        assert!(why(&[outcome(0, 0, 0), outcome(1, 0, 0)], true).is_some_and(|why| why.contains("is the filter right?")));
    }

    #[test]
    fn a_result_has_all_its_words() {
        assert_eq!(outcome("3 101 0 5.25 6.75"), Some(Outcome { number: 3, code: 101, passed: 0, seconds: 1.5 }));
        assert_eq!(outcome("3 101 0"), None);
    }

    /// What the script finds out about a binary, by running it with the shell of this computer and
    /// the machine's folders elsewhere.
    #[test]
    fn the_script_counts_what_passed_and_keeps_the_exit_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().to_str().expect("text");
        let binary = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("written");
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
            let built = Built { name: name.into(), executable: file, test: true, package: folder.path().join(name).with_extension("d") };
            Test { built, skip: vec!["v6::".into()] }
        };
        let good = binary("good", "echo 'test result: ok. 7 passed; 0 failed; 0 ignored'; pwd >&2; echo \"$@\"");
        let bad = binary("bad", "echo 'test result: FAILED. 6 passed; 1 failed'; exit 101");
        let script = script(&[good, bad], &["--nocapture".into()])
            .replace("/run/", &format!("{place}/"))
            .replace("> /dev/ttyS1", &format!(">> {place}/said-to-us"));
        let out = Command::new("sh").args(["-c", &script]).output().expect("runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let shown = String::from_utf8_lossy(&out.stdout);
        assert!(shown.contains("good.d\n--skip v6:: --nocapture\n"), "its package's folder, what it is to skip, the arguments: {shown}");
        let said = std::fs::read_to_string(folder.path().join("said-to-us")).expect("said");
        let results: Vec<_> = said.lines().map(|line| outcome(line.strip_prefix(RESULT).expect("a result")).expect("whole")).collect();
        assert_eq!(results.iter().map(|o| (o.number, o.code, o.passed)).collect::<Vec<_>>(), [(0, 0, 7), (1, 101, 0)]);
    }
}
