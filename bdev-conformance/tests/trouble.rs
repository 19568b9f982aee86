//! Files and disks that are not as they should be, over both engines.

mod places;

use std::fs;
use std::time::{Duration, Instant};

use bdev::{Bdev, BdevError, BdevEvent, Bdevs, Channel, Completion, Frame, Kind, Mode, Request, Token};
use bdev_conformance::{Bench, Subject};
use bdev_file::Config;
use conformance::sandbox;

use crate::places::{Loop, file_in, in_own_mounts, run};

type Make = fn(&Bdevs, &Config) -> Result<Bdev, BdevError>;

const BOTH: [(&str, Make); 2] = [("uring", bdev_uring::uring), ("aio", bdev_aio::aio)];

/// A bench with another device than it made, of which it has one that nobody needs.
fn bench(make: Make, config: &Config) -> (Bench, Bdev) {
    let bench = Bench::new(&Subject {
        make: |bdevs| bdev_malloc::null(bdevs, bdev_malloc::Config::new(4096, 300)),
        keeps: false,
        resizes: true,
        fails: false,
    });
    let bdev = make(&bench.bdevs, config).expect("the device can be made");
    (bench, bdev)
}

fn channel(bench: &mut Bench, bdev: &Bdev, depth: usize) -> Channel {
    let opened = bdev.open(Mode::ReadWrite).expect("it can be opened");
    bench.on(0).with(|cx| opened.channel(cx, depth)).expect("a channel")
}

fn says(done: &Completion, words: &str) {
    match &done.result {
        Err(BdevError::Io(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}, and not {words:?}"),
    }
}

#[test]
fn s292_what_makes_no_device_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    for (name, bytes) in [("odd", 8192 + 512), ("tail", 4096 + 100), ("empty", 0), ("good", 8192)] {
        fs::write(path(name), vec![0; bytes]).expect("a file");
    }
    std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
    for (name, make) in BOTH {
        let bdevs = Bdevs::new(1);
        let why = |config: Config| make(&bdevs, &config).expect_err("it makes none").to_string();
        for (file, says) in [
            ("none", "there is no such file; make one, such as with truncate -s 1G"),
            (".", "it is neither a file nor a disk but a directory"),
            ("socket", "it is neither a file nor a disk but a socket"),
            ("odd", "its 8704 bytes are no whole number of blocks of 4096; give another block_size, such as 512"),
            ("tail", "its 4196 bytes are no whole number of blocks of 4096"),
            ("empty", "its 0 bytes are no whole number of blocks"),
            ("good/under", "it cannot be opened (Not a directory"),
        ] {
            let told = why(Config::new(path(file)));
            assert!(told.contains(says) && told.starts_with("path: ") && told.contains(file), "{name}: {told}");
        }
        for wrong in [0, 100, 513, 128 << 10] {
            let told = why(Config::new(path("good")).block_size(wrong));
            assert!(told.contains("is not a multiple of 512 from 512 to 65536"), "{told}");
        }
        assert!(why(Config::new("/dev/null")).contains("but a device of characters"));
        make(&bdevs, &Config::new(path("good")).name("a")).expect("a device");
        assert_eq!(make(&bdevs, &Config::new(path("none")).name("a")).unwrap_err(), BdevError::NameTaken("a".into()));
    }
}

#[test]
fn s292_a_disk_that_is_in_use_is_left_alone() {
    let Some(disk) = Loop::new(1 << 20, 512) else { return };
    for (_, make) in BOTH {
        let bdevs = Bdevs::new(1);
        let first = soon(|| make(&bdevs, &Config::new(disk.path())));
        let why = make(&bdevs, &Config::new(disk.path())).unwrap_err().to_string();
        assert!(why.contains("it is in use: mounted, or another device's"), "{why}");
        make(&bdevs, &Config::new(disk.path()).read_only()).expect("who reads does no harm");
        bdevs.remove(first.name()).expect("it is there");
        drop(first);
        soon(|| make(&bdevs, &Config::new(disk.path())));
    }
}

/// What is free, or free again. A program that another test starts meanwhile holds what this
/// process has open, from its fork to its exec.
fn soon<T>(make: impl Fn() -> Result<T, BdevError>) -> T {
    let begun = Instant::now();
    loop {
        match make() {
            Ok(made) => return made,
            Err(why) => assert!(begun.elapsed() < Duration::from_secs(10), "{why}"),
        }
        std::thread::yield_now();
    }
}

