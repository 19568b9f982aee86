//! The sockets of a group: what the engine asks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::Cell;
use core::mem;
use core::task::Poll;
use core::time::Duration;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Bell, Cx, Instant, Refused, Watch};
use net_group::{
    Accept, Backend, Bufs, Connecting, Happened, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, SPARING, Sending, Slot,
};

use crate::NAME;
use crate::network::End;
use crate::socket::{MemSocket, Shared};

/// Time after which what waits for something that nobody announces is tried again.
const RETRY: Duration = Duration::from_millis(10);

pub(crate) struct Members {
    /// Pins the thread, and has its core sleep no longer than nothing happens.
    _watch: Watch,
    net: Arc<Shared>,
    group: u64,
    sockets: PerSlot<Box<MemSocket>>,
    told: VecDeque<(SockId, Ready)>,
    bell: Rc<NewsBell>,
}

impl Members {
    pub(crate) fn new(cx: &mut Cx<'_>, net: &Arc<Shared>, config: &GroupConfig) -> Self {
        let (clock, waker) = (cx.platform(), cx.handle().waker());
        let (net, group) = (net.clone(), net.with(|net| net.join(clock, waker)));
        let bell = Rc::new(NewsBell { net: net.clone(), group, time: Cell::new(None) });
        Self { _watch: cx.bell(bell.clone()), net, group, sockets: PerSlot::of(config.sockets), told: VecDeque::new(), bell }
    }

    fn of(&self, slot: Slot) -> Result<&MemSocket, NetError> {
        self.sockets.get(slot.index()).map(|socket| &**socket).ok_or(NetError::Stale)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.net.with(|net| net.leave(self.group));
    }
}

/// What a core asks before it sleeps.
struct NewsBell {
    net: Arc<Shared>,
    group: u64,
    /// When the group is to be woken in any case.
    time: Cell<Option<Instant>>,
}

impl NewsBell {
    fn wake_in(&self, time: Duration) {
        let at = self.net.with(|net| net.now() + time);
        self.time.set(Some(self.time.get().map_or(at, |before| before.min(at))));
    }
}

impl Bell for NewsBell {
    fn arm(&self) -> bool {
        self.net.with(|net| net.news(self.group).is_none_or(|news| news.is_empty()))
    }

    fn disarm(&self) {}

    fn due(&self) -> Option<Instant> {
        let of_net = self.net.with(|net| net.news(self.group).is_some_and(|news| !news.is_empty()).then(|| net.now()).or(net.next_due()));
        [of_net, self.time.get()].into_iter().flatten().min()
    }
}

impl MemSocket {
    /// An end can be told without one, and who has no bytes waits for none.
    fn receive_without_buffer(&self) -> Recv {
        if self.net.with(|net| net.end(self.id).is_ok_and(End::has_unread)) {
            return Recv::NoBuffer;
        }
        match self.read(&mut []) {
            Poll::Pending => Recv::Empty,
            Poll::Ready(Ok(_)) => Recv::Eof,
            Poll::Ready(Err(why)) => Recv::Failed(why),
        }
    }
}

