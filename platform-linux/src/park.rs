//! Where an idle core sleeps: an epoll set for each core, with an eventfd that wakes it.
//!
//! ```text
//!            park() [1]                unpark() [2]: write the eventfd
//!   EMPTY ──────────────► PARKED ────────────────────────────────┐
//!    ▲ ▲                    │                                    ▼
//!    │ └────────────────────┘ deadline, source, signal [3]    NOTIFIED
//!    │        unpark() [4]: no system call                     ▲   │
//!    ├─────────────────────────────────────────────────────────┘   │
//!    └─────────────────────────────────────────────────────────────┘ park() returns [3], or returns at once [5]
//! ```
//!
//! No wake-up is lost. [1] and [2] change the same atomic, so one comes first: if [1], the unparker sees PARKED and writes the eventfd,
//! which ends the sleep that is going on or about to begin; if [2] (it is [4] then), [1] finds NOTIFIED and does not sleep [5].
//! A waker that loses the race with [3] writes the eventfd when nobody sleeps any more: the next park returns early, which it may.
//!
//! The eventfd is watched edge-triggered: each write is an event of its own, and it need never be read.
// UNSAFETY: epoll and eventfd are raw system calls.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use core_reactor::{Instant, PlatformError, WaitSource};

use crate::clock::Clock;
use crate::error::last_os_error;

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// Sleeps shorter than this are not worth a system call: park returns early instead.
const SHORTEST_NS: u64 = 1_000;
/// Events taken out of the set by one call. Those beyond are found by the next.
const EVENTS: usize = 8;

/// The latch and, once something needs it, the epoll set of one core.
#[derive(Default)]
pub(crate) struct Parker {
    state: AtomicU32,
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

    /// Sleeps until `until`, an unpark or a watched source. Returns at once if the latch is set or the set cannot be made.
    pub(crate) fn park(&self, clock: &Clock, until: Option<Instant>) {
        let Ok(set) = self.open() else { return };
        // AcqRel: who sees PARKED also sees the set; who made it NOTIFIED is seen in full.
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.sleep(set, clock, until);
        }
        // Takes the latch with everything that the unparkers did before they set it.
        self.state.swap(EMPTY, Ordering::Acquire);
    }

    fn sleep(&self, set: &WaitSet, clock: &Clock, until: Option<Instant>) {
        loop {
            let nanos = match until {
                None => None,
                Some(until) => match until.nanos_since(clock.now()) {
                    ..SHORTEST_NS => return,
                    // The kernel lets a poll be late by a thousandth of its time (a 200th in a niced thread). Aim so much before, and
                    // again from there: two rounds for a millisecond, four for a minute.
                    nanos => Some(nanos - nanos / 128),
                },
            };
            if set.wait(nanos) != Woken::Late || self.state.load(Ordering::Relaxed) == NOTIFIED {
                return;
            }
        }
    }

    /// Sets the latch; ends the sleep if there is one. Async-signal-safe: two atomics and at most one `write` that does not block (and so
    /// leaves `errno` alone).
    pub(crate) fn unpark(&self) {
        // A swap even if the latch is set already: it is what hands the caller's earlier writes to the parked core.
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED
            && let Some(set) = self.set.get()
        {
            set.ring();
        }
    }
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Woken {
    /// Its time is up.
    Late,
    /// Something is ready, a signal came, or there is no telling.
    Ready,
}

/// An epoll set and the eventfd in it.
pub(crate) struct WaitSet {
    epoll: OwnedFd,
    bell: OwnedFd,
    /// False once the kernel (before 5.11, or a seccomp filter) has refused `epoll_pwait2`.
    has_pwait2: AtomicBool,
}

impl WaitSet {
    fn new() -> Result<Self, PlatformError> {
        // SAFETY: no memory is involved.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "make an epoll set for a core")?;
        // SAFETY: no memory is involved.
        let bell = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }, "make an eventfd for a core")?;
        let set = Self { epoll, bell, has_pwait2: AtomicBool::new(true) };
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

    /// Wakes who waits, now or at the next wait. Fails only when the count is full, and then the bell has rung.
    fn ring(&self) {
        let one = 1u64;
        // SAFETY: the kernel reads eight bytes.
        unsafe { libc::write(self.bell.as_raw_fd(), ptr::from_ref(&one).cast(), size_of::<u64>()) };
    }

    /// Waits for so many nanoseconds, or without end.
    fn wait(&self, nanos: Option<u64>) -> Woken {
        if self.has_pwait2.load(Ordering::Relaxed) {
            match self.pwait2(nanos) {
                Ok(woken) => return woken,
                Err(libc::ENOSYS | libc::EPERM) => self.has_pwait2.store(false, Ordering::Relaxed),
                Err(_) => return Woken::Ready,
            }
        }
        self.ppoll(nanos)
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
        // SAFETY: the kernel writes up to EVENTS events and reads a time, if there is one; there is no signal mask.
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
        match rc {
            0 => Ok(Woken::Late),
            1.. => Ok(Woken::Ready),
            _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    }

    /// The same for older kernels: an epoll set can itself be polled, and `ppoll` always had nanoseconds.
    fn ppoll(&self, nanos: Option<u64>) -> Woken {
        let time =
            nanos.map(|n| libc::timespec { tv_sec: (n / 1_000_000_000) as libc::time_t, tv_nsec: (n % 1_000_000_000) as libc::c_long });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut set = libc::pollfd { fd: self.epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: the kernel reads and writes one pollfd and reads a time, if there is one; there is no signal mask.
        if unsafe { libc::ppoll(&mut set, 1, time, ptr::null()) } == 0 {
            return Woken::Late;
        }
        // Takes the bell's event out, or the set would stay readable.
        // SAFETY: the kernel writes up to EVENTS events.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, 0) };
        Woken::Ready
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

    /// A set as on a kernel without `epoll_pwait2`.
    fn old() -> Parker {
        let parker = Parker::default();
        parker.open().unwrap().has_pwait2.store(false, Ordering::Relaxed);
        parker
    }

    #[test]
    fn without_epoll_pwait2_a_deadline_ends_the_park() {
        let (parker, clock) = (old(), Clock::new(ClockChoice::Best));
        let until = clock.now().plus_nanos(5_300_000);
        parker.park(&clock, Some(until));
        assert!(until.nanos_since(clock.now()) < SHORTEST_NS, "nothing but the deadline could end it");
    }

    #[test]
    fn without_epoll_pwait2_the_bell_is_heard_once() {
        let (parker, clock) = (old(), Clock::new(ClockChoice::Best));
        let set = parker.open().unwrap();
        set.ring();
        assert_eq!(set.wait(None), Woken::Ready);
        assert_eq!(set.wait(Some(1_000_000)), Woken::Late);
        parker.unpark();
        parker.park(&clock, None);
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
            while parker.state.load(Ordering::Relaxed) != PARKED {
                std::thread::yield_now();
            }
            parker.unpark();
            sleeper.join().unwrap();
        });
        assert_eq!(set.wait(Some(1)), Woken::Late, "the bell woke the sleeper, so its event is gone");
    }
}
