//! The sockets of a group: what the engine asks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::task::Poll;
use core::time::Duration;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Bell, Cx, Instant, Refused, Watch};
use net_group::{
    Accept, Alarm, Backend, Bufs, Connecting, Happened, Kind, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, SPARING, Sending,
    Slot,
};
use sim_net::{Readiness, Role, SimNet, SimSocket, Watcher};

use crate::NAME;
use crate::socket::MemSocket;

/// Milliseconds after which what waits for something that nobody announces is tried again.
const RETRY_MILLIS: u32 = 10;

pub(crate) struct Sockets {
    /// Pins the thread, and has its core sleep no longer than nothing happens.
    _watch: Watch,
    bell: Rc<NewsBell>,
    sockets: PerSlot<Box<MemSocket>>,
    news: VecDeque<(u64, Readiness)>,
}

/// What a core asks before it sleeps.
struct NewsBell {
    watcher: Watcher,
    alarm: Alarm,
}

impl Bell for NewsBell {
    fn arm(&self) -> bool {
        !self.watcher.has_news()
    }

    fn disarm(&self) {}

    fn due(&self) -> Option<Instant> {
        [self.watcher.due(), self.alarm.due()].into_iter().flatten().min()
    }
}

impl Sockets {
    pub(crate) fn new(cx: &mut Cx<'_>, net: &SimNet, config: &GroupConfig) -> Self {
        let watcher = net.watcher(cx.platform(), cx.handle().waker());
        let bell = Rc::new(NewsBell { watcher, alarm: Alarm::default() });
        Self { _watch: cx.bell(bell.clone()), bell, sockets: PerSlot::of(config.sockets), news: VecDeque::new() }
    }

    fn sim(&self, slot: Slot) -> Result<&SimSocket, NetError> {
        self.sockets.get(slot.index()).map(|socket| &socket.0).ok_or(NetError::Stale)
    }
}

/// What a read that did not find bytes says.
fn no_bytes(read: Poll<Result<usize, NetError>>) -> Recv {
    match read {
        Poll::Pending => Recv::Empty,
        Poll::Ready(Ok(_)) => Recv::Eof,
        Poll::Ready(Err(why)) => Recv::Failed(why),
    }
}

fn bits(told: Readiness) -> Ready {
    let bits = [(told.read, Ready::READ), (told.write, Ready::WRITE), (told.over, Ready::OVER)];
    bits.into_iter().filter(|(is, _)| *is).fold(Ready::NOTHING, |all, (_, bit)| all.and(bit))
}

impl Backend for Sockets {
    type Socket = MemSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<MemSocket>) -> Result<Opened, Refused<Box<MemSocket>, NetError>> {
        let kind = match self.bell.watcher.watch(&socket.0, slot.id().raw()) {
            Ok(Role::Listener) => Kind::Listener,
            Ok(Role::Connect) => Kind::Connect,
            Ok(Role::Connecting) => Kind::Connecting,
            Ok(Role::Stream) => Kind::Stream,
            Ok(Role::Finished) => Kind::Finished,
            Err(why) => return Err(Refused { item: socket, why }),
        };
        self.sockets.set(slot.index(), Some(socket));
        Ok(Opened { kind, number: 0, acknowledge: false })
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<MemSocket> {
        let Some(socket) = self.sockets.take(slot.index()) else { return Released::Stays(NetError::Stale) };
        match how {
            Release::Close | Release::Over => socket.0.close(),
            Release::Abort => socket.0.reset(),
            Release::Detach => self.bell.watcher.forget(&socket.0),
        }
        Released::Now(socket)
    }

    fn socket(&self, slot: Slot) -> Option<&MemSocket> {
        self.sockets.get(slot.index()).map(|socket| &**socket)
    }

    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let Ok(socket) = self.sim(slot) else { return Recv::Failed(NetError::Stale) };
        let Some(mut buf) = bufs.take() else {
            // An end can be told without one, and who has no bytes waits for none. Some may arrive
            // between two questions: whoever has some is not at its end.
            return match socket.unread() {
                1.. => Recv::NoBuffer,
                0 => match socket.read(&mut []) {
                    Poll::Ready(Ok(_)) if socket.unread() > 0 => Recv::NoBuffer,
                    nothing => no_bytes(nothing),
                },
            };
        };
        let into = buf.spare_mut();
        let room = bufs.at_once(into.len());
        match socket.read(&mut into[..room]) {
            Poll::Ready(Ok(len)) if len > 0 => {
                buf.grow(len);
                Recv::Bytes(buf, socket.is_readable())
            }
            nothing => no_bytes(nothing),
        }
    }

    fn accept(&mut self, slot: Slot) -> Accept<MemSocket> {
        match self.sim(slot).map(SimSocket::accept) {
            Ok(Some(socket)) => Accept::Taken(Box::new(MemSocket(socket))),
            Ok(None) => Accept::Empty,
            Err(why) => Accept::Failed(why),
        }
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        match self.sim(slot).map_or_else(|why| Poll::Ready(Err(why)), SimSocket::connected) {
            Poll::Pending => Connecting::UnderWay(0),
            Poll::Ready(Ok(())) => Connecting::Connected,
            Poll::Ready(Err(why)) => Connecting::Failed(why),
        }
    }

    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        let Ok(socket) = self.sim(slot) else { return Sending::Failed };
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
        if let Ok(socket) = self.sim(slot) {
            socket.finish();
        }
    }

    fn poll(&mut self) {
        self.bell.watcher.take_news(&mut self.news);
    }

    fn next(&mut self, _: usize) -> Option<Happened<MemSocket>> {
        if let Some((key, told)) = self.news.pop_front() {
            return Some(Happened::Ready(SockId::from_raw(key), bits(told)));
        }
        self.bell.alarm.goes_off(|| self.bell.watcher.now()).then_some(Happened::Time)
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        self.sim(slot).ok()?.error()
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        self.sim(slot).is_ok_and(SimSocket::has_room)
    }

    /// All that was written to it waits in the network, wherever it is there.
    fn has_much(&mut self, slot: Slot) -> bool {
        self.sim(slot).is_ok_and(|socket| socket.unread_and_under_way() > SPARING)
    }

    fn wake_later(&mut self) -> bool {
        self.wake_for_look(RETRY_MILLIS)
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.bell.alarm.set(self.bell.watcher.now() + Duration::from_millis(millis.into()));
        true
    }
}
