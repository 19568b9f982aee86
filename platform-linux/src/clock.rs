//! The clock: the processor's time-stamp counter where it can be trusted, `CLOCK_MONOTONIC`
//! otherwise.
//!
//! Both count from the same start, that of `CLOCK_MONOTONIC`. A [`Clock`] is calibrated once, when
//! it is made (10 ms), and is immutable after that: every core reads the same few words, and
//! nothing is written.
// UNSAFETY: clock_gettime takes a pointer to write to.

use core::fmt;
use core::mem::MaybeUninit;

use core_reactor::Instant;

#[cfg(target_arch = "x86_64")]
use crate::tsc::Tsc;

/// Which clock to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockChoice {
    /// The time-stamp counter if it is invariant and trusted by the kernel; `CLOCK_MONOTONIC`
    /// otherwise.
    #[default]
    Best,
    /// `CLOCK_MONOTONIC` in any case: slower, and free of suspicion when times look wrong.
    Monotonic,
}

/// The clock in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKind {
    /// The time-stamp counter.
    Tsc,
    /// `clock_gettime(CLOCK_MONOTONIC)`.
    Monotonic,
}

/// A clock that never goes back. Its `Display` is a line for the log.
///
/// The cores' counters are in step, so whoever reads later reads no less, on whichever core. But a
/// processor may read its counter ahead of instructions before it, as it does with any load: a core
/// that takes a time out of shared memory and reads the clock in the next few instructions can read
/// up to about 100 ns less (`CLOCK_MONOTONIC` does not do that). [`Instant::nanos_since`] is zero
/// then.
///
/// ```
/// use platform_linux::{Clock, ClockChoice};
///
/// let clock = Clock::new(ClockChoice::default());
/// let (began, cycles) = (clock.now(), clock.cycles());
/// assert!(clock.now() >= began && clock.cycles() >= cycles);
/// assert!(clock.cycles_per_second() > 0);
/// ```
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    #[cfg(target_arch = "x86_64")]
    Tsc(Tsc),
    Monotonic {
        why: &'static str,
    },
}

impl Clock {
    /// Chooses and calibrates a clock. Takes 10 ms if it is the time-stamp counter.
    pub fn new(choice: ClockChoice) -> Self {
        let why = match choice {
            ClockChoice::Monotonic => "asked for",
            #[cfg(target_arch = "x86_64")]
            ClockChoice::Best => match Tsc::calibrate() {
                Ok(tsc) => return Self(Source::Tsc(tsc)),
                Err(why) => why,
            },
            #[cfg(not(target_arch = "x86_64"))]
            ClockChoice::Best => "no time-stamp counter on this processor",
        };
        Self(Source::Monotonic { why })
    }

    /// The time.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(tsc) => tsc.nanos(),
            Source::Monotonic { .. } => monotonic_nanos(),
        })
    }

    /// Which clock it is.
    pub fn kind(&self) -> ClockKind {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(_) => ClockKind::Tsc,
            Source::Monotonic { .. } => ClockKind::Monotonic,
        }
    }

    /// The raw counter, for measuring a few instructions (`spdk_get_ticks`). Nanoseconds if the
    /// clock has no counter.
    #[inline]
    pub fn cycles(&self) -> u64 {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(_) => crate::tsc::cycles(),
            Source::Monotonic { .. } => monotonic_nanos(),
        }
    }

    /// How many [`cycles`](Self::cycles) make a second (`spdk_get_ticks_hz`).
    pub fn cycles_per_second(&self) -> u64 {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(tsc) => tsc.cycles_per_second(),
            Source::Monotonic { .. } => 1_000_000_000,
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(tsc) => write!(f, "time-stamp counter at {:.3} MHz", tsc.cycles_per_second() as f64 / 1e6),
            Source::Monotonic { why } => write!(f, "CLOCK_MONOTONIC ({why})"),
        }
    }
}

/// Nanoseconds since the start of `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is good for a timespec; the call cannot fail, as every kernel has this
    // clock, and so it fills it.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
