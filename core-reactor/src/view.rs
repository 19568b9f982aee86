//! What can be seen of a group from outside of the poller that owns it.
//!
//! A group is its poller's alone, so whoever watches asks for a look, and the group's next poll
//! puts down what it has. A group that nobody asks spends one load on it in each poll.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

use crate::Cx;

/// A group's window, through which `T` is seen: [`Cx::views`] has those of a thread.
#[derive(Debug)]
pub struct View<T> {
    backend: &'static str,
    /// Details that are asked for, plus one; 0 if nobody asks.
    asked: AtomicUsize,
    seen: Mutex<T>,
}

impl<T: Clone + Default> View<T> {
    /// For a group over the backend, or the transport, of that name.
    pub fn new(backend: &'static str) -> Self {
        Self { backend, asked: AtomicUsize::new(0), seen: Mutex::default() }
    }

    /// The name of the group's backend or transport.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Has the group's next poll put down its figures, and what it knows of so many of its members.
    pub fn ask(&self, members: usize) {
        self.asked.fetch_max(members.saturating_add(1), Ordering::Relaxed);
    }

    /// What was put down last; nothing yet, if the group was never asked or has not polled since.
    pub fn seen(&self) -> T {
        self.seen.lock().clone()
    }

    /// For the group: of how many members it is asked to tell, if it is asked at all.
    #[inline]
    pub fn asked(&self) -> Option<usize> {
        // Set and read on one core, in a message and in a poll.
        self.asked.load(Ordering::Relaxed).checked_sub(1)
    }

    /// For the group: the answer.
    pub fn show(&self, info: T) {
        self.asked.store(0, Ordering::Relaxed);
        *self.seen.lock() = info;
    }
}

impl Cx<'_> {
    /// Lists a group among those of this thread, as long as its view lives. For backends and
    /// transports.
    pub fn list_view<T: Any + Send>(&mut self, view: &Arc<View<T>>) {
        self.list(view);
    }

    /// The windows of this thread's groups, of one kind: [`GroupInfo`](crate::net::GroupInfo) or
    /// [`QueueGroupInfo`](crate::transport::QueueGroupInfo).
    pub fn views<T: Any + Send>(&self) -> Vec<Arc<View<T>>> {
        self.listed()
    }
}
