//! When groups and sessions are driven: how often they are polled, and the time that they are told.

use std::time::Duration;

use lcore::transport::Wait;
use lcore::{Cx, Schedule};

/// How often connections are told the time, which they only need for their timers of seconds and
/// more.
pub(crate) const TIME: Duration = Duration::from_millis(250);

/// How often a poller of a group that waits like this has to run.
pub(crate) fn schedule(wait: Wait) -> Schedule {
    match wait {
        Wait::Polled => Schedule::Always,
        Wait::Events => Schedule::WhenAwake,
    }
}

/// The time, as the protocol takes it.
pub(crate) fn since_start(cx: &Cx<'_>) -> Duration {
    Duration::from_nanos(cx.now().as_nanos())
}
