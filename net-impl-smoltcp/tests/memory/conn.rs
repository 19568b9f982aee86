//! A connection of the other side: what its blocking handle and the thread of the stacks share.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use conformance::net::{PATIENCE, PeerStream};

/// Bytes that wait to be sent before a write blocks.
const OUTBOX: usize = 64 << 10;

#[derive(Default)]
pub(crate) struct Conn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Its own address, once it is connected.
    pub(crate) local: Option<SocketAddr>,
    /// Received and not read.
    pub(crate) inbox: VecDeque<u8>,
    /// Written and not sent.
    pub(crate) outbox: VecDeque<u8>,
    /// The stream has ended in good order. What happens later is nothing to a reader.
    pub(crate) eof: bool,
    pub(crate) error: Option<ErrorKind>,
    /// The handle has ended its sending side, or is gone.
    pub(crate) shutdown: bool,
    pub(crate) dropped: bool,
    pub(crate) resets: bool,
    patience: Option<Duration>,
}

impl Conn {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics in here")
    }

    /// Changes it and tells who waits.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `pick` finds what it wants; `None` if it does not in the time that a call waits.
    pub(crate) fn wait<T>(&self, mut pick: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        let end = Instant::now() + state.patience.unwrap_or(PATIENCE);
        loop {
            if let Some(found) = pick(&mut state) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).expect("nobody panics in here").0;
        }
    }

    /// Waits until it is connected, or is not to be.
    pub(crate) fn connected(&self) -> io::Result<()> {
        let done = self.wait(|state| state.error.map(Err).or(state.local.map(|_| Ok(()))));
        done.unwrap_or(Err(ErrorKind::TimedOut)).map_err(Into::into)
    }
}

/// The handle.
pub(crate) struct Stream(pub(crate) Arc<Conn>);

impl PeerStream for Stream {
    fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.wait(|state| {
            if !state.inbox.is_empty() {
                return Some(io::Read::read(&mut state.inbox, to));
            }
            state.eof.then_some(Ok(0)).or(state.error.map(|kind| Err(kind.into())))
        });
        read.unwrap_or(Err(ErrorKind::WouldBlock.into()))
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        let written = self.0.wait(|state| {
            if let Some(kind) = state.error.or(state.shutdown.then_some(ErrorKind::BrokenPipe)) {
                return Some(Err(kind.into()));
            }
            let n = from.len().min(OUTBOX.saturating_sub(state.outbox.len()));
            state.outbox.extend(&from[..n]);
            (n > 0 || from.is_empty()).then_some(Ok(n))
        });
        written.unwrap_or(Err(ErrorKind::WouldBlock.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.lock().local.ok_or(ErrorKind::NotConnected.into())
    }

    fn shutdown(&self) -> io::Result<()> {
        self.0.change(|state| state.shutdown = true);
        Ok(())
    }

    fn reset_when_dropped(&self) {
        self.0.lock().resets = true;
    }

    fn set_patience(&self, patience: Duration) {
        self.0.lock().patience = Some(patience);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.change(|state| (state.shutdown, state.dropped) = (true, true));
    }
}
