//! Errors and delays that are asked for.

use std::time::Duration;

use bdev::{Bdev, BdevError, BdevEvent, Bdevs, Kind, Request, Token};
use bdev_conformance::{Bench, Subject};
use bdev_fault::{Delay, Errors, Injected, InjectedError, Latencies, Latency, delay, errors};
use bdev_malloc::{Config, malloc};

fn over_malloc(make: fn(&Bdevs) -> Result<Bdev, BdevError>) -> Bench {
    let bench = Bench::new(&Subject { make, keeps: true, resizes: false, fails: false });
    assert_eq!(bench.bdevs.get("base").expect("it is there").claim().map(str::len), Some(5), "nobody else writes to it");
    bench
}

fn with_errors() -> Bench {
    over_malloc(|bdevs| {
        malloc(bdevs, Config::new(512, 4_000).name("base"))?;
        errors(bdevs, "base", None)
    })
}

fn inject(bench: &Bench, kind: Option<Kind>, error: InjectedError, count: u32, queue_depth: u64) {
    let device = bench.bdev.device::<Errors>().expect("it is one");
    device.inject(kind, Injected { error, count, queue_depth }).expect("it can be asked for");
}

#[test]
fn s330_so_many_requests_of_a_kind_fail_as_asked() {
    let mut bench = with_errors();
    assert_eq!(bench.bdev.name(), "EE_base");
    let mut channel = bench.channel(0, 8);
    for (error, why) in [
        (InjectedError::Failure, BdevError::Io("an error that was asked for")),
        (InjectedError::Status { sct: 2, sc: 0x81 }, BdevError::Status { sct: 2, sc: 0x81 }),
        (InjectedError::NoMemory, BdevError::NoMemory(0)),
    ] {
        inject(&bench, Some(Kind::Read), error, 2, 0);
        for wanted in [Err(why.clone()), Err(why), Ok(())] {
            let buf = bench.filled(1, 1);
            assert_eq!(bench.run(&mut channel, Request::write(0, 1, buf)).result, Ok(()), "another kind");
            let buf = bench.empty();
            assert_eq!(bench.run(&mut channel, Request::read(0, 1, buf)).result, wanted);
        }
    }
    inject(&bench, None, InjectedError::Failure, 1, 0);
    for request in [Request::unmap(0, 1), Request::flush(), Request::write(0, 1, bench.filled(1, 1))] {
        assert!(bench.run(&mut channel, request).result.is_err());
    }
    bench.bdev.device::<Errors>().expect("it is one").clear();
    let buf = bench.empty();
    assert_eq!(bench.run(&mut channel, Request::read(0, 1, buf)).result, Ok(()), "asked for no more");
    let device = bench.bdev.device::<Errors>().expect("it is one");
    let asked = |error| Injected { error, count: 1, queue_depth: 0 };
    assert!(device.inject(Some(Kind::Compare), asked(InjectedError::Failure)).is_err());
    assert!(device.inject(None, asked(InjectedError::Corrupt { offset: 0, bits: 0 })).is_err());
}

#[test]
fn s330_a_byte_is_corrupt_on_the_device_or_on_the_way_and_not_in_the_callers_buffer() {
    let mut bench = with_errors();
    let mut channel = bench.channel(0, 8);
    let data: Vec<u8> = bench.filled(2, 7).to_vec();
    let offset = 700;
    inject(&bench, Some(Kind::Write), InjectedError::Corrupt { offset, bits: 0x11 }, 1, 0);
    let buf = bench.filled(2, 7);
    let written = bench.run(&mut channel, Request::write(4, 2, buf));
    assert_eq!((written.result, &written.request.data.parts()[0][..]), (Ok(()), &data[..]));
    let read = |bench: &mut Bench, channel: &mut _| {
        let buf = bench.empty();
        bench.run(channel, Request::read(4, 2, buf)).request.data.parts()[0].to_vec()
    };
    let mut wrong = data.clone();
    wrong[700] ^= 0x11;
    assert_eq!(read(&mut bench, &mut channel), wrong);
    inject(&bench, Some(Kind::Read), InjectedError::Corrupt { offset, bits: 0x11 }, 1, 0);
    assert_eq!(read(&mut bench, &mut channel), data, "twice wrong");
    assert_eq!(read(&mut bench, &mut channel), wrong);
    // Behind the end of what is read there is nothing.
    inject(&bench, Some(Kind::Read), InjectedError::Corrupt { offset: u64::MAX, bits: 1 }, 1, 0);
    assert_eq!(read(&mut bench, &mut channel), wrong);
}

