//! Loads against a small target: what is counted, what is verified, how it ends.

mod common;

use std::sync::atomic::Ordering;

use common::{Ended, serve};
use nvme::target::Role;

#[test]
fn s309_each_workload_is_verified_with_and_without_digests() {
    for (workload, digests) in
        [("read", ""), ("write", "-g"), ("randread", "-G"), ("randwrite", "-g -G"), ("rw -M 30", "-g -G"), ("randrw -M 70", "")]
    {
        for size in ["512", "4k", "8k"] {
            let target = serve(Role::Io);
            let it = target.run(&format!("-q 8 -o {size} -w {workload} {digests} -t 0.3 --verify --json")).json(0);
            assert!(it["operations"].as_u64().unwrap() > 0, "{workload}: {it}");
            assert!(it["verify"]["bytes"].as_u64().unwrap() > 0 && it["verify"]["mismatches"] == 0, "{workload}: {it}");
            let counted = |kind: &str| it[kind]["iops"].as_f64().unwrap() > 0.0;
            assert_eq!(counted("read"), !workload.ends_with("write"), "{it}");
            assert_eq!(counted("write"), !workload.ends_with("read"), "{it}");
            assert_eq!(it["errors"], serde_json::json!([]));
            // What is read has been filled before: 256 KiB that the pattern leaves no zeroes in.
            let filled = target.world.lock().unwrap().disk.bytes.chunks(8).all(|word| word != [0; 8]);
            assert!(filled || workload.ends_with("write"), "{workload}");
        }
    }
}

#[test]
fn s309_without_verify_nothing_is_written_but_by_writes() {
    let target = serve(Role::Io);
    let text = target.run("-q 4 -o 4k -w randread -t 0.2").good();
    assert!(target.world.lock().unwrap().disk.bytes.iter().all(|byte| *byte == 0));
    for part in
        ["Attached to NVMe over Fabrics controller", "NSID 1 with lcore", "Latency(us)", "Total", "99.9%", "CPU time of this program"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn s310_a_block_that_changed_on_the_disk_is_named() {
    let target = serve(Role::Io);
    // A write is lost: the disk keeps what was there.
    let world = target.world.clone();
    let mut command = target.command("-q 1 -o 512 -w randrw -M 50 -t 1 --verify --json");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // All of it has been filled when its last block has something in it.
    while world.lock().unwrap().disk.bytes.last() == Some(&0) {
        std::thread::yield_now();
    }
    world.lock().unwrap().disk.bytes[512 * 100..].fill(0xAA);
    let out = child.wait_with_output().unwrap();
    let ended =
        Ended { code: out.status.code(), stdout: String::from_utf8(out.stdout).unwrap(), stderr: String::from_utf8(out.stderr).unwrap() };
    let it = ended.json(1);
    assert!(it["verify"]["mismatches"].as_u64().unwrap() > 0);
    assert!(
        ended.stderr.contains("are not what was written; the first: LBA ") && ended.stderr.contains(", got 0xaa (generation "),
        "{}",
        ended.stderr
    );
}

#[test]
fn s311_a_target_that_goes_away_is_one_clear_error_and_what_there_is_is_told() {
    let target = serve(Role::Io);
    let child = target
        .command("-q 4 -o 4k -w randread -t 30 --json")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let child = child.unwrap();
    while target.received.load(Ordering::SeqCst) < 100_000 {
        std::thread::yield_now();
    }
    target.gone.store(true, Ordering::SeqCst);
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches(" error: ").count(), 1, "{stderr}");
    assert!(stderr.contains(&target.at.to_string()), "{stderr}");
}

/// A target that says nothing, though its connections stay; and one whose I/O queue falls silent
/// in the middle of a run, while its admin queue answers.
#[test]
fn s311_silence_is_given_up_on() {
    let (never, stops) = (serve(Role::Io), serve(Role::Io));
    never.mute_from.store(0, Ordering::SeqCst);
    let start = |target: &common::Served| {
        let mut command = target.command("-q 4 -o 4k -w randread -t 300 --json");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let children = [start(&never), start(&stops)];
    while stops.received.load(Ordering::SeqCst) < 100_000 {
        std::thread::yield_now();
    }
    stops.mute_from.store(1, Ordering::SeqCst);
    for child in children {
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(1) && text.contains("did not answer for 10 s"), "{text}");
    }
}

#[test]
fn s311_a_controller_is_kept_alive() {
    let target = serve(Role::Io);
    target.run("-q 1 -o 4k -w randread -t 4 --json").json(0);
    let sent = target.keep_alives.load(Ordering::SeqCst);
    assert!(sent >= 1, "one for each third of 10 s");
}

#[test]
fn s311_nobody_there_and_wrong_names_are_told() {
    let target = serve(Role::Io);
    let run = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nvme-perf"));
        command.args(["-t", "1", "-r", name]);
        Ended::of(command)
    };
    let nobody = run("trtype:TCP traddr:127.0.0.1 trsvcid:1 subnqn:nqn.a");
    assert!(
        nobody.code == Some(1) && nobody.stderr.contains("connect to 127.0.0.1:1: refused; nothing listens there"),
        "{}",
        nobody.stderr
    );
    let wrong = run(&format!("trtype:TCP traddr:127.0.0.1 trsvcid:{} subnqn:nqn.other", target.at.port()));
    assert!(wrong.code == Some(1) && wrong.stderr.contains("Connect failed: connect invalid parameters"), "{}", wrong.stderr);
    let namespace = run(&format!("{} ns:9", target.name()));
    assert!(namespace.code == Some(1) && namespace.stderr.contains("no namespace 9; it has [1]"), "{}", namespace.stderr);
    let none = run("trtype:TCP traddr:127.0.0.1 trsvcid:1");
    assert!(none.code == Some(2) && none.stderr.contains("subnqn is missing"), "{}", none.stderr);
}

