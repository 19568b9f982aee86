//! Time as the healthy peers count it: that in which the server was stopped is left out, and that
//! in which this whole machine stood still.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Somebody looks more often than this, if the machine lets us run: every wait does.
const GAP: Duration = Duration::from_millis(200);

/// Counts while the server can run.
pub(crate) struct Clock(Mutex<State>);

struct State {
    counted: Duration,
    /// The last look.
    last: Instant,
    stopped: bool,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { counted: Duration::ZERO, last: Instant::now(), stopped: false }))
    }

    /// Time since the start, stops left out.
    pub(crate) fn now(&self) -> Duration {
        self.look().counted
    }

    /// The server is about to be stopped.
    pub(crate) fn stop(&self) {
        self.look().stopped = true;
    }

    /// It goes on again.
    pub(crate) fn go_on(&self) {
        self.look().stopped = false;
    }

    /// Counts the time since the last look.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = state.last.elapsed();
        state.last += passed;
        if !state.stopped {
            state.counted += passed.min(GAP);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_does_not_count() {
        let clock = Clock::new();
        clock.stop();
        let (before, began) = (clock.now(), Instant::now());
        while began.elapsed() < Duration::from_millis(5) {
            assert_eq!(clock.now(), before, "the clock ran through a stop");
        }
        clock.go_on();
        while clock.now() == before {}
    }

    #[test]
    fn a_time_in_which_nobody_looked_counts_as_a_gap_at_most() {
        let clock = Clock::new();
        let before = clock.now();
        clock.look().last -= 100 * GAP;
        assert!(clock.now() <= before + 2 * GAP);
    }
}
