//! Operating-system threads as reactors need them: pinned to one core, named after it, woken on
//! time.
//!
//! [`spawn`] makes such a thread; [`AdoptedThread::adopt`] makes the calling thread one, and
//! [`AdoptedThread::restore`] undoes that. What a reactor starts inherits all of this, so
//! [`unaffinitized`] takes it off for a while and [`spawn_off_reactor`] starts threads without it.
// UNSAFETY: affinity, name and timer slack of a thread are to be had by raw system calls only.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use core_reactor::{CoreId, CpuSet, PlatformError};

use crate::error::{last_os_error, named_error, os_error};

/// Longest name of a thread that the kernel keeps, with its final zero.
const NAME_BYTES: usize = 16;
/// How late a pinned thread's timers may be, in nanoseconds: the least that the kernel takes (its
/// default is 50 µs).
const SLACK_NS: libc::c_ulong = 1;

/// Runs `entry` on a new thread, named after `core` and `pinned` to it or to nothing. When this
/// returns, `entry` is about to run and nothing can hinder it.
pub(crate) fn spawn(core: CoreId, pinned: bool, entry: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, PlatformError> {
    let (started, starting) = mpsc::sync_channel(1);
    // The creator may be a reactor already, and what matters is what that one was before.
    let before = Traits::before_a_core()?;
    let run = move || {
        let pinned = if pinned { pin(core) } else { before.mask.apply() };
        let go = pinned.is_ok();
        set_timer_slack(SLACK_NS);
        BEFORE.set(Some(before));
        CORE.set(Some(core));
        // The other end waits until this is sent.
        let _ = started.send(pinned);
        if go {
            entry();
        }
    };
    let thread = thread::Builder::new().name(name_of(core)).spawn(run).map_err(|e| os_error("start a thread for a reactor", &e))?;
    match starting.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(why)) => {
            // It has given up without running the entry: there is no panic to learn of.
            let _ = thread.join();
            Err(why)
        }
        Err(_) => Err(PlatformError::Panicked { core }),
    }
}

/// Runs `f` without what makes the calling thread a reactor: on all cores that it had before it was
/// pinned to one, with its timer slack and its name of then (`spdk_call_unaffinitized`). Threads
/// and programs that `f` starts inherit those and not the reactor's; started outside of this they
/// share the reactor's one core for good. On a thread that is no reactor it is just `f()`.
///
/// The reactor waits for `f`, and everything on it: keep it short. What takes long belongs on a
/// thread of its own, see [`spawn_off_reactor`].
///
/// ```
/// let child = platform_linux::unaffinitized(|| std::process::Command::new("true").spawn())?;
/// # let mut child = child;
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unaffinitized<T>(f: impl FnOnce() -> T) -> T {
    let Some(before) = BEFORE.get() else { return f() };
    let again = Traits::of_caller().map(Again);
    if let Err(why) = again.as_ref().map_err(Clone::clone).and_then(|_| before.apply()) {
        log::warn!("what is started here stays on the reactor's core: {why}");
    }
    f()
}

/// Starts a thread of the operating system from wherever the caller is, a reactor included: it has
/// none of the reactor's core, timer slack and name. `name` is cut after 15 bytes.
///
/// ```
/// let sum = platform_linux::spawn_off_reactor("adder", || (1..=10).sum::<u32>())?;
/// assert_eq!(sum.join().ok(), Some(55));
/// # Ok::<(), core_reactor::PlatformError>(())
/// ```
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_off_reactor<F, T>(name: &str, f: F) -> Result<JoinHandle<T>, PlatformError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // A zero inside would be a panic of the standard library.
    let builder = thread::Builder::new().name(name.replace('\0', ""));
    unaffinitized(|| builder.spawn(f)).map_err(|why| named_error("start a thread", name, &why))
}

thread_local! {
    /// What this thread was before it became a reactor's, while it is one.
    static BEFORE: Cell<Option<Traits>> = const { Cell::new(None) };
    /// The core of the reactor that this thread is, while it is one.
    static CORE: Cell<Option<CoreId>> = const { Cell::new(None) };
}

/// The core whose reactor the calling thread is, if it is one.
pub fn core_of_caller() -> Option<CoreId> {
    CORE.get()
}

/// What a thread hands down to what it starts.
#[derive(Clone, Copy)]
struct Traits {
    mask: Mask,
    name: [u8; NAME_BYTES],
    slack_ns: libc::c_ulong,
}

impl Traits {
    fn of_caller() -> Result<Self, PlatformError> {
        Ok(Self { mask: Mask::of_caller()?, name: name(), slack_ns: timer_slack() })
    }

    /// The caller's, or if it is on a core those from before.
    fn before_a_core() -> Result<Self, PlatformError> {
        BEFORE.get().map_or_else(Self::of_caller, Ok)
    }

    /// Makes them the caller's.
    fn apply(&self) -> Result<(), PlatformError> {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(NAME_BYTES);
        set_name(&String::from_utf8_lossy(&self.name[..end]));
        set_timer_slack(self.slack_ns);
        self.mask.apply()
    }
}

/// Makes a thread what it was, also when what ran meanwhile panics.
struct Again(Traits);

impl Drop for Again {
    fn drop(&mut self) {
        if let Err(why) = self.0.apply() {
            log::error!("a reactor could not go back to its core: {why}");
        }
    }
}

/// What a thread was before it adopted a core.
pub(crate) struct AdoptedThread {
    before: Traits,
    /// Its note of what it was before an earlier core, if it is on one (a set of reactors that is
    /// run inside of another).
    outer: Option<Traits>,
    /// The earlier core.
    outer_core: Option<CoreId>,
}

