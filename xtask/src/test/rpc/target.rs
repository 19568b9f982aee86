//! SPDK's own client sets an NVMe/TCP target up from nothing; a host uses it, and it is taken down.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::{Answer, IN_TIME, ends, said, shapes, wait_for_line};
use crate::child::Child;
use crate::program::{self, cargo};

const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
const HOST: &str = "nqn.2016-06.io.spdk:host1";

/// What is called first, one after the other, and what comes of it.
const SET_UP: &[(&[&str], Answer)] = &[
    (&["bdev_malloc_create", "-b", "Malloc0", "16", "512"], Answer::Name("Malloc0")),
    (&["bdev_malloc_create", "-b", "Malloc0", "16", "512"], Answer::Code(-17)),
    (&["bdev_null_create", "Null0", "100", "4096"], Answer::Name("Null0")),
    (&["bdev_error_create", "Malloc0"], Answer::Name("true")),
    (&["bdev_delay_create", "-b", "EE_Malloc0", "-d", "Delay0", "-r", "1", "-t", "9", "-w", "1", "-n", "9"], Answer::Name("Delay0")),
    (&["bdev_delay_update_latency", "Delay0", "p99_read", "5"], Answer::Name("true")),
    (&["bdev_delay_update_latency", "Null0", "p99_read", "5"], Answer::Code(-32600)),
    (&["bdev_error_inject_error", "EE_Malloc0", "read", "failure", "-n", "2"], Answer::Nothing),
    (&["bdev_error_inject_error", "EE_Malloc0", "all", "corrupt_data", "-o", "5", "-v", "3"], Answer::Nothing),
    (&["bdev_error_inject_error", "EE_Malloc0", "clear", "failure"], Answer::Nothing),
    (&["bdev_error_inject_error", "Null0", "clear", "failure"], Answer::Code(-19)),
    (&["bdev_error_resume_pending", "EE_Malloc0"], Answer::Nothing),
    (&["bdev_set_qos_limit", "Delay0", "--rw-ios-per-sec", "1999500", "--r-mbytes-per-sec", "5000"], Answer::Nothing),
    (&["bdev_set_qos_limit", "Delay0"], Answer::Code(-22)),
    (&["bdev_examine", "-b", "Delay0"], Answer::Nothing),
    (&["bdev_wait_for_examine"], Answer::Nothing),
    (&["nvmf_create_transport", "-t", "TCP", "-q", "64", "-c", "4096"], Answer::Nothing),
    (&["nvmf_create_transport", "-t", "TCP"], Answer::Code(-32603)),
    (&["nvmf_create_transport", "-t", "RDMA"], Answer::Code(-32602)),
    (&["nvmf_get_transports"], Answer::Shape),
    (&["nvmf_create_subsystem", NQN, "-s", "SPDK00000000000001", "-d", "a disk", "-r", "-m", "8"], Answer::Nothing),
    (&["nvmf_create_subsystem", NQN], Answer::Code(-32603)),
    (&["nvmf_subsystem_add_ns", NQN, "Delay0", "-n", "3", "-a", "2"], Answer::Nothing),
    (&["nvmf_subsystem_add_ns", NQN, "Null0"], Answer::Nothing),
    (&["nvmf_subsystem_add_ns", NQN, "none"], Answer::Code(-32602)),
    (&["nvmf_subsystem_add_host", NQN, HOST], Answer::Nothing),
    (&["nvmf_subsystem_add_listener", NQN, "-t", "tcp", "-a", "127.0.0.1", "-s", "0"], Answer::Nothing),
    (&["nvmf_subsystem_add_listener", "discovery", "-t", "tcp", "-a", "127.0.0.1", "-s", "0", "-f", "ipv4"], Answer::Nothing),
    (&["nvmf_subsystem_add_listener", NQN, "-t", "tcp", "-a", "here", "-s", "0"], Answer::Code(-32602)),
    (&["bdev_get_bdevs"], Answer::Shape),
    (&["bdev_get_bdevs", "-b", "Delay0"], Answer::Shape),
    (&["bdev_get_bdevs", "-b", "none"], Answer::Code(-19)),
    (&["nvmf_get_subsystems"], Answer::Shape),
    (&["nvmf_get_subsystems", NQN], Answer::Shape),
    (&["nvmf_subsystem_get_listeners", NQN], Answer::Shape),
    (&["framework_get_subsystems"], Answer::Shape),
    (&["framework_get_config", "bdev"], Answer::Shape),
    (&["framework_get_config", "nvmf"], Answer::Shape),
];

