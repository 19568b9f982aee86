//! `vm test nvmf`: the kernel's NVMe host, step by step, against a target in the same machine.
//!
//! A step is a script of its own, with [`WORDS`] before it. The first that fails ends the run,
//! because each goes on where the last one left off.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::guest::{Job, quoted};
use super::machine::{End, Event};
use super::options::{Cargo, Hardware, Limit};
use super::run::{self, Ready};
use crate::program::{self, Built};

/// How the machine names a step's result: its number, its exit code, when it began and ended.
const RESULT: &str = "VM_STEP=";
/// A step is killed after this many seconds.
const EACH: u64 = 180;
/// All of them, seconds, without what `--minutes` adds.
const ALL: u64 = 900;
/// How often the target is killed in a long run.
const KILLS: u64 = 3;

/// Which target.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(super) enum Target {
    /// Nvmf-tgt.
    Ours,
    /// The kernel's own (nvmet): what fails there too is no fault of ours.
    Kernel,
}

/// A part of the run.
struct Step {
    name: &'static str,
    /// For the shell, which ends at the first command that fails.
    script: String,
    /// Seconds.
    limit: u64,
}

/// What every step knows.
const WORDS: &str = r#"
NQN=nqn.2014-08.org.nvmexpress:lcore-disk
AT="-t tcp -a 127.0.0.1 -s 4420"
fail() { echo "$*"; exit 1; }
# wait_for WHAT COMMAND: until the command says yes, for two minutes: emulated processors stand still
# for seconds where others want the computer.
wait_for() {
    what=$1 until=$(($(cut -d. -f1 /proc/uptime) + 120))
    shift
    until "$@"; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt $until ] || fail "after two minutes there is still not: $what"
        usleep 100000
    done
}
# The controller's folder, and the one file that it has of the name given.
controller() {
    for folder in /sys/class/nvme/nvme*; do
        [ "$(cat "$folder/subsysnqn" 2>/dev/null)" != $NQN ] || echo "$folder"
    done
}
attribute() { cat "$(controller)/$1"; }
is_live() { [ "$(attribute state)" = live ]; }
is_down() { [ "$(attribute state)" != live ]; }
there_are_none() { [ -z "$(controller)" ]; }
DISK=/dev/nvme0n1
have_disk() { [ -b $DISK ]; }
have_no_disk() { [ ! -e $DISK ]; }
connect() {
    # A host gives up a target that answers no keep-alive for so long.
    nvme connect $AT -n $NQN -i 2 --reconnect-delay=2 --keep-alive-tmo=30 "$@"
    wait_for "a disk" have_disk
    is_live || fail "the controller is $(attribute state)"
    [ "$(attribute queue_count)" = 3 ] || fail "$(attribute queue_count) queues, and not one for the controller and two for data"
}
disconnect() {
    nvme disconnect -n $NQN
    wait_for "no controller" there_are_none
    wait_for "no disk" have_no_disk
}
# Writes that were answered, by the path of the controller: older kernels count none for the disk.
written() { awk '{ print $5 }' "$(controller)"/nvme*n1/stat || fail "the disk is gone"; }
more_than() { now=$(written) && [ "$now" -gt "$1" ]; }
verified() {
    fio --name=verified --filename=$DISK --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bssplit=4k/60:64k/30:256k/10 \
        --randrepeat=0 --verify=crc32c --verify_fatal=1 --eta=never "$@"
}
# Until `loaded`: blocks written, and all of them read again and compared, over and over.
load() {
    rm -f /run/enough
    (until [ -e /run/enough ]; do verified --size=4M || exit; done) > /run/load 2>&1 &
    echo $! > /run/load.pid
    under_load
}
under_load() { wait_for "writes" more_than $(($(written) + 20)); }
loaded() {
    touch /run/enough
    wait "$(cat /run/load.pid)" || { tail -n 60 /run/load; fail "fio failed"; }
}
nothing_in_the_log() {
    ! dmesg | grep -E 'BUG|WARNING|Oops|blocked for more|I/O error|digest error|short data-in|unexpected|invalid|protocol'
}
killed_and_restarted() {
    under_load
    target_down
    wait_for "a controller that is not live" is_down
    target_up
    wait_for "a controller that is live again" is_live
    under_load
}
"#;

