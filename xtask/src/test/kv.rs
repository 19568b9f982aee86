//! The step that has Redis' own clients use hello-kv.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::child::Child;
use crate::kv::{CLIENTS, port};
use crate::packages;
use crate::program::{self, cargo};
use crate::run;

/// How long each thing may take, on a machine with much else to do.
const IN_TIME: Duration = Duration::from_secs(120);

/// Lines for redis-cli, and what it prints for each.
const SAID: [(&str, &str); 21] = [
    ("PING", "PONG"),
    ("ECHO hello", "hello"),
    ("SET greeting hello", "OK"),
    ("GET greeting", "hello"),
    ("GET nothing", ""),
    ("INCR number", "1"),
    ("INCR number", "2"),
    ("INCR greeting", "ERR value is not an integer or out of range"),
    ("MSET a 1 b 2 c 3 d 4", "OK"),
    ("MGET a b nothing c d", "1\n2\n\n3\n4"),
    ("EXISTS a b c d nothing", "4"),
    ("DBSIZE", "6"),
    ("DEL a b c nothing", "3"),
    ("TTL d", "-1"),
    ("EXPIRE d 100", "1"),
    ("TTL d", "100"),
    ("TTL nothing", "-2"),
    ("CONFIG GET save", "save\n"),
    ("COMMAND", ""),
    ("SET d 1 EX 50", "OK"),
    ("NONSENSE", "ERR unknown command 'NONSENSE'"),
];

/// What redis-benchmark does, each with its own connections.
const TESTS: &str = "ping_inline,ping_mbulk,set,get,incr,mset";
/// Lines that are fed to `redis-cli --pipe`.
const PIPED: usize = 20_000;

pub(super) fn check(sh: &Shell) -> Result<()> {
    packages::need("what Redis' own clients say", &CLIENTS)?;
    let cargo = cargo();
    cmd!(sh, "{cargo} build -p hello-kv").run()?;
    let server = program::target()?.join("debug/hello-kv");
    let cores = run::cores(&std::fs::read_to_string("/proc/self/status").context("could not read the cores of this process")?)?;
    for backend in ["posix", "uring"] {
        for count in 1..=cores.len() {
            let list = format!("[{}]", cores[..count].iter().map(u16::to_string).collect::<Vec<_>>().join(","));
            println!("hello-kv -N {backend} -m {list}");
            serve(sh, &server, backend, &list).with_context(|| format!("over {backend} on cores {list}"))?;
        }
    }
    Ok(())
}

fn serve(sh: &Shell, program: &Path, backend: &str, cores: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["127.0.0.1:0", "--no-cpumask-locks", "-N", backend, "-m", cores]);
    let mut server = Child::start("server", command)?;
    let port = port(&mut server)?.to_string();
    let lines: String = SAID.iter().map(|(line, _)| format!("{line}\n")).collect();
    let said = cmd!(sh, "redis-cli -p {port}").stdin(lines).read()?;
    let expected: Vec<_> = SAID.iter().flat_map(|(_, answer)| answer.split('\n')).collect();
    let said: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    let expected: Vec<_> = expected.into_iter().filter(|line| !line.is_empty()).collect();
    ensure!(said == expected, "redis-cli printed {said:?}\n where this was expected: {expected:?}");
    pipe(&port)?;
    for pipeline in ["1", "16"] {
        let said = cmd!(sh, "redis-benchmark -p {port} -c 50 -n 20000 -r 1000 -P {pipeline} -t {TESTS} --csv").read()?;
        // A line for each test, one of them of two words, behind the head.
        let tests = said.lines().filter(|line| line.starts_with('"')).count();
        ensure!(tests == 1 + TESTS.split(',').count() && !said.contains("rror"), "redis-benchmark -P {pipeline} printed:\n{said}");
    }
    server.interrupt()?;
    let status = run::ended(&mut server, Instant::now() + IN_TIME)?;
    ensure!(status.success(), "the server ended with {status}{}", server.said());
    Ok(())
}

/// Many requests at once, each of whose answers redis-cli counts.
fn pipe(port: &str) -> Result<()> {
    let mut client = Command::new("redis-cli")
        .args(["-p", port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start redis-cli")?;
    let requests: String = (0..PIPED).map(|n| format!("*3\r\n$3\r\nSET\r\n$7\r\n{n:07}\r\n$5\r\nvalue\r\n")).collect();
    client.stdin.take().context("it has an input")?.write_all(requests.as_bytes()).context("redis-cli --pipe")?;
    let output = client.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains(&format!("errors: 0, replies: {PIPED}")), "redis-cli --pipe: {said}");
    Ok(())
}
