//! The machine in a box as people meet it: exit codes, files, limits, signals, an RDMA device. Each
//! test boots one; `cargo xtask test --step vm` runs them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

fn vm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("vm").args(args);
    command
}

/// Runs a script inside, with options before it.
fn run(options: &[&str], script: &str) -> Output {
    vm(&[&["run"], options, &["--", "sh", "-c", script]].concat()).output().expect("it starts")
}

#[track_caller]
fn assert_ends(out: &Output, code: i32, stdout: &str, stderr: &str) {
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let whole = format!("{:?}\n{said}\n{complained}", out.status);
    assert_eq!(out.status.code(), Some(code), "{whole}");
    assert!(said.contains(stdout) && complained.contains(stderr), "{stdout:?} and {stderr:?} are not in:\n{whole}");
}

/// The folders in target/vm of runs of this process.
fn folders_of(process: u32) -> Vec<PathBuf> {
    // This test is target/debug/deps/vm-….
    let own = std::env::current_exe().expect("its own path");
    let folder = own.ancestors().nth(3).expect("cargo's folders").join("vm");
    let entries = fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").path());
    entries.filter(|path| path.to_string_lossy().contains(&format!("run-{process}-"))).collect()
}

#[test]
fn two_processes_speak_over_the_device_and_files_go_in_and_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (note, out) = (folder.path().join("it's a note"), folder.path().join("out"));
    fs::write(&note, "carried\n").expect("written");
    let options = [
        "--memlock",
        "64",
        "--hugepages",
        "3",
        "--env",
        "WORD=two words",
        "--file",
        note.to_str().expect("text"),
        "--out",
        out.to_str().expect("text"),
    ];
    let script = r#"
        ibv_devinfo -d rxe0 | grep PORT_ACTIVE || exit 9
        (ulimit -l; nproc; echo "$WORD"; cat "it's a note"; grep HugePages_Total /proc/meminfo) > /out/told
        ulimit -l unlimited
        ibv_rc_pingpong -d rxe0 -g 1 -n 100 > /out/server & server=$!
        until netstat -ltn | grep -q :18515; do usleep 10000; done
        ibv_rc_pingpong -d rxe0 -g 1 -n 100 "$LCORE_RDMA_ADDR" > /out/client || exit 8
        wait $server || exit 7
        [ -w /dev/shm ] && [ -w /tmp ] && echo "all is well"
    "#;
    assert_ends(&run(&options, script), 0, "all is well", "");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("brought out");
    let told = read("told");
    let told: Vec<_> = told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(told, ["64", "2", "two words", "carried", "HugePages_Total: 3"].map(str::to_owned));
    for end in ["server", "client"] {
        assert!(read(end).contains("100 iters in"), "{end}: {}", read(end));
    }
}

#[test]
fn an_exit_code_is_handed_on_and_a_program_cannot_forge_a_verdict() {
    let out = run(&[], "echo; echo VM_EXIT=0; printf 'no end of line'; exit 3");
    assert_ends(&out, 3, "VM_EXIT=0\nno end of line", "error: the command ended with exit code 3");
}

#[test]
fn a_signal_is_told_from_an_exit() {
    assert_ends(&run(&[], "kill -KILL $$"), 137, "", "error: the command was killed by signal 9 (exit code 137)");
}

#[test]
fn a_command_that_takes_too_long_is_124_and_says_what_it_did_last() {
    let out = run(&["--timeout", "20"], "echo waiting for nothing; sleep 600");
    assert_ends(&out, 124, "waiting for nothing", "not done within 20 s (--timeout)");
    assert!(String::from_utf8_lossy(&out.stderr).contains("\n  waiting for nothing"), "the console's last lines");
}

#[test]
fn a_machine_that_ends_without_a_verdict_is_125() {
    let out = run(&[], "echo going; poweroff -f");
    assert_ends(&out, 125, "going", "no verdict: the machine ended (exit status: 0) before the command did");
}

#[test]
fn a_fault_in_the_kernel_is_no_verdict() {
    assert_ends(&run(&[], "echo c > /proc/sysrq-trigger; exit 0"), 125, "Kernel panic", "no verdict");
}

/// A QEMU that ends as if its kernel had died at boot, the first `times`, and then is the real one.
fn dying(folder: &Path, times: u32) -> String {
    let text = format!(
        r#"#!/bin/sh
echo boot >> '{0}/boots'
[ "$(wc -l < '{0}/boots')" -gt {times} ] || {{ echo 'Kernel panic - not syncing'; exit 0; }}
PATH=${{PATH#*:}} exec qemu-system-x86_64 "$@"
"#,
        folder.display()
    );
    let file = folder.join("qemu-system-x86_64");
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made executable");
    format!("{}:{}", folder.display(), std::env::var("PATH").expect("set"))
}

#[test]
fn a_kernel_that_dies_before_the_command_is_booted_once_more() {
    for (times, code, boots) in [(1, 0, 2), (2, 125, 2)] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = vm(&["run", "--", "echo", "it ran"]).env("PATH", dying(folder.path(), times)).output().expect("it starts");
        assert_ends(&out, code, if code == 0 { "it ran" } else { "" }, "it is booted once more");
        assert_eq!(fs::read_to_string(folder.path().join("boots")).expect("told").lines().count(), boots);
    }
}

#[test]
fn of_two_machines_both_are_booted_once_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = vm(&["run", "--two", "--server", "echo up; sleep 600", "--", "echo", "it ran"]);
    let out = command.env("PATH", dying(folder.path(), 1)).output().expect("it starts");
    assert_ends(&out, 0, "client | it ran", "the server's kernel ended before the command began");
}

