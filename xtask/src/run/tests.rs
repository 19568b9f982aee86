//! The show with shell scripts in the place of hello-sock.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

const LISTENING: &str = "Listening connection on 127.0.0.1:4242 with sock_impl(posix)";
const SERVER_JSON: &str = r#"{"mode":"server","groups":[]}"#;

/// A load client's statistics with so many mismatches and errors.
fn load_json(echoes: u64, mismatches: u64, errors: u64) -> String {
    format!(
        r#"{{"mode":"load","backend":"posix","linked":["posix","uring"],"why":"highest priority","cores":"[1]","connections":16,"depth":1,"size":64,"seconds":5,"echoes":{echoes},"bytes":6400,"mismatches":{mismatches},"errors":{errors},"rate":20.5,"latency_ns":{{"p50":1000,"p90":2000,"p99":3000,"p999":4000,"max":5000}},"histogram":[{{"up_to_ns":1000,"count":70}},{{"up_to_ns":5000,"count":30}}]}}"#
    )
}

/// A server that listens, and at SIGINT runs `at_end`. Its short waits bound how long one outlives
/// a server that is killed.
fn server(at_end: &str) -> String {
    format!("trap '{at_end}; exit' INT; echo 'the chosen backend is posix' >&2; echo '{LISTENING}' >&2; while :; do sleep 0.05; done")
}

/// The show over a server and a client given as shell commands.
fn show_of(server: &str, client: &str) -> Result<String> {
    sigint_reaches_children();
    let script = format!("case \"$1\" in -S) {server};; *) {client};; esac");
    let program = || {
        let mut sh = Command::new("sh");
        sh.args(["-c", &script, "hello-sock"]);
        sh
    };
    measure(&program, &[0, 1])
}

/// Where this process was started with SIGINT ignored, as shells start their background jobs, its
/// children would be too, and a shell cannot trap what it finds ignored. A handler is not handed on
/// to children; the default is.
fn sigint_reaches_children() {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 130, always).expect("SIGINT can be handled");
}

fn good_end() -> String {
    format!("echo \"{}\"", SERVER_JSON.replace('"', "\\\""))
}

fn why(done: Result<String>) -> String {
    format!("{:#}", done.expect_err("must fail"))
}

#[test]
fn a_good_run_tells_all() {
    // The cores are not asked for by anybody: a lock of another process on one of them is nothing
    // to fail of.
    let args = "-H 127.0.0.1 --load 16,1,64,5 --json -m [1] --no-cpumask-locks -P 4242";
    let client = format!("[ \"$*\" = '{args}' ] && echo '{}'", load_json(100, 0, 0));
    let is_as_asked = "[ \"$*\" = '-S -H 127.0.0.1 -P 0 --json -m [0] --no-cpumask-locks' ] || exit 2; ";
    let report = show_of(&(is_as_asked.to_owned() + &server(&good_end())), &client).expect("both are well");
    for part in ["server | the chosen backend is posix", "linked  posix, uring", "posix (highest priority)", "100 in 5.0 s", "p99.9 4.0 µs"]
    {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
    assert!(!report.contains("\"mode\""), "{report}");
}

#[test]
fn wrong_bytes_failed_connections_and_silence_are_failures() {
    let run = |json: String| why(show_of(&server(&good_end()), &format!("echo '{json}'")));
    assert!(run(load_json(100, 3, 0)).contains("3 echoes came back with other bytes"));
    assert!(run(load_json(100, 0, 2)).contains("2 connections failed"));
    assert!(run(load_json(0, 0, 0)).contains("no echo came back"));
}

#[test]
fn a_client_that_fails_is_told_with_its_words_and_the_servers() {
    let text = why(show_of(&server(&good_end()), "echo 'connection refused' >&2; exit 1"));
    assert!(text.contains("client | connection refused") && text.contains("server | Listening"), "{text}");
}

#[test]
fn a_client_without_statistics_is_a_failure() {
    assert!(why(show_of(&server(&good_end()), "echo done")).contains("printed no JSON object with mode \"load\""));
    let short = r#"echo '{"mode":"load","backend":"posix"}'"#;
    assert!(why(show_of(&server(&good_end()), short)).contains("missing field"));
}

#[test]
fn a_server_that_cannot_listen_is_told_with_its_words() {
    let text = why(show_of("echo 'port in use' >&2; exit 1", "true"));
    assert!(text.contains("ended before it listened") && text.contains("server | port in use"), "{text}");
}

#[test]
fn a_server_that_does_not_end_with_0_is_a_failure() {
    let client = format!("echo '{}'", load_json(100, 0, 0));
    let text = why(show_of(&server("exit 3"), &client));
    assert!(text.contains("and not with exit code 0"), "{text}");
}

#[test]
fn cores_are_the_first_two_allowed() {
    let of = |list: &str| cores(&format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{list}\n"));
    assert_eq!(of("0-7").expect("a range"), [0, 1]);
    assert_eq!(of("3,9-11").expect("a list"), [3, 9]);
    assert_eq!(of("5").expect("one"), [5]);
    assert!(of("none").is_err());
}

#[test]
fn a_program_that_takes_too_long_is_told_and_ended() {
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let mut child = Child::start("sleeper", sleep).expect("started");
    let error = child.next(Instant::now()).expect_err("it says nothing");
    assert!(format!("{error:#}").contains("the sleeper took too long"), "{error:#}");
}
