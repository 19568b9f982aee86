//! Tables for scripts, of applications of every kind, and none.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Application, Does, spdk};
use serde_json::{Value, json};

fn lcore_top(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lcore-top")).args(args).output().unwrap()
}

fn once(path: &Path, more: &[&str]) -> Output {
    let mut args = vec!["--once", "-i", "0.1", "-r", path.to_str().unwrap()];
    args.extend(more);
    lcore_top(&args)
}

/// What is said where this cannot be done.
fn refusal(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{said}");
    said
}

/// An application that answers so, looked at once.
fn of(answers: impl Fn(&str, usize) -> Does + Send + Sync + 'static, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _application = Application::at(&path, answers);
    once(&path, more)
}

#[test]
fn s196_spdk_itself_is_watched_as_far_as_its_methods_go() {
    let output = of(|method, count| spdk("nvmf_tgt_poll_group_000", method, count), &["--json"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["application"]["name"], "SPDK of nvmf_tgt_poll_group_000, process 77");
    assert_eq!((&all["threads"][0]["cpu_share"], &all["threads"][0]["core"]), (&json!(0.25), &json!(0)));
    assert_eq!((&all["cores"][0]["busy_share"], &all["cores"][0]["frequency_mhz"]), (&json!(0.5), &json!(2100)));
    assert_eq!((&all["cores"][0]["numa"], &all["threads"][0]["longest_run_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!(all["pollers"][0]["runs"], 2000);
    // 1,000 in a tenth of a second at least, and in a minute at most.
    let rate = all["pollers"][0]["runs_per_second"].as_f64().unwrap();
    assert!((1000.0 / 60.0..=10_000.0).contains(&rate), "{rate}");
    assert_eq!(all["pools"].as_array().unwrap().len(), 2);
    assert_eq!((&all["statistics"], &all["notes"]["statistics"]), (&Value::Null, &json!("the application has no method lcore_get_stats")));
}

#[test]
fn tables_are_text_too() {
    let output = of(|method, count| spdk("thread_x", method, count), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("thread_x ")).collect();
    assert_eq!((output.status.code(), rows.len()), (Some(0), 1), "{text}");
    assert!(rows[0].contains(" 25.0 ") && text.contains("the application has no method lcore_get_stats"), "{text}");
}

#[test]
fn an_application_that_has_not_started_says_so_and_is_no_failure() {
    let output = of(|_, _| Does::Refuse(-1, "Method may only be called after framework is initialized\u{1b}[2J"), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("thread_get_stats: Method may only be called after") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn s196_what_ends_a_connection_is_said_with_exit_code_1() {
    let dies = |method: &str, count| if count == 2 { Does::Close } else { spdk("t", method, count) };
    assert!(refusal(&of(dies, &["--json"]), 1).contains("the application has closed the connection"));
    let stopped = |method: &str, count| if method == "thread_get_stats" { Does::Stay } else { spdk("t", method, count) };
    let said = refusal(&of(stopped, &[]), 1);
    assert!(said.contains("no answer to thread_get_stats within 3s") && said.contains("stopped?"), "{said}");
    assert!(refusal(&of(|_, _| Does::Write("SSH-2.0-OpenSSH\r\n"), &[]), 1).contains("not JSON-RPC"));
    let dir = tempfile::tempdir().unwrap();
    let said = refusal(&once(&dir.path().join("none"), &[]), 1);
    assert!(said.contains("there is no such socket") && said.contains("-r"), "{said}");
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("left")).unwrap());
    assert!(refusal(&once(&dir.path().join("left"), &[]), 1).contains("nobody serves there"));
}

#[test]
fn the_command_line_and_the_output_are_checked() {
    for wrong in [&["-i", "0"][..], &["-r", "x"], &["--json"], &["x"]] {
        assert!(refusal(&lcore_top(wrong), 2).contains("error: "), "{wrong:?}");
    }
    let said = refusal(&lcore_top(&["-r", "/none"]), 1);
    assert!(said.contains("no terminal: use --once"), "{said}");
    let help = lcore_top(&["--help"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--once --json"));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lcore-top")).arg("--help").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("write standard output"));
}