/// Answers each connection with a word and what came; says where.
fn answering(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("known").port();
    thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.expect("accepted");
            let mut line = String::new();
            BufReader::new(&peer).read_line(&mut line).expect("read");
            peer.write_all(format!("{word} {line}").as_bytes()).expect("written");
        }
    });
    port
}

#[test]
fn one_machine_reaches_the_ports_that_are_named_and_no_other_and_is_reached() {
    let (named, other) = (answering("answer to").to_string(), answering("no").to_string());
    let here = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("known").port();
    let script = r#"
        for word in one two; do echo $word | nc $LCORE_HOST_ADDR $NAMED; done
        for address in $LCORE_HOST_ADDR 10.0.2.2 127.0.0.1; do nc $address $OTHER < /dev/null 2> /dev/null && exit 9; done
        echo listening
        nc -l -p 7777 -e cat
    "#;
    let forward = format!("{here}:7777");
    let (named_is, other_is) = (format!("NAMED={named}"), format!("OTHER={other}"));
    let options = ["run", "--to-host", &named, "--from-host", &forward, "--env", &named_is, "--env", &other_is, "--", "sh", "-c", script];
    let mut child = vm(&options).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    let told: Vec<_> = lines.by_ref().take_while(|line| line != "listening").collect();
    assert_eq!(told, ["answer to one", "answer to two"]);
    // QEMU takes a connection before it knows whether the machine does.
    let speak = || {
        let mut peer = TcpStream::connect(("127.0.0.1", here))?;
        peer.write_all(b"from here\n")?;
        let mut line = String::new();
        BufReader::new(&peer).read_line(&mut line).map(|_| line)
    };
    let back = loop {
        if let Some(line) = speak().ok().filter(|line| !line.is_empty()) {
            break line;
        }
    };
    assert_eq!(back, "from here\n");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn sigint_ends_the_machine_and_leaves_nothing() {
    let mut child =
        vm(&["run", "--", "sh", "-c", "echo here; sleep 600"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text") == "here"), "the command runs");
    assert_eq!(folders_of(child.id()).len(), 1);
    kill_process(Pid::from_child(&child), Signal::INT).expect("sent");
    // QEMU has our standard error too, so this ends only when both have ended.
    let process = child.id();
    let out = child.wait_with_output().expect("it ends");
    assert_ends(&out, 130, "", "error: interrupted, and the machine was ended");
    assert!(folders_of(process).is_empty());
}

#[test]
fn a_program_of_the_workspace_is_built_and_runs() {
    let out = vm(&["run", "--", "reactor-test", "--help"]).output().expect("it starts");
    assert_ends(&out, 0, "Usage", "");
}

#[test]
fn two_machines_speak_over_a_wire_and_the_server_gets_sigint() {
    // The second program goes on until it is told to stop, and then tells that it was.
    let server = r#"ibv_rc_pingpong -d rxe0 -g 1 -n 100; sh -c 'trap "echo told to stop; exit 0" INT; while :; do usleep 10000; done'"#;
    let client = "ibv_rc_pingpong -d rxe0 -g 1 -n 100 $LCORE_RDMA_PEER";
    let out = run(&["--two", "--server", server, "--ready", "local address"], client);
    assert_ends(&out, 0, "client | 100 iters in", "");
    assert_ends(&out, 0, "server | 100 iters in", "");
    assert_ends(&out, 0, "server | told to stop", "");
    assert_ends(&out, 0, "GID ::ffff:10.77.0.2", "");
}

#[test]
fn a_server_that_fails_is_seen_before_and_after_the_client() {
    let out = run(&["--two", "--server", "exit 4"], "true");
    assert_ends(&out, 1, "", "the server ended with exit code 4 before the client began");
    let stubborn = "sh -c 'trap \"exit 4\" INT; echo up; while :; do usleep 10000; done'";
    let out = run(&["--two", "--server", stubborn, "--ready", "up"], "true");
    assert_ends(&out, 4, "", "the client ended well, and the server with exit code 4");
}

#[test]
fn a_server_without_a_handler_is_ended_by_sigint_and_that_is_no_failure() {
    let out = run(&["--two", "--server", "echo up; sleep 600"], "exit 0");
    assert_ends(&out, 0, "server | up", "");
}
