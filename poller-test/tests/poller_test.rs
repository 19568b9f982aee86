//! What poller-test prints, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running program. Dropped, it is killed.
struct Program(Child);

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poller-test"));
        command.args(args).env("RUST_BACKTRACE", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("poller-test starts"))
    }

    fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    /// Its exit code and its lines on standard error.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.0.wait().unwrap().code(), stderr)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn says_hello_once_and_each_period_and_its_figures_at_the_end() {
    let began = Instant::now();
    let mut program = Program::start(&["-p", "0.05", "-n", "4"]);
    let lines: Vec<String> = program.stdout().lines().map(Result::unwrap).collect();
    assert_eq!(program.end().0, Some(0));
    assert!(began.elapsed() >= Duration::from_millis(200), "four periods: {:?}", began.elapsed());
    assert_eq!(lines[..5], ["hello reader", "hello poller", "hello poller", "hello poller", "hello poller"]);
    let count = lines[5].strip_prefix("the active poller ran ").and_then(|rest| rest.strip_suffix(" times")).expect("its count");
    // As long as a turn takes less than 10 ms.
    assert!(count.parse::<u64>().unwrap() > 20, "{count}");
    let shares: Vec<f64> = lines[6].split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(lines[6].starts_with("reactor: ") && lines[6].ends_with(" % idle"), "{}", lines[6]);
    assert!((shares[shares.len() - 2] + shares[shares.len() - 1] - 100.0).abs() < 0.01, "{}", lines[6]);
    assert!(lines[7].starts_with("thread reader: ") && lines[8].starts_with("thread counter: "), "{lines:?}");
}

#[test]
fn a_signal_ends_it_in_order_also_in_a_long_period() {
    for (signal, period) in [(Signal::INT, "0.01"), (Signal::TERM, "1000")] {
        let mut program = Program::start(&["-p", period]);
        let mut lines = program.stdout().lines();
        assert_eq!(lines.next().unwrap().unwrap(), "hello reader");
        let began = Instant::now();
        kill_process(Pid::from_child(&program.0), signal).unwrap();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(rest.iter().any(|line| line.starts_with("the active poller ran ")), "{rest:?}");
        assert_eq!(program.end().0, Some(0));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn bad_values_are_refused() {
    for (args, part) in [
        (["-p", "0"], "above 0"),
        (["-p", "x"], "not a time in seconds"),
        (["-p", "inf"], "not a time in seconds"),
        (["-n", "0"], "--times"),
        (["-n", "many"], "--times"),
    ] {
        let (code, stderr) = Program::start(&args).end();
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[test]
fn s98_an_output_that_is_closed_is_told_and_no_panic() {
    let mut broken = Program::start(&["-p", "0.01"]);
    drop(broken.stdout());
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" -p 0.01 >&-", env!("CARGO_BIN_EXE_poller-test")]).stderr(Stdio::piped());
    for mut program in [broken, Program(closed.spawn().unwrap())] {
        let (code, stderr) = program.end();
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("write standard output") && !stderr.contains("panicked"), "{stderr}");
    }
}
