//! What wakes a core: one epoll set of a group's channels, and a timer for what is being connected
//! or ended.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use core_reactor::WaitSource;
use core_reactor::transport::TransportError;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

use crate::error::os;
use crate::verbs::Errno;

/// The sources of a group whose core may sleep.
pub(crate) struct Sources {
    set: OwnedFd,
    timer: OwnedFd,
    /// The timer runs.
    timed: bool,
}

impl Sources {
    pub(crate) fn new() -> Result<Self, TransportError> {
        let failed = |why: rustix::io::Errno| os("make an epoll set for a group", Errno(why.raw_os_error()));
        let set = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).map_err(failed)?;
        let sources = Self { set, timer, timed: false };
        sources.add(&sources.timer)?;
        Ok(sources)
    }

    /// Adds a source, until its descriptor is closed.
    pub(crate) fn add(&self, source: impl AsFd) -> Result<(), TransportError> {
        let failed = |why: rustix::io::Errno| os("watch a channel", Errno(why.raw_os_error()));
        epoll::add(&self.set, source, EventData::new_u64(0), EventFlags::IN).map_err(failed)
    }

    /// Takes back what was added.
    pub(crate) fn remove(&self, source: impl AsFd) {
        if let Err(why) = epoll::delete(&self.set, source) {
            log::error!("a channel is watched for ever: {why}");
        }
    }

    pub(crate) fn source(&self) -> WaitSource {
        WaitSource(self.set.as_raw_fd())
    }

    /// Wakes after this time, or never. Also takes back what the timer has told.
    pub(crate) fn wake_after(&mut self, limit: Option<Duration>) {
        if limit.is_none() && !self.timed {
            return;
        }
        // Zero would switch it off.
        let limit_or_never = limit.map_or(Duration::ZERO, |limit| limit.max(Duration::from_micros(1)));
        let value = Timespec { tv_sec: limit_or_never.as_secs() as _, tv_nsec: limit_or_never.subsec_nanos() as _ };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: value };
        if let Err(why) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec) {
            log::error!("a timer cannot be set: {why}");
        }
        self.timed = limit.is_some();
    }
}