/// The disk that is served: null_blk, which keeps what is written when a target dies.
const DISK: &str = r#"
mkdir /sys/kernel/config/nullb/served
cd /sys/kernel/config/nullb/served
echo 1 > memory_backed
echo 1 > discard
echo 128 > size
echo 1 > power
[ -b /dev/served ]
"#;

const NVMET: &str = r#"
NVMET=/sys/kernel/config/nvmet
target_up() {
    subsystem=$NVMET/subsystems/$NQN port=$NVMET/ports/1
    if [ ! -d $subsystem ]; then
        mkdir $subsystem
        echo 1 > $subsystem/attr_allow_any_host
        mkdir $subsystem/namespaces/1
        echo /dev/served > $subsystem/namespaces/1/device_path
        echo 1 > $subsystem/namespaces/1/enable
    fi
    mkdir $port
    echo tcp > $port/addr_trtype
    echo ipv4 > $port/addr_adrfam
    echo 127.0.0.1 > $port/addr_traddr
    echo 4420 > $port/addr_trsvcid
    ln -s $subsystem $port/subsystems/$NQN
}
target_down() {
    rm $NVMET/ports/1/subsystems/$NQN
    rmdir $NVMET/ports/1
}
target_stop() { target_down; }
"#;

/// Our target, as `/job/nvmf-tgt`, which appends what it says to `/run/target`.
const OURS: &str = r#"
listens() { netstat -ltn | grep -q ':4420 '; }
target_up() {
    # The kernel and both ends share processors that are emulated: a core that stands still is no fault.
    nvmf-tgt -m 0x3 --stall-limit 2000 --bdev uring:name=Served,path=/dev/served --listen 127.0.0.1:4420 --nqn $NQN >> /run/target 2>&1 &
    echo $! > /run/target.pid
    wait_for "a target that listens" listens
}
is_gone() { ! kill -0 "$(cat /run/target.pid)" 2>/dev/null; }
target_down() {
    kill -KILL "$(cat /run/target.pid)"
    wait_for "an end of the target" is_gone
}
target_stop() {
    kill -INT "$(cat /run/target.pid)"
    wait_for "an end of the target" is_gone
    tail -n 3 /run/target | grep -q 'all buffers are home' || fail "the target did not end with all buffers at home"
    ! grep -E ': error: |panicked' /run/target || fail "the target had something to complain of"
}
"#;

/// The steps before and after those of a load.
const FIRST: [(&str, &str); 7] = [
    ("a disk to serve", DISK),
    ("the target is up", "target_up"),
    (
        "discover",
        r#"
nvme discover $AT > /run/log
grep -q "subnqn: *$NQN" /run/log || { cat /run/log; fail "our subsystem is not in it"; }
"#,
    ),
    ("connect, with two queues for data", "connect"),
    (
        "identify, log pages, features",
        r#"
controller=/dev/$(basename "$(controller)")
nvme id-ctrl $controller | grep -E '^(vid|mn|fr|mdts|cntlid|ver|oacs|acl|aerl|kas|oncs|fuses|vwc|sgls|subnqn|ioccsz|iorcsz|icdoff|maxcmd|nn) '
nvme id-ctrl $controller | grep -q "^subnqn *: $NQN"
[ "$(nvme list-ns $controller)" = '[   0]:0x1' ] || fail "$(nvme list-ns $controller)"
nvme id-ns $DISK | grep -q 'in use'
nvme ns-descs $DISK | grep -qE 'uuid|nguid|eui64'
nvme smart-log $controller | grep -q '^critical_warning'
nvme error-log $controller | grep -q 'Error Log Entries'
nvme get-feature $controller -f 7 | grep -q 'Number of Queues'
nvme list | grep -q $DISK
"#,
    ),
    (
        "flush, write zeroes, deallocate",
        r#"
zeroes() { dd if=$DISK bs=4096 skip=$1 count=8 iflag=direct 2>/dev/null | cmp -s - /run/zeroes; }
head -c 32768 /dev/zero > /run/zeroes
head -c 65536 /dev/urandom > /run/random
dd if=/run/random of=$DISK bs=65536 oflag=direct
! zeroes 0 || fail "nothing was written"
blocks=$((32768 / $(cat /sys/block/nvme0n1/queue/logical_block_size)))
nvme write-zeroes $DISK -s 0 -c $((blocks - 1))
zeroes 0 || fail "write zeroes left something"
nvme flush $DISK
nvme dsm $DISK -d -s $blocks -b $blocks
"#,
    ),
    (
        "a file system: files written, read again and compared",
        r#"
mkdir -p /mnt
mkfs.ext4 -q $DISK
mount -t ext4 $DISK /mnt
cp -r /lib/modules /mnt
umount /mnt
mount -t ext4 $DISK /mnt
diff -r /lib/modules /mnt/modules
rm -r /mnt/modules
fstrim /mnt
umount /mnt
"#,
    ),
];

