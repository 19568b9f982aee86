//! Stop signals, sent by `kill` to processes of their own: each test starts its own binary again
//! with itself as the only test, and the child says what it has seen.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use core_reactor::{CoreId, Platform};
use platform_linux::{LinuxPlatform, SignalHook, StopFlag, StopSignals};

const ROLE: &str = "LCORE_TEST_CHILD";
/// How long a child may live. Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the test `name` in a child, where [`is_child`] is true.
struct Process {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, says }
    }

    /// Reads on until the child has said `words`. The harness writes to the same pipe, so a line
    /// may have more before them.
    fn expect(&mut self, words: &str) {
        let heard = self.says.by_ref().map(Result::unwrap).any(|line| line.ends_with(words));
        assert!(heard, "the child ended without saying {words:?}");
    }

    fn kill(&self, signal: i32) {
        // SAFETY: sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Sends the signal again and again, as somebody does who means it, until the child ends.
    fn insist(mut self, signal: i32) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            self.kill(signal);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> ExitStatus {
        self.says.by_ref().for_each(drop);
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    /// No child outlives a test that fails. One that has been waited for is not signalled.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this is the child. A child that nothing ends ends itself, so that its test fails and
/// does not hang.
fn is_child() -> bool {
    let child = std::env::var_os(ROLE).is_some();
    if child {
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            std::process::exit(99);
        });
    }
    child
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").unwrap();
    out.flush().unwrap();
}

fn platform() -> (Arc<LinuxPlatform>, CoreId) {
    let platform = Arc::new(LinuxPlatform::new().unwrap());
    let core = platform.cores().iter().next().unwrap();
    (platform, core)
}

/// Parks until the flag is up, as an idle reactor does.
fn wait_for(flag: &StopFlag, platform: &LinuxPlatform, core: CoreId) -> i32 {
    loop {
        if let Some(signal) = flag.signal() {
            return signal;
        }
        platform.park(core, None);
    }
}

#[test]
fn s12_the_first_signal_wakes_a_parked_core_to_stop_in_order() {
    if is_child() {
        let (platform, core) = platform();
        let flag = Arc::new(StopFlag::new(platform.clone(), core));
        let _stop = StopSignals::install(flag.clone()).unwrap();
        say("ready");
        let signal = wait_for(&flag, &platform, core);
        std::process::exit(signal + 100);
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut process = Process::start("s12_the_first_signal_wakes_a_parked_core_to_stop_in_order");
        process.expect("ready");
        process.kill(signal);
        assert_eq!(process.end().code(), Some(signal + 100));
    }
}

#[test]
fn s12_a_second_signal_that_is_no_echo_ends_the_process_at_once() {
    if is_child() {
        let (platform, core) = platform();
        let flag = Arc::new(StopFlag::new(platform.clone(), core));
        let _stop = StopSignals::install(flag.clone()).unwrap();
        say("ready");
        wait_for(&flag, &platform, core);
        say("stopping");
        // A shutdown that hangs.
        loop {
            platform.park(core, None);
        }
    }
    for (first, second) in [(libc::SIGINT, libc::SIGINT), (libc::SIGINT, libc::SIGTERM), (libc::SIGTERM, libc::SIGINT)] {
        let mut process = Process::start("s12_a_second_signal_that_is_no_echo_ends_the_process_at_once");
        process.expect("ready");
        process.kill(first);
        process.expect("stopping");
        assert_eq!(process.insist(second).code(), Some(128 + second));
    }
}

#[test]
fn s12_a_first_signal_reaches_two_sets_in_one_process() {
    if is_child() {
        let sets = [platform(), platform()];
        let flags = sets.clone().map(|(platform, core)| Arc::new(StopFlag::new(platform, core)));
        let _stops = flags.clone().map(|flag| StopSignals::install(flag).unwrap());
        say("ready");
        for (flag, (platform, core)) in flags.iter().zip(&sets) {
            wait_for(flag, platform, *core);
        }
        say("both");
        loop {
            std::thread::park();
        }
    }
    let mut process = Process::start("s12_a_first_signal_reaches_two_sets_in_one_process");
    process.expect("ready");
    process.kill(libc::SIGTERM);
    process.expect("both");
    assert_eq!(process.insist(libc::SIGTERM).code(), Some(128 + libc::SIGTERM));
}

