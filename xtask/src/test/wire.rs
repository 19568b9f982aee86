//! The step that has Wireshark look at what nvme-perf and nvmf-tgt say to each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::child::{Child, Line};
use crate::packages::{self, Needed};
use crate::program::{self, cargo};

const PACKAGES: [Needed; 2] = [packages::program("wireshark-common", "dumpcap"), packages::program("tshark", "tshark")];

/// How long each thing may take, on a machine with much else to do.
const IN_TIME: Duration = Duration::from_secs(120);

const NQN: &str = "nqn.2016-06.io.spdk:cnode1";

/// The loads: data in the capsule and after an R2T, without digests and with them.
const LOADS: [&[&str]; 3] = [&["-q", "2", "-o", "64k"], &["-q", "2", "-o", "4k", "-g", "-G"], &["-q", "2", "-o", "64k", "-g", "-G"]];
const ALL_LOADS: [&str; 9] = ["-w", "randrw", "-M", "50", "-t", "1", "--size", "1M", "--verify"];

/// The kinds of PDU that such sessions have: ICReq, ICResp, CapsuleCmd, CapsuleResp, H2CData,
/// C2HData, R2T.
const KINDS: [&str; 7] = ["0", "1", "4", "5", "6", "7", "9"];

/// What Wireshark is asked of each frame: the kinds of its PDUs, whether their digests are right
/// (1), and whether anything in it is malformed.
const FIELDS: [&str; 4] = ["nvme-tcp.type", "nvme-tcp.hdgst.status", "nvme-tcp.ddgst.status", "_ws.malformed"];

pub(super) fn check(sh: &Shell) -> Result<()> {
    packages::need("looking at what is on the wire", &PACKAGES)?;
    let cargo = cargo();
    cmd!(sh, "{cargo} build -p nvmf-tgt -p nvme-perf").run()?;
    let programs = program::target()?.join("debug");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("session.pcapng");
    let port = capture(&programs, folder.path(), &file)?;
    let decode = format!("tcp.port=={port},nvme-tcp");
    let fields = FIELDS.iter().flat_map(|field| ["-e", field]);
    let checks = ["-o", "nvme-tcp.check_hdgst:TRUE", "-o", "nvme-tcp.check_ddgst:TRUE"];
    let said = cmd!(sh, "tshark -r {file} -d {decode} {checks...} -T fields {fields...}").ignore_stderr().read()?;
    println!("{}", judge(&said)?);
    Ok(())
}

/// The sessions, all of them on one port, which is told.
fn capture(programs: &Path, folder: &Path, file: &Path) -> Result<u16> {
    let mut target = Command::new(programs.join("nvmf-tgt"));
    target.args(["--no-cpumask-locks", "--malloc", "64M", "--listen", "127.0.0.1:0", "--nqn", NQN, "-r"]).arg(folder.join("rpc.sock"));
    let mut target = Child::start("target", target)?;
    let port: u16 = said(&mut target, |line| line.split_once("nvme connect -t tcp -a 127.0.0.1 -s ")?.1.split(' ').next()?.parse().ok())?;
    let mut dumpcap = Command::new("dumpcap");
    // Room for all of it, should the disk be slow.
    dumpcap.args(["-q", "-i", "lo", "-B", "256", "-f", &format!("tcp port {port}"), "-w"]).arg(file);
    let mut dumpcap = Child::start("capture", dumpcap)?;
    said(&mut dumpcap, |line| line.starts_with("File: ").then_some(()))?;
    for load in LOADS {
        let at = format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{port} subnqn:{NQN}");
        let mut perf = Command::new(programs.join("nvme-perf"));
        perf.args(["--no-cpumask-locks", "-r", &at]).args(load).args(ALL_LOADS);
        end(Child::start("load", perf)?)?;
    }
    dumpcap.interrupt()?;
    let lost = said(&mut dumpcap, |line| {
        line.strip_prefix("Packets received/dropped")?.split('/').nth(1)?.split(' ').next()?.parse::<u64>().ok()
    })?;
    ensure!(lost == 0, "{lost} packets were not captured: do it again with less else to do");
    end(dumpcap)?;
    target.interrupt()?;
    end(target)?;
    Ok(port)
}

/// What `find` makes of the first line of which it makes something.
fn said<T>(child: &mut Child, find: impl Fn(&str) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + IN_TIME;
    while let Some(Line(_, line)) = child.next(deadline)? {
        if let Some(found) = find(&line) {
            return Ok(found);
        }
    }
    Err(anyhow::anyhow!("it ended too early:{}", child.said()))
}

fn end(mut child: Child) -> Result<()> {
    let deadline = Instant::now() + IN_TIME;
    while child.next(deadline)?.is_some() {}
    let status = child.wait(deadline)?;
    ensure!(status.success(), "it ended with {status}:{}", child.said());
    Ok(())
}

/// No frame is malformed, no digest wrong, each kind of PDU there, and digests as well.
fn judge(said: &str) -> Result<String> {
    let (mut kinds, mut digests) = (BTreeMap::<&str, u64>::new(), 0);
    for (number, frame) in said.lines().enumerate() {
        let fields: Vec<_> = frame.split('\t').collect();
        let [types, header, data, malformed] = fields[..] else { return Err(wrong(number, "was told of in another way than asked for")) };
        ensure!(malformed.is_empty(), wrong(number, "is malformed"));
        let list = |text: &'_ str| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        for status in list(header).into_iter().chain(list(data)) {
            ensure!(status == "1", wrong(number, "has a wrong digest"));
            digests += 1;
        }
        for kind in types.split(',').filter(|kind| !kind.is_empty()) {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    for kind in KINDS {
        kinds.get(kind).with_context(|| format!("no PDU of type {kind} was on the wire"))?;
    }
    ensure!(digests > 0, "no digest was on the wire");
    let pdus: u64 = kinds.values().sum();
    Ok(format!("{} frames with {pdus} PDUs and {digests} digests: none malformed, none wrong", said.lines().count()))
}

fn wrong(number: usize, what: &str) -> anyhow::Error {
    anyhow::anyhow!("frame {} {what}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\t\t\t\n0\t\t\t\n1\t\t\t\n4,4\t1,1\t1\t\n5\t1\t\t\n6\t\t\t\n7\t\t\t\n9\t\t\t\n";

    #[test]
    fn a_session_has_every_kind_of_pdu_and_none_is_wrong() {
        assert_eq!(judge(GOOD).expect("good"), "8 frames with 8 PDUs and 4 digests: none malformed, none wrong");
        let why = |text: String| judge(&text).expect_err("wrong").to_string();
        assert_eq!(why(GOOD.replace("6\t\t\t", "6\t\t\tMalformed Packet")), "frame 6 is malformed");
        assert_eq!(why(GOOD.replace("1,1\t1", "1,0\t1")), "frame 4 has a wrong digest");
        assert_eq!(why(GOOD.replace("1,1\t1", "1,1\t2")), "frame 4 has a wrong digest");
        assert_eq!(why(GOOD.replace("9\t\t\t\n", "")), "no PDU of type 9 was on the wire");
        assert_eq!(why(GOOD.replace("1,1\t1", "\t").replace("5\t1", "5\t")), "no digest was on the wire");
        assert_eq!(why(GOOD.replace("0\t\t\t", "0\t")), "frame 2 was told of in another way than asked for");
    }
}