const LOADS: [(&str, &str); 6] = [
    ("fio verifies 8 MiB, on each of two queues", "verified --size=8M --offset_increment=8M --numjobs=2 --group_reporting"),
    (
        "disconnect, connect with header and data digests",
        r"
disconnect
connect -g -G
",
    ),
    ("fio verifies with digests", "verified --size=6M"),
    (
        "the controller is reset three times under load",
        r#"
load
for round in 1 2 3; do
    nvme reset "/dev/$(basename "$(controller)")"
    wait_for "a controller that is live again" is_live
    under_load
done
loaded
"#,
    ),
    (
        "the target is killed and restarted under load",
        r"
load
killed_and_restarted
loaded
",
    ),
    (
        "disconnect, the target stops, and nobody has anything to complain of",
        r"
disconnect
target_stop
nothing_in_the_log
",
    ),
];

/// Our own host, as `/job/nvme-perf`, with the kernel's target.
const OUR_HOST: &str = r#"
target_up
at="trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4420"
nvme-perf discover -r "$at" | grep $NQN
nvme-perf identify -r "$at subnqn:$NQN" | grep $NQN
for options in '-q 16 -o 4k' '-q 4 -o 64k -P 2' '-q 16 -o 4k -g -G' '-q 4 -o 64k -g -G'; do
    nvme-perf -r "$at subnqn:$NQN" $options -w randrw -M 50 -t 1 --size 2M --verify
done
target_stop
nothing_in_the_log
"#;

/// The kernel's host shows who it is, and wants to see who the target is; without and with a key
/// exchange. Older kernels cannot.
const KEYS: &str = r#"
# The option is there in any case.
grep -q ' nvme_auth_negotiate' /proc/kallsyms || { echo "this kernel's host cannot show who it is"; exit 0; }
umask 077
for key in host controller other; do nvme gen-dhchap-key > /run/$key.key; done
one_way="--dhchap-secret $(cat /run/host.key)"
both_ways="$one_way --dhchap-ctrl-secret $(cat /run/controller.key)"
refused() {
    ! nvme connect $AT -n $NQN "$@" || fail "connected with $*"
    wait_for "no controller" there_are_none
}
same() { dd if=$DISK bs=65536 count=1 iflag=direct 2>/dev/null | cmp - /run/random; }
head -c 65536 /dev/urandom > /run/random
for group in null ffdhe2048; do
    echo '{"subsystems": [{"subsystem": "nvmf", "config": [{"method": "nvmf_set_config",
        "params": {"dhchap_dhgroups": ["'$group'"]}}]}]}' > /run/group.json
    nvmf-tgt -m 0x3 -c /run/group.json --malloc 16M --listen 127.0.0.1:4420 --nqn $NQN --host "$(cat /etc/nvme/hostnqn)" \
        --dhchap-key /run/host.key --dhchap-ctrlr-key /run/controller.key >> /run/target 2>&1 &
    echo $! > /run/target.pid
    wait_for "a target that listens" listens
    connect $one_way
    dd if=/run/random of=$DISK bs=65536 oflag=direct
    same
    disconnect
    connect $both_ways
    same
    nvme reset "/dev/$(basename "$(controller)")"
    wait_for "a controller that is live again" is_live
    same
    disconnect
    refused
    refused --dhchap-secret "$(cat /run/other.key)"
    refused $one_way --dhchap-ctrl-secret "$(cat /run/other.key)"
    grep -q 'has not shown that it is who it says' /run/target
    target_stop
done
"#;

