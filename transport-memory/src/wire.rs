//! A connection: two ends, and what is on its way to each.
//!
//! What an end asks for and what it answers travel apart. A message that finds no receive buffer
//! holds up what was asked behind it, and must not hold up the answers that its own peer waits for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use core_reactor::WaitSource;
use core_reactor::transport::{RemoteMemory, TransportError};
use rustix::event::EventfdFlags;

use crate::fabric::Fabric;

pub(crate) struct Wire {
    ends: [Mutex<End>; 2],
    addrs: [SocketAddr; 2],
    fabric: Arc<Fabric>,
}

/// Which end of a wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Asked,
    Accepted,
}

/// What has arrived at one end.
#[derive(Default)]
pub(crate) struct End {
    /// In order. Each with the looks for which it is not there yet.
    pub(crate) requests: VecDeque<(u32, Request)>,
    pub(crate) replies: VecDeque<(u32, Reply)>,
    /// To who asked for a connection.
    pub(crate) answer: Option<Answer>,
    /// To who accepted: the other end has seen it.
    pub(crate) ready: bool,
    /// The other end is no more.
    pub(crate) gone: Option<Gone>,
    pub(crate) waker: Option<Arc<Waker>>,
}

pub(crate) enum Request {
    Send { bytes: Vec<u8>, imm: Option<u32> },
    Write { bytes: Vec<u8>, to: RemoteMemory, imm: Option<u32> },
    Read { from: RemoteMemory },
}

/// To the oldest request that has none.
pub(crate) enum Reply {
    Done,
    Data(Vec<u8>),
    Failed(TransportError),
}

pub(crate) enum Answer {
    Accepted { private_data: Box<[u8]>, reads: u32 },
    Rejected(Box<[u8]>),
}

/// How an end went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Orderly,
    Lost,
}

impl Wire {
    pub(crate) fn new(fabric: Arc<Fabric>, asked: SocketAddr, accepted: SocketAddr) -> Arc<Self> {
        Arc::new(Self { ends: Default::default(), addrs: [asked, accepted], fabric })
    }

    pub(crate) fn addr(&self, side: Side) -> SocketAddr {
        self.addrs[side as usize]
    }

    /// What has arrived at this end.
    pub(crate) fn end(&self, side: Side) -> MutexGuard<'_, End> {
        lock(&self.ends[side as usize])
    }

    /// Has something arrive at the other end.
    pub(crate) fn tell(&self, from: Side, what: impl FnOnce(&mut End)) {
        let mut end = self.end(from.other());
        what(&mut end);
        let waker = end.waker.clone();
        drop(end);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn request(&self, from: Side, request: Request) {
        let delay = self.delay();
        self.tell(from, |end| end.requests.push_back((delay, request)));
    }

    pub(crate) fn reply(&self, from: Side, reply: Reply) {
        let delay = self.delay();
        self.tell(from, |end| end.replies.push_back((delay, reply)));
    }

    fn delay(&self) -> u32 {
        match self.fabric.weather.delay {
            0 => 0,
            most => (self.fabric.draw() % u64::from(most + 1)) as u32,
        }
    }
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Asked => Self::Accepted,
            Self::Accepted => Self::Asked,
        }
    }
}

/// What wakes the core of a group: an eventfd, if the group does not poll.
pub(crate) struct Waker(Option<OwnedFd>);

impl Waker {
    pub(crate) fn polled() -> Self {
        Self(None)
    }

    pub(crate) fn events() -> rustix::io::Result<Self> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(|fd| Self(Some(fd)))
    }

    pub(crate) fn source(&self) -> Option<WaitSource> {
        self.0.as_ref().map(|fd| WaitSource(fd.as_raw_fd()))
    }

    pub(crate) fn wake(&self) {
        if let Some(fd) = &self.0 {
            // Refused only when the count is full, and then it is ready.
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }

    /// From here on it becomes ready for what is new.
    pub(crate) fn arm(&self) {
        if let Some(fd) = &self.0 {
            // Refused only when there is nothing to take.
            let _ = rustix::io::read(fd, &mut [0; 8]);
        }
    }
}

/// Locks what another test's failure may have poisoned; that failure is reported where it happened.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
