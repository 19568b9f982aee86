//! The group: its parts, and what the application calls.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::net::SocketAddr;
use core::task::Waker;

use core_reactor::net::{Events, Frame, GroupConfig, GroupStats, NetError, SockGroup, SockId, SockOptions, Socket, Token, group_tag};
use core_reactor::{Cx, Platform, Refused, WaitSource, Watch};
use net_group::{Frames, Limits, Slab, Supply, Turns, slab};
use pool::{Buf, BufGroup, Request};

use crate::bell::StackBell;
use crate::socket::{Kind, SmolSocket};
use crate::stack::{Shared, Stack};
use crate::{NAME, flag};

/// A group of the stack's sockets. See the crate's documentation.
pub(crate) struct Group {
    _watch: Watch,
    shared: Arc<Shared>,
    platform: Arc<dyn Platform>,
    wait_source: Option<WaitSource>,
    /// Names the group to the stack.
    name: u64,
    state: State,
}

/// What a group knows of its sockets. Apart from the stack, so that both can be at hand.
pub(crate) struct State {
    pub(crate) slab: Slab<SmolSocket>,
    pub(crate) frames: Frames,
    pub(crate) bufs: BufGroup,
    /// Places with frames to write.
    pub(crate) dirty: Vec<u32>,
    /// Places to serve, in rotation.
    ready: VecDeque<u32>,
    /// Places that wait for a buffer, first come first served.
    pub(crate) starved: VecDeque<u32>,
    /// What was asked of the pool for them.
    pub(crate) wait: Option<Request>,
    pub(crate) waker: Waker,
    /// The stack's changes up to which the sockets have been looked at.
    seen: u64,
    /// Places above this one have been empty all the time.
    used: usize,
    pub(crate) limits: Limits,
    pub(crate) turns: Turns,
    supply: Supply,
    pub(crate) stats: GroupStats,
}

impl Group {
    pub(crate) fn new(cx: &mut Cx<'_>, shared: Arc<Shared>, config: GroupConfig) -> Result<Self, NetError> {
        let (limits, supply) = (Limits::new(&config), Supply::new(&config));
        let GroupConfig { sockets, bufs, .. } = config;
        let bell = Rc::new(StackBell(shared.clone()));
        let wait_source = shared.lock().wait_source();
        let watch = match wait_source {
            Some(source) => cx.watch_bell(source, bell)?,
            None => cx.bell(bell),
        };
        let (tag, waker) = (group_tag(), cx.handle().waker());
        let name = shared.lock().add_watcher(waker.clone());
        let state = State {
            slab: Slab::new(sockets, tag),
            // Room for an echo on each socket, and for the report of its end.
            frames: Frames::new(2 * sockets),
            bufs,
            dirty: Vec::with_capacity(sockets),
            ready: VecDeque::with_capacity(sockets),
            starved: VecDeque::with_capacity(sockets),
            wait: None,
            waker,
            seen: 0,
            used: 0,
            limits,
            turns: Turns::new(sockets),
            supply,
            stats: GroupStats::default(),
        };
        Ok(Self { _watch: watch, shared, platform: cx.platform(), wait_source, name, state })
    }
}