/// The kernel's host comes by TLS, with keys of 32 bytes under identities of both forms; without
/// TLS it is refused. Older kernels have none.
const TLS: &str = r#"
grep -q ' nvme_tcp_tls_done' /proc/kallsyms || { echo "this kernel's host speaks no TLS"; exit 0; }
nvme() { newer-nvme "$@"; }
umask 077
tlshd -s -c /etc/tlshd.conf > /run/tlshd 2>&1 &
tlshd=$!
trap 'kill $tlshd; tail -n 30 /run/tlshd' EXIT
host=$(cat /etc/nvme/hostnqn)
have_key() { nvme check-tls-key --insert --hostnqn="$host" --subsysnqn=$NQN --identity=$1 --keydata="$(cat $2)"; }
serve_with() {
    cat > /run/tls.json << END
{"subsystems": [
    {"subsystem": "keyring", "config": [{"method": "keyring_file_add_key", "params": {"name": "psk", "path": "$1"}}]},
    {"subsystem": "bdev", "config": [{"method": "bdev_malloc_create",
        "params": {"name": "Disk", "num_blocks": 32768, "block_size": 512}}]},
    {"subsystem": "nvmf", "config": [
        {"method": "nvmf_create_transport", "params": {"trtype": "TCP"}},
        {"method": "nvmf_create_subsystem", "params": {"nqn": "$NQN"}},
        {"method": "nvmf_subsystem_add_ns", "params": {"nqn": "$NQN", "namespace": {"bdev_name": "Disk"}}},
        {"method": "nvmf_subsystem_add_host", "params": {"nqn": "$NQN", "host": "$host", "psk": "psk"}},
        {"method": "nvmf_subsystem_add_listener", "params": {"nqn": "$NQN", "secure_channel": true,
            "listen_address": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4420"}}}]}]}
END
    nvmf-tgt -m 0x3 --stall-limit 2000 -c /run/tls.json > /run/target 2>&1 &
    echo $! > /run/target.pid
    wait_for "a target that listens" listens
}
refused() {
    why=$1
    shift
    ! nvme connect $AT -n $NQN "$@" || fail "connected with $*"
    wait_for "no controller" there_are_none
    grep "is refused: .*$why" /run/target || fail "the target has not said: $why"
}
same() { dd if=$DISK bs=65536 count=1 iflag=direct 2>/dev/null | cmp - /run/random; }
head -c 65536 /dev/urandom > /run/random
all=$NQN
for form in 0 1; do
    # The kernel keeps all keys, and finds them by the names.
    NQN=$all-$form
    nvme gen-tls-key --hmac=1 > /run/psk.key
    have_key $form /run/psk.key
    serve_with /run/psk.key
    connect --tls
    dd if=/run/random of=$DISK bs=65536 oflag=direct
    same
    nvme reset "/dev/$(basename "$(controller)")"
    wait_for "a controller that is live again" is_live
    same
    verified --size=2M
    disconnect
    refused "does not speak TLS"
    target_stop
done
NQN=$all-wrong
nvme gen-tls-key --hmac=1 > /run/psk.key
nvme gen-tls-key --hmac=1 > /run/other.key
have_key 0 /run/psk.key
serve_with /run/other.key
refused "another key" --tls
target_stop
"#;

/// The suite that every block device passes, as `/job/bdev-suite`, over disks of null_blk: files of
/// a file system and disks made of them are what `cargo test` has.
const DISKS: &str = r#"
for sector in 512 4096; do
    disk=/sys/kernel/config/nullb/disk$sector
    mkdir $disk
    echo $sector > $disk/blocksize
    echo 1 > $disk/memory_backed
    echo 1 > $disk/discard
    echo 64 > $disk/size
    echo 1 > $disk/power
    [ "$(cat /sys/block/disk$sector/queue/logical_block_size)" = $sector ] || fail "no disk with sectors of $sector"
done
export LCORE_DISK_512=/dev/disk512 LCORE_DISK_4096=/dev/disk4096
bdev-suite disk_512:: disk_4096:: --test-threads=1
"#;

pub(super) fn main(target: Target, minutes: Option<u64>, hardware: &Hardware, limit: &Limit) -> Result<()> {
    let mut hardware = hardware.clone();
    hardware.nvme = true;
    let mut ready = Ready::new(&hardware, None)?;
    if target == Target::Ours {
        let cargo = Cargo { bin: vec!["nvmf-tgt".into(), "nvme-perf".into()], features: vec!["tls".into()], ..Cargo::default() };
        ready.load(&cargo, None)?;
        ready.tls()?;
        ready.program(&bdev_suite()?, "/job/bdev-suite")?;
    }
    let steps = steps(target, minutes);
    let limit = limit.or(ALL + minutes.unwrap_or(0) * 60);
    let job = Job { hosts: 1, limit: Some(run::own_limit(limit)), ..Job::default() };
    let spec = ready.spec("machine", &job, &script(&steps))?;
    let mut results = Vec::new();
    let (session, end) = run::to_the_end(&spec, limit, |event| {
        if let Event::Said(line) = event
            && let Some(result) = line.strip_prefix(RESULT)
        {
            let result = result_of(result).with_context(|| format!("the machine said {line:?}"))?;
            println!("{}", row(&steps, &result)?);
            results.push(result);
        }
        run::show("", event)
    })?;
    match end {
        End::Exit(0) => judge(&steps, &results),
        end => run::hand_on(&session, run::ONLY, end),
    }
}

fn bdev_suite() -> Result<Built> {
    let mut command = Command::new(program::cargo());
    command.args(["test", "--no-run", "-p", "bdev-conformance", "--test", "files"]);
    program::artifacts(command)?.into_iter().find(|built| built.test).context("cargo built no suite of bdev")
}

fn steps(target: Target, minutes: Option<u64>) -> Vec<Step> {
    let words = match target {
        Target::Kernel => NVMET,
        Target::Ours => OURS,
    };
    let with = |words, name, script: &str, limit| Step { name, script: format!("{WORDS}{words}{script}"), limit };
    let step = |name, script: &str, limit| with(words, name, script, limit);
    let mut steps: Vec<_> = FIRST.iter().chain(&LOADS).map(|&(name, script)| step(name, script, EACH)).collect();
    if let Some(minutes) = minutes {
        let last = steps.len() - 1;
        steps.insert(
            last,
            step("a long load, in which the target is killed and restarted three times", &long(minutes), minutes * 60 + EACH),
        );
    }
    if target == Target::Ours {
        steps.push(with(NVMET, "nvme-perf verifies what the kernel's target serves", OUR_HOST, EACH));
        steps.push(step("hosts show who they are, without and with a key exchange", KEYS, EACH));
        steps.push(step("hosts come by TLS, under identities of both forms, not without it or by another key", TLS, EACH));
        steps.push(step("bdev-uring and bdev-aio over disks with sectors of 512 and 4,096 bytes", DISKS, EACH));
    }
    steps
}

/// A load of so many minutes, with kills spread over it.
fn long(minutes: u64) -> String {
    let part = format!("sleep {}\n", minutes * 60 / (KILLS + 1));
    let parts: Vec<_> = (0..=KILLS).map(|_| part.as_str()).collect();
    format!("load\n{}loaded\n", parts.join("killed_and_restarted\n"))
}

/// The command: each step in a shell of its own, until one fails, of which all is shown.
fn script(steps: &[Step]) -> String {
    let mut script = format!(
        r#"echo $$ > /run/command
now() {{ cut -d' ' -f1 /proc/uptime; }}
one() {{
    number=$1 limit=$2 began=$(now) code=0
    timeout -s KILL "$limit" sh -euc "$3" > /run/said 2>&1 || code=$?
    echo "{RESULT}$number $code $began $(now)" > /dev/ttyS1
    [ $code != 0 ] || return 0
    echo "== what the step said"
    cat /run/said
    echo "== the kernel's last lines"
    dmesg | tail -n 40
    [ ! -f /run/target ] || {{ echo "== the target's last lines"; tail -n 40 /run/target; }}
    exit 0
}}
dmesg -c > /dev/null
"#
    );
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(script, "one {number} {} {}", step.limit, quoted(&step.script));
    }
    script + "exit 0\n"
}

/// What became of a step.
#[derive(Debug, PartialEq)]
struct Outcome {
    number: usize,
    code: u8,
    time: Duration,
}

fn result_of(text: &str) -> Option<Outcome> {
    let mut words = text.split(' ');
    let (number, code) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (began, ended) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
    Some(Outcome { number, code, time: Duration::try_from_secs_f64(ended - began).ok()? })
}

fn row(steps: &[Step], outcome: &Outcome) -> Result<String> {
    let step = steps.get(outcome.number).context("it has no such step")?;
    let what = match outcome.code {
        0 => String::new(),
        137 => format!("  FAILED (killed, after {} s or by itself)", step.limit),
        code => format!("  FAILED (exit code {code})"),
    };
    Ok(format!("{:>6.1} s  {}{what}", outcome.time.as_secs_f64(), step.name))
}

/// All steps were heard of, in their order, and none failed.
fn judge(steps: &[Step], results: &[Outcome]) -> Result<()> {
    if let Some(failed) = results.iter().find(|result| result.code != 0) {
        ensure!(false, "failed: {}", row(steps, failed)?.trim_start());
    }
    let heard: Vec<_> = results.iter().map(|result| result.number).collect();
    ensure!(heard.iter().copied().eq(0..steps.len()), "of {} steps these were heard of: {heard:?}", steps.len());
    println!("all {} steps passed", steps.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(number: usize, code: u8) -> Outcome {
        Outcome { number, code, time: Duration::from_millis(500) }
    }

    fn sh(script: &str, options: &[&str]) -> std::process::Output {
        Command::new("sh").args(options).args(["-c", script]).output().expect("runs")
    }

    #[test]
    fn every_step_is_a_script_that_a_shell_can_read() {
        for step in Target::value_variants().iter().flat_map(|&target| steps(target, Some(10))) {
            let out = sh(&step.script, &["-n"]);
            assert!(out.status.success(), "{}: {}", step.name, String::from_utf8_lossy(&out.stderr));
        }
    }

    #[test]
    fn minutes_add_a_load_with_three_kills_before_the_last_step() {
        let (short, long) = (steps(Target::Kernel, None), steps(Target::Kernel, Some(10)));
        assert_eq!(long.len(), short.len() + 1);
        let added = &long[long.len() - 2];
        assert_eq!(added.limit, 600 + EACH);
        assert!(
            added.script.ends_with(&format!("load\nsleep 150\n{}loaded\n", "killed_and_restarted\nsleep 150\n".repeat(3))),
            "{}",
            added.script
        );
        assert_eq!(long.last().map(|step| step.name), short.last().map(|step| step.name));
    }

    #[test]
    fn a_run_has_passed_if_every_step_did() {
        let steps = steps(Target::Kernel, None);
        let all: Vec<_> = (0..steps.len()).map(|number| outcome(number, 0)).collect();
        assert!(judge(&steps, &all).is_ok());
        let why = |results: &[Outcome]| judge(&steps, results).expect_err("failed").to_string();
        assert_eq!(why(&[outcome(0, 0), outcome(1, 7)]), "failed: 0.5 s  the target is up  FAILED (exit code 7)");
        assert_eq!(why(&[outcome(0, 137)]), "failed: 0.5 s  a disk to serve  FAILED (killed, after 180 s or by itself)");
        assert_eq!(why(&[outcome(0, 0), outcome(2, 0)]), format!("of {} steps these were heard of: [0, 2]", steps.len()));
        assert!(row(&steps, &outcome(99, 0)).is_err());
    }

    #[test]
    fn a_result_has_all_its_words() {
        assert_eq!(result_of("3 1 5.25 5.75"), Some(outcome(3, 1)));
        for wrong in ["3 1 5.25", "3 256 1 2", "x 1 1 2", "3 1 2 1"] {
            assert_eq!(result_of(wrong), None, "{wrong}");
        }
    }

    /// The shell of this computer, with the machine's folders elsewhere.
    #[test]
    fn the_first_step_that_fails_ends_the_run_and_shows_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().to_str().expect("text");
        let step = |script: &str| Step { name: "x", script: script.into(), limit: 9 };
        let steps = [step("echo it\\'s 'well'"), step("echo why; false; echo not here"), step("echo never > /run/never")];
        let script = script(&steps)
            .replace("/run/", &format!("{place}/"))
            .replace("> /dev/ttyS1", &format!(">> {place}/told"))
            .replace("dmesg", "true");
        let out = sh(&script, &[]);
        let shown = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && shown.contains("what the step said\nwhy\n==") && !shown.contains("well"), "{out:?}");
        let told = std::fs::read_to_string(folder.path().join("told")).expect("told");
        let told: Vec<_> = told.lines().map(|line| result_of(line.strip_prefix(RESULT).expect("a result")).expect("whole")).collect();
        assert_eq!(told.iter().map(|result| (result.number, result.code)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
        assert!(!folder.path().join("never").exists());
    }
}