/// On a thread of its own, since a sandbox is for good.
fn in_sandbox(call: libc::c_long, errno: i32, f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sandbox::refuse(call, errno).expect("a thread may bind itself");
            f();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn s292_where_there_is_no_ring_threads_are_named_and_work() {
    for (errno, words) in [(libc::ENOSYS, "Function not implemented"), (libc::EPERM, "Operation not permitted")] {
        in_sandbox(libc::SYS_io_uring_setup, errno, || {
            let file = file_in("/tmp", 1 << 20);
            let why = bdev_uring::uring(&Bdevs::new(1), &Config::new(file.path())).unwrap_err().to_string();
            assert!(why.contains(words) && why.ends_with("a device of the module aio needs none"), "{why}");
            let (mut bench, bdev) = bench(bdev_aio::aio, &Config::new(file.path()));
            let mut channel = channel(&mut bench, &bdev, 4);
            assert_eq!(bench.run(&mut channel, Request::write(0, 1, bench.filled(1, 1)).fua()).result, Ok(()));
        });
    }
}

#[test]
fn s292_where_there_are_no_threads_that_is_said() {
    in_sandbox(libc::SYS_clone3, libc::EAGAIN, || {
        let file = file_in("/tmp", 1 << 20);
        let why = bdev_aio::aio(&Bdevs::new(1), &Config::new(file.path())).unwrap_err().to_string();
        assert!(why.starts_with("aio: no threads for its calls: Resource temporarily unavailable"), "{why}");
    });
}

#[test]
fn s292_what_is_opened_for_reading_is_not_written() {
    for (_, make) in BOTH {
        let file = file_in("/tmp", 1 << 20);
        let (mut bench, bdev) = bench(make, &Config::new(file.path()).read_only());
        let mut channel = channel(&mut bench, &bdev, 4);
        for (request, kind) in [
            (Request::write(0, 1, bench.filled(1, 1)), Kind::Write),
            (Request::write_zeroes(0, 1), Kind::WriteZeroes),
            (Request::unmap(0, 1), Kind::Unmap),
        ] {
            assert_eq!(bench.refused(&mut channel, request), BdevError::Unsupported(kind));
        }
        assert_eq!(bench.run(&mut channel, Request::read(0, 1, bench.empty())).result, Ok(()));
        assert_eq!(bench.run(&mut channel, Request::flush()).result, Ok(()));
    }
}

#[test]
fn s297_a_file_that_is_cut_off_fails_there_and_nowhere_else() {
    for (_, make) in BOTH {
        for change in [|config| config, Config::buffered] {
            let file = file_in("/tmp", 1 << 20);
            let (mut bench, bdev) = bench(make, &change(Config::new(file.path())));
            let mut channel = channel(&mut bench, &bdev, 4);
            assert_eq!(bench.run(&mut channel, Request::write(0, 1, bench.filled(1, 1))).result, Ok(()));
            // In the middle of the second block.
            file.as_file().set_len(4096 + 1000).expect("shorter");
            for request in [Request::read(1, 1, bench.empty()), Request::read(0, 2, bench.empty()), Request::read(100, 1, bench.empty())] {
                let done = bench.run(&mut channel, request);
                says(&done, "it was truncated while it was open");
                assert_eq!(done.request.data.bytes(), 0);
            }
            says(&bench.run(&mut channel, Request::compare(7, 1, bench.filled(1, 1))), "it was truncated while it was open");
            let done = bench.run(&mut channel, Request::read(0, 1, bench.empty()));
            assert!(done.result == Ok(()) && *done.request.data.parts()[0] == *bench.filled(1, 1));
            // What is written is there, whatever its way.
            assert_eq!(bench.run(&mut channel, Request::write(9, 1, bench.filled(1, 2))).result, Ok(()));
            assert_eq!(bench.run(&mut channel, Request::write_zeroes(20, 1)).result, Ok(()));
            for block in [9, 20] {
                let done = bench.run(&mut channel, Request::read(block, 1, bench.empty()));
                assert_eq!((done.result, done.request.data.bytes()), (Ok(()), 4096));
            }
            let why = bdev.resize(400).unwrap_err().to_string();
            assert!(why.contains("400 blocks are more than the 21 of the file"), "{why}");
        }
    }
}

#[test]
fn s297_a_file_that_has_grown_is_told_after_a_rescan() {
    for (_, make) in BOTH {
        let file = file_in("/tmp", 1 << 20);
        let (mut bench, bdev) = bench(make, &Config::new(file.path()));
        let mut channel = channel(&mut bench, &bdev, 4);
        let mut rescan = |bytes: u64, told: Option<u64>| {
            file.as_file().set_len(bytes).expect("another length");
            bdev.rescan().map_err(|why| why.to_string())?;
            let heard = bench.poll(&mut channel);
            match (&heard[..], told) {
                ([], None) => {}
                ([BdevEvent::Resized { blocks }], Some(wanted)) if *blocks == wanted => {}
                other => panic!("{other:?}"),
            }
            let last = bdev.blocks() - 1;
            assert_eq!(bench.run(&mut channel, Request::write(last, 1, bench.filled(1, 1))).result, Ok(()));
            let beyond = Request::read(last + 1, 1, bench.empty());
            assert!(matches!(bench.refused(&mut channel, beyond), BdevError::OutOfRange { .. }));
            Ok(())
        };
        assert_eq!(rescan(1 << 20, None), Ok(()));
        assert_eq!(rescan(3 << 20, Some(768)), Ok(()));
        assert_eq!(rescan(1 << 19, Some(128)), Ok(()));
        let odd: Result<(), String> = rescan((1 << 19) + 100, None);
        assert!(odd.as_ref().is_err_and(|why| why.contains("its 524388 bytes are no whole number of blocks of 4096")), "{odd:?}");
        assert_eq!(rescan(1 << 20, Some(256)), Ok(()));
    }
}

#[test]
fn s297_a_disk_that_has_grown_is_told_after_a_rescan() {
    for (_, make) in BOTH {
        let Some(disk) = Loop::new(1 << 20, 512) else { return };
        let (mut bench, bdev) = bench(make, &Config::new(disk.path()).block_size(4096));
        let mut channel = channel(&mut bench, &bdev, 4);
        disk.set_len(2 << 20);
        bdev.rescan().expect("it has a size");
        assert!(matches!(bench.poll(&mut channel)[..], [BdevEvent::Resized { blocks: 512 }]));
        assert_eq!(bench.run(&mut channel, Request::write(511, 1, bench.filled(1, 1)).fua()).result, Ok(()));
        assert_eq!(bench.run(&mut channel, Request::unmap(0, 512)).result, Ok(()));
        assert_eq!(bench.run(&mut channel, Request::write_zeroes(0, 512).fua()).result, Ok(()));
        let done = bench.run(&mut channel, Request::read(511, 1, bench.empty()));
        assert!(done.result == Ok(()) && done.request.data.parts()[0].iter().all(|byte| *byte == 0));
    }
}

/// What a disk is told to keep it is told to keep now: its own count of flushes says so.
#[test]
fn s293_what_is_to_last_reaches_the_disk() {
    for (name, make) in BOTH {
        let Some(disk) = Loop::new(1 << 20, 512) else { return };
        let (mut bench, bdev) = bench(make, &Config::new(disk.path()).block_size(4096));
        let mut channel = channel(&mut bench, &bdev, 4);
        let mut flushes = |request: fn(&Bench) -> Request| {
            let before = disk.flushes();
            let request = request(&bench);
            assert_eq!(bench.run(&mut channel, request).result, Ok(()));
            disk.flushes() - before
        };
        assert_eq!(flushes(|bench| Request::write(0, 1, bench.filled(1, 1))), 0, "{name}: nobody has asked for it");
        assert!(flushes(|bench| Request::write(1, 1, bench.filled(1, 2)).fua()) > 0, "{name}: force unit access");
        assert!(flushes(|_| Request::flush()) > 0, "{name}: flush");
        assert!(flushes(|_| Request::write_zeroes(0, 1).fua()) > 0, "{name}: zeroes");
    }
}

/// A file with holes on a file system that is smaller.
#[test]
fn s292_a_file_system_without_room_says_so_and_the_device_goes_on() {
    for (_, make) in BOTH {
        in_own_mounts(|| {
            let at = tempfile::tempdir().expect("a directory");
            let mount = at.path().to_str().expect("text");
            run("mount", &["-t", "tmpfs", "-o", "size=1m", "none", mount]);
            let file = file_in(mount, 16 << 20);
            let (mut bench, bdev) = bench(make, &Config::new(file.path()));
            let mut channel = channel(&mut bench, &bdev, 4);
            let mut written = 0;
            let done = loop {
                let done = bench.run(&mut channel, Request::write(8 * written, 8, bench.filled(8, written)));
                if done.result.is_err() {
                    break done;
                }
                written += 1;
                assert!(written < 100, "it is not so small");
            };
            says(&done, "no space is left where the file is; make room there");
            assert_eq!(done.request.data.bytes(), 8 * 4096, "the buffers are as they were");
            for at in 0..written {
                let done = bench.run(&mut channel, Request::read(8 * at, 8, bench.empty()));
                assert!(done.result == Ok(()) && *done.request.data.parts()[0] == *bench.filled(8, at));
            }
            // There is room again.
            assert_eq!(bench.run(&mut channel, Request::unmap(0, 128)).result, Ok(()));
            assert_eq!(bench.run(&mut channel, Request::write(8 * written, 8, bench.filled(8, 1))).result, Ok(()));
            drop((channel, bdev, bench, file));
            // A program that another test starts may hold it for a moment.
            run("umount", &["--lazy", mount]);
        });
    }
}

/// A file system that has neither O_DIRECT nor fallocate.
#[test]
fn s294_a_file_system_that_has_little_is_used_through_the_cache() {
    for (_, make) in BOTH {
        in_own_mounts(|| {
            let at = tempfile::tempdir().expect("a directory");
            let mount = at.path().to_str().expect("text");
            run("mount", &["-t", "ramfs", "none", mount]);
            let file = file_in(mount, 1 << 20);
            let (mut bench, bdev) = bench(make, &Config::new(file.path()));
            let mut channel = channel(&mut bench, &bdev, 4);
            assert_eq!(bench.run(&mut channel, Request::write(3, 2, bench.filled(2, 5)).fua()).result, Ok(()));
            assert_eq!(bench.run(&mut channel, Request::write_zeroes(4, 1)).result, Ok(()));
            assert_eq!(bench.run(&mut channel, Request::unmap(0, 1)).result, Ok(()));
            let done = bench.run(&mut channel, Request::read(3, 2, bench.empty()));
            let there = &done.request.data.parts()[0];
            assert!(there[..4096] == bench.filled(2, 5)[..4096] && there[4096..].iter().all(|byte| *byte == 0));
            drop((channel, bdev, bench, file));
            // A program that another test starts may hold it for a moment.
            run("umount", &["--lazy", mount]);
        });
    }
}

/// More than a ring has room for, in pieces that lie anyhow.
#[test]
fn s299_of_many_requests_none_is_lost() {
    for (_, make) in BOTH {
        let file = file_in("/tmp", 4 << 20);
        let (mut bench, bdev) = bench(make, &Config::new(file.path()));
        let mut channel = channel(&mut bench, &bdev, 2_000);
        let all = pool::BufGroup::new(4_000, 4096);
        let frame = |bytes: Option<u8>, cut: usize| {
            let mut frame = Frame::new();
            for len in [cut, 4096 - cut].into_iter().filter(|len| *len > 0) {
                let mut buf = all.get().expect("a buffer");
                if let Some(byte) = bytes {
                    buf.append(&vec![byte; len]);
                }
                frame.push(buf).expect("room");
            }
            frame
        };
        for round in 0..2u64 {
            for n in 0..1_000 {
                let data = frame((round == 0).then_some(n as u8 | 1), if n % 5 == 0 { 100 } else { 0 });
                let request = if round == 0 { Request::write(n, 1, data) } else { Request::read(n, 1, data) };
                channel.submit(bench.now(), request.token(Token(n))).map_err(|refused| refused.why).expect("there is room");
            }
            let mut done = bench.settle(&mut channel);
            done.sort_by_key(|done| done.request.token.0);
            assert!(done.iter().map(|done| done.request.token.0).eq(0..1_000), "each once");
            for done in done {
                assert_eq!(done.result, Ok(()));
                let byte = done.request.token.0 as u8 | 1;
                assert!(done.request.data.bytes() == 4096 && done.request.data.parts().iter().all(|part| part.iter().all(|b| *b == byte)));
            }
        }
    }
}
