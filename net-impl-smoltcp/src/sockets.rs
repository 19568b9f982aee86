//! The sockets of one group, in a stack that others share: what the engine asks, under the stack's lock.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::time::Duration;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Cx, Platform, Refused, WaitSource, Watch};
use net_group::{
    Accept, Backend, Bufs, Connecting, Happened, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, SPARING, Sending, Slot,
};
use smoltcp::socket::tcp::{RecvError, State};

use crate::NAME;
use crate::bell::StackBell;
use crate::connect;
use crate::place::End;
use crate::socket::{Kind, SmolSocket};
use crate::stack::{Shared, Stack};

/// Milliseconds after which what waits for something that nobody announces is tried again.
const RETRY_MILLIS: u32 = 10;

/// See the crate's documentation.
pub(crate) struct Sockets {
    _watch: Watch,
    bell: Rc<StackBell>,
    shared: Arc<Shared>,
    platform: Arc<dyn Platform>,
    wait_source: Option<WaitSource>,
    /// Names the group to the stack.
    name: u64,
    sockets: PerSlot<Entry>,
    /// The stack's changes up to which the sockets have been looked at; none when one has joined.
    seen: Option<u64>,
    /// What they showed.
    told: VecDeque<(SockId, Ready)>,
}

struct Entry {
    id: SockId,
    socket: Box<SmolSocket>,
    /// The stack had no room for more.
    blocked: bool,
}

impl Sockets {
    pub(crate) fn new(cx: &mut Cx<'_>, shared: Arc<Shared>, config: &GroupConfig) -> Result<Self, NetError> {
        let bell = Rc::new(StackBell::new(shared.clone()));
        let wait_source = shared.lock().wait_source();
        let watch = match wait_source {
            Some(source) => cx.watch_bell(source, bell.clone())?,
            None => cx.bell(bell.clone()),
        };
        let name = shared.lock().add_watcher(cx.handle().waker());
        Ok(Self {
            _watch: watch,
            bell,
            shared,
            platform: cx.platform(),
            wait_source,
            name,
            sockets: PerSlot::of(config.sockets),
            seen: None,
            told: VecDeque::with_capacity(config.sockets),
        })
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.sockets.get_mut(slot.index())
    }

    /// Looks at every socket, because the stack does not say whose state has changed. smoltcp looks at each of its own for each frame, so this costs little
    /// beside that.
    fn look_at_all(&mut self, stack: &mut Stack) {
        self.seen = Some(stack.changes);
        self.told.clear();
        for (_, entry) in self.sockets.iter_mut() {
            let ready = match entry.socket.kind {
                Kind::Stream(number) => stack.readiness(number, entry.blocked),
                Kind::Listener(number) if stack.has_accepted(number) => Ready::READ,
                Kind::Connect(..) => Ready::READ,
                Kind::Listener(_) | Kind::Closed => continue,
            };
            if ready != Ready::NOTHING {
                self.told.push_back((entry.id, ready));
            }
        }
    }
}

