//! Limits: how much goes in a second, and to whom.

use std::time::Duration;

use bdev::{BdevError, BdevEvent, Channel, Limits, Request, Token};
use bdev_conformance::{Bench, Subject};
use bdev_malloc::{Config, null};

const NULL: Subject = Subject { make: |bdevs| null(bdevs, Config::new(512, 4_000).name("n")), keeps: false, resizes: true, fails: false };
/// The time of a test.
const QUARTER: Duration = Duration::from_millis(250);

/// A bench over a device with limits.
fn bench(limits: Limits) -> Bench {
    let bench = Bench::new(&NULL);
    bench.bdev.set_limits(limits);
    bench
}

/// Keeps requests of a channel under way for a quarter of a second in which each channel is polled
/// every `turn`; how many of each have come back.
fn quarter(bench: &mut Bench, turn: Duration, channels: &mut [(Channel, usize)], request: impl Fn(&Bench) -> Request) -> Vec<u64> {
    let (begin, mut done) = (bench.now(), vec![0; channels.len()]);
    while bench.now().since(begin) < QUARTER {
        for (n, (channel, depth)) in channels.iter_mut().enumerate() {
            let mut more = *depth - channel.under_way();
            for event in bench.poll(channel) {
                assert!(matches!(&event, BdevEvent::Done(done) if done.result.is_ok()), "{event:?}");
                done[n] += 1;
                more += 1;
            }
            for _ in 0..more {
                let (now, request) = (bench.now(), request(bench));
                channel.submit(now, request).map_err(|refused| refused.why).expect("it is taken");
            }
        }
        bench.pass(turn);
    }
    done
}

fn read(bench: &Bench) -> Request {
    Request::read(0, 8, bench.empty())
}

fn write(bench: &Bench) -> Request {
    Request::write(0, 8, bench.filled(8, 1))
}

/// Whether that is what a second has, in a quarter of it: within a hundredth, and what a bucket
/// holds at the beginning.
fn is_about(done: u64, second: u64) -> bool {
    (second / 4 * 99 / 100..=second / 4 * 101 / 100 + second / 250 + 1).contains(&done)
}

#[test]
fn s326_each_limit_is_kept_in_the_long_run() {
    let bytes = 4096;
    let none = Limits::default();
    for (limits, request, wanted) in [
        (Limits { ios: 20_000, ..none }, read as fn(&Bench) -> Request, 20_000),
        (Limits { bytes: 10_000 * bytes, ..none }, write, 10_000),
        (Limits { read_bytes: 5_000 * bytes, ..none }, read, 5_000),
        (Limits { write_bytes: 7_000 * bytes, ..none }, write, 7_000),
        // The narrowest of several.
        (Limits { ios: 9_000, bytes: 10_000 * bytes, write_bytes: 6_000 * bytes, ..none }, write, 6_000),
        // A request that takes longer than a turn, and than what a bucket holds.
        (Limits { bytes: 100 * bytes, ..none }, read, 100),
    ] {
        for turn in [Duration::from_micros(7), Duration::from_micros(900)] {
            let mut bench = bench(limits);
            let mut channels = [(bench.channel(0, 64), 64)];
            let done = quarter(&mut bench, turn, &mut channels, request);
            assert!(is_about(done[0], wanted), "{limits:?} every {turn:?}: {done:?}");
        }
    }
}

#[test]
fn s326_what_one_limit_is_not_about_goes_at_once() {
    let mut bench = bench(Limits { read_bytes: 4096, ..Limits::default() });
    let mut channel = bench.channel(0, 8);
    let now = bench.now();
    for request in [read(&bench), read(&bench), write(&bench), Request::unmap(0, 8), Request::flush(), Request::write_zeroes(0, 8)] {
        channel.submit(now, request).map_err(|refused| refused.why).expect("it is taken");
    }
    // The first read too: who has not drawn owes nothing.
    assert_eq!((bench.poll(&mut channel).len(), channel.under_way()), (5, 1));
    bench.pass(Duration::from_millis(990));
    assert!(bench.poll(&mut channel).is_empty(), "a second's bytes were read");
    bench.pass(Duration::from_millis(11));
    assert_eq!(bench.poll(&mut channel).len(), 1);
}

#[test]
fn s327_channels_that_wait_have_equal_shares() {
    // On one core and on two; who is polled first, and who has more under way.
    for (cores, depths) in [([0, 0], [64, 4]), ([0, 1], [4, 64]), ([1, 1], [8, 64])] {
        for turn in [Duration::from_micros(20), Duration::from_micros(300)] {
            let mut bench = bench(Limits { ios: 10_000, ..Limits::default() });
            let mut channels = [0, 1].map(|n| (bench.channel(cores[n], 64), depths[n]));
            let done = quarter(&mut bench, turn, &mut channels, read);
            assert!(is_about(done[0] + done[1], 10_000), "{done:?}");
            assert!(done.iter().all(|done| is_about(*done, 5_000)), "{cores:?} {depths:?} every {turn:?}: {done:?}");
        }
    }
}

