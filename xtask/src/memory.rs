//! `cargo xtask bench memory`: what idle connections cost a server in memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Deserialize;

use crate::child::Child;
use crate::{program, run};

/// Starting, connecting and stopping take this long at most, each.
const PATIENCE: Duration = Duration::from_secs(60);
/// Descriptors that either process needs beside its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Resident memory of a hello-sock server with idle connections, and how much of it each connection
/// costs.
///
/// For each number of connections a server of its own is started; every connection echoes one
/// message, so that all that it will ever need is there, and then stays idle. The buffer pool's
/// part is what the server reports; the rest is the resident size (VmRSS) without it, and what a
/// connection costs is the rest above that of a server without connections.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: Vec<u32>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let most = args.connections.iter().max().copied().unwrap_or(0);
    allow_descriptors(u64::from(most) + SPARE_DESCRIPTORS)?;
    println!("building hello-sock in release");
    let hello_sock = program::build("hello-sock")?;
    let measure = |connections| Sample::take(Command::new(&hello_sock), connections);
    let empty = measure(0)?;
    println!("{:>12} {:>14} {:>10} {:>10} {:>22}", "connections", "resident KiB", "pool KiB", "rest KiB", "bytes each connection");
    println!("{:>12} {:>14} {:>10} {:>10} {:>22}", 0, empty.resident, empty.pool, empty.rest(), "");
    for &connections in &args.connections {
        let sample = measure(connections)?;
        let each = (sample.rest() - empty.rest()) as f64 * 1024.0 / f64::from(connections);
        println!("{connections:>12} {:>14} {:>10} {:>10} {each:>22.0}", sample.resident, sample.pool, sample.rest());
    }
    Ok(())
}

/// One server's memory, KiB.
struct Sample {
    resident: i64,
    pool: i64,
}

/// The server's statistics, as far as they are of use here.
#[derive(Deserialize)]
struct Statistics {
    pool: Pool,
}

#[derive(Deserialize)]
struct Pool {
    resident_bytes: i64,
}

impl Sample {
    fn take(mut command: Command, connections: u32) -> Result<Self> {
        command.args(["-S", "-H", "127.0.0.1", "-P", "0", "--json", "--no-cpumask-locks"]);
        let mut server = Child::start("server", command)?;
        let port = run::port(&mut server)?;
        let open = (0..connections).map(|_| connect(port)).collect::<Result<Vec<_>>>()?;
        let resident = resident(server.id())?;
        server.interrupt()?;
        let status = run::ended(&mut server, Instant::now() + PATIENCE)?;
        ensure!(status.success(), "after SIGINT the server ended with {status}{}", server.said());
        drop(open);
        let pool = server.json::<Statistics>("server")?.pool.resident_bytes / 1024;
        Ok(Self { resident, pool })
    }

    fn rest(&self) -> i64 {
        self.resident - self.pool
    }
}

/// A connection that has echoed once.
fn connect(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to the server")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let sent = *b"what does a connection cost?";
    let mut back = sent.map(|_| 0);
    stream.write_all(&sent)?;
    stream.read_exact(&mut back).context("the echo of a connection")?;
    ensure!(back == sent, "the echo differs from what was sent");
    Ok(stream)
}

/// A process' resident memory, KiB.
pub(crate) fn resident(process: u32) -> Result<i64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).with_context(|| format!("{path} has no line VmRSS"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmRSS is {line:?}"))
}

/// Raises the limit on open descriptors, which the server inherits.
pub(crate) fn allow_descriptors(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{wanted} open descriptors are needed and {} are allowed: raise the limit (ulimit -Hn) or give fewer with --connections",
        limit.maximum.unwrap_or(0)
    );
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("raise the limit on open descriptors")
}
