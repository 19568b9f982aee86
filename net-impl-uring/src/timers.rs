//! The timers that wake a sleeping core for a group.

use io_uring::types::Timespec;

use crate::key::{Key, Op};
use crate::ring::Io;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// What the machine was short of may be there again.
    Retry,
    /// Whose peers take nothing is to be looked for.
    Look,
}

/// The times that a timer can have, because the kernel reads one after the call that asks for it:
/// ten milliseconds, and twice as long each. A longer wait is several of these.
static TIMES: [Timespec; 13] = {
    let mut times = [Timespec::new(); 13];
    let mut n = 0;
    while n < times.len() {
        let millis = SHORTEST << n;
        times[n] = Timespec::new().sec(millis / 1000).nsec((millis % 1000) as u32 * 1_000_000);
        n += 1;
    }
    times
};

/// Milliseconds.
const SHORTEST: u64 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Timer {
    #[default]
    Off,
    /// With one of [`TIMES`].
    Wanted(u8),
    Running,
}

/// The timers of a group, one of a kind at a time.
#[derive(Default)]
pub(crate) struct Timers {
    are_wanted: bool,
    timers: [Timer; 2],
}

impl Timers {
    /// Has the core awake after so many nanoseconds or less, unless it is to be for the same already.
    pub(crate) fn want(&mut self, which: Which, nanos: u64) {
        let timer = &mut self.timers[which as usize];
        if *timer == Timer::Off {
            *timer = Timer::Wanted(longest(nanos));
            self.are_wanted = true;
        }
    }

    #[inline]
    pub(crate) fn are_wanted(&self) -> bool {
        self.are_wanted
    }

    /// Asks the kernel for those that are wanted. Tells how many that were.
    #[cold]
    pub(crate) fn start(&mut self, io: &mut Io, member: u16) -> usize {
        self.are_wanted = false;
        let mut started = 0;
        for (n, timer) in self.timers.iter_mut().enumerate() {
            if let Timer::Wanted(time) = *timer {
                *timer = Timer::Running;
                started += 1;
                io.timer(Key::new(Op::Timer, member, n, 0), &TIMES[usize::from(time)]);
            }
        }
        started
    }

    /// One has gone off, or was cancelled.
    #[cold]
    pub(crate) fn ended(&mut self, key: Key) -> Which {
        self.timers[key.place()] = Timer::Off;
        if key.place() == Which::Retry as usize { Which::Retry } else { Which::Look }
    }

    /// Gives up those that run.
    pub(crate) fn cancel(&self, io: &mut Io, member: u16) {
        for (n, _) in self.timers.iter().enumerate().filter(|(_, timer)| **timer == Timer::Running) {
            io.cancel(Key::new(Op::Timer, member, n, 0));
        }
    }

    /// Whether one is wanted or runs.
    #[cfg(test)]
    pub(crate) fn is_on(&self, which: Which) -> bool {
        self.timers[which as usize] != Timer::Off
    }
}

/// The longest of the times within so many nanoseconds; the shortest if none is.
fn longest(nanos: u64) -> u8 {
    let times = nanos / (SHORTEST * 1_000_000);
    (times.checked_ilog2().unwrap_or(0)).min(TIMES.len() as u32 - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s74_a_timer_is_the_longest_that_is_not_too_long() {
        const MILLI: u64 = 1_000_000;
        for (nanos, millis) in [
            (0, 10),
            (MILLI, 10),
            (10 * MILLI, 10),
            (20 * MILLI - 1, 10),
            (20 * MILLI, 20),
            (500 * MILLI, 320),
            (2000 * MILLI, 1280),
            (u64::MAX, 40960),
        ] {
            assert_eq!(SHORTEST << longest(nanos), millis, "{nanos}");
        }
    }
}