/// As GNU timeout and npm relay it: twice, and the second may come when the first has already ended
/// everything.
#[test]
fn s51_a_signal_that_is_relayed_twice_is_one() {
    if is_child() {
        let (platform, core) = platform();
        let flag = Arc::new(StopFlag::new(platform.clone(), core));
        let stop = StopSignals::install(flag.clone()).unwrap();
        say("ready");
        wait_for(&flag, &platform, core);
        drop(stop);
        std::process::exit(7);
    }
    let both = [libc::SIGINT, libc::SIGTERM];
    for (one, other) in
        std::iter::repeat_n(both, 10).flat_map(|_| [(both[0], both[0]), (both[1], both[1]), (both[0], both[1]), (both[1], both[0])])
    {
        let mut process = Process::start("s51_a_signal_that_is_relayed_twice_is_one");
        process.expect("ready");
        process.kill(one);
        process.kill(other);
        let status = process.end();
        assert_eq!(status.code(), Some(7), "{one}, then {other}: {status}");
    }
}

/// The echo finds nobody any more; what somebody sends later ends the process as if we had never
/// been there.
#[test]
fn s51_an_echo_after_the_end_does_nothing_and_a_later_signal_does_what_it_did_before() {
    if is_child() {
        let (platform, core) = platform();
        // Of SIGINT the default may be nothing: a shell has its background jobs ignore it.
        // SAFETY: installs no function of ours.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let flag = Arc::new(StopFlag::new(platform.clone(), core));
            let stop = StopSignals::install(flag.clone()).unwrap();
            // SAFETY: signals to this thread, handled before the call returns.
            unsafe { libc::raise(signal) };
            assert_eq!(flag.signal(), Some(signal));
            drop(stop);
            // SAFETY: as above.
            unsafe { (libc::raise(libc::SIGINT), libc::raise(libc::SIGTERM)) };
        }
        say("alive");
        loop {
            std::thread::park();
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut process = Process::start("s51_an_echo_after_the_end_does_nothing_and_a_later_signal_does_what_it_did_before");
        process.expect("alive");
        assert_eq!(process.insist(signal).signal(), Some(signal));
    }
}

#[test]
fn s12_a_set_that_has_stopped_leaves_the_other_its_signals() {
    if is_child() {
        let (platform, core) = platform();
        let flags: [_; 2] = std::array::from_fn(|_| Arc::new(StopFlag::new(platform.clone(), core)));
        let [one, other] = flags.clone().map(|flag| StopSignals::install(flag).unwrap());
        drop(one);
        say("ready");
        wait_for(&flags[1], &platform, core);
        assert_eq!(flags[0].signal(), None);
        drop(other);
        say("orderly");
        loop {
            std::thread::park();
        }
    }
    let mut process = Process::start("s12_a_set_that_has_stopped_leaves_the_other_its_signals");
    process.expect("ready");
    process.kill(libc::SIGINT);
    process.expect("orderly");
    // But for echoes the system's own action is back. (Of SIGINT it may be none: a shell has its
    // background jobs ignore it.)
    assert_eq!(process.insist(libc::SIGTERM).signal(), Some(libc::SIGTERM));
}

#[test]
fn s12_after_a_stop_and_a_new_start_a_signal_is_the_first_again() {
    if is_child() {
        let (platform, core) = platform();
        for round in ["one", "two", "three"] {
            let flag = Arc::new(StopFlag::new(platform.clone(), core));
            let _stop = StopSignals::install(flag.clone()).unwrap();
            say(round);
            wait_for(&flag, &platform, core);
        }
        std::process::exit(7);
    }
    let mut process = Process::start("s12_after_a_stop_and_a_new_start_a_signal_is_the_first_again");
    for round in ["one", "two", "three"] {
        process.expect(round);
        process.kill(libc::SIGINT);
    }
    assert_eq!(process.end().code(), Some(7));
}

