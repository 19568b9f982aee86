//! [`Watcher`]: who is told of what happens to some sockets, and woken by it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::task::Waker;

use core_reactor::net::NetError;
use core_reactor::{Instant, Platform};

use crate::network::Shared;
use crate::ready::{Readiness, Role};
use crate::{SimNet, SimSocket};

/// Watches sockets of a network, each under a key of its choice: a poll group, or whatever serves
/// many sockets. When it is dropped they go on without it.
pub struct Watcher {
    net: Arc<Shared>,
    id: u64,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SimNet {
    /// A watcher that watches nothing yet. `waker` is woken when there is news, and when something
    /// is on its way that arrives before all else: whoever sleeps until [`Watcher::due`] looks
    /// again. The clock of the first watcher is the network's, if it has none.
    pub fn watcher(&self, clock: Arc<dyn Platform>, waker: Waker) -> Watcher {
        let id = self.0.with(|net| net.add_watcher(clock, waker));
        Watcher { net: self.0.clone(), id }
    }
}

impl Watcher {
    /// Watches a socket, of which it is told at once if it is ready for anything. Tells what it is.
    ///
    /// # Errors
    /// It is another network's.
    pub fn watch(&self, socket: &SimSocket, key: u64) -> Result<Role, NetError> {
        if !socket.is_of(&self.net) {
            return Err(NetError::Unusable("a socket of another network in memory".into()));
        }
        self.net.with(|net| net.set_watched(socket.id(), Some((self.id, key))))
    }

    /// Watches it no longer. What it was told of it is not taken back.
    pub fn forget(&self, socket: &SimSocket) {
        // One that is not there is not watched.
        let _ = self.net.with(|net| net.set_watched(socket.id(), None));
    }

    /// Adds to `news` what has happened since the last time, in order.
    pub fn take_news(&self, news: &mut VecDeque<(u64, Readiness)>) {
        self.net.with(|net| net.news(self.id).map(|untold| news.append(untold)));
    }

    /// Whether something has happened since.
    pub fn has_news(&self) -> bool {
        self.net.with(|net| net.news(self.id).is_some_and(|news| !news.is_empty()))
    }

    /// When there is something to be done: now, or when the next thing arrives in the network.
    pub fn due(&self) -> Option<Instant> {
        self.net.with(|net| match net.news(self.id) {
            Some(news) if !news.is_empty() => Some(net.now()),
            _ => net.next_due(),
        })
    }

    /// The time, as the network's clock has it.
    pub fn now(&self) -> Instant {
        self.net.with(|net| net.now())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.net.with(|net| net.remove_watcher(self.id));
    }
}
