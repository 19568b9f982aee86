//! `cargo xtask run`: a server and a load client against each other, or any program of the
//! workspace.

mod statistics;

#[cfg(test)]
mod tests;

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::child::{Child, Line};
use crate::{Usage, nvmf, program, repository};
use statistics::Load;

/// Connections, echoes under way on each, bytes of an echo, seconds.
const LOAD: &str = "16,1,64,5";
/// The server's socket must be open within this time, and its process gone within this time of
/// SIGINT.
const PATIENCE: Duration = Duration::from_secs(20);
/// The client's own time comes on top.
const LOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Show that it works here: a hello-sock server and a verifying load client for five seconds. With
/// the name nvmf, an NVMe/TCP target and verified random I/O; with another NAME, run that program.
///
/// Builds hello-sock in release, starts a server on a free port of 127.0.0.1 and 16 connections
/// against it, and prints which backends are linked and why one was chosen, the cores, the echoes
/// verified, their rate and latency. Then it ends the server by SIGINT. The exit code is 0 if every
/// byte came back and both ended well.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// nvmf, for the show of that name; or a program of the workspace to build in release and run,
    /// whose exit code is handed on.
    name: Option<String>,
    /// Arguments of the program.
    #[arg(last = true, value_name = "ARGS", requires = "name")]
    args: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let Some(name) = &args.name else { return show() };
    if name == "nvmf" && args.args.is_empty() {
        return nvmf::show::show();
    }
    let names = program::names()?;
    if !names.contains(name) {
        let known = names.join(", ");
        return Err(Usage(format!("{name} is no program of this workspace; there are: {known}")).into());
    }
    let mut cargo = Command::new(program::cargo());
    cargo.args(["run", "--quiet", "--release", "--manifest-path"]).arg(repository().join("Cargo.toml"));
    cargo.args(["--bin", name, "--"]).args(&args.args);
    program::become_it(cargo)
}

fn show() -> Result<()> {
    println!("building hello-sock in release");
    let hello_sock = program::build("hello-sock")?;
    let cores = cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    let report = measure(&|| Command::new(&hello_sock), &cores)?;
    print!("{report}");
    Ok(())
}

/// Runs a server and a client, and returns what there is to tell. `program` makes a command that
/// runs hello-sock.
fn measure(program: &dyn Fn() -> Command, cores: &[u16]) -> Result<String> {
    let (server_core, client_core) = (cores[0], *cores.last().context("a process has a core")?);
    let mut server = program();
    server.args(["-S", "-H", "127.0.0.1", "-P", "0", "--json", "-m", &format!("[{server_core}]")]);
    let mut client = program();
    client.args(["-H", "127.0.0.1", "--load", LOAD, "--json", "-m", &format!("[{client_core}]")]);
    // Nobody asked for these cores: that another process has one of them is no reason to fail, and
    // there may be only one to share.
    server.arg("--no-cpumask-locks");
    client.arg("--no-cpumask-locks");
    let mut server = Child::start("server", server)?;
    let port = port(&mut server)?;
    println!("a server listens on port {port}; load of {LOAD} (connections, depth, bytes, seconds) runs against it");
    client.args(["-P", &port.to_string()]);
    let opening = server.said();
    let load = load(Child::start("client", client)?);
    server.interrupt()?;
    let status = ended(&mut server, Instant::now() + PATIENCE)?;
    let load = load.map_err(|error| anyhow!("{error:#}{}", server.said()))?;
    ensure!(status.success(), "after SIGINT the server ended with {status} and not with exit code 0{}", server.said());
    server.json::<statistics::Server>("server").context("the server's statistics at its end")?;
    load.verify()?;
    Ok(format!("{}\n\nserver's core    [{server_core}]\n{load}server ended by SIGINT with exit code 0\n", opening.trim_start()))
}

/// Waits for `Listening connection on 127.0.0.1:PORT with sock_impl(NAME)`.
pub(crate) fn port(server: &mut Child) -> Result<u16> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line = match server.next(deadline)? {
            Some(Line(_, line)) => line,
            None => bail!("the server ended before it listened{}", server.said()),
        };
        let Some((_, rest)) = line.split_once("Listening connection on ") else { continue };
        let port = rest.split(' ').next().and_then(|address| address.rsplit(':').next()?.parse().ok());
        return port.with_context(|| format!("the server did not say its port but {line:?}"));
    }
}

/// Waits for the client and reads its statistics.
fn load(mut client: Child) -> Result<Load> {
    let status = ended(&mut client, Instant::now() + LOAD_PATIENCE)?;
    ensure!(status.success(), "the load client ended with {status}{}", client.said());
    client.json("load").context("the load client's statistics")
}

pub(crate) fn ended(child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    while child.next(deadline)?.is_some() {}
    child.wait(deadline)
}

/// The first two cores that this process may use, or the only one.
pub(crate) fn cores(status: &str) -> Result<Vec<u16>> {
    let mut cores = all_cores(status)?;
    cores.truncate(2);
    Ok(cores)
}

/// All cores that this process may use.
pub(crate) fn all_cores(status: &str) -> Result<Vec<u16>> {
    let list =
        status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).context("/proc/self/status has no line Cpus_allowed_list")?;
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u16>().with_context(|| format!("Cpus_allowed_list is {list:?}"));
        cores.extend(number(first)?..=number(last)?);
    }
    Ok(cores)
}
