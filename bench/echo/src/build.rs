//! Builds the programs, in release, as cargo sees fit, and finds out which can be used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::servers::{Programs, Server, Start, command};

/// The folder of this workspace.
fn bench() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The top of the repository.
pub(crate) fn repository() -> &'static Path {
    bench().parent().unwrap_or(bench())
}

/// Builds the load generator and what the servers need. Servers that cannot be used are taken out,
/// with a line in `notes` that says why.
///
/// # Errors
/// The load generator does not build, or no server is left.
pub(crate) fn all(servers: &mut Vec<Server>, features: Option<&str>, notes: &mut Vec<String>, progress: impl Fn(&str)) -> Result<Programs> {
    progress("building the load generator");
    let mut programs = packages(bench(), &["load"])?;
    let mut wanted: Vec<_> = servers.iter().filter_map(Server::program).filter(|name| *name != "hello-sock").collect();
    wanted.dedup();
    progress("building the peers");
    match packages(bench(), &wanted) {
        Ok(built) => programs.extend(built),
        // One of them does not build: see which.
        Err(_) => {
            for name in wanted {
                match packages(bench(), &[name]) {
                    Ok(built) => programs.extend(built),
                    Err(why) => notes.push(format!("{name} is left out: {why:#}")),
                }
            }
        }
    }
    if servers.iter().any(|s| s.program() == Some("hello-sock")) {
        progress("building hello-sock");
        let features = features.map(|features| ["--no-default-features", "--features", features]);
        programs.extend(packages_with(repository(), &["hello-sock"], features.as_ref().map_or(&[], |args| args))?);
    }
    let programs = Programs(programs);
    servers.retain(|server| match usable(server, &programs) {
        Ok(()) => true,
        Err(why) => {
            notes.extend(why.map(|why| format!("{} is left out: {why}", server.name)));
            false
        }
    });
    if servers.is_empty() {
        bail!("no server is left to be measured: {}", notes.join("; "));
    }
    Ok(programs)
}

/// Whether a server can be started here; if not, why, unless that has been said.
fn usable(server: &Server, programs: &Programs) -> Result<(), Option<String>> {
    let Some(name) = server.program() else { return Ok(()) };
    let path = programs.path(name).ok_or(None)?;
    let Start::HelloSock(backend, _) = server.start else { return Ok(()) };
    // It starts, or says why not: that the backend is not linked, or that this kernel has no such
    // thing.
    let words = ["-S", "-P", "0", "--no-cpumask-locks", "-t", "0.01", "-N", backend].map(OsString::from);
    let out = command(&[&[path.into()], &words[..]].concat())
        .output()
        .map_err(|e| Some(format!("{} could not be started: {e}", path.display())))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Some(said.lines().last().unwrap_or("hello-sock failed without a word").to_owned()))
}

/// Builds packages of a workspace and returns their programs.
fn packages(workspace: &Path, names: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    packages_with(workspace, names, &[])
}

/// As `packages`, with more for cargo.
fn packages_with(workspace: &Path, names: &[&str], more: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics"]).args(more).current_dir(workspace);
    cargo.args(names.iter().flat_map(|name| ["-p", name]));
    let out = cargo.stderr(Stdio::inherit()).output().context("could not start cargo")?;
    if !out.status.success() {
        bail!("cargo build of {} failed; its messages are above", names.join(", "));
    }
    Ok(executables(&String::from_utf8_lossy(&out.stdout)))
}

/// One line of what cargo prints.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages.filter_map(|m| Some((m.target?.name, m.executable?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_prints() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"lib","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"load","kind":["bin"]},"executable":"/t/load"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executables(messages), [("load".to_owned(), PathBuf::from("/t/load"))]);
    }

    #[test]
    fn a_server_whose_program_was_not_built_is_left_out_without_another_word() {
        let servers = crate::servers::choose(&[], &["tokio".to_owned()]).expect("known");
        assert_eq!(usable(&servers[0], &Programs::default()), Err(None));
    }
}