#[test]
fn s330_what_is_held_goes_on_or_is_given_up_when_asked() {
    let mut bench = with_errors();
    let mut channel = bench.channel(0, 8);
    inject(&bench, None, InjectedError::Pending, 3, 0);
    for n in 0..3 {
        let request = Request::read(n, 1, bench.empty()).token(Token(n));
        channel.submit(bench.now(), request).map_err(|refused| refused.why).expect("it is taken");
    }
    assert!(bench.poll(&mut channel).is_empty());
    channel.abort(Token(1));
    let done = bench.poll(&mut channel);
    assert!(matches!(&done[..], [BdevEvent::Done(done)] if done.result == Err(BdevError::Aborted)), "{done:?}");
    bench.bdev.device::<Errors>().expect("it is one").resume(&bench.bdev);
    let done = bench.settle(&mut channel);
    assert!(done.len() == 2 && done.iter().all(|done| done.result.is_ok()), "{done:?}");
}

#[test]
fn s330_an_error_waits_for_its_queue_depth() {
    let mut bench = over_malloc(|bdevs| {
        // Below it, requests stay under way for a while.
        malloc(bdevs, Config::new(512, 4_000).name("deep"))?;
        let slow = Duration::from_millis(1);
        delay(bdevs, "base", "deep", None, Latencies { avg_read: slow, p99_read: slow, ..Latencies::default() }, 1)?;
        errors(bdevs, "base", None)
    });
    let mut channel = bench.channel(0, 8);
    inject(&bench, Some(Kind::Read), InjectedError::Failure, 1, 2);
    for n in 0..4 {
        let request = Request::read(n, 1, bench.empty()).token(Token(n));
        channel.submit(bench.now(), request).map_err(|refused| refused.why).expect("it is taken");
    }
    let failed: Vec<_> = bench.settle(&mut channel).iter().filter(|done| done.result.is_err()).map(|done| done.request.token).collect();
    assert_eq!(failed, [Token(2)]);
}

#[test]
fn s331_what_was_done_comes_back_late_and_one_in_a_hundred_later() {
    let micros = Duration::from_micros;
    let mut bench = over_malloc(|bdevs| {
        malloc(bdevs, Config::new(512, 4_000).name("base"))?;
        let micros = Duration::from_micros;
        let latencies = Latencies { avg_read: micros(100), p99_read: micros(900), avg_write: micros(300), p99_write: micros(2_000) };
        delay(bdevs, "d", "base", None, latencies, 9)
    });
    let mut channel = bench.channel(0, 8);
    let took = |bench: &mut Bench, channel: &mut _, request| {
        let begin = bench.now();
        assert_eq!(bench.run(channel, request).result, Ok(()));
        // The clock stands while it is polled, and has moved on by a moment for each that found
        // nothing.
        bench.now().since(begin).as_micros() as u64
    };
    let mut late = 0;
    for n in 0..2_000 {
        let (avg, p99, request) = if n % 2 == 0 {
            (100, 900, Request::read(0, 1, bench.empty()))
        } else {
            (300, 2_000, Request::write(0, 1, bench.filled(1, 1)))
        };
        let took = took(&mut bench, &mut channel, request);
        assert!(took == avg || took == p99, "{took}");
        late += u32::from(took == p99);
    }
    assert!((5..=40).contains(&late), "{late} of 2,000");
    assert_eq!(took(&mut bench, &mut channel, Request::flush()), 0, "what neither reads nor writes is not late");
    let device = bench.bdev.device::<Delay>().expect("it is one");
    for which in [Latency::AvgRead, Latency::P99Read] {
        device.set(which, micros(40));
    }
    assert_eq!((device.latencies().avg_read, device.latencies().p99_write), (micros(40), micros(2_000)));
    let request = Request::read(0, 1, bench.empty());
    assert_eq!(took(&mut bench, &mut channel, request), 40);
}

#[test]
fn s332_what_is_awaited_is_made_when_its_base_is_there() {
    let bdevs = Bdevs::new(1);
    bdevs.when_added("base", |bdevs| drop(errors(bdevs, "base", None).expect("it can be made")));
    malloc(&bdevs, Config::new(512, 8).name("other")).expect("it can be made");
    assert!(bdevs.get("EE_base").is_err());
    malloc(&bdevs, Config::new(512, 8).name("base")).expect("it can be made");
    assert!(bdevs.get("EE_base").is_ok());
    bdevs.remove("EE_base").expect("it is there");
    bdevs.remove("base").expect("it is there");
    malloc(&bdevs, Config::new(512, 8).name("base")).expect("it can be made");
    assert!(bdevs.get("EE_base").is_err(), "once");
}

