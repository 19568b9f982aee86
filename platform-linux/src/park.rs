//! Where an idle core sleeps: an epoll set for each core, with an eventfd that wakes it.
//!
//! The [`Latch`] decides who sleeps and who rings; here is how. The ways to sleep are tried in turn
//! ([`Way`]), as kernels before 5.11 have not the best one and sandboxes forbid any of them.
//!
//! The eventfd is watched edge-triggered: each write is an event of its own, and it need never be
//! read.
// UNSAFETY: epoll and eventfd are raw system calls.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use std::{io, thread};

use core_reactor::{Instant, PlatformError, WaitSource};

use crate::clock::Clock;
use crate::error::last_os_error;
use crate::latch::Latch;

/// Sleeps shorter than this are not worth a system call: park returns early instead.
const SHORTEST_NS: u64 = 1_000;
/// Events taken out of the set by one call. Those beyond are found by the next.
const EVENTS: usize = 8;
/// How long a core sleeps at a time where it has no way to be woken.
const NAP: Duration = Duration::from_millis(1);

/// The latch and, once something needs it, the epoll set of one core.
#[derive(Default)]
pub(crate) struct Parker {
    latch: Latch,
    set: OnceLock<WaitSet>,
}

impl Parker {
    /// Makes the epoll set if there is none yet, so that errors show at start and not when parking.
    pub(crate) fn open(&self) -> Result<&WaitSet, PlatformError> {
        if let Some(set) = self.set.get() {
            return Ok(set);
        }
        let set = WaitSet::new()?;
        Ok(self.set.get_or_init(|| set))
    }

    /// Sleeps until `until`, an unpark or a watched source. Returns at once if the latch is set or
    /// the set cannot be made.
    pub(crate) fn park(&self, clock: &Clock, until: Option<Instant>) {
        let Ok(set) = self.open() else { return };
        self.latch.park(|| sleep(|| clock.now(), until, |nanos| set.wait(nanos), || self.latch.is_set()));
    }

    /// Sets the latch; ends the sleep if there is one. Async-signal-safe: two atomics and at most
    /// one `write` that does not block (and so leaves `errno` alone).
    pub(crate) fn unpark(&self) {
        self.latch.unpark(|| {
            if let Some(set) = self.set.get() {
                set.ring();
            }
        });
    }
}