impl AdoptedThread {
    /// Names the calling thread after `core`, and pins it there or leaves it where it may run.
    pub(crate) fn adopt(core: CoreId, pinned: bool) -> Result<Self, PlatformError> {
        let before = Traits::of_caller()?;
        if pinned {
            pin(core)?;
        }
        set_name(&name_of(core));
        set_timer_slack(SLACK_NS);
        let outer = BEFORE.get();
        BEFORE.set(outer.or(Some(before)));
        Ok(Self { before, outer, outer_core: CORE.replace(Some(core)) })
    }

    /// Gives the calling thread back what it had.
    pub(crate) fn restore(self) -> Result<(), PlatformError> {
        BEFORE.set(self.outer);
        CORE.set(self.outer_core);
        self.before.apply()
    }
}

fn pin(core: CoreId) -> Result<(), PlatformError> {
    Mask::of(core).apply().map_err(|why| match why {
        PlatformError::Os { doing, code, text } => PlatformError::Os { doing, code, text: format!("core {core}: {text}").into() },
        why => why,
    })
}

/// The cores that the calling thread may run on, of those that can be named.
pub(crate) fn allowed_cores() -> Result<CpuSet, PlatformError> {
    let mask = Mask::of_caller()?;
    Ok((0..CpuSet::LIMIT as u16).map(CoreId).filter(|core| mask.contains(*core)).collect())
}

/// The kernel's form of a set of cores, as large as any kernel has it (8192 cores), so that what is
/// restored is all that there was.
#[derive(Clone, Copy)]
struct Mask([u64; 128]);

impl Mask {
    fn of(core: CoreId) -> Self {
        let mut words = [0; 128];
        if let Some(word) = words.get_mut(usize::from(core.0) / 64) {
            *word = 1 << (core.0 % 64);
        }
        Self(words)
    }

    fn of_caller() -> Result<Self, PlatformError> {
        Self::of_thread(0)
    }

    /// That of a thread by its number; 0 is the caller.
    fn of_thread(number: i32) -> Result<Self, PlatformError> {
        let mut words = [0u64; 128];
        // SAFETY: the kernel writes at most the given number of bytes, and any bits are valid
        // words.
        let rc = unsafe { libc::sched_getaffinity(number, size_of_val(&words), words.as_mut_ptr().cast()) };
        if rc < 0 { Err(last_os_error("read the cores that this thread may use")) } else { Ok(Self(words)) }
    }

    fn contains(&self, core: CoreId) -> bool {
        let n = usize::from(core.0);
        self.0.get(n / 64).is_some_and(|word| word & (1 << (n % 64)) != 0)
    }

    fn apply(&self) -> Result<(), PlatformError> {
        // SAFETY: the kernel reads the given number of bytes.
        let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), self.0.as_ptr().cast()) };
        if rc < 0 { Err(last_os_error("pin a thread to its core")) } else { Ok(()) }
    }
}

/// The name of a core's thread, as `ps -T` and `top -H` show it (SPDK has the same).
fn name_of(core: CoreId) -> String {
    format!("reactor_{core}")
}

fn name() -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // SAFETY: the kernel writes 16 bytes at most, the final zero among them.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// Names the calling thread. Cannot fail: a name too long is cut by the kernel, and ours have no
/// zero inside.
fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the kernel reads up to the final zero.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

fn timer_slack() -> libc::c_ulong {
    // SAFETY: reads a number; no memory is involved.
    let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
    libc::c_ulong::try_from(slack).unwrap_or(0)
}

/// Sets the calling thread's timer slack. A kernel without it only makes parks end later.
fn set_timer_slack(ns: libc::c_ulong) {
    // SAFETY: passes a number; no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that no machine here has stands for one that went away after the platform was made.
    const GONE: CoreId = CoreId(1023);

    #[test]
    fn a_thread_that_cannot_be_pinned_is_an_error_of_start() {
        let error = spawn(GONE, true, Box::new(|| unreachable!())).unwrap_err();
        assert_eq!(error.to_string(), "pin a thread to its core: core 1023: Invalid argument (error 22)");
    }

    #[test]
    fn a_thread_that_does_not_tell_its_cores_is_an_error() {
        // No thread has so high a number.
        let error = Mask::of_thread(i32::MAX).err().map(|why| why.to_string());
        assert_eq!(error.as_deref(), Some("read the cores that this thread may use: No such process (error 3)"));
    }

    #[test]
    fn a_thread_that_cannot_be_pinned_keeps_what_it_had() {
        let before = (name(), allowed_cores().unwrap(), timer_slack());
        assert!(AdoptedThread::adopt(GONE, true).is_err());
        assert_eq!((name(), allowed_cores().unwrap(), timer_slack()), before);
    }

    #[test]
    fn a_pinned_thread_wakes_on_time_and_has_its_slack_back_after() {
        let core = allowed_cores().unwrap().iter().next().unwrap();
        let before = timer_slack();
        let adopted = AdoptedThread::adopt(core, true).unwrap();
        assert_eq!(timer_slack(), SLACK_NS);
        adopted.restore().unwrap();
        assert_eq!(timer_slack(), before);
        let (tell, told) = mpsc::channel();
        spawn(core, true, Box::new(move || tell.send(timer_slack()).unwrap())).unwrap().join().unwrap();
        assert_eq!(told.recv().unwrap(), SLACK_NS);
    }
}
