//! Time as the healthy peers count it: that in which the server was stopped is left out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts while the server runs.
pub(crate) struct Clock(Mutex<State>);

struct State {
    began: Instant,
    /// All stops that are over.
    stopped: Duration,
    /// The stop that is not.
    since: Option<Instant>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { began: Instant::now(), stopped: Duration::ZERO, since: None }))
    }

    /// Time since the start, stops left out.
    pub(crate) fn now(&self) -> Duration {
        let state = self.state();
        let stopped = state.stopped + state.since.map_or(Duration::ZERO, |since| since.elapsed());
        state.began.elapsed().saturating_sub(stopped)
    }

    /// The server is about to be stopped.
    pub(crate) fn stop(&self) {
        self.state().since.get_or_insert_with(Instant::now);
    }

    /// It goes on again.
    pub(crate) fn go_on(&self) {
        let mut state = self.state();
        if let Some(since) = state.since.take() {
            state.stopped += since.elapsed();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_does_not_count() {
        let clock = Clock::new();
        clock.stop();
        let before = clock.now();
        while clock.state().since.is_some_and(|since| since.elapsed() < Duration::from_millis(20)) {
            std::thread::yield_now();
        }
        assert!(clock.now() <= before + Duration::from_millis(1), "the clock ran through a stop");
        clock.go_on();
        let after = clock.now();
        while clock.now() == after {
            std::thread::yield_now();
        }
    }
}