impl Backend for Sockets {
    type Socket = SmolSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<SmolSocket>) -> Result<Opened, Refused<Box<SmolSocket>, NetError>> {
        let kind = match &socket.kind {
            _ if !Arc::ptr_eq(&socket.stack, &self.shared) => {
                let why =
                    NetError::Unusable("a socket of one smoltcp stack cannot join a group of another: its device is not there".into());
                return Err(Refused { item: socket, why });
            }
            Kind::Closed => return Err(Refused { item: socket, why: NetError::Stale }),
            Kind::Listener(_) => net_group::Kind::Listener,
            Kind::Connect(..) => net_group::Kind::Connect,
            Kind::Stream(_) if socket.fin_sent => net_group::Kind::Finished,
            Kind::Stream(_) => net_group::Kind::Stream,
        };
        let number = socket.number().unwrap_or_default() as i32;
        self.sockets.set(slot.index(), Some(Entry { id: slot.id(), socket, blocked: false }));
        // It may have had something to tell for a long time.
        self.seen = None;
        Ok(Opened { kind, number, acknowledge: false })
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<SmolSocket> {
        let Some(Entry { mut socket, .. }) = self.sockets.take(slot.index()) else { return Released::Stays(NetError::Stale) };
        if how != Release::Detach {
            socket.release(&mut self.shared.lock(), how == Release::Abort);
        }
        Released::Now(socket)
    }

    fn socket(&self, slot: Slot) -> Option<&SmolSocket> {
        self.sockets.get(slot.index()).map(|entry| &*entry.socket)
    }

    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let number = slot.number() as u32;
        let mut stack = self.shared.lock();
        if stack.is_readable(number) {
            let Some(mut buf) = bufs.take() else { return Recv::NoBuffer };
            let room = bufs.at_once(buf.spare_capacity());
            // There are bytes, so it is not refused.
            let n = stack.tcp(number).recv_slice(&mut buf.spare_mut()[..room]).unwrap_or(0);
            // The window has grown, which the peer may have to be told.
            stack.unsent = true;
            if n > 0 {
                buf.grow(n);
                return Recv::Bytes(buf, stack.has_news(number));
            }
        }
        let fin_sent = self.sockets.get(slot.index()).is_some_and(|entry| entry.socket.fin_sent);
        match stack.tcp(number).recv(|_| (0, ())) {
            Err(RecvError::Finished) => stack.failure(number, fin_sent).map_or(Recv::Eof, Recv::Failed),
            Err(RecvError::InvalidState) if stack.tcp(number).state() == State::Closed => Recv::Failed(stack.error(number)),
            // No bytes, or fewer than the low-water mark.
            Ok(()) | Err(RecvError::InvalidState) => Recv::Empty,
        }
    }

    /// One that has been reset meanwhile has what it brought before still to be read, and its end.
    fn accept(&mut self, listener: Slot) -> Accept<SmolSocket> {
        let mut stack = self.shared.lock();
        let Some(at) = stack.accept(listener.number() as u32) else { return Accept::Empty };
        let Some((local, peer)) = stack.places[at as usize].ends else {
            stack.hang_up(at, true);
            return Accept::Gone;
        };
        let Some(Entry { socket: listener, .. }) = self.sockets.get(listener.index()) else { return Accept::Empty };
        Accept::Taken(Box::new(SmolSocket::accepted(listener.stack.clone(), at, &listener.options, local, peer)))
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        match self.sockets.get_mut(slot.index()) {
            Some(entry) => connect::go_on(&mut self.shared.lock(), &mut entry.socket),
            None => Connecting::Failed(NetError::Stale),
        }
    }

    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        let number = slot.number() as u32;
        let mut stack = self.shared.lock();
        let mut room = stack.room(number);
        let (mut taken, mut blocked) = (0, false);
        for part in out.iter() {
            // A connection that is gone takes nothing; what it sent before is read first.
            let n = stack.tcp(number).send_slice(&part[..part.len().min(room)]).unwrap_or(0);
            (taken, room) = (taken + n, room - n);
            if n < part.len() {
                blocked = true;
                break;
            }
        }
        stack.unsent |= taken > 0;
        drop(stack);
        if blocked {
            if let Some(entry) = self.entry(slot) {
                entry.blocked = true;
            }
            return Sending::Blocked(taken);
        }
        Sending::Taken(taken)
    }

    fn fin(&mut self, slot: Slot) {
        if let Some(entry) = self.entry(slot) {
            entry.socket.fin_sent = true;
        }
        let mut stack = self.shared.lock();
        stack.tcp(slot.number() as u32).close();
        stack.unsent = true;
    }

    fn next(&mut self, _: usize) -> Option<Happened<SmolSocket>> {
        let Some((id, ready)) = self.told.pop_front() else {
            return self.bell.is_time(|| self.platform.now()).then_some(Happened::Time);
        };
        if ready != Ready::READ
            && let Some(entry) = self.sockets.get_mut(id.index())
        {
            entry.blocked = false;
        }
        Some(Happened::Ready(id, ready))
    }

    fn poll(&mut self) {
        let now = self.platform.now();
        let shared = self.shared.clone();
        let mut stack = shared.lock();
        let changes = stack.changes;
        stack.turn(now);
        if stack.changes != changes {
            stack.wake_others(Some(self.name));
        }
        if self.seen != Some(stack.changes) {
            self.look_at_all(&mut stack);
        }
    }

    fn flush(&mut self) {
        let mut stack = self.shared.lock();
        if stack.unsent {
            stack.egress();
        }
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        let fin_sent = self.entry(slot)?.socket.fin_sent;
        self.shared.lock().failure(slot.number() as u32, fin_sent)
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        let has = self.shared.lock().takes_answer(slot.number() as u32);
        if !has && let Some(entry) = self.entry(slot) {
            entry.blocked = true;
        }
        has
    }

    fn has_much(&mut self, slot: Slot) -> bool {
        self.shared.lock().tcp(slot.number() as u32).recv_queue() > SPARING
    }

    fn wake_later(&mut self) -> bool {
        self.wake_for_look(RETRY_MILLIS)
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.bell.wake_at(self.platform.now() + Duration::from_millis(millis.into()));
        true
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.wait_source
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let mut stack = self.shared.lock();
        stack.remove_watcher(self.name);
        // The last group takes its leave of its peers; nobody polls for it after this.
        stack.egress();
        stack.wake_others(None);
    }
}