impl State {
    /// Puts a place at the end of the rotation.
    pub(crate) fn enqueue(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_READY) {
            self.ready.push_back(place as u32);
        }
    }

    /// The end of a socket: its frames come back as cancelled, then `Closed`. What the stack has still goes out.
    pub(crate) fn finish(&mut self, stack: &mut Stack, place: usize, why: Option<NetError>) {
        self.end(stack, place, why, false);
    }

    fn end(&mut self, stack: &mut Stack, place: usize, why: Option<NetError>, abort: bool) {
        let hot = self.slab.hot(place);
        let (id, token, written) = (hot.id, hot.token, hot.written);
        let mut queue = core::mem::take(&mut hot.queue);
        self.frames.cancel(&mut queue, id, token, written);
        self.frames.closed(id, token, why);
        if let Some(mut socket) = self.slab.take(place) {
            // Here, and not when it is dropped, because the stack's lock is held.
            socket.release(stack, abort);
        }
    }

    /// Whether a socket holds so much to send that nothing more is read from it.
    #[inline]
    pub(crate) fn is_full(&mut self, place: usize) -> bool {
        self.limits.hold_reads(self.slab.hot(place))
    }

    /// Goes on reading from a socket whose queue has got shorter.
    pub(crate) fn end_hold(&mut self, place: usize) {
        if !self.is_full(place) {
            self.slab.hot(place).flags &= !flag::HELD;
            self.enqueue(place);
        }
    }

    fn place(&self, id: SockId) -> Result<usize, NetError> {
        self.slab.find(id).ok_or(NetError::Stale)
    }

    /// Looks at every socket, because the stack does not say whose state has changed. smoltcp looks at each of its own for each frame, so this costs little
    /// beside that.
    fn look_at_all(&mut self, stack: &mut Stack) {
        self.seen = stack.changes;
        for place in 0..self.used {
            let hot = self.slab.hot(place);
            let (flags, number) = (hot.flags, hot.fd as u32);
            let news = if flags & flag::STREAM != 0 {
                if flags & flag::BLOCKED != 0 && stack.has_room(number) {
                    self.write(stack, place);
                }
                flags & (flag::PAUSED | flag::HELD) == 0 && stack.has_news(number)
            } else if flags & flag::LISTENER != 0 {
                stack.has_accepted(number)
            } else {
                flags & flag::CONNECTING != 0
            };
            if news {
                self.enqueue(place);
            }
        }
    }

    /// Reads, accepts or goes on connecting; the caller has left room for an event.
    fn serve(&mut self, stack: &mut Stack, place: usize, out: &mut Events) {
        let flags = self.slab.hot(place).flags;
        if flags & flag::STREAM != 0 {
            self.receive(stack, place, None, out);
        } else if flags & flag::LISTENER != 0 {
            self.accept(stack, place, out);
        } else if flags & flag::CONNECTING != 0 {
            self.connected(stack, place, out);
        }
    }

    /// One turn for each socket in the rotation, as long as there is room.
    fn serve_ready(&mut self, stack: &mut Stack, out: &mut Events) {
        for _ in 0..self.ready.len() {
            if out.room() == 0 {
                return;
            }
            let Some(place) = self.ready.pop_front() else { return };
            self.slab.hot(place as usize).flags &= !flag::IN_READY;
            // Each of many may take one in the same poll, so that the last buffers would go before the next.
            if self.supply.may_be_low(0) {
                self.mind_supply(stack);
            }
            self.serve(stack, place as usize, out);
        }
    }

    /// Hands out at most `most` reports.
    fn deliver(&mut self, most: usize, out: &mut Events) {
        for _ in 0..most {
            let Some((event, shorter)) = self.frames.next_report(&self.limits, &mut self.slab) else { return };
            if let Some(place) = shorter
                && self.slab.hot(place).is(flag::HELD)
            {
                self.end_hold(place);
            }
            out.append(event);
        }
    }

    /// Looks how many buffers are left; while they are short, ends those whose peers take nothing.
    #[cold]
    fn mind_supply(&mut self, stack: &mut Stack) {
        self.supply.look(0, &mut self.limits, &mut self.stats);
        if !self.supply.ends_stalled() {
            return;
        }
        // It is the clock that ends them, so the core must not sleep.
        self.waker.wake_by_ref();
        for (id, why) in self.supply.stalled(&mut self.slab, &self.frames, flag::BLOCKED, stack.now.as_nanos()) {
            if let Some(place) = self.slab.find(id) {
                self.stats.stalled += 1;
                self.end(stack, place, Some(why), true);
            }
        }
    }

    fn poll(&mut self, stack: &mut Stack, out: &mut Events) {
        self.turns.begin();
        if self.supply.may_be_low(0) {
            self.mind_supply(stack);
        }
        if self.frames.has_reports() {
            // Half of the room, rounded up every second time: a sender that always has more to hear of leaves room for what arrives.
            self.deliver((out.room() + (self.stats.polls & 1) as usize) / 2, out);
        }
        if self.seen != stack.changes {
            self.look_at_all(stack);
        }
        if !self.starved.is_empty() {
            self.feed(stack, out);
        }
        self.serve_ready(stack, out);
        if self.frames.has_reports() {
            self.deliver(out.room(), out);
        }
        if !self.starved.is_empty() && self.wait.is_none() {
            // Nobody is served before those that wait, and the core may sleep.
            self.queue_for_a_buffer(stack.now.as_nanos());
        }
    }

    fn attach(&mut self, stack: &mut Stack, socket: Box<SmolSocket>, token: Token) -> Result<SockId, (Box<SmolSocket>, NetError)> {
        let mut flags = match &socket.kind {
            Kind::Listener(_) => flag::LISTENER,
            Kind::Connect(..) => flag::CONNECTING,
            Kind::Stream(_) => flag::STREAM,
            Kind::Closed => return Err((socket, NetError::Stale)),
        };
        let fresh = matches!(&socket.kind, Kind::Connect(_, connect) if !connect.under_way);
        flags |= if socket.fin_sent { flag::FIN_SENT } else { 0 };
        let places = self.slab.room();
        let number = socket.number().map_or(-1, |number| number as i32);
        let place = self.slab.put(socket, number, token, flags).map_err(|socket| (socket, NetError::GroupFull(places)))?;
        self.used = self.used.max(place + 1);
        let id = self.slab.hot(place).id;
        if fresh {
            self.connect(stack, place);
        }
        // It may have had something to tell for a long time. The place of a connect that has failed at once is empty, which serving finds.
        self.enqueue(place);
        Ok(id)
    }
}

