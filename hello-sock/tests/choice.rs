//! Which backend is chosen, and what is said of it (statement 24).

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;

use common::{Server, echo, hello_sock, run_command};
use conformance::sandbox;

/// None is asked for, unless a test does.
const NET: &str = "";

/// hello-sock where setting up an io_uring fails with `errno`.
fn without_uring(args: &str, errno: i32) -> Command {
    let mut command = hello_sock(args);
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(move || sandbox::refuse(libc::SYS_io_uring_setup, errno)) };
    command
}

#[test]
fn s24_without_a_name_uring_is_chosen_and_the_log_says_why() {
    let mut server = Server::start("");
    assert_eq!(echo(&mut server.connect(), b"hello"), b"hello");
    server.program.line_with("network backend: uring (highest priority)");
    let ended = server.stop();
    assert!(!ended.stderr.contains("skipped"), "{}", ended.stderr);
}

#[test]
fn s24_in_a_sandbox_that_refuses_io_uring_posix_is_chosen_with_one_line() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        let mut server = Server::start_with(without_uring("-S -P 0 --no-cpumask-locks", errno));
        assert_eq!(echo(&mut server.connect(), b"hello"), b"hello");
        server.program.line_with("network backend: posix (highest priority that works here)");
        let ended = server.stop();
        let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("uring")).collect();
        let why = format!("network backend uring is skipped: not usable here: io_uring_setup: {}", said(errno));
        assert!(matches!(lines[..], [line] if line.contains(&why)), "one line with {why:?} is wanted: {lines:#?}");
    }
}

#[test]
fn s24_asked_for_in_such_a_sandbox_uring_is_an_error_that_says_why() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let why = run_command(without_uring("-S -P 0 --no-cpumask-locks -N uring", errno)).refusal(1);
        assert!(why.contains("uring") && why.contains(&said(errno)), "{why}");
    }
}

/// No thread is to be had: that is one sentence, whoever wanted the thread.
#[test]
fn s52_without_a_thread_it_is_a_refusal_and_no_panic() {
    for args in ["-S -P 0", "-P 1", "-P 1 --load 1,1,1,1"] {
        let mut command = hello_sock(&format!("{args} --no-cpumask-locks"));
        // SAFETY: between fork and exec it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(|| sandbox::refuse(libc::SYS_clone3, libc::EAGAIN)) };
        let why = run_command(command).refusal(1);
        assert_eq!(why, "hello_sock: start a thread: log: Resource temporarily unavailable (error 11)", "{args}");
    }
}

/// What the system says of an error.
fn said(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os").next().expect("a part").to_owned()
}
