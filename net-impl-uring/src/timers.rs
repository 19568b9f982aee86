//! The timers that wake a sleeping core for a group.

use core_uring::io_uring::types::Timespec;
use core_uring::{Io, Key, Member};

use crate::key::Op;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// What the machine was short of may be there again.
    Retry,
    /// Whose peers take nothing is to be looked for.
    Look,
}

/// The times that a timer can have, because the kernel reads one after the call that asks for it. A
/// longer wait is several of these.
static TIMES: [(u32, Timespec); 4] = [time(10), time(80), time(640), time(5120)];

const fn time(millis: u32) -> (u32, Timespec) {
    (millis, Timespec::new().sec((millis / 1000) as u64).nsec(millis % 1000 * 1_000_000))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Timer {
    #[default]
    Off,
    /// With one of [`TIMES`].
    Wanted(usize),
    Running,
}

/// The timers of a group, one of a kind at a time.
#[derive(Default)]
pub(crate) struct Timers {
    are_wanted: bool,
    timers: [Timer; 2],
}

impl Timers {
    /// Has the core awake after so many milliseconds or less, unless it is to be for the same
    /// already.
    pub(crate) fn want(&mut self, which: Which, millis: u32) {
        let timer = &mut self.timers[which as usize];
        if *timer == Timer::Off {
            *timer = Timer::Wanted(longest(millis));
            self.are_wanted = true;
        }
    }

    #[inline]
    pub(crate) fn are_wanted(&self) -> bool {
        self.are_wanted
    }

    /// Asks the kernel for those that are wanted.
    #[cold]
    pub(crate) fn request(&mut self, io: &mut Io, member: Member) {
        self.are_wanted = false;
        for (n, timer) in self.timers.iter_mut().enumerate() {
            if let Timer::Wanted(time) = *timer {
                *timer = Timer::Running;
                io.timer(key(member, n), &TIMES[time].1);
            }
        }
    }

    /// One has gone off, or was cancelled.
    #[cold]
    pub(crate) fn ended(&mut self, key: Key) -> Which {
        let number = key.number() as usize;
        self.timers[number] = Timer::Off;
        if number == Which::Retry as usize { Which::Retry } else { Which::Look }
    }

    /// Gives up those that run.
    pub(crate) fn cancel(&self, io: &mut Io, member: Member) {
        for (n, _) in self.timers.iter().enumerate().filter(|(_, timer)| **timer == Timer::Running) {
            io.cancel(key(member, n));
        }
    }

    /// Whether one is wanted or runs.
    #[cfg(test)]
    pub(crate) fn is_on(&self, which: Which) -> bool {
        self.timers[which as usize] != Timer::Off
    }
}

/// What the request for one is called by.
fn key(member: Member, number: usize) -> Key {
    Key::new(member, Op::Timer as u8, number as u64)
}

/// The longest of the times within so many milliseconds; the shortest if none is.
fn longest(millis: u32) -> usize {
    TIMES.iter().rposition(|(time, _)| *time <= millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use core_uring::{Completion, Ring};

    use super::*;
    use crate::Uring;

    #[test]
    fn s74_a_timer_is_the_longest_that_is_not_too_long() {
        for (wanted, millis) in [(0, 10), (10, 10), (79, 10), (80, 80), (500, 80), (2000, 640), (u32::MAX, 5120)] {
            assert_eq!(TIMES[longest(wanted)].0, millis, "{wanted}");
        }
    }

    #[test]
    fn s74_a_timer_that_is_given_up_ends_at_once() {
        let ring = Ring::new(Uring::new().sizes).expect("a ring");
        let io = &mut *ring.io();
        let (member, mut timers) = (io.join(0).expect("the first"), Timers::default());
        timers.want(Which::Look, u32::MAX);
        assert!(timers.are_wanted());
        timers.request(io, member);
        assert!(!timers.are_wanted());
        timers.cancel(io, member);
        let mut ended = [Completion::NOTHING];
        for _ in 0..1000 {
            if io.take(member, &mut ended) > 0 {
                break;
            }
            io.enter_for_events();
        }
        assert_eq!(ended[0].result(), -libc::ECANCELED);
        assert_eq!((timers.ended(ended[0].key), timers.is_on(Which::Look)), (Which::Look, false));
    }
}
