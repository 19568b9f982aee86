//! What reactor-test prints, step by step, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn reactor_test(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactor-test"));
    // Other programs and tests may use the cores.
    command.args(args.split_whitespace()).arg("--no-cpumask-locks").env("RUST_BACKTRACE", "1");
    command
}

fn run(args: &str) -> Output {
    reactor_test(args).output().expect("reactor-test starts")
}

fn stdout(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

#[test]
fn it_starts_sends_both_ways_between_cores_stops_and_does_so_again() {
    let cores = allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    let (first, second) = (cores[0], cores[1]);
    let output = run(&format!("-n 500 -m [{first},{second}]"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = stdout(&output);
    assert_eq!(lines.len(), 12, "{lines:#?}");
    for (life, lines) in [1, 2].into_iter().zip(lines.chunks(6)) {
        assert_eq!(lines[0], format!("life {life}: start"));
        assert!(lines[1].starts_with(&format!("life {life}: app_thread started on core {first}, reactors on [")), "{lines:#?}");
        assert_eq!(lines[2], format!("peer started on core {second}"));
        assert!(lines[3].starts_with("500 round trips in ") && lines[3].contains(" per second"), "{lines:#?}");
        assert_eq!(lines[4..], ["stop".to_owned(), format!("life {life}: fini")]);
    }
}

#[test]
fn one_core_is_enough() {
    let output = run(&format!("-n 1 -m [{}]", allowed_cores()[0]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stdout(&output).iter().filter(|line| line.starts_with("1 round trips in ")).count(), 2);
}

#[test]
fn a_signal_stops_it_and_says_what_is_left() {
    let mut child = reactor_test("-n 1000000000000").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("peer started")));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(lines.collect::<Vec<_>>(), ["life 1: fini"], "and no second life");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("round trips to go"), "{output:?}");
}

#[test]
fn bad_values_are_refused() {
    for (args, part) in [("-n 0", "--messages"), ("-n x", "--messages"), ("-m 0xZ", "at character 2"), ("-m [1023]", "no core [1023]")] {
        let output = run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(part) && !stderr.contains("panicked"), "{args}: {stderr}");
    }
}

/// Also one that was closed before the start, in whose place there is something that takes
/// everything.
#[test]
fn s98_an_output_that_is_closed_is_told_at_the_end() {
    let mut broken = reactor_test("-n 10").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(broken.stdout.take());
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" -n 10 --no-cpumask-locks >&-", env!("CARGO_BIN_EXE_reactor-test")]);
    for (output, part) in [(broken.wait_with_output().unwrap(), "Broken pipe"), (closed.output().unwrap(), "Bad file descriptor")] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("write standard output: ") && stderr.contains(part) && !stderr.contains("panicked"), "{stderr}");
    }
}
