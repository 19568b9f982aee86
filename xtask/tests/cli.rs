//! The command line as people meet it: help, exit codes, and setup over a folder in the place of
//! the machine.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

fn xtask(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    for name in ["HUGEMEM", "NRHUGE", "HUGENODE"] {
        command.env_remove(name);
    }
    command.args(args).output().expect("it starts")
}

#[track_caller]
fn assert_fails(args: &[&str], code: i32, why: &str) {
    let out = xtask(args);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{text}");
    assert!(text.contains(why), "{why:?} is not in:\n{text}");
}

/// A machine with a disk that is mounted, seen by this user.
fn machine(user: u32) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let pci = "sys/bus/pci/devices/0000:04:00.0";
    let files = [
        ("proc/self/status", format!("Uid:\t{user}\t{user}\t{user}\t{user}\n")),
        ("proc/self/limits", "Max locked memory unlimited unlimited bytes\nMax open files 99999 99999 files\n".into()),
        ("proc/self/mountinfo", "30 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n".into()),
        ("proc/meminfo", "MemAvailable: 65536 kB\nHugepagesize: 2048 kB\n".into()),
        ("proc/sys/vm/nr_hugepages", "0\n".into()),
        ("sys/bus/pci/drivers/vfio-pci/bind", String::new()),
        ("sys/kernel/iommu_groups/1/type", String::new()),
        (&format!("{pci}/class"), "0x010802\n".into()),
        (&format!("{pci}/vendor"), "0x8086\n".into()),
        (&format!("{pci}/device"), "0x0a54\n".into()),
        (&format!("{pci}/block/nvme0n1/dev"), "259:0\n".into()),
    ];
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    fs::create_dir_all(folder.path().join("sys/class/block")).expect("made");
    let disk = format!("../../../{pci}/block/nvme0n1");
    std::os::unix::fs::symlink(disk, folder.path().join("sys/class/block/nvme0n1")).expect("linked");
    folder
}

#[test]
fn each_command_has_help() {
    let commands: [&[&str]; 20] = [
        &[],
        &["setup"],
        &["setup", "status"],
        &["setup", "apply"],
        &["setup", "reset"],
        &["run"],
        &["test"],
        &["bench"],
        &["bench", "micro"],
        &["vm"],
        &["vm", "build"],
        &["vm", "run"],
        &["vm", "test"],
        &["vm", "shell"],
        &["image"],
        &["image", "build"],
        &["image", "run"],
        &["image", "test"],
        &["image", "bench"],
        &["image", "size"],
    ];
    for command in commands {
        let out = xtask(&[command, &["--help"]].concat());
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("Usage: cargo xtask"), "{command:?}: {text}");
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    assert_fails(&[], 2, "Usage");
    assert_fails(&["nope"], 2, "unrecognized subcommand");
    assert_fails(&["setup"], 2, "Usage");
    assert_fails(&["setup", "apply", "--bind", "eth0"], 2, "not a PCI address");
    assert_fails(&["setup", "apply", "--hugemem", "lots"], 2, "--hugemem");
    assert_fails(&["test", "--step", "nope"], 2, "fmt, words, deny, clippy");
    assert_fails(&["test", "--no-vm", "--step", "vm"], 2, "the only one asked for");
    assert_fails(&["vm", "run"], 2, "<CMD>");
    assert_fails(&["vm", "run", "--hosts", "3", "--", "true"], 2, "3 is not in 1..=2");
    assert_fails(&["vm", "run", "--file", "/no/such", "--", "true"], 2, "/no/such is not there, or no file");
    assert_fails(&["vm", "run", "--memlock", "lots", "--", "true"], 2, "neither a number of KiB nor `unlimited`");
    assert_fails(&["vm", "run", "--ready", "up", "--", "true"], 2, "--server");
    assert_fails(&["vm", "run", "--two", "--server", "true", "--to-host", "4420", "--", "true"], 2, "are for one machine");
    assert_fails(&["vm", "run", "--from-host", "4420", "--", "true"], 2, "it is two ports, such as 14420:4420");
    assert_fails(&["vm", "test", "--minutes", "10"], 2, "<SUITE>");
    assert_fails(&["vm", "test", "nvmf", "-p", "lcore-pool"], 2, "cannot be used with");
    assert_fails(&["vm", "test", "-p", "lcore-pool", "--list"], 2, "lcore-pool declares no tests for the machine");
    assert_fails(&["vm", "shell"], 1, "a shell needs a terminal");
    assert_fails(&["image", "build", "nope"], 2, "nope.toml");
    assert_fails(&["run", "nope"], 2, "hello-sock, lcore-top, nvme-perf, nvmf-tgt, poller-test, rdma-perf, reactor-test");
}

