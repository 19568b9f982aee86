//! How many requests a device does in a second, polled on one core:
//!
//! ```sh
//! cargo run --release -p bdev-conformance --example iops -- uring:path=disk.img 32 5
//! ```
//!
//! Random reads of one block, so many at a time, for so many seconds. Prints what came of it, and
//! how much processor time each took.

use std::time::{Duration, Instant};

use bdev::{BdevEvent, Bdevs, Completions, Mode, Request};
use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup};

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [line, depth, seconds] = &args[..] else {
        eprintln!("usage: iops DEVICE DEPTH SECONDS, such as uring:path=disk.img 32 5");
        std::process::exit(2);
    };
    let (Ok(depth), Ok(seconds)) = (depth.parse::<usize>(), seconds.parse::<u64>()) else {
        eprintln!("DEPTH and SECONDS are numbers");
        std::process::exit(2);
    };
    // Keeps the modules linked.
    let _ = (bdev_uring::Config::new(""), bdev_aio::Config::new(""));
    let bdevs = Bdevs::new(1);
    let bdev = bdev::create(&bdevs, line).unwrap_or_else(|why| {
        eprintln!("{why}");
        std::process::exit(1);
    });
    let platform = SimPlatform::new(1);
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("iops"), CoreId(0)).expect("a thread");
    let mut channel = thread.with(|cx| bdev.open(Mode::ReadOnly).unwrap().channel(cx, depth)).expect("a channel");
    let bufs = BufGroup::new(depth, bdev.shape().block_size as usize);
    let (mut events, mut random) = (Completions::new(depth), fastrand::Rng::with_seed(1));
    let mut read = |channel: &mut bdev::Channel, buf: Buf| {
        let request = Request::read(random.u64(..bdev.blocks()), 1, buf);
        channel.submit(platform.now(), request).map_err(|refused| refused.why).expect("there is room");
    };
    (0..depth).for_each(|_| read(&mut channel, bufs.get().expect("a buffer")));
    let (begun, cpu, mut done) = (Instant::now(), cpu_time(), 0u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        // A hundred polls for each look at the clock.
        for _ in 0..100 {
            channel.poll(platform.now(), &mut events);
            for event in events.drain() {
                let BdevEvent::Done(back) = event else { panic!("{event:?}") };
                back.result.expect("it reads");
                done += 1;
                let mut buf = back.request.data.into_iter().next().expect("its buffer");
                buf.clear();
                read(&mut channel, buf);
            }
        }
    }
    let (took, cpu) = (begun.elapsed(), cpu_time() - cpu);
    let micros = cpu.as_secs_f64() * 1e6 / done as f64;
    println!("{line}: depth {depth}: {:.0} a second, {micros:.1} us of processor time each", done as f64 / took.as_secs_f64());
}

/// Of this process, in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}
