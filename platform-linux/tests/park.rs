//! Parking: the latch, deadlines, watched descriptors, and what a sleeping core costs.

use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use core_reactor::{CoreId, Platform, PlatformError, WaitSource};
use platform_linux::LinuxPlatform;

/// How long a test waits for what must come before it fails. Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn platform() -> (Arc<LinuxPlatform>, CoreId) {
    let platform = LinuxPlatform::new().unwrap();
    let core = platform.cores().iter().next().unwrap();
    (Arc::new(platform), core)
}

/// Runs `f` on a thread of its own and fails if it does not end: a park that sleeps for ever must
/// not hang the tests.
fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(f()));
    told.recv_timeout(PATIENCE).expect("panicked, or still asleep")
}

/// The processor time that the calling thread has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn s13_a_parked_core_uses_no_cpu() {
    let (platform, core) = platform();
    let used = in_time(move || {
        platform.adopt(core).unwrap();
        let until = platform.now() + Duration::from_millis(500);
        let before = cpu_time();
        while platform.now() < until {
            platform.park(core, Some(until));
        }
        cpu_time() - before
    });
    assert!(used < Duration::from_millis(25), "parked for 500 ms, the thread ran for {used:?}");
}

#[test]
fn s13_a_park_ends_at_its_deadline() {
    let (platform, core) = platform();
    in_time(move || {
        let start = platform.now();
        for nanos in [0, 1, 999, 1_001, 60_000, 999_999, 3_000_001, 25_000_000] {
            platform.park(core, Some(platform.now().plus_nanos(nanos)));
        }
        platform.park(core, Some(start));
    });
}

#[test]
fn s13_a_park_with_a_deadline_does_not_spin_up_to_it() {
    let (platform, core) = platform();
    let parks = in_time(move || {
        platform.adopt(core).unwrap();
        let until = platform.now() + Duration::from_millis(50);
        let mut parks = 0;
        // The last microsecond is the caller's to spin.
        while until.since(platform.now()) > Duration::from_micros(1) {
            platform.park(core, Some(until));
            parks += 1;
        }
        parks
    });
    assert_eq!(parks, 1);
}

#[test]
fn s13_an_unpark_before_the_park_is_kept() {
    let (platform, core) = platform();
    platform.unpark(core);
    in_time(move || platform.park(core, None));
}

#[test]
fn s13_many_unparks_are_one() {
    let (platform, core) = platform();
    (0..3).for_each(|_| platform.unpark(core));
    in_time(move || {
        platform.park(core, None);
        let until = platform.now() + Duration::from_millis(20);
        platform.park(core, Some(until));
        assert!(until.since(platform.now()) <= Duration::from_micros(1), "a second latch ended the park");
    });
}

/// Two cores wake each other in turn; each sleeps without a deadline, so one lost wake-up ends the
/// game.
#[test]
fn s13_no_wakeup_is_lost() {
    const ROUNDS: u64 = 50_000;
    let platform = Arc::new(LinuxPlatform::new().unwrap());
    let cores: Vec<CoreId> = platform.cores().iter().take(2).collect();
    assert_eq!(cores.len(), 2, "this test wants two cores");
    let ball = Arc::new(AtomicU64::new(0));
    let (tell, told) = mpsc::channel();
    for (me, core) in cores.iter().copied().enumerate() {
        let (platform, ball, tell, other) = (platform.clone(), ball.clone(), tell.clone(), cores[1 - me]);
        let play = {
            let platform = platform.clone();
            move || {
                for round in (me as u64..ROUNDS).step_by(2) {
                    while ball.load(Ordering::Relaxed) != round {
                        platform.park(core, None);
                    }
                    ball.store(round + 1, Ordering::Relaxed);
                    // Delays that differ, so that the wake meets every stage of the other's park.
                    (0..round % 97).for_each(|_| std::hint::spin_loop());
                    platform.unpark(other);
                }
                tell.send(()).unwrap();
            }
        };
        platform.start(core, Box::new(play)).unwrap();
    }
    for _ in &cores {
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("stuck at round {}", ball.load(Ordering::Relaxed)));
    }
    cores.iter().for_each(|core| platform.join(*core).unwrap());
}

/// Several wakers at once: what each did before its unpark is seen after the park.
#[test]
fn s13_no_wakeup_is_lost_among_many_wakers() {
    const EACH: u64 = 20_000;
    const WAKERS: usize = 3;
    let (platform, core) = platform();
    let counts: Arc<[AtomicU64; WAKERS]> = Arc::default();
    for waker in 0..WAKERS {
        let (platform, counts) = (platform.clone(), counts.clone());
        thread::spawn(move || {
            for n in 1..=EACH {
                counts[waker].store(n, Ordering::Relaxed);
                platform.unpark(core);
                (0..n % 61).for_each(|_| std::hint::spin_loop());
            }
        });
    }
    let seen = counts.clone();
    in_time(move || {
        while seen.iter().any(|count| count.load(Ordering::Relaxed) != EACH) {
            platform.park(core, None);
        }
    });
}

#[test]
fn s13_a_watched_descriptor_ends_every_park_while_it_is_ready() {
    let (platform, core) = platform();
    let (mut reader, mut writer) = pipe().unwrap();
    let source = WaitSource(reader.as_raw_fd());
    platform.watch(core, source).unwrap();
    in_time(move || {
        let sleeper = platform.clone();
        let woken = thread::spawn(move || sleeper.park(core, None));
        writer.write_all(b"x").unwrap();
        woken.join().unwrap();
        // Level-triggered: the byte is still there.
        platform.park(core, None);
        platform.park(core, None);
        reader.read_exact(&mut [0]).unwrap();
        let slept_until = |nanos| {
            let until = platform.now().plus_nanos(nanos);
            platform.park(core, Some(until));
            until.since(platform.now()) <= Duration::from_micros(1)
        };
        assert!(slept_until(10_000_000), "the pipe is empty");
        writer.write_all(b"x").unwrap();
        platform.unwatch(core, source);
        assert!(slept_until(10_000_000), "the pipe is not watched any more");
        platform.unwatch(core, source);
        platform.watch(core, source).unwrap();
        platform.park(core, None);
        drop(writer);
        reader.read_exact(&mut [0]).unwrap();
        // A hang-up counts as ready.
        platform.park(core, None);
    });
}

#[test]
fn a_source_that_cannot_be_watched_is_an_error() {
    let (platform, core) = platform();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = platform.watch(core, WaitSource(file.as_raw_fd())).unwrap_err();
    assert!(matches!(error, PlatformError::Os { code: libc::EPERM, .. }), "{error}");
    let error = platform.watch(core, WaitSource(-1)).unwrap_err();
    assert!(matches!(error, PlatformError::Os { code: libc::EBADF, .. }), "{error}");
}

/// Two cores of one platform have a latch each.
#[test]
fn an_unpark_wakes_its_core_only() {
    let platform = LinuxPlatform::new().unwrap();
    let cores: Vec<CoreId> = platform.cores().iter().take(2).collect();
    assert_eq!(cores.len(), 2, "this test wants two cores");
    in_time(move || {
        platform.unpark(cores[0]);
        let until = platform.now() + Duration::from_millis(10);
        platform.park(cores[1], Some(until));
        assert!(until.since(platform.now()) <= Duration::from_micros(1), "another core's latch ended the park");
        platform.park(cores[0], None);
    });
}
