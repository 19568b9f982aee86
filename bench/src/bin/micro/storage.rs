//! Reads of 4 KiB: by the state machines of NVMe/TCP, and by devices that answer at once.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bdev::{Bdev, BdevEvent, Bdevs, Completions, Mode};
use bdev_malloc::Config;
use core_reactor::{Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use nvme::command::{Sqe, io};
use nvme::fabrics::ConnectData;
use nvme::host::{self, Payload};
use nvme::pdu::{C2hData, CommonHeader, Kind, LAST, SUCCESS};
use nvme::target::{self, Io, Namespace, Transfer};
use nvme::{Head, Shape};
use pool::{Buf, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
use zerocopy::IntoBytes;

use crate::measure::{Bench, Case, Row, time};

/// Bytes of a read, and blocks.
const BYTES: u32 = 4096;
const BLOCKS: u32 = 8;

/// Commands that come together, and entries of their queue.
const TOGETHER: u16 = 32;
const ENTRIES: u16 = 128;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "nvme target read",
            operation: "a command that came with 31 others taken out of the bytes, looked at, and the head of its data and success made",
            aim: None,
            cases: |bench| Ok(vec![target_reads(bench)?]),
        },
        Row {
            name: "nvme host read",
            operation: "a command made, and its data and success taken out of the bytes",
            aim: None,
            cases: |bench| Ok(vec![host_reads(bench)?]),
        },
        Row {
            name: "bdev null read",
            // More would count how it is zeroed, by an instruction that counts once for each byte.
            operation: "one block of 512 B read through a channel, with 31 others",
            aim: None,
            cases: |bench| Ok(vec![device_reads(bench, bdev_malloc::null, 1)?]),
        },
        Row {
            name: "bdev malloc read",
            operation: "4 KiB read through a channel, with 31 others",
            aim: None,
            cases: |bench| Ok(vec![device_reads(bench, bdev_malloc::malloc, BLOCKS)?]),
        },
    ]
}

/// Both ends of an I/O queue, connected.
fn queues() -> Result<(host::Queue, target::Queue)> {
    let settings = host::Settings { shape: Shape::default(), commands: ENTRIES - 1, in_capsule: 8192 };
    let (mut host, hello) = host::Queue::new(settings);
    let mut target = target::Queue::new(target::Settings::default(), Duration::ZERO);
    let hello = whole(&hello);
    let Some(target::Event::Reply(answer)) = target.receive(&mut &hello[..])? else { bail!("no ICResp") };
    let answer = whole(&answer);
    let Some(host::Event::Ready) = host.receive(&mut &answer[..])? else { bail!("the host is not ready") };

    let data = ConnectData::new([1; 16], 1, "nqn.2024-01.example:disk", "nqn.2024-01.example:host").context("names")?;
    let connect = host.submit(Sqe::connect(1, ENTRIES, 0), Payload::Send(1024))?;
    let mut bytes = whole(&connect.head);
    bytes.extend_from_slice(data.as_bytes());
    let mut left = &bytes[..];
    let (mut command, mut request) = (None, None);
    while let Some(event) = target.receive(&mut left)? {
        match event {
            target::Event::Command { tag, sqe, .. } => command = Some((tag, sqe)),
            target::Event::Data { bytes, .. } => {
                let (_, sqe) = command.context("data before its command")?;
                request = target::Request::read(&sqe, bytes, ENTRIES).ok();
            }
            _ => {}
        }
    }
    let ((tag, _), request) = (command.context("no Connect")?, request.context("a Connect that is refused")?);
    let answer = whole(&target.open(tag, &request, 0)?);
    let Some(host::Event::Completed { .. }) = host.receive(&mut &answer[..])? else { bail!("Connect is not done") };
    Ok((host, target))
}

fn whole(head: &Head) -> Vec<u8> {
    head.parts().concat()
}

fn read_command() -> Sqe {
    Sqe::blocks(io::READ, 1, 64, BLOCKS, 0)
}

fn target_reads(bench: &Bench) -> Result<Case> {
    let (mut host, mut target) = queues()?;
    let mut bytes = Vec::new();
    for _ in 0..TOGETHER {
        bytes.extend(whole(&host.submit(read_command(), Payload::Receive(BYTES))?.head));
    }
    let namespace = Namespace {
        blocks: 1 << 20,
        shift: 9,
        nguid: [1; 16],
        eui64: [0; 8],
        uuid: [1; 16],
        read_only: false,
        shared: true,
        zeroes: true,
        boundary: 0,
        group: 0,
        reservations: 0,
        persists: false,
    };
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            let rounds = operations.div_ceil(TOGETHER.into());
            let mut waiting = Vec::with_capacity(TOGETHER.into());
            for _ in 0..rounds {
                let mut left = black_box(&bytes[..]);
                loop {
                    match target.receive(&mut left) {
                        Ok(Some(target::Event::Command { tag, ref sqe, data: Transfer::ToHost(length), .. })) => {
                            black_box(Io::read(sqe, &namespace, length).expect("within the namespace"));
                            waiting.push((tag, length));
                        }
                        Ok(None) => break,
                        other => panic!("not what a host sends: {other:?}"),
                    }
                }
                for (tag, length) in waiting.drain(..) {
                    let head = target.data_and_success(tag, length);
                    black_box(head.as_ref().expect("a read").parts());
                }
            }
            rounds * u64::from(TOGETHER)
        })
    };
    Ok(Case { who: "lcore", run: Box::new(run) })
}

