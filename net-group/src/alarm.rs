//! When a group is to be polled in any case.

use core::cell::Cell;

use core_reactor::Instant;

/// The time that [`Backend::wake_later`](crate::Backend::wake_later) asked for, for a backend whose
/// bell can tell the core of it.
///
/// ```
/// use core_reactor::Instant;
/// use net_group::Alarm;
///
/// let alarm = Alarm::default();
/// alarm.set(Instant::from_nanos(900));
/// alarm.set(Instant::from_nanos(100));
/// assert_eq!(alarm.due(), Some(Instant::from_nanos(100)), "the earlier of the two");
/// assert!(alarm.goes_off(|| Instant::from_nanos(100)) && alarm.due().is_none());
/// ```
#[derive(Debug, Default)]
pub struct Alarm(Cell<Option<Instant>>);

impl Alarm {
    /// Goes off at this time, unless it is to go off before.
    ///
    /// ```
    /// use core_reactor::Instant;
    ///
    /// let alarm = net_group::Alarm::default();
    /// alarm.set(Instant::from_nanos(100));
    /// alarm.set(Instant::from_nanos(900));
    /// assert_eq!(alarm.due(), Some(Instant::from_nanos(100)), "a later time changes nothing");
    /// ```
    pub fn set(&self, at: Instant) {
        self.0.set(Some(self.0.get().map_or(at, |before| before.min(at))));
    }

    /// When it goes off: what a [`Bell`](core_reactor::Bell) says that it is due.
    ///
    /// ```
    /// assert_eq!(net_group::Alarm::default().due(), None, "nobody has asked for anything");
    /// ```
    pub fn due(&self) -> Option<Instant> {
        self.0.get()
    }

    /// Whether it goes off, which is told once. Who waits for no time reads no clock.
    ///
    /// ```
    /// use core_reactor::Instant;
    ///
    /// let alarm = net_group::Alarm::default();
    /// assert!(!alarm.goes_off(|| unreachable!("nobody waits")));
    /// alarm.set(Instant::from_nanos(100));
    /// let at = |nanos| alarm.goes_off(|| Instant::from_nanos(nanos));
    /// assert_eq!([at(99), at(100), at(101)], [false, true, false]);
    /// ```
    #[inline]
    pub fn goes_off(&self, now: impl FnOnce() -> Instant) -> bool {
        let goes_off = self.0.get().is_some_and(|at| now() >= at);
        if goes_off {
            self.0.set(None);
        }
        goes_off
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn s74_the_earliest_time_that_was_asked_for_is_told_once() {
        let (soon, late) = (Instant::ZERO + Duration::from_millis(10), Instant::ZERO + Duration::from_secs(900));
        for times in [[soon, late], [late, soon]] {
            let alarm = Alarm::default();
            assert!(!alarm.goes_off(|| unreachable!("no time was asked for")));
            times.into_iter().for_each(|at| alarm.set(at));
            assert_eq!(alarm.due(), Some(soon));
            assert!(!alarm.goes_off(|| Instant::ZERO));
            assert!(alarm.goes_off(|| soon) && !alarm.goes_off(|| late));
            assert_eq!(alarm.due(), None);
        }
    }
}
