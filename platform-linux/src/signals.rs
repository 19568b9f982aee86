//! SIGINT and SIGTERM: once asks for an orderly stop, twice ends the process.
//!
//! Supervisors often tell a program twice what they mean once: GNU timeout signals its child and
//! then its own group, a terminal's ^C reaches both a program and the npm that relays it. So for
//! half a second after the first signal others, of either number, are taken for its echoes.
//!
//! [`StopSignals`] installs the handlers while it lives. What the first signal does is a
//! [`SignalHook`]; [`StopFlag`] is the ready-made one. Several may be installed at a time, as for
//! two sets of reactors in one process: a first signal reaches all of them.
// UNSAFETY: handlers are installed by raw system calls, and run between any two instructions of any
// thread.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use core_reactor::{CoreId, Platform, PlatformError};

use crate::LinuxPlatform;
use crate::clock::monotonic_nanos;
use crate::error::last_os_error;
use crate::list::HandlerList;

const STOP: [i32; 2] = [libc::SIGINT, libc::SIGTERM];
/// How long after the first signal others are its echoes. Supervisors need milliseconds, on a busy
/// machine tens of them; a person who means it presses again.
const ECHO_NS: u64 = 500_000_000;

/// What the first signal does.
///
/// # Safety
/// `on_signal` is async-signal-safe: it takes no lock, allocates and frees nothing, and calls only
/// what signal-safety(7) lists.
pub unsafe trait SignalHook: Send + Sync {
    /// Called in a signal handler, once in the life of its [`StopSignals`].
    fn on_signal(&self, signal: i32);
}

/// Notes that a stop was asked for, and wakes a core to look at the note. The default one wakes
/// nobody yet, so that a program can install it before it has cores.
#[derive(Default)]
pub struct StopFlag {
    signal: AtomicI32,
    looks: OnceLock<(Arc<LinuxPlatform>, CoreId)>,
}

impl StopFlag {
    /// A flag that `core` looks at in its turns.
    pub fn new(platform: Arc<LinuxPlatform>, core: CoreId) -> Self {
        let flag = Self::default();
        flag.wake(platform, core);
        flag
    }

    /// From now on `core` is woken. A signal may have come before: it has to look once unasked. The
    /// first call counts.
    pub fn wake(&self, platform: Arc<LinuxPlatform>, core: CoreId) {
        self.looks.get_or_init(|| (platform, core));
    }

    /// The signal that asked for a stop, if one did. One load, for every turn.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}

// SAFETY: a store, a look at whether a value is set, which is one load, and `unpark`, which is
// async-signal-safe.
unsafe impl SignalHook for StopFlag {
    fn on_signal(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
        if let Some((platform, core)) = self.looks.get() {
            platform.unpark(*core);
        }
    }
}

/// Handles SIGINT and SIGTERM while it lives: the first to come calls the hook. What comes within
/// half a second of it is an echo and does nothing; the next ends the process with 128 + its
/// number, at once and without running anything. Dropped, whatever handled them before does so
/// again, except that echoes still do nothing: a program that ends at once is not to die of them on
/// its way out.
pub struct StopSignals(Arc<Target>);

impl StopSignals {
    /// From now on a signal calls `hook`.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn install(hook: Arc<dyn SignalHook>) -> Result<Self, PlatformError> {
        let stop = Self(Arc::new(Target { hook, first: Request::default() }));
        let handled = HANDLED.lock();
        let mut targets = HANDLED.targets();
        let is_only = targets.is_empty();
        targets.push(stop.0.clone());
        HANDLED.targets.replace(targets);
        if is_only && let Err(why) = take_over() {
            // Before `stop` is dropped, which takes the lock and undoes the rest.
            drop(handled);
            return Err(why);
        }
        drop(handled);
        Ok(stop)
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        let _handled = HANDLED.lock();
        let mut targets = HANDLED.targets();
        targets.retain(|target| !Arc::ptr_eq(target, &self.0));
        if targets.is_empty() && !HANDLED.last.awaits_echoes(monotonic_nanos()) {
            give_back();
        }
        HANDLED.targets.replace(targets);
    }
}

/// One installed hook.
struct Target {
    hook: Arc<dyn SignalHook>,
    first: Request,
}

/// When a first signal came, in nanoseconds of `CLOCK_MONOTONIC`; 0 is not yet.
#[derive(Default)]
struct Request(AtomicU64);

impl Request {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether a signal now is the first.
    fn begins(&self, now: u64) -> bool {
        self.0.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether a signal now is an echo of the first. The window is that of the first and no echo
    /// makes it longer.
    fn awaits_echoes(&self, now: u64) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        // A handler on another thread may have read the clock a little later than this one.
        first != 0 && now.saturating_sub(first) < ECHO_NS
    }

    /// Whether a signal now is the second, of somebody who does not want to wait any longer.
    fn is_insisted_on(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) != 0 && !self.awaits_echoes(now)
    }
}

/// The one global of this module. A handler is a function of the process and is given the number of
/// its signal and nothing else (POSIX sigaction), so there is no other way for it to find its
/// targets.
static HANDLED: Handled = Handled {
    targets: HandlerList::new(AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0)),
    before: HandlerList::new(AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0)),
    last: Request::new(),
    lock: Mutex::new(()),
};

struct Handled {
    targets: HandlerList<Arc<Target>>,
    /// What handled the signals before us, in the order of [`STOP`], while our handlers are there.
    before: HandlerList<libc::sigaction>,
    /// The last first signal of any target.
    last: Request,
    /// Held by whoever changes the lists; no handler takes it.
    lock: Mutex<()>,
}

