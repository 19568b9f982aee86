//! SIGINT and SIGTERM: once asks for an orderly stop, twice ends the process.
//!
//! [`StopSignals`] installs the handlers while it lives. What the first signal does is a [`SignalHook`]; [`StopFlag`] is the ready-made one.
//! Several may be installed at a time, as for two sets of reactors in one process: a first signal reaches all of them.
// UNSAFETY: handlers are installed by raw system calls, and run between any two instructions of any thread.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use core_reactor::{CoreId, Platform, PlatformError};

use crate::LinuxPlatform;
use crate::error::last_os_error;

const STOP: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// What the first signal does.
///
/// # Safety
/// `on_signal` is async-signal-safe: it takes no lock, allocates and frees nothing, and calls only what signal-safety(7) lists.
pub unsafe trait SignalHook: Send + Sync {
    /// Called in a signal handler, once in the life of its [`StopSignals`].
    fn on_signal(&self, signal: i32);
}

/// Notes that a stop was asked for, and wakes a core to look at the note.
pub struct StopFlag {
    signal: AtomicI32,
    platform: Arc<LinuxPlatform>,
    core: CoreId,
}

impl StopFlag {
    /// A flag that `core` looks at in its turns.
    pub fn new(platform: Arc<LinuxPlatform>, core: CoreId) -> Self {
        Self { signal: AtomicI32::new(0), platform, core }
    }

    /// The signal that asked for a stop, if one did. One load, for every turn.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}

// SAFETY: a store, and `unpark`, which is async-signal-safe.
unsafe impl SignalHook for StopFlag {
    fn on_signal(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
        self.platform.unpark(self.core);
    }
}

/// Handles SIGINT and SIGTERM while it lives: the first to come calls the hook, the second ends the process with 128 + its number, at
/// once and without running anything. Dropped, whatever handled them before does so again.
pub struct StopSignals(Arc<Target>);

impl StopSignals {
    /// From now on a signal calls `hook`.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn install(hook: Arc<dyn SignalHook>) -> Result<Self, PlatformError> {
        let stop = Self(Arc::new(Target { hook, signalled: AtomicBool::new(false) }));
        let mut handled = HANDLED.lock();
        HANDLED.replace(&handled, |targets| targets.push(stop.0.clone()));
        if handled.is_none() {
            match take_over() {
                Ok(before) => *handled = Some(before),
                Err(why) => {
                    // Before `stop` is dropped, which takes the lock and undoes the rest.
                    drop(handled);
                    return Err(why);
                }
            }
        }
        drop(handled);
        Ok(stop)
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        let mut handled = HANDLED.lock();
        let last = HANDLED.targets(&handled).len() <= 1;
        if last && let Some(before) = handled.take() {
            give_back(&before);
        }
        HANDLED.replace(&handled, |targets| targets.retain(|target| !Arc::ptr_eq(target, &self.0)));
    }
}

/// One installed hook.
struct Target {
    hook: Arc<dyn SignalHook>,
    /// Whether its first signal has come.
    signalled: AtomicBool,
}

/// What handled the signals before us, in the order of [`STOP`].
type Before = [libc::sigaction; STOP.len()];
type Held = MutexGuard<'static, Option<Before>>;

/// The one global of this crate. A handler is a function of the process and is given the number of its signal and nothing else (POSIX
/// sigaction), so there is no other way for it to find its targets.
static HANDLED: Handled = Handled { targets: AtomicPtr::new(ptr::null_mut()), running: AtomicUsize::new(0), before: Mutex::new(None) };

struct Handled {
    /// For the handler: a list that is replaced as a whole and never changed. Null is the empty list.
    targets: AtomicPtr<Vec<Arc<Target>>>,
    /// How many handlers may hold the list: a replaced one is freed when there is none.
    running: AtomicUsize,
    /// `Some` while our handlers are installed. Its lock is also that of whoever replaces the list; no handler takes it.
    before: Mutex<Option<Before>>,
}

impl Handled {
    fn lock(&'static self) -> Held {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets(&self, _lock: &Held) -> Vec<Arc<Target>> {
        // SAFETY: a list is freed only by `replace`, which needs the lock.
        unsafe { self.targets.load(Ordering::Relaxed).as_ref() }.cloned().unwrap_or_default()
    }

    fn replace(&self, lock: &Held, change: impl FnOnce(&mut Vec<Arc<Target>>)) {
        let mut targets = self.targets(lock);
        change(&mut targets);
        let new = if targets.is_empty() { ptr::null_mut() } else { Box::into_raw(Box::new(targets)) };
        // SeqCst here and in `handle`: either the handler sees the new list, or its count is seen here.
        let old = self.targets.swap(new, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        if !old.is_null() {
            // SAFETY: it came out of a box here, no handler found it after the swap, and those that had found it before have ended.
            drop(unsafe { Box::from_raw(old) });
        }
    }

    /// The work of a handler: async-signal-safe.
    fn handle(&self, signal: i32) {
        self.running.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the list is not freed while `running` is not 0.
        let targets = unsafe { self.targets.load(Ordering::SeqCst).as_ref() }.map_or(&[][..], Vec::as_slice);
        // A signal to the process is one to all targets, so one that was signalled before makes this the second.
        if targets.iter().fold(false, |again, target| again | target.signalled.swap(true, Ordering::Relaxed)) {
            // SAFETY: ends the process without running anything of it.
            unsafe { libc::_exit(128 + signal) };
        }
        targets.iter().for_each(|target| target.hook.on_signal(signal));
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The handler. A hook that panics ends the process, as an `extern "C"` function cannot unwind.
extern "C" fn on_signal(signal: i32) {
    // SAFETY: the address of this thread's errno, which the interrupted code may be about to read.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let interrupted = unsafe { *errno };
    HANDLED.handle(signal);
    // SAFETY: as above.
    unsafe { *errno = interrupted };
}

/// Makes `on_signal` the handler of both signals, or of none.
fn take_over() -> Result<Before, PlatformError> {
    // SAFETY: all zeroes is a sigaction: the default action, no flag, an empty mask.
    let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    ours.sa_sigaction = on_signal as extern "C" fn(i32) as *const () as usize;
    // Calls that a signal interrupts go on, except those that wait for a time, as a park does.
    ours.sa_flags = libc::SA_RESTART;
    let mut before = [ours; STOP.len()];
    for at in 0..STOP.len() {
        if let Err(why) = exchange(STOP[at], Some(&ours), &mut before[at]) {
            STOP.iter().zip(&before).take(at).for_each(|(signal, action)| restore(*signal, action));
            return Err(why);
        }
    }
    Ok(before)
}

/// Undoes [`take_over`], except where somebody else has taken over since.
fn give_back(before: &Before) {
    for (signal, action) in STOP.iter().zip(before) {
        let mut now = *action;
        let ours = on_signal as extern "C" fn(i32) as *const () as usize;
        if exchange(*signal, None, &mut now).is_ok() && now.sa_sigaction == ours {
            restore(*signal, action);
        }
    }
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
    // SAFETY: the kernel reads one action, if there is one, and writes one. The handler installed, `on_signal`, is async-signal-safe
    // by the promise of every `SignalHook`.
    if unsafe { libc::sigaction(signal, new, old) } < 0 { Err(last_os_error("install the handler of a stop signal")) } else { Ok(()) }
}