impl Backend for Members {
    type Socket = MemSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<MemSocket>) -> Result<Opened, Refused<Box<MemSocket>, NetError>> {
        let kind = match Arc::ptr_eq(&socket.net, &self.net) {
            true => self.net.with(|net| net.enrol(socket.id, Some((self.group, slot.id())))),
            false => Err(NetError::Unusable("a socket of another network in memory".into())),
        };
        match kind {
            Ok(kind) => {
                self.sockets.set(slot.index(), Some(socket));
                Ok(Opened { kind, number: 0, acknowledge: false })
            }
            Err(why) => Err(Refused { item: socket, why }),
        }
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<MemSocket> {
        let Some(socket) = self.sockets.take(slot.index()) else { return Released::Stays(NetError::Stale) };
        self.net.with(|net| match how {
            Release::Close | Release::Over => net.close(socket.id, true),
            Release::Abort => net.close(socket.id, false),
            Release::Detach => drop(net.enrol(socket.id, None)),
        });
        Released::Now(socket)
    }

    fn socket(&self, slot: Slot) -> Option<&MemSocket> {
        self.of(slot).ok()
    }

    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let Ok(socket) = self.of(slot) else { return Recv::Failed(NetError::Stale) };
        let Some(mut buf) = bufs.take() else { return socket.receive_without_buffer() };
        let into = buf.spare_mut();
        let room = bufs.at_once(into.len());
        match socket.read(&mut into[..room]) {
            Poll::Pending => Recv::Empty,
            Poll::Ready(Ok(0)) => Recv::Eof,
            Poll::Ready(Err(why)) => Recv::Failed(why),
            Poll::Ready(Ok(len)) => {
                buf.grow(len);
                Recv::Bytes(buf, self.net.with(|net| net.end(socket.id).is_ok_and(End::has_more)))
            }
        }
    }

    fn accept(&mut self, slot: Slot) -> Accept<MemSocket> {
        match self.of(slot).map(MemSocket::accept) {
            Ok(Some(socket)) => Accept::Taken(Box::new(socket)),
            Ok(None) => Accept::Empty,
            Err(why) => Accept::Failed(why),
        }
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        let socket = match self.of(slot) {
            Ok(socket) => socket,
            Err(why) => return Connecting::Failed(why),
        };
        match socket.net.with(|net| net.go_on(socket.id)) {
            Poll::Pending => Connecting::UnderWay(0),
            Poll::Ready(Ok(())) => Connecting::Connected,
            Poll::Ready(Err(why)) => Connecting::Failed(why),
        }
    }

    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        let Ok(socket) = self.of(slot) else { return Sending::Failed };
        let mut taken = 0;
        for part in out.iter() {
            match socket.write(part) {
                Poll::Ready(Ok(len)) if len < part.len() => return Sending::Taken(taken + len),
                Poll::Ready(Ok(len)) => taken += len,
                Poll::Pending => return Sending::Blocked(taken),
                Poll::Ready(Err(_)) => return Sending::Failed,
            }
        }
        Sending::Taken(taken)
    }

    fn fin(&mut self, slot: Slot) {
        if let Ok(socket) = self.of(slot) {
            socket.finish();
        }
    }

    fn poll(&mut self) {
        let told = &mut self.told;
        self.net.with(|net| net.news(self.group).map(|news| mem::swap(news, told)));
    }

    fn next(&mut self, _: usize) -> Option<Happened<MemSocket>> {
        if let Some((id, ready)) = self.told.pop_front() {
            return Some(Happened::Ready(id, ready));
        }
        let at = self.bell.time.get()?;
        let is_time = self.net.with(|net| net.now()) >= at;
        is_time.then(|| self.bell.time.set(None)).map(|()| Happened::Time)
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        let socket = self.of(slot).ok()?;
        socket.net.with(|net| net.end(socket.id).ok()?.failed())
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        self.of(slot).is_ok_and(|socket| socket.net.with(|net| net.has_room(socket.id)))
    }

    /// All that was written to it waits in the network, wherever it is there.
    fn has_much(&mut self, slot: Slot) -> bool {
        self.of(slot).is_ok_and(|socket| socket.net.with(|net| net.end(socket.id).is_ok_and(|end| end.written() > SPARING)))
    }

    fn wake_later(&mut self) -> bool {
        self.bell.wake_in(RETRY);
        true
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.bell.wake_in(Duration::from_millis(millis.into()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Faults;
    use crate::network::Network;

    #[test]
    fn s74_a_core_sleeps_until_the_earliest_time_that_was_asked_for() {
        let (soon, late) = (Duration::from_millis(10), Duration::from_secs(900));
        for times in [[soon, late], [late, soon]] {
            let bell = NewsBell { net: Arc::new(Shared::new(Network::new(1, Faults::default()))), group: 0, time: Cell::new(None) };
            times.into_iter().for_each(|time| bell.wake_in(time));
            assert_eq!(bell.due(), Some(Instant::ZERO + soon));
        }
    }
}
