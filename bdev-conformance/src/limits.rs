//! What is taken, and what is refused.

use bdev::{BdevError, Frame, Kind, Limits, Mode, Request};

use crate::bench::BUF_BLOCKS;
use crate::{Bench, Subject};

/// Names, modes and claims.
pub fn opening(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let (bdev, name) = (bench.bdev.clone(), bench.bdev.name().to_owned());
    let by_uuid = bench.bdevs.get(&bdev.uuid().to_string()).expect("by its uuid");
    assert_eq!((by_uuid.name(), bench.bdevs.get(&name).unwrap().uuid()), (&*name, bdev.uuid()));
    assert_eq!(bench.bdevs.get("none").unwrap_err(), BdevError::NotFound("none".into()));

    let reader = bdev.open(Mode::ReadOnly).unwrap();
    let claimed = bdev.open_claimed("a test").unwrap();
    assert_eq!((bdev.claim(), bdev.opens()), (Some("a test"), (1, 1)));
    assert_eq!(bdev.open(Mode::ReadWrite).unwrap_err(), BdevError::Claimed("a test"));
    assert_eq!(bdev.open_claimed("another").unwrap_err(), BdevError::Claimed("a test"));
    let channel = bench.on(0).with(|cx| claimed.channel(cx, 1)).unwrap();
    drop(claimed);
    assert_eq!(bdev.claim(), Some("a test"), "a channel keeps it open");
    drop(channel);
    assert_eq!((bdev.claim(), bdev.opens()), (None, (1, 0)));
    let writer = bdev.open(Mode::ReadWrite).unwrap();
    assert_eq!(bdev.open_claimed("another").unwrap_err(), BdevError::OpenForWriting(1));
    assert_eq!(bdev.opens(), (1, 1), "a claim that was refused has left nothing open");
    drop((reader, writer));
    assert_eq!(bdev.opens(), (0, 0));

    let reader = bdev.open(Mode::ReadOnly).unwrap();
    let mut channel = bench.on(1).with(|cx| reader.channel(cx, 4)).unwrap();
    for request in [Request::write(0, 1, bench.filled(1, 1)), Request::write_zeroes(0, 1), Request::unmap(0, 1)] {
        assert_eq!(bench.refused(&mut channel, request), BdevError::ReadOnly);
    }
    let done = bench.run(&mut channel, Request::read(0, 1, bench.empty()));
    assert!(done.result.is_ok() || subject.fails, "{:?}", done.result);
}

/// The first block, the last, and what lies behind.
pub fn boundaries(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let of = bench.bdev.blocks();
    let mut channel = bench.channel(0, 4);
    for (block, blocks) in [(0, 1), (of - 1, 1), (of - BUF_BLOCKS, BUF_BLOCKS), (1, 3)] {
        write_and_read(&mut bench, &mut channel, subject, block, blocks);
    }
    for (block, blocks) in [(of, 1), (of - 1, 2), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (of + 1, 0), (0, of + 1)] {
        let why = BdevError::OutOfRange { block, blocks, of };
        for request in [Request::read(block, blocks, bench.empty()), Request::unmap(block, blocks), Request::write_zeroes(block, blocks)] {
            assert_eq!(bench.refused(&mut channel, request), why);
        }
    }
    let zero = Request::read(0, 0, bench.empty());
    assert_eq!(bench.refused(&mut channel, zero), BdevError::Empty);
    assert_eq!(bench.refused(&mut channel, Request::unmap(of, 0)), BdevError::Empty);
    // All of it, in one.
    for request in [Request::write_zeroes(0, of), Request::unmap(0, of), Request::flush()] {
        let done = bench.run(&mut channel, request);
        assert!(done.result.is_ok() || subject.fails, "{:?}", done.result);
    }
}

fn write_and_read(bench: &mut Bench, channel: &mut bdev::Channel, subject: &Subject, block: u64, blocks: u64) {
    // Until it succeeds, on a device that fails now and then.
    for seed in 1..100 {
        let written = bench.run(channel, Request::write(block, blocks, bench.filled(blocks, seed)));
        assert_eq!(written.request.data.bytes(), blocks as usize * bench.block_size(), "the buffers come back as they were");
        let read = bench.run(channel, Request::read(block, blocks, bench.empty()));
        if written.result.is_err() || read.result.is_err() {
            assert!(subject.fails, "{:?} {:?}", written.result, read.result);
            assert!(read.result.is_ok() || read.request.data.bytes() == 0, "what was not read is not shown");
            continue;
        }
        assert_eq!(read.request.data.bytes(), blocks as usize * bench.block_size());
        let same = *read.request.data.parts()[0] == *written.request.data.parts()[0];
        assert_eq!(same, subject.keeps);
        if !subject.keeps {
            assert!(read.request.data.parts()[0].iter().all(|byte| *byte == 0), "nothing of what the buffer held before");
        }
        return;
    }
    panic!("it fails always");
}

