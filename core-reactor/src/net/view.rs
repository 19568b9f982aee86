//! What can be seen of a group from outside of the poller that owns it.
//!
//! A group is its poller's alone, so whoever watches asks for a look, and the group's next poll
//! puts down what it has. A group that nobody asks spends one load on it in each poll.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

use super::{GroupStats, Token};
use crate::Cx;

/// A group's window: [`Cx::groups`] has those of a thread.
#[derive(Debug)]
pub struct GroupView {
    backend: &'static str,
    /// Sockets that are asked for, plus one; 0 if nobody asks.
    asked: AtomicUsize,
    seen: Mutex<GroupInfo>,
}

/// A group as it was when it was last asked.
#[derive(Clone, Debug, Default)]
pub struct GroupInfo {
    /// What it has done.
    pub stats: GroupStats,
    /// Sockets in it, those with the most unsent bytes first.
    pub sockets: Vec<SocketInfo>,
}

/// A socket as it was then.
#[derive(Clone, Debug)]
pub struct SocketInfo {
    /// The application's name for it.
    pub token: Token,
    /// Where in its life it is: a word in lower case.
    pub state: &'static str,
    /// Its own address, if the system tells.
    pub local: Option<SocketAddr>,
    /// The other side's, where there is one.
    pub peer: Option<SocketAddr>,
    /// Bytes that are queued and the system has not taken.
    pub unsent: usize,
    /// Whether the application has paused it.
    pub is_paused: bool,
}

impl GroupView {
    /// For a group over the backend of that name.
    pub fn new(backend: &'static str) -> Self {
        Self { backend, asked: AtomicUsize::new(0), seen: Mutex::default() }
    }

    /// The name of the group's backend.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Has the group's next poll put down its figures, and what it knows of so many sockets.
    pub fn ask(&self, sockets: usize) {
        self.asked.fetch_max(sockets.saturating_add(1), Ordering::Relaxed);
    }

    /// What was put down last; nothing yet, if the group was never asked or has not polled since.
    pub fn seen(&self) -> GroupInfo {
        self.seen.lock().clone()
    }

    /// For the group: how many sockets it is asked to tell of, if it is asked at all.
    #[inline]
    pub fn asked(&self) -> Option<usize> {
        // Set and read on one core, in a message and in a poll.
        self.asked.load(Ordering::Relaxed).checked_sub(1)
    }

    /// For the group: the answer.
    pub fn show(&self, info: GroupInfo) {
        self.asked.store(0, Ordering::Relaxed);
        *self.seen.lock() = info;
    }
}

impl Cx<'_> {
    /// Lists a group among those of this thread, as long as its view lives. For backends.
    pub fn list_group(&mut self, view: &Arc<GroupView>) {
        self.list(view);
    }

    /// The groups of this thread.
    pub fn groups(&self) -> Vec<Arc<GroupView>> {
        self.listed()
    }
}
