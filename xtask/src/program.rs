//! Programs of the workspace: which there are, building one, becoming one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::repository;

/// The cargo that started this program, so that its toolchain is kept.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// This program, for starting it again. Its path would not do: the tests of the workspace build it
/// anew in its place, and the old file is gone then.
pub(crate) const OWN: &str = "/proc/self/exe";

/// Replaces this process by `command`: signals and the exit code are then the program's own.
///
/// # Errors
/// The program could not be started; otherwise it does not return.
pub(crate) fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(anyhow!(error).context(format!("could not start {}", command.get_program().display())))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// What its Cargo.toml says under `[package.metadata]`.
    pub(crate) metadata: serde_json::Value,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn is_program(&self) -> bool {
        self.kind.iter().any(|kind| kind == "bin")
    }
}

impl Package {
    /// The names of its programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|target| target.is_program()).map(|target| target.name.as_str())
    }
}

/// The packages of the workspace.
pub(crate) fn workspace() -> Result<Vec<Package>> {
    Ok(metadata::<Metadata>()?.packages)
}

/// Where cargo puts what it builds, `target/` unless somebody told it otherwise (CARGO_TARGET_DIR,
/// `build.target-dir`). What xtask makes goes there too.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(metadata::<Metadata>()?.target_directory)
}

/// What cargo knows of the workspace, as far as `T` asks for it.
pub(crate) fn metadata<T: DeserializeOwned>() -> Result<T> {
    let out = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo metadata")?;
    ensure!(out.status.success(), "cargo metadata failed ({})", out.status);
    serde_json::from_slice(&out.stdout).context("cargo metadata answered something else than expected")
}

/// The names of the workspace's programs, sorted, this one left out.
pub(crate) fn names() -> Result<Vec<String>> {
    let mut names: Vec<_> = workspace()?.iter().flat_map(Package::programs).map(str::to_owned).collect();
    names.retain(|name| name != env!("CARGO_BIN_NAME"));
    names.sort();
    Ok(names)
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    target: Option<Target>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A program that cargo has built.
#[derive(Debug, PartialEq)]
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// It has a test runner in it.
    pub(crate) test: bool,
    /// The folder of its package.
    pub(crate) package: PathBuf,
}

/// Builds the program `name` in release and tells where it is.
pub(crate) fn build(name: &str) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args(["build", "--release", "--bin", name]);
    built(command, name)
}

/// The same of an example of `package`, built with these options.
pub(crate) fn build_example(package: &str, name: &str, options: &[&str]) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args(["build", "--release", "-p", package, "--example", name]).args(options);
    built(command, name)
}

/// The same of a program of bench/, which is a workspace of its own; its package has its name.
pub(crate) fn build_measured(name: &str) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args(["build", "--release", "--manifest-path", "bench/Cargo.toml", "-p", name]);
    built(command, name)
}

fn built(command: Command, name: &str) -> Result<PathBuf> {
    let built = artifacts(command).with_context(|| format!("{name} did not build"))?;
    let found = built.into_iter().find(|built| built.name == name);
    found.map(|built| built.executable).with_context(|| format!("cargo built {name} but did not say where it is"))
}

/// Runs cargo's `build` or `test --no-run` and tells which programs came of it.
pub(crate) fn artifacts(mut command: Command) -> Result<Vec<Built>> {
    command.arg("--message-format=json-render-diagnostics").current_dir(repository()).stderr(Stdio::inherit());
    let out = command.output().context("could not start cargo")?;
    ensure!(out.status.success(), "cargo ended with {}", out.status);
    Ok(executables(&String::from_utf8_lossy(&out.stdout)))
}

fn executables(messages: &str) -> Vec<Built> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.filter(|artifact| artifact.reason == "compiler-artifact").filter_map(Artifact::built).collect()
}

impl Artifact {
    fn built(self) -> Option<Built> {
        let package = self.manifest_path.as_deref().and_then(Path::parent).map(Path::to_path_buf)?;
        Some(Built { name: self.target?.name, executable: self.executable?, test: self.profile.is_some_and(|p| p.test), package })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_are_told_from_what_cannot_be_run() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/h/Cargo.toml","target":{"name":"hello_sock","kind":["lib"]},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/h/Cargo.toml","target":{"name":"echo","kind":["test"]},"profile":{"test":true},"executable":"/t/echo-1"}"#,
            "\n",
            r#"{"reason":"build-script-executed","package_id":"x"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/h/Cargo.toml","target":{"name":"hello-sock","kind":["bin"]},"profile":{"test":false},"executable":"/t/hello-sock"}"#,
            "\n",
        );
        let built =
            |name: &str, executable: &str, test| Built { name: name.into(), executable: executable.into(), test, package: "/h".into() };
        assert_eq!(executables(messages), [built("echo", "/t/echo-1", true), built("hello-sock", "/t/hello-sock", false)]);
    }
}