/// Why a socket cannot join a group of this stack.
fn foreign(socket: &dyn Socket, shared: &Arc<Shared>) -> Option<NetError> {
    match (socket as &dyn Any).downcast_ref::<SmolSocket>() {
        None => Some(NetError::WrongBackend { socket: socket.backend(), group: NAME }),
        Some(own) if !Arc::ptr_eq(&own.stack, shared) => {
            Some(NetError::Unusable("a socket of one smoltcp stack cannot join a group of another: its device is not there".into()))
        }
        Some(_) => None,
    }
}

impl SockGroup for Group {
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>> {
        if let Some(why) = foreign(&*socket, &self.shared) {
            return Err(Refused { item: socket, why });
        }
        let Ok(socket) = (socket as Box<dyn Any>).downcast::<SmolSocket>() else { unreachable!("its type was looked at above") };
        let mut stack = self.shared.lock();
        let attached = self.state.attach(&mut stack, socket, token);
        drop(stack);
        attached.map_err(|(socket, why)| Refused { item: socket as Box<dyn Socket>, why })
    }

    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError> {
        let state = &mut self.state;
        let place = state.place(id)?;
        let hot = state.slab.hot(place);
        let (token, written) = (hot.token, hot.written);
        let mut queue = core::mem::take(&mut hot.queue);
        state.frames.cancel(&mut queue, id, token, written);
        let socket = state.slab.take(place).ok_or(NetError::Stale)?;
        Ok(socket)
    }

    #[inline]
    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        let state = &mut self.state;
        let Some(place) = state.slab.find(id) else { return Err(Refused { item: frame, why: NetError::Stale }) };
        let hot = state.slab.hot(place);
        if hot.flags & (flag::STREAM | flag::CANNOT_SEND) != flag::STREAM {
            return Err(Refused { item: frame, why: NetError::NotConnected });
        }
        if state.limits.refuse_sends(hot) {
            return Err(state.limits.refused(hot, frame));
        }
        state.frames.push(hot, frame);
        if !hot.is(flag::BLOCKED) && hot.enlist(flag::IN_DIRTY) {
            state.dirty.push(place as u32);
        }
        Ok(())
    }

    fn shutdown(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        let hot = self.state.slab.hot(place);
        if hot.is(flag::LISTENER) {
            return Err(NetError::NotConnected);
        }
        if !hot.is(flag::CANNOT_SEND) {
            hot.flags = hot.flags & !slab::REFUSED | flag::FIN_WANTED;
            self.state.end_sending(&mut self.shared.lock(), place);
        }
        Ok(())
    }

    fn close(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.finish(&mut self.shared.lock(), place, None);
        Ok(())
    }

    fn abort(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.end(&mut self.shared.lock(), place, None, true);
        Ok(())
    }

    fn pause(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.slab.hot(place).flags |= flag::PAUSED;
        Ok(())
    }

    fn resume(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.slab.hot(place).flags &= !flag::PAUSED;
        self.state.enqueue(place);
        Ok(())
    }

    fn flush(&mut self) {
        let mut stack = self.shared.lock();
        self.state.write_dirty(&mut stack);
        if stack.unsent {
            stack.egress();
        }
    }

    fn poll(&mut self, out: &mut Events) -> usize {
        let before = out.len();
        self.state.stats.polls += 1;
        let now = self.platform.now();
        let mut stack = self.shared.lock();
        let changes = stack.changes;
        self.state.write_dirty(&mut stack);
        stack.turn(now);
        self.state.poll(&mut stack, out);
        if stack.changes != changes {
            stack.wake_others(Some(self.name));
        }
        drop(stack);
        let found = out.len() - before;
        if found > 0 {
            self.state.stats.busy_polls += 1;
            self.state.stats.events += found as u64;
        }
        found
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.state.bufs.get()
    }

    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        let socket = self.state.slab.socket(self.state.place(id)?).ok_or(NetError::Stale)?;
        Ok((socket.local, socket.peer))
    }

    fn options(&self, id: SockId) -> Result<SockOptions, NetError> {
        Ok(self.state.slab.socket(self.state.place(id)?).ok_or(NetError::Stale)?.options.clone())
    }

    fn stats(&self) -> GroupStats {
        GroupStats { sockets: self.state.slab.sockets(), unsent: self.state.slab.queued(), ..self.state.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.wait_source
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut stack = self.shared.lock();
        stack.remove_watcher(self.name);
        for mut socket in self.state.slab.drain() {
            socket.release(&mut stack, false);
        }
        // The last group takes its leave of its peers; nobody polls for it after this.
        stack.egress();
        stack.wake_others(None);
    }
}
