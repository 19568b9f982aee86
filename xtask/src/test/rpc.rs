//! The step that has SPDK's own client, as it is, call hello-sock, and set up nvmf-tgt.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::child::Child;
use crate::packages::from_pip;
use crate::program::{self, cargo};

#[path = "../../../rpc/tests/shapes/mod.rs"]
mod shapes;
mod target;

/// The client's release, of which every line was looked at.
const CLIENT: &str = "spdk[cli]==26.9";
/// The parser that Prometheus' own client for Python has.
const PARSER: &str = "prometheus_client==0.23.1";
/// What the client has for those who add commands: its own stay as they are.
const PLUGIN: &str = include_str!("../../../rpc/plugin/lcore_methods.py");
/// Reads a page, and tells how many samples are in it.
const PARSE: &str = "
import sys
from urllib.request import urlopen
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(urlopen(sys.argv[1], timeout=60).read().decode()))
kinds = {family.name: family.type for family in families}
assert kinds['lcore_reactor_turns'] == 'counter' and kinds['lcore_reactor_threads'] == 'gauge', kinds
assert kinds['lcore_thread_message_run_seconds'] == 'histogram', kinds
assert all(family.documentation and family.samples and family.type != 'unknown' for family in families)
series = [(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples]
assert len(series) == len(set(series)), 'a sample is there twice'
print(len(series))
";
/// How long each thing may take, on a machine with much else to do.
const IN_TIME: Duration = Duration::from_secs(60);

/// What is called before the start.
const BEFORE: &[(&[&str], Answer)] = &[
    (&["sock_impl_set_options", "-i", "posix", "-r", "40000", "-s", "50000", "--quickack", "--no-recv-pipe"], Answer::Nothing),
    (&["sock_impl_set_options", "-i", "uring", "--zerocopy-send-server", "--zerocopy-threshold", "9000", "-p", "0"], Answer::Nothing),
    (&["sock_impl_set_options", "-i", "posix", "--ktls"], Answer::Code(-32602)),
    (&["sock_impl_set_options", "-i", "ssl"], Answer::Code(-32602)),
    (&["framework_start_init"], Answer::Nothing),
];

/// What is called then, one after the other, and what comes of it.
const CALLS: &[(&[&str], Answer)] = &[
    (&["rpc_get_methods"], Answer::Shape),
    (&["spdk_get_version"], Answer::Shape),
    (&["framework_wait_init"], Answer::Nothing),
    (&["framework_get_reactors"], Answer::Shape),
    (&["thread_get_stats"], Answer::Shape),
    (&["thread_get_pollers"], Answer::Shape),
    (&["thread_get_io_channels"], Answer::Shape),
    (&["framework_get_subsystems"], Answer::Shape),
    (&["framework_get_config", "scheduler"], Answer::Shape),
    (&["framework_get_config", "nobodys"], Answer::Code(-32602)),
    (&["framework_get_scheduler"], Answer::Shape),
    (&["framework_set_scheduler", "busy", "-p", "500000"], Answer::Nothing),
    (&["framework_set_scheduler", "busy", "--load-limit", "20", "--core-busy", "95"], Answer::Nothing),
    (&["framework_set_scheduler", "busy", "--core-limit", "80"], Answer::Code(-32602)),
    (&["framework_set_scheduler", "static", "--mappings", "1:0"], Answer::Code(-32602)),
    (&["framework_set_scheduler", "static"], Answer::Nothing),
    (&["framework_set_scheduler", "gscheduler"], Answer::Code(-32602)),
    (&["log_get_flags"], Answer::Shape),
    (&["log_set_flag", "reactor"], Answer::Nothing),
    (&["log_clear_flag", "reactor"], Answer::Nothing),
    (&["log_set_flag", "nobodys"], Answer::Code(-32602)),
    (&["log_get_level"], Answer::Shape),
    (&["log_set_level", "DEBUG"], Answer::Nothing),
    (&["log_get_print_level"], Answer::Shape),
    (&["log_set_print_level", "WARNING"], Answer::Nothing),
    (&["iobuf_get_stats"], Answer::Shape),
    (&["sock_get_default_impl"], Answer::Shape),
    (&["sock_impl_get_options", "-i", "posix"], Answer::Shape),
    (&["sock_impl_get_options", "-i", "nobodys"], Answer::Code(-32602)),
    (&["thread_set_cpumask", "-i", "1", "-m", "0x1"], Answer::Nothing),
    (&["thread_set_cpumask", "-i", "999", "-m", "1"], Answer::Code(-19)),
    (&["trace_enable_tpoint_group", "all"], Answer::Nothing),
    (&["trace_disable_tpoint_group", "app"], Answer::Nothing),
    (&["trace_clear_tpoint_mask", "thread", "0x2"], Answer::Nothing),
    (&["trace_set_tpoint_mask", "thread", "0x2"], Answer::Nothing),
    (&["trace_enable_tpoint_group", "nobodys"], Answer::Code(-32602)),
    (&["trace_get_tpoint_group_mask"], Answer::Shape),
    (&["trace_get_info"], Answer::Shape),
    (&["trace_clear"], Answer::Nothing),
    (&["lcore_get_histograms"], Answer::Shape),
    (&["lcore_get_poll_groups"], Answer::Shape),
    (&["lcore_get_sockets"], Answer::Shape),
    (&["lcore_get_sockets", "--params", "{\"limit\": 1}"], Answer::Shape),
    (&["lcore_get_sockets", "--params", "{\"limits\": 1}"], Answer::Code(-32602)),
    (&["lcore_get_stalls"], Answer::Shape),
    (&["lcore_get_stats"], Answer::Shape),
    (&["lcore_get_stats", "--params", "{\"names\": [\"lcore_poll_group_buffers\"]}"], Answer::Shape),
    (&["framework_start_init"], Answer::Code(-1)),
    (&["bdev_get_bdevs"], Answer::Code(-32601)),
    (&["spdk_kill_instance", "SIGTERM"], Answer::Nothing),
];

/// What the client says.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// JSON of the shape that is kept for the method.
    Shape,
    /// A configuration: a list of subsystems.
    Config,
    /// Nothing: the result was true.
    Nothing,
    /// A name, or whatever stands for itself.
    Name(&'static str),
    /// An error of that code, and exit code 1.
    Code(i64),
}

pub(super) fn check(sh: &Shell) -> Result<()> {
    let client = from_pip(sh, "spdk-client", &[CLIENT, PARSER], "spdk-rpc")?;
    let cargo = cargo();
    cmd!(sh, "{cargo} build -p hello-sock").run()?;
    let folder = tempfile::tempdir().context("could not make a folder for the socket")?;
    let socket = folder.path().join("rpc.sock");
    sh.write_file(folder.path().join("lcore_methods.py"), PLUGIN)?;
    let call = |args: &[&str]| {
        println!("$ spdk-rpc {}", args.join(" "));
        let mut command = Command::new(&client);
        command.env("PYTHONPATH", folder.path()).args(["--plugin", "lcore_methods"]);
        let output = command.arg("-s").arg(&socket).args(["-t", "60", "-r", "100"]).args(args).output();
        output.with_context(|| format!("could not start {}", client.display()))
    };
    let checked = |calls: &[(&[&str], Answer)]| {
        calls.iter().try_for_each(|(args, expected)| {
            let output = call(args)?;
            expected.check(args[0], &output).with_context(|| said(&output))
        })
    };
    let mut server = start(&socket, &["-N", "posix", "--small-pool-count", "500", "--wait-for-rpc"])?;
    checked(BEFORE)?;
    wait_for_line(&mut server, "Listening connection on")?;
    let saved = call(&["save_config"])?;
    Answer::Config.check("save_config", &saved).with_context(|| said(&saved))?;
    checked(CALLS)?;
    ends(server)?;
    // The same again from what was saved.
    let file = folder.path().join("saved.json");
    sh.write_file(&file, &saved.stdout)?;
    by_shell(sh, &client.with_file_name("spdk-cli"), &socket, &saved.stdout)?;
    let mut server = start(&socket, &["--wait-for-rpc"])?;
    wait_for_line(&mut server, "waiting for the call of framework_start_init")?;
    let file = file.to_str().context("a folder for temporary files has no name in UTF-8")?;
    let loaded = call(&["load_config", "-j", file])?;
    ensure!(loaded.status.success(), "load_config: {}", said(&loaded));
    wait_for_line(&mut server, "with sock_impl(posix)")?;
    let again = call(&["save_config"])?;
    ensure!(again.stdout == saved.stdout, "what was loaded is saved otherwise:\n{}{}", said(&saved), said(&again));
    ensure!(call(&["spdk_kill_instance", "SIGINT"])?.status.success(), "spdk_kill_instance");
    ends(server)?;
    // And without a client, by the file alone.
    let mut server = start(&socket, &["-c", file])?;
    wait_for_line(&mut server, "with sock_impl(posix)")?;
    let again = call(&["save_config"])?;
    ensure!(again.stdout == saved.stdout, "what -c has started is saved otherwise:\n{}{}", said(&saved), said(&again));
    ensure!(call(&["spdk_kill_instance", "SIGTERM"])?.status.success(), "spdk_kill_instance");
    ends(server)?;
    let mut server = start(&socket, &["--metrics", "127.0.0.1:0"])?;
    let line = wait_for_line(&mut server, "metrics are served at http://")?;
    let page = &line[line.find("http://").unwrap_or(0)..];
    let python = client.with_file_name("python");
    let samples = cmd!(sh, "{python} -c {PARSE} {page}").read().context("the page of metrics is not what Prometheus takes")?;
    ensure!(call(&["spdk_kill_instance", "SIGTERM"])?.status.success(), "spdk_kill_instance");
    ends(server)?;
    let calls = BEFORE.len() + CALLS.len() + 7 + target::check(sh, &client)?;
    println!("{calls} calls by {CLIENT}; {samples} samples by {PARSER}");
    Ok(())
}

/// What spdk-cli can do here: a shell over a tree of devices and targets, which has commands for
/// the configuration and the start, and none for the other methods. It takes a command as
/// arguments, and ends with 0 where one fails, so what counts is what came of it.
fn by_shell(sh: &Shell, shell: &Path, socket: &Path, saved: &[u8]) -> Result<()> {
    let folder = tempfile::tempdir().context("could not make a folder for configurations")?;
    let [from, to, part] = ["from.json", "to.json", "part.json"].map(|name| folder.path().join(name));
    sh.write_file(&from, saved)?;
    let call = |args: &[&str]| {
        println!("$ spdk-cli {}", args.join(" "));
        // It keeps a history at home.
        let output = Command::new(shell).env("HOME", folder.path()).arg("-s").arg(socket).args(args).output();
        let output = output.with_context(|| format!("could not start {}", shell.display()))?;
        // What starts it asks for devices then, of which there are none here, and fails over that.
        ensure!(output.status.success() || args[0] == "framework_start_init", "spdk-cli {}: {}", args[0], said(&output));
        Ok(output)
    };
    let name = |path: &Path| path.to_str().map(str::to_owned).context("a folder for temporary files has no name in UTF-8");
    let mut server = start(socket, &["--wait-for-rpc"])?;
    wait_for_line(&mut server, "waiting for the call of framework_start_init")?;
    let waiting = call(&["ls"])?;
    ensure!(String::from_utf8_lossy(&waiting.stdout).contains("bdevs"), "ls: {}", said(&waiting));
    call(&["load_config", &name(&from)?])?;
    wait_for_line(&mut server, "with sock_impl(posix)")?;
    call(&["save_config", &name(&to)?])?;
    let again = sh.read_binary_file(&to)?;
    ensure!(again.trim_ascii() == saved.trim_ascii(), "what was loaded is saved otherwise: {}", String::from_utf8_lossy(&again));
    call(&["save_subsystem_config", &name(&part)?, "scheduler"])?;
    let told: Value = serde_json::from_slice(&sh.read_binary_file(&part)?).context("save_subsystem_config: no JSON")?;
    ensure!(told["subsystem"] == "scheduler", "save_subsystem_config: {told}");
    call(&["load_subsystem_config", &name(&part)?])?;
    server.interrupt()?;
    ends(server)?;
    let mut server = start(socket, &["--wait-for-rpc"])?;
    wait_for_line(&mut server, "waiting for the call of framework_start_init")?;
    call(&["framework_start_init"])?;
    wait_for_line(&mut server, "Listening connection on")?;
    server.interrupt()?;
    ends(server)
}

/// A server at `socket`.
fn start(socket: &Path, args: &[&str]) -> Result<Child> {
    let mut server = Command::new(program::target()?.join("debug/hello-sock"));
    server.args(["-S", "-P", "0", "--no-cpumask-locks", "-r"]).arg(socket).args(args);
    Child::start("server", server)
}

/// Waits for its end, which is to be a good one.
fn ends(mut server: Child) -> Result<()> {
    let deadline = Instant::now() + IN_TIME;
    while server.next(deadline)?.is_some() {}
    let status = server.wait(deadline)?;
    ensure!(status.success(), "the server ended with {status} after spdk_kill_instance");
    Ok(())
}

fn wait_for_line(server: &mut Child, part: &str) -> Result<String> {
    let deadline = Instant::now() + IN_TIME;
    while let Some(line) = server.next(deadline)? {
        if line.1.contains(part) {
            return Ok(line.1);
        }
    }
    bail!("the server ended before it said {part:?}{}", server.said())
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("it ended with {} and said:\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

impl Answer {
    fn check(self, method: &str, output: &Output) -> Result<()> {
        let code = if matches!(self, Self::Code(_)) { 1 } else { 0 };
        ensure!(output.status.code() == Some(code), "{method}: exit code {code} was expected");
        match self {
            Self::Nothing => ensure!(output.stdout.trim_ascii().is_empty(), "{method}: nothing was to be printed"),
            Self::Name(name) => {
                ensure!(output.stdout.trim_ascii() == name.as_bytes(), "{method}: {name} was to be printed");
            }
            Self::Shape => {
                let result: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{method}: no JSON"))?;
                shapes::check(method, &result).map_err(anyhow::Error::msg)?;
            }
            Self::Config => {
                let config: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{method}: no JSON"))?;
                ensure!(config["subsystems"].as_array().is_some_and(|all| !all.is_empty()), "{method}: no subsystems");
            }
            Self::Code(code) => {
                let text = [&output.stdout[..], &output.stderr].concat();
                let text = String::from_utf8_lossy(&text);
                ensure!(text.contains(&format!("\"code\": {code},")), "{method}: an error of code {code} was expected");
            }
        }
        Ok(())
    }
}
