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