#[test]
fn the_steps_of_the_test_are_listed() {
    let out = xtask(&["test", "--list"]);
    let text = String::from_utf8_lossy(&out.stdout);
    let names: Vec<_> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(
        names,
        [
            "fmt", "words", "deny", "clippy", "docs", "book", "tests", "user", "tap", "rpc", "faults", "wire", "kv", "features",
            "packages", "vm", "no-std", "loom", "asan", "image", "counts", "bench"
        ]
    );
}

#[test]
fn a_mounted_device_is_refused_with_1() {
    let folder = machine(0);
    let root = folder.path().to_str().expect("text");
    assert_fails(&["setup", "--root", root, "apply", "--bind", "04:00.0"], 1, "nvme0n1 is mounted at /srv");
    let status = xtask(&["setup", "status", "--root", root]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("nvme0n1 is mounted at /srv"));
}

#[test]
fn a_user_who_is_not_root_gets_one_sentence_and_1() {
    let folder = machine(1000);
    let root = folder.path().to_str().expect("text");
    for command in ["apply", "reset"] {
        assert_fails(&["setup", command, "--root", root], 1, "must be run as root");
        let out = xtask(&["setup", command, "--root", root]);
        assert_eq!(String::from_utf8_lossy(&out.stderr).lines().count(), 1);
    }
}

#[test]
fn sizes_come_from_the_environment_and_pages_go_before_memory() {
    let folder = machine(0);
    let apply = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["setup", "apply", "--root"]).arg(folder.path()).args(args);
        let out = command.env_remove("HUGENODE").envs(env.iter().copied()).output().expect("it starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        fs::read_to_string(folder.path().join("proc/sys/vm/nr_hugepages")).expect("there").trim().to_owned()
    };
    assert_eq!(apply(&[("HUGEMEM", "20")], &[]), "10");
    assert_eq!(apply(&[("HUGEMEM", "20"), ("NRHUGE", "12")], &[]), "12");
    assert_eq!(apply(&[("HUGEMEM", "20"), ("NRHUGE", "12")], &["--nrhuge", "15"]), "15");
}

/// A cargo that says where it builds, and builds nothing but what images and the smallest example
/// are looked for as.
const CARGO: &str = r#"#!/bin/sh
case $1 in
metadata) echo "{\"packages\":[],\"target_directory\":\"$TARGET\"}" ;;
build)
    case "$*" in *hello-image*) name=hello-image ;; *) name=smallest ;; esac
    folder=$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release
    mkdir -p "$folder"
    printf '#!/bin/sh\necho "small it is"\n' >"$folder/$name"
    chmod 755 "$folder/$name" ;;
esac
"#;

#[test]
fn images_are_looked_for_where_cargo_puts_them() {
    let folder = TempDir::new().expect("a folder");
    let (cargo, target) = (folder.path().join("cargo"), folder.path().join("elsewhere"));
    fs::write(&cargo, CARGO).expect("written");
    fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("made executable");
    let image = |command: &str| {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // What the environment says is for cargo to interpret, and no answer of its own.
        xtask.args(["image", command]).env("CARGO", &cargo).env("TARGET", &target).env("CARGO_TARGET_DIR", "in/vain");
        xtask.output().expect("it starts")
    };
    let built = image("build");
    let said = format!("{}: {} bytes\n", target.join("image/images/hello.elf").display(), "#!/bin/sh\necho \"small it is\"\n".len());
    assert_eq!(String::from_utf8_lossy(&built.stdout), said, "{built:?}");
    // Both files are found, and are none that could be measured.
    let sized = image("size");
    let why = String::from_utf8_lossy(&sized.stderr);
    assert!(why.contains(&format!("{} is no ELF file", target.join("image/images/hello.elf").display())), "{why}");
}

/// Results that nobody gets are no success.
#[test]
fn what_cannot_be_printed_is_an_error_and_no_panic() {
    for args in [&["test", "--list"][..], &["--help"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("the system has it");
        let out = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).stdout(full).stderr(std::process::Stdio::piped()).output();
        let out = out.expect("it starts");
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("error: write standard output: No space left on device"), "{text}");
    }
}