/// Waits, in as many rounds as it takes, until `until` is less than [`SHORTEST_NS`] away or a wait
/// ends by something else than its time.
fn sleep(now: impl Fn() -> Instant, until: Option<Instant>, mut wait: impl FnMut(Option<u64>) -> Woken, is_notified: impl Fn() -> bool) {
    loop {
        let nanos = match until {
            None => None,
            Some(until) => match until.nanos_since(now()) {
                ..SHORTEST_NS => return,
                // The kernel lets a poll be late by a thousandth of its time (a 200th in a niced
                // thread). Aim so much before, and again from there: two rounds for a millisecond,
                // four for a minute.
                nanos => Some(nanos - nanos / 128),
            },
        };
        if wait(nanos) != Woken::Late || is_notified() {
            return;
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Its time is up.
    Late,
    /// Something is ready, a signal came, or there is no telling.
    Ready,
}

/// A way to wait for the set, from the best to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    /// `epoll_pwait2`: nanoseconds.
    Pwait2,
    /// `ppoll`, which always had nanoseconds, of the set as a descriptor.
    Ppoll,
    /// `epoll_wait`: milliseconds; the last one before a deadline is spun.
    Wait,
    /// `nanosleep`, which no bell ends: a core wakes up a millisecond late, and does not burn for
    /// that.
    Nap,
}

impl Way {
    fn of(number: u8) -> Self {
        [Self::Pwait2, Self::Ppoll, Self::Wait, Self::Nap][usize::from(number.min(Self::Nap as u8))]
    }
}

/// An epoll set and the eventfd in it.
pub(crate) struct WaitSet {
    epoll: OwnedFd,
    bell: OwnedFd,
    /// The [`Way`] in use: the first that was not refused.
    way: AtomicU8,
}

impl WaitSet {
    fn new() -> Result<Self, PlatformError> {
        // SAFETY: no memory is involved.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "make an epoll set for a core")?;
        // SAFETY: no memory is involved.
        let bell = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }, "make an eventfd for a core")?;
        let set = Self { epoll, bell, way: AtomicU8::new(Way::Pwait2 as u8) };
        set.control(libc::EPOLL_CTL_ADD, set.bell.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET)?;
        Ok(set)
    }

    /// Ends waits while `source` is readable, has an error or was hung up.
    pub(crate) fn watch(&self, source: WaitSource) -> Result<(), PlatformError> {
        self.control(libc::EPOLL_CTL_ADD, source.0, libc::EPOLLIN)
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&self, source: WaitSource) -> Result<(), PlatformError> {
        self.control(libc::EPOLL_CTL_DEL, source.0, 0)
    }

    fn control(&self, what: i32, fd: i32, events: i32) -> Result<(), PlatformError> {
        let mut event = libc::epoll_event { events: events as u32, u64: 0 };
        // SAFETY: the kernel reads one event.
        let rc = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &mut event) };
        if rc < 0 { Err(last_os_error("change what a core waits for")) } else { Ok(()) }
    }

    /// Wakes who waits, now or at the next wait. Fails only when the count is full, and then the
    /// bell has rung.
    fn ring(&self) {
        let one = 1u64;
        // SAFETY: the kernel reads eight bytes.
        unsafe { libc::write(self.bell.as_raw_fd(), ptr::from_ref(&one).cast(), size_of::<u64>()) };
    }

    /// Waits for so many nanoseconds, or without end.
    fn wait(&self, nanos: Option<u64>) -> Woken {
        loop {
            let way = Way::of(self.way.load(Ordering::Relaxed));
            let waited = match way {
                Way::Pwait2 => self.pwait2(nanos),
                Way::Ppoll => self.ppoll(nanos),
                Way::Wait => self.epoll_wait(nanos),
                Way::Nap => {
                    thread::sleep(nanos.map_or(NAP, |nanos| NAP.min(Duration::from_nanos(nanos))));
                    return Woken::Ready;
                }
            };
            match waited {
                Ok(woken) => return woken,
                Err(libc::EINTR) => return Woken::Ready,
                // Whatever the number says, it would say it again at once: a core that tried again
                // would be awake for ever.
                Err(code) => {
                    log::debug!("a core cannot sleep by {way:?} and goes on without: {}", io::Error::from_raw_os_error(code));
                    self.way.store(way as u8 + 1, Ordering::Relaxed);
                }
            }
        }
    }

    fn pwait2(&self, nanos: Option<u64>) -> Result<Woken, i32> {
        /// What the kernel takes on every architecture; `libc::timespec` has 32 bits on some.
        #[repr(C)]
        struct Timespec {
            sec: i64,
            nsec: i64,
        }
        let time = nanos.map(|n| Timespec { sec: (n / 1_000_000_000) as i64, nsec: (n % 1_000_000_000) as i64 });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // Through `syscall`, as glibc has had the function only since 2.35.
        // SAFETY: the kernel writes up to EVENTS events and reads a time, if there is one; there is
        // no signal mask.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as i32,
                time,
                ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        woken(rc as i32)
    }

    fn ppoll(&self, nanos: Option<u64>) -> Result<Woken, i32> {
        let time =
            nanos.map(|n| libc::timespec { tv_sec: (n / 1_000_000_000) as libc::time_t, tv_nsec: (n % 1_000_000_000) as libc::c_long });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut set = libc::pollfd { fd: self.epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the kernel reads and writes one pollfd and reads a time, if there is one; there
        // is no signal mask.
        let rc = unsafe { libc::ppoll(&mut set, 1, time, ptr::null()) };
        let waited = woken(rc)?;
        if waited == Woken::Ready {
            // Takes the bell's event out, or the set would stay readable.
            self.take_events(0)?;
        }
        Ok(waited)
    }

    fn epoll_wait(&self, nanos: Option<u64>) -> Result<Woken, i32> {
        let millis = nanos.map_or(-1, |nanos| (nanos / 1_000_000).min(i32::MAX as u64) as i32);
        match self.take_events(millis)? {
            // Less than it counts in: the caller sees to the rest.
            Woken::Late if millis == 0 => Ok(Woken::Ready),
            waited => Ok(waited),
        }
    }

    fn take_events(&self, millis: i32) -> Result<Woken, i32> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: the kernel writes up to EVENTS events.
        woken(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, millis) })
    }
}