impl Handled {
    fn lock(&'static self) -> MutexGuard<'static, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        self.targets.read(<[_]>::to_vec)
    }

    fn before(&self) -> Vec<libc::sigaction> {
        self.before.read(<[_]>::to_vec)
    }

    /// The work of a handler: async-signal-safe.
    fn handle(&self, signal: i32, now: u64) {
        let anybody = self.targets.read(|targets| {
            // A signal to the process is one to all targets, so one that was signalled before makes
            // this the second.
            if targets.iter().any(|target| target.first.is_insisted_on(now)) {
                // SAFETY: ends the process without running anything of it.
                unsafe { libc::_exit(128 + signal) };
            }
            for target in targets.iter().filter(|target| target.first.begins(now)) {
                self.last.0.store(now.max(1), Ordering::Relaxed);
                target.hook.on_signal(signal);
            }
            !targets.is_empty()
        });
        if !anybody && !self.last.awaits_echoes(now) {
            self.before.read(|before| pass_on(signal, before));
        }
    }
}

/// Gives a signal that came when all targets had gone to what handled it before, from now on as
/// well. Async-signal-safe.
fn pass_on(signal: i32, before: &[libc::sigaction]) {
    let before = STOP.iter().zip(before).find(|(stop, _)| **stop == signal);
    if let Some((_, action)) = before
        && exchange(signal, Some(action), &mut action.clone()).is_ok()
    {
        // SAFETY: sends a signal to this thread, for the handler that was just put back; it comes
        // when this one has returned.
        unsafe { libc::raise(signal) };
    }
}

/// The handler. A hook that panics ends the process, as an `extern "C"` function cannot unwind.
extern "C" fn on_signal(signal: i32) {
    // SAFETY: the address of this thread's errno, which the interrupted code may be about to read.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let interrupted = unsafe { *errno };
    HANDLED.handle(signal, monotonic_nanos());
    // SAFETY: as above.
    unsafe { *errno = interrupted };
}

/// Makes `on_signal` the handler of both signals, or of none.
fn take_over() -> Result<(), PlatformError> {
    // SAFETY: all zeroes is a sigaction: the default action, no flag, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = ours();
    // Calls that a signal interrupts go on, except those that wait for a time, as a park does.
    action.sa_flags = libc::SA_RESTART;
    let mut before = vec![action; STOP.len()];
    for at in 0..STOP.len() {
        if let Err(why) = exchange(STOP[at], Some(&action), &mut before[at]) {
            STOP.iter().zip(&before).take(at).for_each(|(signal, action)| restore(*signal, action));
            return Err(why);
        }
    }
    // Where ours had stayed for the echoes of an earlier stop, what was before them is known.
    for (now, known) in before.iter_mut().zip(HANDLED.before()) {
        if now.sa_sigaction == ours() {
            *now = known;
        }
    }
    HANDLED.before.replace(before);
    Ok(())
}

/// Undoes [`take_over`], except where somebody else has taken over since.
fn give_back() {
    for (signal, action) in STOP.iter().zip(HANDLED.before()) {
        let mut now = action;
        if exchange(*signal, None, &mut now).is_ok() && now.sa_sigaction == ours() {
            restore(*signal, &action);
        }
    }
}

fn ours() -> usize {
    on_signal as extern "C" fn(i32) as *const () as usize
}

fn restore(signal: i32, action: &libc::sigaction) {
    let mut ours = *action;
    if let Err(why) = exchange(signal, Some(action), &mut ours) {
        log::error!("signal {signal} keeps the handler that was to go: {why}");
    }
}

/// Sets the action of a signal, if one is given, and tells the one before.
fn exchange(signal: i32, new: Option<&libc::sigaction>, old: &mut libc::sigaction) -> Result<(), PlatformError> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads one action, if there is one, and writes one. The handler installed,
    // `on_signal`, is async-signal-safe by the promise of every `SignalHook`.
    if unsafe { libc::sigaction(signal, new, old) } < 0 { Err(last_os_error("install the handler of a stop signal")) } else { Ok(()) }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopFlag").field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl fmt::Debug for StopSignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopSignals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_there_is_not_has_no_handler() {
        // SAFETY: all zeroes is a sigaction.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        assert!(exchange(libc::SIGINT, None, &mut action).is_ok());
        assert!(exchange(-1, None, &mut action).is_err());
    }

    #[test]
    fn s51_for_half_a_second_a_signal_is_an_echo_and_then_it_is_the_second() {
        let request = Request::default();
        assert!(!request.awaits_echoes(7) && !request.is_insisted_on(7), "nothing has come yet");
        assert!(request.begins(1_000));
        for (now, echo) in [(999, true), (1_000, true), (1_000 + ECHO_NS - 1, true), (1_000 + ECHO_NS, false), (u64::MAX, false)] {
            assert!(!request.begins(now));
            assert_eq!((request.awaits_echoes(now), request.is_insisted_on(now)), (echo, !echo), "at {now}");
        }
    }

    #[test]
    fn s51_a_clock_at_its_start_counts_too() {
        let request = Request::default();
        assert!(request.begins(0));
        assert!(!request.begins(0) && request.awaits_echoes(0));
    }

    /// The window does not grow by echoes: somebody who goes on is heard in the end.
    #[test]
    fn s51_echoes_do_not_put_off_the_second() {
        let request = Request::default();
        assert!(request.begins(1));
        let second = (1..).map(|n| n * 10_000_000).find(|now| !request.begins(*now) && request.is_insisted_on(*now));
        assert_eq!(second, Some(510_000_000));
    }
}
