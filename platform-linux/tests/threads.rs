//! Pinned threads of [`LinuxPlatform`], as the system sees them.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use core_reactor::{CoreId, CpuSet, Platform, PlatformError};
use platform_linux::LinuxPlatform;

const PATIENCE: Duration = Duration::from_secs(60);

fn platform() -> LinuxPlatform {
    LinuxPlatform::new().unwrap()
}

fn first(platform: &LinuxPlatform) -> CoreId {
    platform.cores().iter().next().expect("a process without cores does not run")
}

/// What the kernel says about the calling thread: its name, and the cores it may use as `Cpus_allowed_list` has them.
fn me() -> (String, CpuSet) {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    (field("Name:"), format!("[{}]", field("Cpus_allowed_list:")).parse().unwrap())
}

#[test]
fn cores_are_those_of_the_maker() {
    let platform = platform();
    assert_eq!(platform.cores(), me().1);
    let core = first(&platform);
    platform.adopt(core).unwrap();
    assert_eq!(LinuxPlatform::new().unwrap().cores(), CpuSet::of(core));
    platform.release(core);
}

#[test]
fn a_started_entry_is_pinned_and_named_on_every_core() {
    let platform = platform();
    for core in platform.cores().iter() {
        let (tell, told) = mpsc::channel();
        platform.start(core, Box::new(move || tell.send(me()).unwrap())).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (format!("reactor_{core}"), CpuSet::of(core)));
        platform.join(core).unwrap();
    }
}

#[test]
fn a_core_that_is_not_ours_is_refused() {
    let platform = platform();
    let core = CoreId(1023);
    assert!(!platform.cores().contains(core), "this test wants a machine with fewer than 1024 cores");
    let refused = PlatformError::NoSuchCore { core, allowed: platform.cores() };
    assert_eq!(platform.start(core, Box::new(|| unreachable!())), Err(refused.clone()));
    assert_eq!(platform.adopt(core), Err(refused.clone()));
    assert_eq!(platform.watch(core, core_reactor::WaitSource(0)), Err(refused));
    assert_eq!(platform.join(core), Ok(()));
    platform.unpark(core);
    platform.park(core, None);
    platform.unwatch(core, core_reactor::WaitSource(0));
    platform.release(core);
}

#[test]
fn a_core_runs_one_entry_until_it_is_joined_and_then_the_next() {
    let platform = platform();
    let core = first(&platform);
    let (end, ending) = mpsc::channel::<()>();
    platform.start(core, Box::new(move || ending.recv().unwrap())).unwrap();
    let taken = |result| matches!(result, Err(PlatformError::CoreTaken { core: c, .. }) if c == core);
    assert!(taken(platform.start(core, Box::new(|| unreachable!()))));
    assert!(taken(platform.adopt(core)));
    end.send(()).unwrap();
    platform.join(core).unwrap();
    platform.join(core).unwrap();
    platform.start(core, Box::new(|| ())).unwrap();
    platform.join(core).unwrap();
}

#[test]
fn two_platforms_share_a_core() {
    let (one, other) = (platform(), platform());
    let core = first(&one);
    let (end, ending) = mpsc::channel::<()>();
    one.start(core, Box::new(move || ending.recv().unwrap())).unwrap();
    other.start(core, Box::new(|| ())).unwrap();
    other.join(core).unwrap();
    end.send(()).unwrap();
    one.join(core).unwrap();
}

#[test]
fn a_panic_is_told_to_who_joins_and_the_core_is_free() {
    let platform = platform();
    let core = first(&platform);
    platform.start(core, Box::new(|| panic!("on purpose"))).unwrap();
    assert_eq!(platform.join(core), Err(PlatformError::Panicked { core }));
    assert_eq!(platform.join(core), Ok(()));
    platform.start(core, Box::new(|| ())).unwrap();
    platform.join(core).unwrap();
}

#[test]
fn every_joiner_waits_for_the_end() {
    let platform = platform();
    let core = first(&platform);
    let (end, ending) = mpsc::channel::<()>();
    platform.start(core, Box::new(move || ending.recv().unwrap())).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| tell.send(platform.join(core)).unwrap());
        }
        assert!(told.try_recv().is_err(), "the entry runs, and somebody has joined it");
        end.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(()));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(()));
    });
}

#[test]
fn an_entry_that_joins_itself_is_an_error_and_no_deadlock() {
    let platform = std::sync::Arc::new(platform());
    let core = first(&platform);
    let (tell, told) = mpsc::channel();
    let inside = platform.clone();
    platform.start(core, Box::new(move || tell.send(inside.join(core)).unwrap())).unwrap();
    let answer = told.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answer, Err(PlatformError::Os { code: libc::EDEADLK, .. })), "{answer:?}");
    platform.join(core).unwrap();
}

#[test]
fn release_gives_back_name_and_cores() {
    let run = || {
        let platform = platform();
        for core in platform.cores().iter() {
            let before = me();
            platform.adopt(core).unwrap();
            assert_eq!(me(), (format!("reactor_{core}"), CpuSet::of(core)));
            assert!(matches!(platform.start(core, Box::new(|| unreachable!())), Err(PlatformError::CoreTaken { .. })));
            platform.release(core);
            assert_eq!(me(), before);
        }
    };
    thread::Builder::new().name("an application".into()).spawn(run).unwrap().join().unwrap();
}

#[test]
fn only_the_thread_that_adopted_a_core_can_release_it() {
    let platform = platform();
    let core = first(&platform);
    platform.adopt(core).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| platform.release(core));
    });
    assert_eq!(me().1, CpuSet::of(core));
    assert!(platform.adopt(core).is_err(), "still taken");
    platform.release(core);
    platform.adopt(core).unwrap();
    platform.release(core);
}

#[test]
fn s57_an_unpinned_core_is_a_name_and_runs_wherever_its_maker_may() {
    let platform = platform().unpinned();
    let core = first(&platform);
    let (name, cores) = me();
    let (tell, told) = mpsc::channel();
    platform.start(core, Box::new(move || tell.send(me()).unwrap())).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (format!("reactor_{core}"), cores));
    platform.join(core).unwrap();
    platform.adopt(core).unwrap();
    assert_eq!(me(), (format!("reactor_{core}"), cores));
    platform.release(core);
    assert_eq!(me(), (name, cores));
}
