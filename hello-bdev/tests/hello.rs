//! hello-bdev as a process: what it prints, and how it ends.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Who is not woken would sleep for ever.
fn hello(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new("timeout").args(["60", env!("CARGO_BIN_EXE_hello-bdev")]).args(args).output().expect("the program starts");
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

/// A file of 1 MiB.
fn disk() -> tempfile::NamedTempFile {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    disk
}

/// Nobody asks a device in vain: a core that sleeps is woken by the ring, or by a thread.
#[test]
fn s220_s300_a_file_is_written_and_read_back() {
    for (module, more, way) in [
        ("uring", "", "O_DIRECT, in multiples of"),
        ("aio", "", "O_DIRECT, in multiples of"),
        ("uring", ",direct=false", "cache: as was asked"),
    ] {
        let disk = disk();
        let path = disk.path().to_str().unwrap();
        let (code, text) = hello(&["--bdev", &format!("{module}:path={path},name=Malloc0{more}")]);
        are_in_order(&text, &STEPS);
        assert!(code == Some(0) && text.contains(way), "{text}");
        assert!(std::fs::read(path).unwrap().starts_with(b"Hello World!\n\0"));
    }
}

#[test]
fn s292_a_file_that_cannot_be_had_ends_it_with_a_sentence() {
    let disk = disk();
    let path = disk.path().to_str().unwrap();
    for module in ["uring", "aio"] {
        for (params, says) in [
            ("path=/nowhere/disk.img".to_owned(), "/nowhere/disk.img: there is no such file; make one"),
            ("path=/tmp".into(), "/tmp: it is neither a file nor a disk but a directory"),
            ("name=x".into(), "path: it is missing; such as path=disk.img"),
            (format!("path={path},readonly=perhaps"), "readonly: \"perhaps\" is neither true nor false"),
            (format!("path={path},block_size=1000"), "block_size: 1000 is not a multiple of 512"),
        ] {
            let (code, text) = hello(&["--bdev", &format!("{module}:{params}")]);
            assert!(code == Some(2) && text.contains(says), "{says:?} in\n{text}");
        }
    }
}

/// As another user, who has the right to run this program and not to write to that file.
#[test]
fn s292_a_file_that_is_somebody_elses_is_said_to_be() {
    let disk = disk();
    std::fs::set_permissions(disk.path(), std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    for module in ["uring", "aio"] {
        for (more, says, code) in
            [("", "it cannot be opened for writing (Permission denied", 2), (",readonly=true", "the device has no write", 1)]
        {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hello-bdev"));
            command.args(["--bdev", &format!("{module}:path={}{more}", disk.path().display())]);
            // Root may do anything; another user is who it is.
            if std::fs::write(disk.path(), vec![0; 1 << 20]).is_ok() {
                std::os::unix::process::CommandExt::uid(&mut command, 65_534);
            }
            let output = command.output().unwrap_or_else(|why| panic!("is the program there for everybody? {why}"));
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(text.contains(says) && output.status.code() == Some(code), "{says:?} in\n{text}");
        }
    }
}

/// A signal would end it.
#[test]
fn s292_a_limit_of_the_size_of_files_is_an_error_of_the_write() {
    let disk = disk();
    for module in ["uring", "aio"] {
        for more in ["", ",direct=false"] {
            let line = format!("{module}:path={}{more}", disk.path().display());
            let limited = Command::new("prlimit").args(["--fsize=0", env!("CARGO_BIN_EXE_hello-bdev"), "--bdev", &line]).output().unwrap();
            let text = String::from_utf8_lossy(&limited.stderr);
            assert!(text.contains("the file may not be so large; raise the limit of this process (ulimit -f)"), "{text}");
            assert_eq!(limited.status.code(), Some(1), "{text}");
        }
    }
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
        (&["--bdev", "floppy:size=1M"], 2, "\"floppy\" is none; linked are aio, fault, malloc, null, uring"),
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
