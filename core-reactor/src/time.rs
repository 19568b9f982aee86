//! Moments on the platform's clock.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;

/// A moment on a platform's monotonic clock: nanoseconds since a start of the platform's choosing
/// (enough for 584 years). Sums and differences end at the clock's start and end.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::Instant;
///
/// let now = Instant::from_nanos(5_000);
/// let mut deadline = now + Duration::from_micros(10);
/// deadline -= Duration::from_micros(5);
/// assert_eq!((deadline - now, now - deadline), (Duration::from_micros(5), Duration::ZERO));
/// assert_eq!(now - Duration::from_secs(1), Instant::ZERO);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's start.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock's start.
    ///
    /// ```
    /// # use core_reactor::Instant;
    /// let second = Instant::from_nanos(1_000_000_000);
    /// assert_eq!(second, Instant::ZERO + core::time::Duration::from_secs(1));
    /// ```
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here; 0 if it was later.
    ///
    /// ```
    /// # use core_reactor::Instant;
    /// let (began, ended) = (Instant::from_nanos(40), Instant::from_nanos(100));
    /// assert_eq!((ended.nanos_since(began), began.nanos_since(ended)), (60, 0));
    /// ```
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from `earlier` to here; zero if it was later.
    ///
    /// ```
    /// use core::time::Duration;
    /// use core_reactor::Instant;
    ///
    /// let began = Instant::from_nanos(1_000);
    /// let now = began.plus_nanos(500);
    /// assert_eq!((now.since(began), began.since(now)), (Duration::from_nanos(500), Duration::ZERO));
    /// ```
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The moment `nanos` nanoseconds later.
    ///
    /// ```
    /// # use core_reactor::Instant;
    /// assert_eq!(Instant::from_nanos(1).plus_nanos(2), Instant::from_nanos(3));
    /// assert_eq!(Instant::MAX.plus_nanos(1), Instant::MAX, "it never comes");
    /// ```
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// The moment `later` after this one; [`Instant::MAX`] if the clock ends before.
    fn add(self, later: Duration) -> Self {
        self.plus_nanos(nanos(later))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, later: Duration) {
        *self = *self + later;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// The moment `earlier` before this one; [`Instant::ZERO`] if the clock starts after.
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(earlier)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, earlier: Duration) {
        *self = *self - earlier;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Time from `earlier` to this moment; zero if it was later, as [`Instant::since`].
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// A duration in nanoseconds, as much as 64 bits hold.
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
