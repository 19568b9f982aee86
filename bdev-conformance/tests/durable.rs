//! What was acknowledged is there after its program was killed.

mod places;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use bdev::{BdevEvent, Bdevs, Channel, Completions, Mode, Request, Token};
use bdev_file::Config;
use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, Instant, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::BufGroup;

use crate::places::file_in;

const BLOCKS: u64 = 256;
const SIZE: usize = 4096;
/// Names the module and the file to the program that is killed.
const ASKED: &str = "BDEV_DURABLE";

/// What block `n % BLOCKS` holds after write `n`.
fn bytes(n: u64) -> Vec<u8> {
    let mut bytes = vec![n as u8; SIZE];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

/// Writes for ever, and prints the number of each write that will last.
#[test]
fn write_until_killed() {
    let Ok(line) = std::env::var(ASKED) else { return };
    let bdevs = Bdevs::new(1);
    let bdev = bdev::create(&bdevs, &line).expect("a device");
    let platform = SimPlatform::new(1);
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("writer"), CoreId(0)).expect("a thread");
    let mut channel = thread.with(|cx| bdev.open(Mode::ReadWrite).unwrap().channel(cx, 32)).unwrap();
    let (bufs, mut events) = (BufGroup::new(32, SIZE), Completions::new(32));
    let mut out = std::io::stdout().lock();
    let mut settle = |channel: &mut Channel| {
        while channel.under_way() > 0 {
            channel.poll(Instant::ZERO, &mut events);
            for event in events.drain() {
                let BdevEvent::Done(done) = event else { panic!("{event:?}") };
                done.result.expect("it is written");
            }
        }
    };
    for n in 0.. {
        let mut buf = bufs.get().expect("a buffer");
        buf.append(&bytes(n));
        let request = Request::write(n % BLOCKS, 1, buf).token(Token(n));
        // Sixteen by sixteen: of force unit access, and otherwise flushed.
        let is_fua = n / 16 % 2 == 0;
        channel.submit(Instant::ZERO, if is_fua { request.fua() } else { request }).expect("there is room");
        if n % 16 == 15 {
            settle(&mut channel);
            if !is_fua {
                channel.submit(Instant::ZERO, Request::flush()).expect("there is room");
                settle(&mut channel);
            }
            writeln!(out, "acknowledged {n}").expect("somebody reads");
            out.flush().expect("somebody reads");
        }
    }
}

#[test]
fn s293_what_was_acknowledged_is_there_after_a_kill() {
    // Keeps both modules linked.
    let _ = (bdev_uring::Config::new(""), bdev_aio::Config::new(""), Config::new(""));
    for module in ["uring", "aio"] {
        for more in ["", ",direct=false"] {
            let file = file_in("/tmp", BLOCKS * SIZE as u64);
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "write_until_killed", "--nocapture"])
                .env(ASKED, format!("{module}:path={}{more}", file.path().display()))
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let mut last = None;
            let mut hear = |line: std::io::Result<String>| {
                let number = line.expect("text").rsplit_once("acknowledged ").and_then(|(_, n)| n.parse::<u64>().ok());
                last = number.or(last);
                last.is_some_and(|last| last > 1_000)
            };
            assert!(lines.by_ref().any(&mut hear), "it ends by itself");
            child.kill().expect("it runs");
            // What it had said before.
            lines.for_each(|line| _ = hear(line));
            child.wait().expect("it was killed");
            are_there(&file.reopen().expect("the file"), last.expect("it has written"));
        }
    }
}

/// Each block holds its write that was acknowledged last, or a later one.
fn are_there(file: &File, last: u64) {
    for n in last + 1 - BLOCKS..=last {
        let mut there = vec![0; SIZE];
        file.read_exact_at(&mut there, n % BLOCKS * SIZE as u64).expect("as long as it was");
        let number = u64::from_le_bytes(there[..8].try_into().expect("eight"));
        assert!(number >= n && number % BLOCKS == n % BLOCKS, "block {}: {number}, and {n} was acknowledged", n % BLOCKS);
        assert!(there == bytes(number), "block {} is torn", n % BLOCKS);
    }
}