fn host_reads(bench: &Bench) -> Result<Case> {
    let (mut host, _) = queues()?;
    // Identifiers are given out last one first, so that they are the same in each round.
    let mut bytes = Vec::new();
    let cids: Vec<u16> = (0..TOGETHER).map(|_| Ok(host.submit(read_command(), Payload::Receive(BYTES))?.cid)).collect::<Result<_>>()?;
    for cid in cids.iter().rev() {
        let mut ch = CommonHeader::new(Kind::C2hData);
        (ch.flags, ch.pdo, ch.plen) = (LAST | SUCCESS, 24, (24 + BYTES).into());
        let header = C2hData { ch, cccid: (*cid).into(), reserved1: 0.into(), datao: 0.into(), datal: BYTES.into(), reserved2: 0.into() };
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[7; BYTES as usize]);
    }
    let mut left = &bytes[..];
    while host.receive(&mut left)?.is_some() {}
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        time(&platform, || {
            let rounds = operations.div_ceil(TOGETHER.into());
            for _ in 0..rounds {
                for _ in 0..TOGETHER {
                    let command = host.submit(read_command(), Payload::Receive(BYTES));
                    black_box(command.as_ref().expect("room").head.parts());
                }
                let (mut left, mut done) = (black_box(&bytes[..]), 0);
                loop {
                    match host.receive(&mut left) {
                        Ok(Some(host::Event::Data { bytes, .. })) => assert_eq!(black_box(bytes).len(), BYTES as usize),
                        Ok(Some(host::Event::Completed { status, .. })) => done += u16::from(status.is_success()),
                        Ok(None) => break,
                        other => panic!("not what a target sends: {other:?}"),
                    }
                }
                assert_eq!(done, TOGETHER);
            }
            rounds * u64::from(TOGETHER)
        })
    };
    Ok(Case { who: "lcore", run: Box::new(run) })
}

fn device_reads(bench: &Bench, make: fn(&Bdevs, Config) -> Result<Bdev, bdev::BdevError>, blocks: u32) -> Result<Case> {
    let none = ClassConfig { count: 0, size: 4096 };
    let small = ClassConfig { count: TOGETHER.into(), size: BYTES as usize };
    let config = DataPoolConfig::default().small(small).large(none).control(none);
    let group = DataPool::on_heap(config)?.group(ReserveConfig { small: TOGETHER.into(), large: 0, control: 0 })?;
    let mut buffers: Vec<Buf> = (0..TOGETHER).map(|_| group.get().context("a buffer")).collect::<Result<_>>()?;

    let platform: Arc<dyn Platform> = bench.platform.clone();
    let lib = ThreadLib::new(platform, [bench.here].into_iter().collect(), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("bench"), bench.here).context("the thread's core is not in its set")?;
    let bdevs = Bdevs::new(1);
    let device = make(&bdevs, Config::new(512, 1 << 14))?;
    let open = device.open(Mode::ReadWrite)?;
    let mut channel = thread.with(|cx| open.channel(cx, ENTRIES.into()))?;
    let mut events = Completions::new(TOGETHER.into());
    let platform = bench.platform.clone();
    let run = move |operations: u64| {
        let now = platform.now();
        let _kept = (&thread, &open, &group);
        time(&platform, || {
            let rounds = operations.div_ceil(TOGETHER.into());
            for _ in 0..rounds {
                for buf in buffers.drain(..) {
                    let request = bdev::Request::read(64, blocks.into(), buf);
                    channel.submit(now, request).map_err(|refused| refused.why).expect("a read within the device");
                }
                assert_eq!(channel.poll(now, &mut events), usize::from(TOGETHER));
                for event in events.drain() {
                    let BdevEvent::Done(done) = event else { panic!("{event:?}") };
                    done.result.expect("a read");
                    let mut buf = done.request.data.into_single().expect("the buffer that went in");
                    assert_eq!(buf.len(), 512 * blocks as usize);
                    buf.clear();
                    buffers.push(buf);
                }
            }
            rounds * u64::from(TOGETHER)
        })
    };
    Ok(Case { who: "lcore", run: Box::new(run) })
}