/// Buffers that do not fit, operations that are not there, too many requests.
pub fn refusals(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let size = bench.block_size() as u64;
    let mut channel = bench.channel(0, 2);
    let data = |bytes, wanted| BdevError::Data { bytes, wanted };
    let request = Request::write(0, 2, bench.filled(1, 1));
    assert_eq!(bench.refused(&mut channel, request), data(size, 2 * size));
    let request = Request::write(0, 1, bench.filled(2, 1));
    assert_eq!(bench.refused(&mut channel, request), data(2 * size, size));
    let request = Request::write(0, 1, Frame::new());
    assert_eq!(bench.refused(&mut channel, request), data(0, size));
    let request = Request::read(0, BUF_BLOCKS + 1, bench.empty());
    assert_eq!(bench.refused(&mut channel, request), data(BUF_BLOCKS * size, (BUF_BLOCKS + 1) * size));
    let request = Request::read(0, 1, bench.filled(1, 1));
    assert_eq!(bench.refused(&mut channel, request), BdevError::NotEmpty(size as usize));

    let shape = bench.bdev.shape().clone();
    if shape.kinds.contains(Kind::CompareAndWrite) {
        let blocks = u64::from(shape.most_compare_and_write) + 1;
        let request = Request::compare_and_write(0, blocks, bench.filled(2, 1));
        assert_eq!(bench.refused(&mut channel, request), BdevError::TooLong { blocks, most: blocks - 1 });
        let request = Request::compare_and_write(0, 1, bench.filled(1, 1));
        assert_eq!(bench.refused(&mut channel, request), data(size, 2 * size));
    } else {
        let request = Request::compare_and_write(0, 1, bench.filled(2, 1));
        assert_eq!(bench.refused(&mut channel, request), BdevError::Unsupported(Kind::CompareAndWrite));
    }
    let now = bench.now();
    for _ in 0..2 {
        channel.submit(now, Request::read(0, 1, bench.empty())).map_err(|refused| refused.why).expect("there is room");
    }
    let request = Request::read(0, 1, bench.empty());
    assert_eq!(bench.refused(&mut channel, request), BdevError::Full(2));
    assert_eq!(bench.settle(&mut channel).len(), 2);
    bench.run(&mut channel, Request::read(0, 1, bench.empty()));
    let stats = bench.bdev.stats();
    assert_eq!(stats.read.ops + stats.errors, 3, "what was refused does not count");
    assert_eq!(stats.read.bytes, stats.read.ops * size);
}

/// A write while its caller waits: as one by a request, where the device can; and never where that
/// would be refused, or held back.
pub fn at_once(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let (of, size) = (bench.bdev.blocks(), bench.block_size());
    let mut channel = bench.channel(0, 4);
    let (now, bytes) = (bench.now(), bench.filled(2, 7));
    let can = channel.write_at_once(now, of - 1, 1, &bytes[..size]);
    let is_limited = bench.bdev.limits() != Limits::default();
    assert_eq!(can, channel.writes_at_once() && !is_limited, "nobody else is there");
    if can {
        let read = bench.run(&mut channel, Request::read(of - 1, 1, bench.empty()));
        assert_eq!(*read.request.data.parts()[0] == bytes[..size], subject.keeps, "{:?}", read.result);
        assert_eq!((bench.bdev.stats().write.ops, bench.bdev.stats().write.bytes), (1, size as u64));
    }
    // All of it or nothing, wherever the device may have to look twice.
    let both = channel.write_at_once(now, of - 3, 2, &bytes);
    let read = bench.run(&mut channel, Request::read(of - 3, 2, bench.empty()));
    if subject.keeps && read.result.is_ok() {
        let there = &read.request.data.parts()[0];
        assert!(if both { there[..] == bytes[..] } else { there.iter().all(|byte| *byte == 0) });
    }
    for (block, blocks, len) in [(of, 1, size), (of - 1, 2, 2 * size), (u64::MAX, 1, size), (0, 0, 0), (0, 2, size), (0, 1, 2 * size)] {
        assert!(!channel.write_at_once(now, block, blocks, &bytes[..len]), "{blocks} from {block} on, of {len} bytes");
    }
    let reader = bench.bdev.open(Mode::ReadOnly).unwrap();
    let mut readers = bench.on(1).with(|cx| reader.channel(cx, 4)).unwrap();
    assert!(!readers.write_at_once(now, 0, 1, &bytes[..size]), "it was opened for reading");
    bench.bdev.set_limits(Limits { ios: 1_000, ..Limits::default() });
    assert!(!channel.write_at_once(now, 0, 1, &bytes[..size]), "before it has heard of the limit");
    bench.poll(&mut channel);
    assert!(!channel.write_at_once(now, 0, 1, &bytes[..size]), "what is held back waits");
    assert_eq!(bench.bdev.stats().write.ops, u64::from(can) + u64::from(both), "what was not written does not count");
    let zeroes = bench.run(&mut channel, Request::read(0, 1, bench.empty()));
    assert!(zeroes.result.is_err() || zeroes.request.data.parts()[0].iter().all(|byte| *byte == 0), "nothing else was written");
    bench.bdev.set_limits(Limits::default());
    bench.poll(&mut channel);
    assert_eq!(channel.write_at_once(now, 0, 1, &bytes[..size]), channel.writes_at_once(), "nothing holds it back");
    let name = bench.bdev.name().to_owned();
    bench.bdevs.remove(&name).expect("it is there");
    assert!(!channel.write_at_once(now, 0, 1, &bytes[..size]), "it is gone, which it has not heard");
    bench.poll(&mut channel);
    assert!(!channel.write_at_once(now, 0, 1, &bytes[..size]), "it is gone");
}
