//! hello-bdev as a process: what it prints, and how it ends.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn hello(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_hello-bdev")).args(args).output().expect("the program starts");
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

struct File(tempfile::TempDir);

impl File {
    fn new(config: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bdev.json"), config.to_string()).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("bdev.json")
    }
}

fn config(calls: Value) -> File {
    File::new(&json!({"subsystems": [{"subsystem": "bdev", "config": calls}]}))
}

/// Each of them, in this order.
fn are_in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is missing or out of order in\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

const STEPS: [&str; 8] = [
    "Successfully started the application",
    "Opening the bdev Malloc0",
    "Opening io channel",
    "Writing to the bdev",
    "bdev io write completed successfully",
    "Reading io",
    "Read string from bdev : Hello World!\n\n",
    "Stopping app",
];

#[test]
fn s220_a_device_of_a_configuration_is_written_and_read_back() {
    let file = config(json!([{"method": "bdev_malloc_create", "params": {"name": "Malloc0", "num_blocks": 32768, "block_size": 512}}]));
    let path = file.path();
    let (code, text) = hello(&["-c", path.to_str().unwrap(), "-b", "Malloc0", "-L", "all"]);
    are_in_order(&text, &STEPS);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn s220_a_device_of_the_command_line_too() {
    let (code, text) = hello(&["--bdev", "malloc:name=Malloc0,size=1M,block_size=4096"]);
    are_in_order(&text, &STEPS);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn s220_a_device_that_forgets_is_found_out() {
    let (code, text) = hello(&["--bdev", "null:name=n,size=1T", "-b", "n"]);
    are_in_order(&text, &["Reading io", "is not what was written"]);
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn s220_a_device_that_is_not_there_is_named_with_those_that_are() {
    for (args, code, says) in [
        (&["-b", "x"][..], 1, "there is no block device \"x\" (there are none: make one with -c or --bdev)"),
        (&["-b", "x", "--bdev", "malloc:name=m,size=1M"], 1, "there is no block device \"x\" (m)"),
        (&["--bdev", "floppy:size=1M"], 2, "\"floppy\" is none; linked are aio, malloc, null, uring"),
        (&["--bdev", "malloc:name=m"], 2, "size: it is missing"),
        (&["--bdev", "malloc:size=1000"], 2, "1000 bytes are no whole number of blocks of 512"),
        (&["--bdev", "malloc:size=1M", "--bdev", "malloc:name=Malloc0,size=1M"], 2, "\"Malloc0\" already"),
        (&["--bdev", "malloc:size=1M,colour=red"], 2, "\"colour\" is none of name, size"),
    ] {
        let (ended, text) = hello(args);
        assert!(text.contains(says), "{says:?} in\n{text}");
        assert_eq!(ended, Some(code), "{args:?}: {text}");
    }
}

#[test]
fn s220_what_is_wrong_in_a_configuration_ends_it_with_the_line_and_the_method() {
    let create = |name: &str, blocks: u64| json!({"method": "bdev_malloc_create", "params": {"name": name, "num_blocks": blocks, "block_size": 512}});
    for (calls, says) in [
        (json!([create("a", 8), create("a", 8)]), "there is a block device \"a\" already"),
        (json!([create("a", 0)]), "0 blocks of 512 bytes make no device"),
        (json!([create("a", u64::MAX)]), "make no device"),
        (json!([create("a", 1 << 50)]), "no memory for 576460752303423488 bytes"),
        (json!([{"method": "bdev_malloc_create", "params": {"num_blocks": 8}}]), "missing field `block_size`"),
    ] {
        let file = config(calls);
        let (code, text) = hello(&["-c", file.path().to_str().unwrap()]);
        assert!(text.contains(says) && text.contains("bdev_malloc_create"), "{says:?} in\n{text}");
        assert_eq!(code, Some(1), "{text}");
    }
}
