//! The sockets of one group, in a stack that others share: what the engine asks, under the stack's
//! lock.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::time::Duration;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Cx, Platform, Refused, WaitSource, Watch};
use net_group::{Accept, Backend, Bufs, Connecting, Happened, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, Sending, Slot};

use crate::NAME;
use crate::bell::StackBell;
use crate::socket::SmolSocket;
use crate::stack::Shared;

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
    ready: VecDeque<(SockId, Ready)>,
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
            ready: VecDeque::with_capacity(config.sockets),
        })
    }

    fn set_blocked(&mut self, slot: Slot) {
        self.sockets.get_mut(slot.index()).into_iter().for_each(|entry| entry.blocked = true);
    }

    fn fin_sent(&self, slot: Slot) -> bool {
        self.sockets.get(slot.index()).is_some_and(|entry| entry.socket.fin_sent())
    }
}

impl Backend for Sockets {
    type Socket = SmolSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<SmolSocket>) -> Result<Opened, Refused<Box<SmolSocket>, NetError>> {
        if !socket.is_of(&self.shared) {
            let why = NetError::Unusable("a socket of one smoltcp stack cannot join a group of another: its device is not there".into());
            return Err(Refused { item: socket, why });
        }
        let Some((kind, number)) = socket.opens_as() else { return Err(Refused { item: socket, why: NetError::Stale }) };
        self.sockets.set(slot.index(), Some(Entry { id: slot.id(), socket, blocked: false }));
        // It may have had something to tell for a long time.
        self.seen = None;
        Ok(Opened { kind, number: number as i32, acknowledge: false })
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
        let fin_sent = self.fin_sent(slot);
        self.shared.lock().stream(slot.number() as u32).map_or(Recv::Empty, |mut stream| stream.recv(bufs, fin_sent))
    }

    fn accept(&mut self, listener: Slot) -> Accept<SmolSocket> {
        self.sockets.get(listener.index()).map_or(Accept::Empty, |entry| entry.socket.accept(&mut self.shared.lock()))
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        match self.sockets.get_mut(slot.index()) {
            Some(entry) => entry.socket.connect(&mut self.shared.lock()),
            None => Connecting::Failed(NetError::Stale),
        }
    }

    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        let sending = self.shared.lock().stream(slot.number() as u32).map_or(Sending::Failed, |mut stream| stream.send(out));
        if let Sending::Blocked(_) = sending {
            self.set_blocked(slot);
        }
        sending
    }

    fn fin(&mut self, slot: Slot) {
        self.sockets.get_mut(slot.index()).into_iter().for_each(|entry| entry.socket.set_fin_sent());
        self.shared.lock().stream(slot.number() as u32).into_iter().for_each(|mut stream| stream.fin());
    }

    fn next(&mut self, _: usize) -> Option<Happened<SmolSocket>> {
        let Some((id, ready)) = self.ready.pop_front() else {
            return self.bell.alarm().goes_off(|| self.platform.now()).then_some(Happened::Time);
        };
        if ready != Ready::READ
            && let Some(entry) = self.sockets.get_mut(id.index())
        {
            entry.blocked = false;
        }
        Some(Happened::Ready(id, ready))
    }

    /// Looks at every socket if any may have changed, because the stack does not say which. smoltcp
    /// looks at each of its own for each frame, so this costs little beside that.
    fn poll(&mut self) {
        let now = self.platform.now();
        let mut stack = self.shared.lock();
        let changes = stack.changes();
        stack.turn(now);
        if stack.changes() != changes {
            stack.wake_others(Some(self.name));
        }
        if self.seen == Some(stack.changes()) {
            return;
        }
        self.seen = Some(stack.changes());
        self.ready.clear();
        for (_, entry) in self.sockets.iter_mut() {
            let ready = entry.socket.ready(&mut stack, entry.blocked);
            if ready != Ready::NOTHING {
                self.ready.push_back((entry.id, ready));
            }
        }
    }

    fn flush(&mut self) {
        self.shared.lock().flush();
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        let fin_sent = self.fin_sent(slot);
        self.shared.lock().stream(slot.number() as u32)?.failure(fin_sent)
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        let has = self.shared.lock().stream(slot.number() as u32).is_none_or(|stream| stream.takes_answer());
        if !has {
            self.set_blocked(slot);
        }
        has
    }

    fn has_much(&mut self, slot: Slot) -> bool {
        self.shared.lock().stream(slot.number() as u32).is_some_and(|stream| stream.has_much())
    }

    fn wake_later(&mut self) -> bool {
        self.wake_for_look(RETRY_MILLIS)
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.bell.alarm().set(self.platform.now() + Duration::from_millis(millis.into()));
        true
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.wait_source
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.shared.lock().remove_watcher(self.name);
    }
}