impl Stack {
    /// What a connection has to tell its group; whether there is room matters to one that is `blocked`.
    fn readiness(&mut self, at: u32, blocked: bool) -> Ready {
        let mut ready = if self.has_news(at) { Ready::READ } else { Ready::NOTHING };
        if blocked && self.has_room(at) {
            ready = ready.and(Ready::WRITE);
        }
        if self.places[at as usize].end.is_some() { ready.and(Ready::OVER) } else { ready }
    }

    /// Whether so many bytes are there that they are to be read. After the peer's end any number is.
    #[inline]
    fn is_readable(&mut self, at: u32) -> bool {
        let low_water = self.places[at as usize].wants.low_water;
        let socket = self.tcp(at);
        let there = socket.recv_queue();
        there >= low_water || there > 0 && !matches!(socket.state(), State::Established | State::FinWait1 | State::FinWait2)
    }

    /// Whether a connection has anything to be read, an end included.
    #[inline]
    fn has_news(&mut self, at: u32) -> bool {
        let quiet = matches!(self.tcp(at).state(), State::Established | State::FinWait1 | State::FinWait2);
        !quiet || self.is_readable(at)
    }

    /// How many bytes it takes now.
    fn room(&mut self, at: u32) -> usize {
        let limit = self.places[at as usize].wants.send_buf;
        limit.saturating_sub(self.tcp(at).send_queue())
    }

    /// Whether there is room to write, or nothing to wait for any more.
    #[inline]
    fn has_room(&mut self, at: u32) -> bool {
        self.room(at) > 0 || !self.tcp(at).may_send()
    }

    /// Whether a third of the room to write is free, so that an answer is likely to be taken as a whole; or nothing is to be waited for any more.
    fn takes_answer(&mut self, at: u32) -> bool {
        let limit = self.places[at as usize].wants.send_buf;
        let socket = self.tcp(at);
        3 * socket.send_queue() <= 2 * limit || !socket.may_send()
    }

    /// What a connection has ended of behind the peer's end. With both FINs exchanged and everything acknowledged a reset says nothing new.
    fn failure(&mut self, at: u32, fin_sent: bool) -> Option<NetError> {
        let said_all = fin_sent && self.tcp(at).send_queue() == 0;
        (self.places[at as usize].end.is_some() && !said_all).then(|| self.error(at))
    }

    fn error(&self, at: u32) -> NetError {
        match self.places[at as usize].end {
            Some(End::TimedOut) => NetError::TimedOut,
            _ => NetError::Reset,
        }
    }
}
