//! Programs of the workspace: which there are, building one, becoming one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::repository;

/// The cargo that started this program, so that its toolchain is kept.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

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
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The names of the workspace's programs, sorted, this one left out.
pub(crate) fn names() -> Result<Vec<String>> {
    let out = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo metadata")?;
    ensure!(out.status.success(), "cargo metadata failed ({})", out.status);
    let metadata: Metadata = serde_json::from_slice(&out.stdout).context("cargo metadata answered something else than expected")?;
    let targets = metadata.packages.into_iter().flat_map(|p| p.targets);
    let mut names: Vec<_> = targets.filter(|t| t.kind.iter().any(|k| k == "bin")).map(|t| t.name).collect();
    names.retain(|name| name != env!("CARGO_BIN_NAME"));
    names.sort();
    Ok(names)
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

/// Builds the program `name` in release and tells where it is.
pub(crate) fn build(name: &str) -> Result<PathBuf> {
    let out = Command::new(cargo())
        .args(["build", "--release", "--message-format=json-render-diagnostics", "--bin", name])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo build")?;
    ensure!(out.status.success(), "{name} did not build ({})", out.status);
    executable(&String::from_utf8_lossy(&out.stdout), name).with_context(|| format!("cargo built {name} but did not say where it is"))
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|a| a.reason == "compiler-artifact" && a.target.as_ref().is_some_and(|t| t.name == name))
        .find_map(|a| a.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_of_that_name() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"hello_sock","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"other","kind":["bin"]},"executable":"/t/other"}"#,
            "\n",
            r#"{"reason":"build-script-executed","package_id":"x"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"hello-sock","kind":["bin"]},"executable":"/t/hello-sock"}"#,
            "\n",
        );
        assert_eq!(executable(messages, "hello-sock"), Some(PathBuf::from("/t/hello-sock")));
        assert_eq!(executable(messages, "nope"), None);
    }
}
