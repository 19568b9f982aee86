//! rdma-perf told wrongly: one sentence and an exit code, without a device.

use std::process::Command;

fn run(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rdma-perf"));
    let output = command.args(args).env_remove("LCORE_RDMA_ADDR").output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn bad_input_is_told_with_exit_code_2() {
    let wrong: [(&[&str], &str); 8] = [
        (&[], "required"),
        (&["nowhere.example"], "HOST"),
        (&["--compare"], "HOST"),
        (&["127.0.0.1", "--size", "0"], "--size: 0; at least 1 is needed"),
        (&["127.0.0.1", "--iterations", "0"], "--iterations: 0; at least 1 is needed"),
        (&["127.0.0.1", "--size", "1073741824"], "lower --size or --depth"),
        (&["127.0.0.1", "--test", "atomic-lat"], "atomic-lat"),
        (&["127.0.0.1", "-N", "carrier-pigeon"], "transport"),
    ];
    for (args, words) in wrong {
        let (code, text) = run(args);
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(words) && !text.contains("panicked"), "{args:?}: {text}");
    }
}

/// What is asked for is printed, or it is an error; `change` is what a shell does to the stream.
#[test]
fn s98_a_stream_that_is_not_there_is_an_error() {
    for (args, change, code, part) in [
        ("--help", ">&-", 1, "write standard output: Bad file descriptor"),
        ("--version", ">/dev/full", 1, "write standard output: No space left"),
        ("--colour", ">&-", 2, "--colour"),
    ] {
        let script = format!("exec \"$0\" {args} {change}");
        let ended = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_rdma-perf")]).output().expect("a shell");
        let stderr = String::from_utf8(ended.stderr).expect("text");
        assert_eq!(ended.status.code(), Some(code), "{args} {change}: {stderr}");
        assert!(stderr.contains(part), "{args} {change}: {stderr}");
    }
}