/// What an application had installed itself comes back; what it installs over ours stays.
#[test]
fn handlers_of_others_are_respected() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    fn install_count(signal: i32) {
        // SAFETY: the handler adds to an atomic.
        unsafe { libc::signal(signal, count as extern "C" fn(i32) as *const () as usize) };
    }
    fn raise(signal: i32) -> u32 {
        // SAFETY: a signal to this thread, handled before the call returns.
        unsafe { libc::raise(signal) };
        CALLS.load(Ordering::SeqCst)
    }
    if is_child() {
        let (platform, core) = platform();
        let flag = Arc::new(StopFlag::new(platform, core));
        install_count(libc::SIGINT);
        let stop = StopSignals::install(flag.clone()).unwrap();
        assert_eq!((raise(libc::SIGINT), flag.signal()), (0, Some(libc::SIGINT)));
        install_count(libc::SIGTERM);
        assert_eq!(raise(libc::SIGTERM), 1);
        drop(stop);
        assert_eq!(raise(libc::SIGTERM), 2);
        // Echoes of the first come before.
        while raise(libc::SIGINT) == 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(raise(libc::SIGINT), 4);
        std::process::exit(7);
    }
    assert_eq!(Process::start("handlers_of_others_are_respected").end().code(), Some(7));
}

/// Without a first signal there are no echoes to wait for, so nothing of ours stays.
#[test]
fn s12_a_set_that_no_signal_reached_leaves_the_handlers_as_they_were() {
    extern "C" fn theirs(_: i32) {}
    fn handler(signal: i32) -> usize {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the kernel writes one action.
        assert_eq!(unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) }, 0);
        // SAFETY: it has, and all zeroes is one too.
        unsafe { action.assume_init() }.sa_sigaction
    }
    if is_child() {
        let theirs = theirs as extern "C" fn(i32) as *const () as usize;
        // SAFETY: the handler does nothing.
        let install = |signal| unsafe { libc::signal(signal, theirs) };
        let (platform, core) = platform();
        let flag = Arc::new(StopFlag::new(platform, core));
        for round in ["both are given back", "one has been taken over since"] {
            install(libc::SIGINT);
            // SAFETY: installs no function.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
            let stop = StopSignals::install(flag.clone()).unwrap();
            assert!([libc::SIGINT, libc::SIGTERM].iter().all(|signal| ![theirs, libc::SIG_DFL].contains(&handler(*signal))));
            let taken_over = round.starts_with("one");
            if taken_over {
                install(libc::SIGTERM);
            }
            drop(stop);
            let expected = if taken_over { theirs } else { libc::SIG_DFL };
            assert_eq!((handler(libc::SIGINT), handler(libc::SIGTERM)), (theirs, expected), "{round}");
        }
        std::process::exit(7);
    }
    assert_eq!(Process::start("s12_a_set_that_no_signal_reached_leaves_the_handlers_as_they_were").end().code(), Some(7));
}

/// Installing and dropping while signals come: a handler never meets a hook that has been freed,
/// and every hook is freed.
#[test]
fn hooks_come_and_go_while_signals_arrive() {
    static ALIVE: AtomicU32 = AtomicU32::new(0);
    struct Counted(AtomicU32);
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::SeqCst);
            self.0.store(u32::MAX, Ordering::SeqCst);
        }
    }
    // SAFETY: atomics only; the abort by a failed assertion is what this test looks for.
    unsafe impl SignalHook for Counted {
        fn on_signal(&self, _: i32) {
            let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            // Time for the other thread to drop the hook, which has to wait for this.
            (0..500).for_each(|_| std::hint::spin_loop());
            if !first || self.0.load(Ordering::SeqCst) != 1 {
                std::process::abort();
            }
        }
    }
    if is_child() {
        // A signal that finds its hook gone meets this.
        // SAFETY: installs no function of ours.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        let (installed, sent) = (AtomicU32::new(0), AtomicU32::new(0));
        let reach = |count: &AtomicU32, round| {
            while count.load(Ordering::SeqCst) < round {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=2000 {
                    reach(&installed, round);
                    // SAFETY: a signal to this thread, handled before the call returns.
                    unsafe { libc::raise(libc::SIGINT) };
                    sent.store(round, Ordering::SeqCst);
                }
            });
            for round in 1..=2000 {
                ALIVE.fetch_add(1, Ordering::SeqCst);
                let stop = StopSignals::install(Arc::new(Counted(AtomicU32::new(0)))).unwrap();
                installed.store(round, Ordering::SeqCst);
                (0..round % 89).for_each(|_| std::hint::spin_loop());
                drop(stop);
                // One signal for each hook: a second would end the process.
                reach(&sent, round);
            }
        });
        std::process::exit(if ALIVE.load(Ordering::SeqCst) == 0 { 7 } else { 1 });
    }
    assert_eq!(Process::start("hooks_come_and_go_while_signals_arrive").end().code(), Some(7));
}