#[test]
fn s311_what_the_controller_cannot_do_is_said_with_its_numbers() {
    let target = serve(Role::Io);
    for (args, part) in [
        ("-o 256k", "131072 bytes in one command at most (MDTS)"),
        ("-P 5 -q 5", "5 queues, and the controller has 4"),
        ("-P 4 -q 3", "-q 3 on -P 4 queues"),
        ("-o 128k -q 2", "are too few for -q 2"),
        ("-q 8 -o 4k --size 16k", "16384 bytes are too few"),
    ] {
        let ended = target.run(&format!("{args} -t 1"));
        assert!(ended.code == Some(1) && ended.stderr.contains(part), "{args}: {:?} {}", ended.code, ended.stderr);
    }
}

#[test]
fn s311_more_commands_than_a_queue_has_entries_are_fewer() {
    let target = serve(Role::Io);
    let text = target.run("-q 32 -o 512 -w randread -t 0.2").good();
    assert!(text.contains("Controller IO queue size 32, less than required: 31 commands in flight on each core"), "{text}");
    assert_eq!(target.run("-q 40 -P 2 -o 512 -w randrw -t 0.2 --verify --json").json(0)["io_depth"], 40);
}

#[test]
fn s312_several_queues_on_several_cores_each_have_their_part() {
    let target = serve(Role::Io);
    let it = target.run("-m 0,1 --no-cpumask-locks -P 2 -q 6 -o 4k -w randrw -t 0.3 --verify --json").json(0);
    assert_eq!((it["queues"].as_u64(), it["cores"].as_array().map(Vec::len)), (Some(4), Some(2)));
    assert!(it["cores"].as_array().unwrap().iter().all(|core| core["iops"].as_f64().unwrap() > 0.0), "{it}");
}

#[test]
fn s313_ctrl_c_ends_a_run_early_and_tells_what_there_is() {
    let target = serve(Role::Io);
    let mut command = target.command("-q 4 -o 4k -w randread -t 300 --json");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while target.received.load(Ordering::SeqCst) < 100_000 {
        std::thread::yield_now();
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let out = child.wait_with_output().unwrap();
    let ended =
        Ended { code: out.status.code(), stdout: String::from_utf8(out.stdout).unwrap(), stderr: String::from_utf8(out.stderr).unwrap() };
    assert!(ended.json(0)["operations"].as_u64().unwrap() > 0);
}
