//! Programs and tests of the workspace, built by cargo and carried into the machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::options::Cargo;
use super::tree::Tree;
use crate::program::{self, Built, Package};
use crate::{Usage, packages};

/// The cargo feature whose build takes RDMA's development packages.
const RDMA: &str = "rdma";

/// Builds the programs that are named; none if none is.
pub(super) fn programs(cargo: &Cargo) -> Result<Vec<Built>> {
    if cargo.package.is_empty() && cargo.bin.is_empty() {
        return Ok(Vec::new());
    }
    let workspace = program::workspace()?;
    let mut command = Command::new(program::cargo());
    command.arg("build");
    for package in owners(cargo, &workspace)? {
        command.args(["-p", &package]);
    }
    match cargo.bin.is_empty() {
        true => command.arg("--bins"),
        false => command.args(cargo.bin.iter().flat_map(|bin| ["--bin", bin])),
    };
    if cargo.release {
        command.arg("--release");
    }
    features(&mut command, &cargo.features)?;
    let built = program::artifacts(command).context("what is to run in the machine did not build")?;
    Ok(built.into_iter().filter(|built| !built.test).collect())
}

/// The packages of the programs that are named, beside those that are named themselves.
fn owners(cargo: &Cargo, workspace: &[Package]) -> Result<Vec<String>, Usage> {
    let mut owners = Vec::new();
    for name in &cargo.package {
        if !workspace.iter().any(|package| package.name == *name) {
            let known = workspace.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Usage(format!("{name} is no package of this workspace; there are: {known}")));
        }
        owners.push(name.clone());
    }
    for name in &cargo.bin {
        let owner = workspace.iter().find(|package| package.programs().any(|program| program == name));
        let known = || workspace.iter().flat_map(Package::programs).collect::<Vec<_>>().join(", ");
        let owner = owner.ok_or_else(|| Usage(format!("{name} is no program of this workspace; there are: {}", known())))?;
        owners.push(owner.name.clone());
    }
    owners.sort();
    owners.dedup();
    Ok(owners)
}

/// Gives cargo the features, and what building them takes.
pub(super) fn features(command: &mut Command, features: &[String]) -> Result<()> {
    if features.is_empty() {
        return Ok(());
    }
    command.args(["--features", &features.join(",")]);
    if features.iter().any(|feature| feature.rsplit('/').next() == Some(RDMA)) {
        packages::to_build(command)?;
    }
    Ok(())
}

/// Carries a program to `at`, without what only a debugger reads, which is nine tenths of it.
pub(super) fn carry(built: &Built, at: &str, folder: &Path, tree: &mut Tree) -> Result<()> {
    let name = built.executable.file_name().context("a program has a name")?;
    let slim = folder.join("slim").join(name);
    std::fs::create_dir_all(folder.join("slim"))?;
    let status =
        Command::new("strip").args(["--strip-debug", "-o"]).arg(&slim).arg(&built.executable).status().context("could not start strip")?;
    ensure!(status.success(), "strip {} ended with {status}", built.executable.display());
    tree.program(at, &slim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cargo(package: &[&str], bin: &[&str]) -> Cargo {
        let text = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Cargo { package: text(package), bin: text(bin), ..Cargo::default() }
    }

    #[test]
    fn a_program_brings_its_package_and_unknown_names_are_answered_with_the_known() {
        let workspace = program::workspace().expect("known");
        let owners = |package: &[&str], bin: &[&str]| owners(&cargo(package, bin), &workspace);
        assert_eq!(
            owners(&["lcore-pool"], &["hello-sock", "poller-test", "hello-sock"]).expect("known"),
            ["hello-sock", "lcore-pool", "poller-test"]
        );
        let Err(Usage(why)) = owners(&["nope"], &[]) else { panic!("known") };
        assert!(why.starts_with("nope is no package of this workspace; there are: lcore-logging, lcore-statistics, lcore-pool, "), "{why}");
        let Err(Usage(why)) = owners(&[], &["nope"]) else { panic!("known") };
        let known: Vec<_> = why.rsplit(": ").next().into_iter().flat_map(|list| list.split(", ")).collect();
        assert!(["hello-sock", "poller-test", "reactor-test"].iter().all(|name| known.contains(name)), "{why}");
    }
}