/// What a call that waits has returned; the error is `errno`.
fn woken(rc: i32) -> Result<Woken, i32> {
    match rc {
        0 => Ok(Woken::Late),
        1.. => Ok(Woken::Ready),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

fn owned(fd: i32, doing: &'static str) -> Result<OwnedFd, PlatformError> {
    if fd < 0 {
        return Err(last_os_error(doing));
    }
    // SAFETY: the call that made the descriptor has just succeeded, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClockChoice;

    /// A process that was started without standard input has its first descriptor there.
    #[test]
    fn any_descriptor_but_a_negative_one_is_owned() {
        use std::os::fd::IntoRawFd;
        assert_eq!(owned(0, "try").map(IntoRawFd::into_raw_fd).ok(), Some(0));
        // SAFETY: closes nothing; it leaves an errno.
        assert_eq!(unsafe { libc::close(-1) }, -1);
        assert_eq!(owned(-1, "try").unwrap_err().to_string(), "try: Bad file descriptor (error 9)");
    }

    /// A set whose better ways have been refused.
    fn left_with(way: Way) -> Parker {
        let parker = Parker::default();
        parker.open().unwrap().way.store(way as u8, Ordering::Relaxed);
        parker
    }

    #[test]
    fn s53_every_way_that_counts_nanoseconds_sleeps_up_to_its_deadline() {
        for way in [Way::Pwait2, Way::Ppoll] {
            let (parker, clock) = (left_with(way), Clock::new(ClockChoice::Best));
            let until = clock.now().plus_nanos(5_300_000);
            parker.park(&clock, Some(until));
            assert!(until.nanos_since(clock.now()) < SHORTEST_NS, "{way:?}: nothing but the deadline could end it");
        }
    }

    #[test]
    fn s53_where_only_milliseconds_are_left_all_but_the_last_are_slept() {
        let (parker, clock) = (left_with(Way::Wait), Clock::new(ClockChoice::Best));
        let until = clock.now().plus_nanos(25_300_000);
        parker.park(&clock, Some(until));
        assert!(until.nanos_since(clock.now()) < 1_100_000, "the rest is more than a millisecond");
    }

    #[test]
    fn s53_every_way_hears_the_bell_and_hears_it_once() {
        for way in [Way::Pwait2, Way::Ppoll, Way::Wait] {
            let (parker, clock) = (left_with(way), Clock::new(ClockChoice::Best));
            let set = parker.open().unwrap();
            set.ring();
            assert_eq!(set.wait(None), Woken::Ready, "{way:?}");
            assert_eq!(set.wait(Some(2_000_000)), Woken::Late, "{way:?}");
            parker.unpark();
            parker.park(&clock, None);
            assert_eq!(Way::of(set.way.load(Ordering::Relaxed)), way, "it was not refused");
        }
    }

    /// In one wait each: a kernel that is told less would be asked again and again.
    #[test]
    fn s53_a_wait_takes_the_time_that_it_was_given() {
        let clock = Clock::new(ClockChoice::Monotonic);
        for (way, nanos) in [(Way::Pwait2, 1_300_000), (Way::Ppoll, 1_300_000), (Way::Wait, 2_000_000)] {
            let parker = left_with(way);
            let set = parker.open().unwrap();
            let began = clock.now();
            assert_eq!(set.wait(Some(nanos)), Woken::Late, "{way:?}");
            assert!(clock.now().nanos_since(began) >= nanos, "{way:?}");
        }
    }

    #[test]
    fn s53_a_wait_without_end_ends_by_the_bell() {
        let clock = Clock::new(ClockChoice::Monotonic);
        for way in [Way::Pwait2, Way::Ppoll, Way::Wait] {
            let parker = left_with(way);
            let set = parker.open().unwrap();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| set.wait(None));
                let began = clock.now();
                while clock.now().nanos_since(began) < 10_000_000 {
                    thread::yield_now();
                }
                set.ring();
                assert_eq!(waiter.join().unwrap(), Woken::Ready, "{way:?}");
            });
        }
    }

    #[test]
    fn s53_without_any_way_it_naps() {
        let (parker, clock) = (left_with(Way::Nap), Clock::new(ClockChoice::Best));
        let began = clock.now();
        parker.park(&clock, None);
        assert!(clock.now().nanos_since(began) >= NAP.as_nanos() as u64, "it would spin");
        let soon = clock.now().plus_nanos(50_000);
        parker.park(&clock, Some(soon));
    }

    /// A kernel that is late by as much as it allows itself to be, and what a sleep asks of it.
    fn rounds(until: u64) -> Vec<u64> {
        let (now, asked) = (std::cell::Cell::new(0), std::cell::RefCell::new(Vec::new()));
        let wait = |nanos: Option<u64>| {
            let nanos = nanos.expect("there is a deadline");
            asked.borrow_mut().push(nanos);
            now.set(now.get() + nanos + nanos / 200);
            Woken::Late
        };
        sleep(|| Instant::from_nanos(now.get()), Some(Instant::from_nanos(until)), wait, || false);
        assert!(now.get() <= until, "it slept past {until}, until {}", now.get());
        assert!(until - now.get() < SHORTEST_NS, "it woke up {} ns before {until}", until - now.get());
        asked.into_inner()
    }

    #[test]
    fn s13_a_late_kernel_is_not_late_for_the_deadline() {
        for (until, most) in [(0, 0), (999, 0), (1_000, 1), (1_000_000, 2), (1_000_000_000, 4), (60_000_000_000, 4)] {
            let asked = rounds(until);
            assert!(asked.len() <= most, "{until} ns took {asked:?}");
        }
    }

    #[test]
    fn s13_a_sleep_ends_by_what_comes_and_by_the_latch() {
        let far = Some(Instant::MAX);
        for (woken, notified, ends) in [(Woken::Ready, false, true), (Woken::Late, true, true), (Woken::Late, false, false)] {
            let mut waits = 0;
            let wait = |nanos: Option<u64>| {
                assert!(nanos.is_some());
                waits += 1;
                if waits > 3 { Woken::Ready } else { woken }
            };
            sleep(|| Instant::from_nanos(0), far, wait, || notified);
            assert_eq!(waits == 1, ends, "{woken:?}, {notified}");
        }
        let mut asked = Vec::new();
        let wait = |nanos| {
            asked.push(nanos);
            Woken::Ready
        };
        sleep(|| unreachable!("without a deadline the time does not matter"), None, wait, || false);
        assert_eq!(asked, [None]);
    }

    #[test]
    fn the_latch_costs_no_system_call() {
        let (parker, clock) = (Parker::default(), Clock::new(ClockChoice::Best));
        let set = parker.open().unwrap();
        parker.unpark();
        parker.park(&clock, None);
        assert_eq!(set.wait(Some(1)), Woken::Late, "the eventfd was written though nobody slept");
    }

    #[test]
    fn a_sleep_longer_than_the_kernel_counts_still_sleeps() {
        let (parker, clock) = (Parker::default(), Clock::new(ClockChoice::Best));
        let set = parker.open().unwrap();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| parker.park(&clock, Some(Instant::MAX)));
            while !parker.latch.is_parked() {
                std::thread::yield_now();
            }
            parker.unpark();
            sleeper.join().unwrap();
        });
        assert_eq!(set.wait(Some(1)), Woken::Late, "the bell woke the sleeper, so its event is gone");
    }

    /// Has the kernel refuse these calls of the calling thread with `errno`, for good, as a
    /// container's filter does.
    #[cfg(target_arch = "x86_64")] // elsewhere there is no system call `epoll_wait`
    fn refuse(calls: &[libc::c_long], errno: i32) {
        let code = |of: u32| of as u16;
        let mut filter = vec![libc::sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 }];
        for call in calls {
            filter.push(libc::sock_filter { code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), jt: 0, jf: 1, k: *call as u32 });
            filter.push(libc::sock_filter {
                code: code(libc::BPF_RET | libc::BPF_K),
                jt: 0,
                jf: 0,
                k: libc::SECCOMP_RET_ERRNO | errno as u32,
            });
        }
        filter.push(libc::sock_filter { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel reads the program and the filter that it points to.
        let rc = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, ptr::from_ref(&program))
        };
        assert_eq!(rc, 0, "{}", io::Error::last_os_error());
    }

    /// Whatever number a refusal has, the core sleeps by the next way: parks are few, and an unpark
    /// ends one without a deadline.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn s53_a_call_that_is_refused_keeps_no_core_awake() {
        let all = [libc::SYS_epoll_pwait2, libc::SYS_ppoll, libc::SYS_epoll_wait];
        let errors = [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::EACCES, libc::ENOMEM, libc::EFAULT, libc::EBADF];
        let ways = [Way::Ppoll, Way::Wait, Way::Nap];
        for (errno, (refused, way)) in errors.into_iter().flat_map(|errno| (1..).zip(ways).map(move |case| (errno, case))) {
            let parker = Parker::default();
            let set = parker.open().unwrap();
            thread::scope(|scope| {
                let sleeper = scope.spawn(|| {
                    refuse(&all[..refused], errno);
                    let clock = Clock::new(ClockChoice::Monotonic);
                    let (until, mut parks) = (clock.now().plus_nanos(20_000_000), 0);
                    // Where milliseconds are counted the last one is spun.
                    while until.nanos_since(clock.now()) > 1_100_000 {
                        parker.park(&clock, Some(until));
                        parks += 1;
                    }
                    parker.park(&clock, None);
                    parks
                });
                while !parker.latch.is_parked() {
                    thread::yield_now();
                }
                let parks = loop {
                    parker.unpark();
                    if sleeper.is_finished() {
                        break sleeper.join().unwrap();
                    }
                    thread::sleep(NAP);
                };
                // The unparks from here end some too.
                assert!(parks <= 40, "{way:?} after error {errno}: {parks} parks in 20 ms");
            });
            assert_eq!(Way::of(set.way.load(Ordering::Relaxed)), way, "error {errno}");
        }
    }
}