#[test]
fn s327_reads_and_writes_take_turns() {
    let mut bench = bench(Limits { ios: 1_000, ..Limits::default() });
    let mut channel = bench.channel(0, 64);
    for n in 0..64 {
        let (now, request) = (bench.now(), if n < 32 { read(&bench) } else { write(&bench) });
        channel.submit(now, request).map_err(|refused| refused.why).expect("it is taken");
    }
    for _ in 0..30 {
        bench.pass(Duration::from_millis(1));
        bench.poll(&mut channel);
    }
    let stats = bench.bdev.stats();
    assert!(stats.read.ops.abs_diff(stats.write.ops) <= 2, "{stats:?}");
    assert!(stats.read.ops > 10, "{stats:?}");
}

#[test]
fn s327_who_goes_leaves_its_share() {
    let mut bench = bench(Limits { ios: 10_000, ..Limits::default() });
    let mut gone = bench.channel(1, 64);
    let now = bench.now();
    for _ in 0..64 {
        gone.submit(now, read(&bench)).map_err(|refused| refused.why).expect("it is taken");
    }
    drop(gone);
    let mut channels = [(bench.channel(0, 64), 64)];
    let done = quarter(&mut bench, Duration::from_micros(300), &mut channels, read);
    assert!(is_about(done[0], 10_000), "{done:?}");
}

#[test]
fn s329_limits_change_under_load_and_what_waits_comes_back() {
    let mut bench = bench(Limits { bytes: 1 << 20, ..Limits::default() });
    let mut channel = bench.channel(0, 16);
    let fill = |bench: &Bench, channel: &mut Channel| {
        for n in channel.under_way()..16 {
            channel.submit(bench.now(), read(bench).token(Token(n as u64))).map_err(|refused| refused.why).expect("it is taken");
        }
    };
    fill(&bench, &mut channel);
    assert_eq!(bench.poll(&mut channel).len(), 1);
    // Wider: what waits need not wait as long.
    bench.bdev.set_limits(Limits { bytes: 1 << 30, ..Limits::default() });
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.poll(&mut channel).len(), 15);
    // None.
    bench.bdev.set_limits(Limits { bytes: 1, ..Limits::default() });
    bench.poll(&mut channel);
    fill(&bench, &mut channel);
    assert_eq!(bench.poll(&mut channel).len(), 1);
    bench.bdev.set_limits(Limits::default());
    assert_eq!(bench.poll(&mut channel).len(), 15);
    // Aborted, reset and removed while they wait.
    bench.bdev.set_limits(Limits { bytes: 1, ..Limits::default() });
    bench.poll(&mut channel);
    fill(&bench, &mut channel);
    bench.poll(&mut channel);
    channel.abort(Token(9));
    let results = |events: Vec<BdevEvent>| -> Vec<_> {
        let result = |event| if let BdevEvent::Done(done) = event { Some((done.request.token.0, done.result)) } else { None };
        events.into_iter().filter_map(result).collect()
    };
    assert_eq!(results(bench.poll(&mut channel)), [(9, Err(BdevError::Aborted))]);
    let now = bench.now();
    channel.submit(now, Request::reset().token(Token(77))).map_err(|refused| refused.why).expect("it is taken");
    let mut done = results(bench.poll(&mut channel));
    done.extend(results(bench.poll(&mut channel)));
    assert_eq!(done.len(), 15);
    assert_eq!(done.iter().filter(|(_, result)| *result == Err(BdevError::Aborted)).count(), 14);
    assert!(done.contains(&(77, Ok(()))));
    fill(&bench, &mut channel);
    bench.poll(&mut channel);
    bench.bdevs.remove("n").expect("it is there");
    let done = results(bench.poll(&mut channel));
    assert!(!done.is_empty() && done.iter().all(|(_, result)| *result == Err(BdevError::Aborted)), "{done:?}");
    assert_eq!(channel.under_way(), 0);
}

#[test]
fn s329_a_core_sleeps_until_the_next_request_may_go() {
    let mut bench = bench(Limits { ios: 1_000, ..Limits::default() });
    let mut channel = bench.channel(0, 8);
    assert_eq!(bench.on(0).next_deadline(), None, "nothing waits");
    for _ in 0..8 {
        channel.submit(bench.now(), read(&bench)).map_err(|refused| refused.why).expect("it is taken");
    }
    let mut left = 8 - bench.poll(&mut channel).len();
    while left > 0 {
        let due = bench.on(0).next_deadline().expect("something waits");
        let wait = due.since(bench.now());
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(1), "{wait:?}");
        bench.pass(wait);
        assert_eq!(bench.poll(&mut channel).len(), 1, "no wake is for nothing");
        left -= 1;
    }
    assert_eq!(bench.on(0).next_deadline(), None);
}