#[test]
fn s333_figures_count_from_zero_again_as_asked() {
    use bdev::ResetStats::{All, Errors as OnlyErrors, Extremes};
    let mut bench = with_errors();
    let mut channel = bench.channel(0, 8);
    let run = |bench: &mut Bench, channel: &mut _| {
        let buf = bench.empty();
        bench.run(channel, Request::read(0, 1, buf)).result
    };
    inject(&bench, None, InjectedError::Failure, 1, 0);
    assert!(run(&mut bench, &mut channel).is_err() && run(&mut bench, &mut channel).is_ok());
    let stats = bench.bdev.stats();
    assert_eq!((stats.read.ops, stats.read.bytes, stats.errors), (1, 512, 1));
    bench.bdev.reset_stats(Extremes);
    assert_eq!((bench.bdev.stats().read.ops, bench.bdev.stats().errors), (1, 1));
    bench.bdev.reset_stats(OnlyErrors);
    assert_eq!((bench.bdev.stats().read.ops, bench.bdev.stats().errors), (1, 0));
    bench.bdev.reset_stats(All);
    assert_eq!(bench.bdev.stats(), bdev::IoStats::default());
    assert_eq!(run(&mut bench, &mut channel), Ok(()));
    assert_eq!(bench.bdev.stats().read.ops, 1);
    assert_eq!(bench.bdev.channel_stats()[0].2.read.ops, 1);
    // What a channel has done stays counted, once, when it is gone.
    drop(channel);
    assert_eq!(bench.bdev.stats().read.ops, 1);
}

/// A delay on errors on memory, and beside them one that has nothing to do with it.
fn stacked() -> (Bench, Bdev) {
    let bench = over_malloc(|bdevs| {
        malloc(bdevs, Config::new(512, 4_000).name("base"))?;
        malloc(bdevs, Config::new(512, 4_000).name("other"))?;
        errors(bdevs, "base", None)?;
        delay(bdevs, "top", "EE_base", None, Latencies { avg_read: Duration::from_secs(3600), ..Latencies::default() }, 1)
    });
    let beside = errors(&bench.bdevs, "other", None).expect("a device");
    (bench, beside)
}

#[test]
fn s377_what_stands_on_a_device_that_is_removed_goes_with_it() {
    let (mut bench, beside) = stacked();
    let mut channel = bench.channel(0, 8);
    let request = Request::read(0, 1, bench.empty());
    channel.submit(bench.now(), request).map_err(|refused| refused.why).expect("it is taken");
    bench.bdevs.remove("base").expect("it is there");
    let names: Vec<_> = bench.bdevs.list().iter().map(|bdev| bdev.name().to_string()).collect();
    assert_eq!(names, ["other", "EE_other"]);
    assert!(bench.bdev.is_removed() && !beside.is_removed());
    let mut events = bench.poll(&mut channel);
    for _ in 0..4 {
        events.extend(bench.poll(&mut channel));
    }
    // It had been read, and nobody waits an hour for it.
    assert!(matches!(&events[..], [BdevEvent::Done(_), BdevEvent::Removed]), "{events:?}");
    assert_eq!(bench.bdev.opens(), (0, 1), "as long as somebody has it open");
    drop(channel);
    // Their names are free at once, and who stands on a new one stays.
    malloc(&bench.bdevs, Config::new(512, 4_000).name("base")).expect("the name is free");
    errors(&bench.bdevs, "base", None).expect("the name is free");
    assert!(bench.bdevs.get("EE_base").is_ok());
}

#[test]
fn s377_a_device_in_the_middle_takes_only_those_above_it() {
    let (bench, _) = stacked();
    bench.bdevs.remove("EE_base").expect("it is there");
    let base = bench.bdevs.get("base").expect("it is below");
    assert!(bench.bdevs.get("top").is_err() && bench.bdev.is_removed() && !base.is_removed());
    // It is still held by the device that is gone, as long as somebody knows of that.
    drop(bench.bdev);
    assert_eq!(base.claim(), None);
}

/// Adds a device that stands on one which is removed meanwhile.
#[test]
fn s377_nothing_is_added_on_what_is_gone() {
    struct On(Bdev);
    impl bdev::Device for On {
        fn channel(&self, _: &mut core_reactor::Cx<'_>, _: usize) -> Result<Box<dyn bdev::DeviceChannel>, BdevError> {
            Err(BdevError::Removed)
        }
        fn below(&self) -> Option<Bdev> {
            Some(self.0.clone())
        }
    }
    let (bench, beside) = stacked();
    let on = On(beside.clone());
    bench.bdevs.remove("EE_other").expect("it is there");
    let new = bdev::NewBdev { name: "late".into(), aliases: Vec::new(), uuid: None, blocks: 1, shape: beside.shape().clone() };
    assert_eq!(bench.bdevs.add(new, Box::new(on)).err(), Some(BdevError::Removed));
}
