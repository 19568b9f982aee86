//! Pinned threads of [`LinuxPlatform`], as the system sees them.

use std::fs;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use core_reactor::{CoreId, CpuSet, Platform, PlatformError};
use platform_linux::{LinuxPlatform, spawn_off_reactor, unaffinitized};

const PATIENCE: Duration = Duration::from_secs(60);

fn platform() -> LinuxPlatform {
    LinuxPlatform::new().unwrap()
}

fn first(platform: &LinuxPlatform) -> CoreId {
    platform.cores().iter().next().expect("a process without cores does not run")
}

/// What the kernel says about the calling thread: its name, and the cores it may use as
/// `Cpus_allowed_list` has them.
fn me() -> (String, CpuSet) {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    (field("Name:"), format!("[{}]", field("Cpus_allowed_list:")).parse().unwrap())
}

/// All that a thread hands down to what it starts: as [`me`], and how late its timers may be, in
/// nanoseconds.
fn traits() -> (String, CpuSet, i32) {
    let (name, cores) = me();
    // SAFETY: reads a number.
    (name, cores, unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) })
}

/// What a program that is started here has of these: its cores and its timer slack.
fn of_a_child() -> (CpuSet, i32) {
    let script = "grep Cpus_allowed_list: /proc/self/status; cat /proc/self/timerslack_ns";
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (cores, slack) = said.trim().strip_prefix("Cpus_allowed_list:").unwrap().split_once('\n').unwrap();
    (format!("[{}]", cores.trim()).parse().unwrap(), slack.parse().unwrap())
}

/// What is started on a reactor inherits its core, its name and its timer slack; there is a way out
/// of each of these, and it leads back.
fn check_the_way_out(core: CoreId, before: &(String, CpuSet, i32)) {
    let pinned = (format!("reactor_{core}"), CpuSet::of(core), 1);
    assert_eq!(traits(), pinned);
    assert_eq!(thread::spawn(traits).join().unwrap(), pinned, "what there has to be a way out of");
    assert_eq!(unaffinitized(traits), *before);
    assert_eq!(traits(), pinned);
    assert_eq!(unaffinitized(|| thread::spawn(traits).join().unwrap()), *before);
    assert_eq!(unaffinitized(of_a_child), (before.1, before.2));
    assert_eq!(unaffinitized(|| (unaffinitized(traits), traits())), (before.clone(), before.clone()), "one inside another");
    assert!(catch_unwind(|| unaffinitized(|| panic!("as a test of what it leaves"))).is_err());
    assert_eq!(traits(), pinned, "after a panic");
    let named = spawn_off_reactor("a name of its own", traits).unwrap().join().unwrap();
    assert_eq!(named, ("a name of its o".to_owned(), before.1, before.2));
    assert_eq!(spawn_off_reactor("a\0b", me).unwrap().join().unwrap().0, "ab");
}

#[test]
fn s52_what_is_started_off_a_reactor_inherits_nothing_of_it() {
    let (platform, before) = (platform(), traits());
    let core = first(&platform);
    assert_eq!(unaffinitized(traits), before, "on a thread that is no reactor");
    platform.adopt(core).unwrap();
    check_the_way_out(core, &before);
    // Reactors are started by one that is there already.
    for other in platform.cores().iter().filter(|other| *other != core) {
        let (tell, told) = mpsc::channel();
        let before = before.clone();
        let check = move || {
            check_the_way_out(other, &before);
            tell.send(()).unwrap();
        };
        platform.start(other, Box::new(check)).unwrap();
        told.recv_timeout(PATIENCE).expect("it holds on a started core too");
        platform.join(other).unwrap();
    }
    platform.release(core);
    assert_eq!((traits(), unaffinitized(traits)), (before.clone(), before));
}

/// A set of reactors that is run inside of another: the inner one's end leaves the outer one its
/// way out.
#[test]
fn s52_a_core_inside_a_core_leads_out_of_both() {
    let (outer, inner, before) = (platform(), platform(), traits());
    let core = first(&outer);
    outer.adopt(core).unwrap();
    inner.adopt(core).unwrap();
    assert_eq!(unaffinitized(traits), before);
    inner.release(core);
    assert_eq!((me().1, unaffinitized(traits)), (CpuSet::of(core), before.clone()));
    outer.release(core);
    assert_eq!(traits(), before);
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