/// What is called at the end.
const TAKE_DOWN: &[(&[&str], Answer)] = &[
    (&["nvmf_get_stats"], Answer::Shape),
    (&["bdev_get_iostat", "--reset-mode", "all"], Answer::Shape),
    (&["bdev_reset_iostat", "-b", "Delay0", "-m", "maxmin"], Answer::Nothing),
    (&["nvmf_subsystem_allow_any_host", NQN, "--allow-any-host"], Answer::Nothing),
    (&["nvmf_subsystem_remove_host", NQN, HOST], Answer::Nothing),
    (&["nvmf_subsystem_remove_ns", NQN, "1"], Answer::Nothing),
    (&["nvmf_subsystem_remove_ns", NQN, "1"], Answer::Code(-32602)),
    (&["nvmf_delete_subsystem", NQN], Answer::Nothing),
    (&["nvmf_delete_subsystem", NQN], Answer::Code(-32602)),
    (&["bdev_delay_delete", "Delay0"], Answer::Nothing),
    (&["bdev_error_delete", "EE_Malloc0"], Answer::Nothing),
    (&["bdev_malloc_delete", "Malloc0"], Answer::Nothing),
    (&["bdev_null_delete", "Null0"], Answer::Nothing),
    (&["spdk_kill_instance", "SIGTERM"], Answer::Nothing),
];

/// How many calls were made.
pub(super) fn check(sh: &Shell, client: &Path) -> Result<usize> {
    let cargo = cargo();
    cmd!(sh, "{cargo} build -p nvmf-tgt -p nvme-perf").run()?;
    let folder = tempfile::tempdir().context("could not make a folder for the socket")?;
    let (socket, file) = (folder.path().join("rpc.sock"), folder.path().join("saved.json"));
    let call = |args: &[&str]| -> Result<Output> {
        println!("$ spdk-rpc {}", args.join(" "));
        let output = Command::new(client).arg("-s").arg(&socket).args(["-t", "60", "-r", "100"]).args(args).output();
        output.with_context(|| format!("could not start {}", client.display()))
    };
    let checked = |calls: &[(&[&str], Answer)]| {
        calls.iter().try_for_each(|(args, expected)| {
            let output = call(args)?;
            expected.check(args[0], &output).with_context(|| said(&output))
        })
    };
    let save = || -> Result<Vec<u8>> {
        let saved = call(&["save_config"])?;
        Answer::Config.check("save_config", &saved).with_context(|| said(&saved))?;
        Ok(saved.stdout)
    };
    let mut target = start(&socket, &[])?;
    // Before, no port can be told that is free.
    wait_for_line(&mut target, "poll groups")?;
    checked(SET_UP)?;
    use_it(&call)?;
    let saved = save()?;
    sh.write_file(&file, &saved)?;
    checked(TAKE_DOWN)?;
    ends(target)?;

    let file = file.to_str().context("a folder for temporary files has no name in UTF-8")?;
    let mut target = start(&socket, &["--wait-for-rpc"])?;
    wait_for_line(&mut target, "waiting for the call of framework_start_init")?;
    checked(&[(&["load_config", "-j", file], Answer::Nothing)])?;
    ensure!(save()? == saved, "what was loaded is saved otherwise than {}", String::from_utf8_lossy(&saved));
    use_it(&call)?;
    checked(&[(&["spdk_kill_instance", "SIGINT"], Answer::Nothing)])?;
    ends(target)?;

    let mut target = start(&socket, &["-c", file])?;
    wait_for_line(&mut target, "poll groups")?;
    ensure!(save()? == saved, "what -c has made is saved otherwise than {}", String::from_utf8_lossy(&saved));
    use_it(&call)?;
    checked(&[(&["spdk_kill_instance", "SIGTERM"], Answer::Nothing)])?;
    ends(target)?;
    Ok(SET_UP.len() + TAKE_DOWN.len() + 6)
}

fn start(socket: &Path, args: &[&str]) -> Result<Child> {
    let mut target = Command::new(program::target()?.join("debug/nvmf-tgt"));
    target.args(["--no-cpumask-locks", "-r"]).arg(socket).args(args);
    Child::start("target", target)
}

/// Loads it from a host for a moment, with every block verified, and asks who that is.
fn use_it(call: &dyn Fn(&[&str]) -> Result<Output>) -> Result<()> {
    let told = |args: &[&str]| -> Result<Value> {
        let output = call(args)?;
        let told = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        shapes::check(args[0], &told).map_err(anyhow::Error::msg)?;
        Ok(told)
    };
    let port = &told(&["nvmf_subsystem_get_listeners", NQN])?[0]["address"]["trsvcid"];
    let port = port.as_str().context("the subsystem does not listen")?;
    let at = format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{port} subnqn:{NQN} hostnqn:{HOST} ns:3");
    let mut host = Command::new(program::target()?.join("debug/nvme-perf"));
    host.args(["--no-cpumask-locks", "-w", "randrw", "-q", "8", "--size", "1M", "-t", "2", "--verify", "-r", &at]);
    let mut host = Child::start("host", host)?;
    let deadline = Instant::now() + IN_TIME;
    loop {
        let queues = told(&["nvmf_subsystem_get_qpairs", NQN])?;
        if queues.as_array().is_some_and(|queues| queues.iter().any(|queue| queue["qid"] == 1)) {
            break;
        }
        ensure!(Instant::now() < deadline, "the host has no queue for data: {queues}{}", host.said());
    }
    let controllers = told(&["nvmf_subsystem_get_controllers", NQN])?;
    ensure!(controllers[0]["hostnqn"] == HOST, "the host is not told of: {controllers}");
    while host.next(deadline)?.is_some() {}
    let status = host.wait(deadline)?;
    ensure!(status.success(), "the host ended with {status}{}", host.said());
    Ok(())
}
