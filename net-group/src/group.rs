//! The engine: one implementation of [`SockGroup`] for every [`Backend`].
//!
//! It keeps the slots, what is to be sent, and who waits for what; [`phase`](crate::phase) has the
//! life of a socket. Reading is in `read`, writing in `write`, coming and going here.

mod read;
mod show;
mod write;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::net::SocketAddr;
use core::task::Waker;
use core::{fmt, mem};

use core_reactor::net::{
    Events, Frame, GroupConfig, GroupStats, GroupView, NetError, NetEvent, SockGroup, SockId, SockOptions, Socket, Token, group_tag,
};
use core_reactor::{Cx, Platform, Refused, SocketTrace, WaitSource};
use pool::{Buf, BufGroup};

use crate::backend::{Backend, Connecting, Happened, Kind, Opened, Ready, Release, Released, Slot};
use crate::phase::{self, Phase};
use crate::slots::PerSlot;
use crate::waiting::{NoDescriptor, Starving};
use crate::{Frames, Limits, Slab, Supply, Turns, slab};

/// Urges in a row that bring nothing back, after which the system is not waited for any longer.
/// There is no pause between two, as this is a reactor, whose other sockets wait.
const SOON: usize = 16;
/// The same where what does not come back has to be leaked.
const LATE: usize = 1000;

/// Events in a poll after which it is looked again how many buffers are left.
const EVENTS_A_LOOK: usize = 16;

/// The sockets of one core, over one backend.
pub struct Group<B: Backend> {
    backend: B,
    slots: Slab<()>,
    frames: Frames,
    limits: Limits,
    turns: Turns,
    supply: Supply,
    bufs: BufGroup,
    /// Slots with frames to write.
    dirty: Vec<u32>,
    /// Slots to serve, in rotation.
    ready: VecDeque<u32>,
    starving: Starving,
    no_descriptor: NoDescriptor,
    /// The backend has no timer, and something is to be tried again.
    stays_awake: bool,
    /// Slots that are [`Phase::Leaving`], and what each ended of.
    leaving: usize,
    ends: PerSlot<NetError>,
    waker: Waker,
    platform: Arc<dyn Platform>,
    stats: GroupStats,
    view: Arc<GroupView>,
    trace: SocketTrace,
}

impl<B: Backend> fmt::Debug for Group<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("slots", &self.slots).field("bufs", &self.bufs).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl<B: Backend> Group<B> {
    /// A group over `backend`, on the core and thread of `cx`. `config` has been checked.
    pub fn new(cx: &mut Cx<'_>, config: GroupConfig, backend: B) -> Self {
        let mut group = Self::with(cx.handle().waker(), cx.platform(), config, backend);
        group.trace = SocketTrace::new(cx);
        cx.list_view(&group.view);
        group
    }

    /// The same, without a reactor: `waker` is called when a poll would find something that the
    /// backend does not announce.
    pub fn with(waker: Waker, platform: Arc<dyn Platform>, config: GroupConfig, backend: B) -> Self {
        let (limits, supply) = (Limits::new(&config), Supply::new(&config));
        let GroupConfig { sockets, bufs, .. } = config;
        Self {
            backend,
            slots: Slab::new(sockets, group_tag()),
            // Room for an echo on each socket, and for the report of its end.
            frames: Frames::new(2 * sockets),
            limits,
            turns: Turns::new(sockets),
            supply,
            bufs,
            dirty: Vec::with_capacity(sockets),
            ready: VecDeque::with_capacity(sockets),
            starving: Starving::new(sockets),
            no_descriptor: NoDescriptor::new(),
            stays_awake: false,
            leaving: 0,
            ends: PerSlot::new(),
            waker,
            platform,
            stats: GroupStats::default(),
            view: Arc::new(GroupView::new(B::NAME)),
            trace: SocketTrace::nowhere(),
        }
    }

    /// The backend, to be looked at.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The same, to be changed by tests that stand on its other side.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// The slot of a key that the application may use.
    fn find(&mut self, id: SockId) -> Result<usize, NetError> {
        let i = self.slots.find(id).ok_or(NetError::Stale)?;
        if self.slots.state_mut(i).is_here() { Ok(i) } else { Err(NetError::Stale) }
    }

    /// A slot, as the backend knows it.
    #[inline]
    fn slot(&mut self, i: usize) -> Slot {
        self.slots.state_mut(i).slot()
    }

    /// Puts a slot at the end of the rotation.
    fn enqueue(&mut self, i: usize) {
        if self.slots.state_mut(i).enlist(phase::IN_READY) {
            self.ready.push_back(i as u32);
        }
    }

    /// Has reading wait for a reason.
    fn hold(&mut self, i: usize, hold: u32) {
        let state = self.slots.state_mut(i);
        let wanted = state.wants_reading();
        state.flags |= hold;
        if wanted && !state.wants_reading() {
            self.backend.want(state.slot(), false);
        }
    }

    /// The reason is gone: reads on if it was the last one.
    fn end_hold(&mut self, i: usize, hold: u32) {
        let state = self.slots.state_mut(i);
        let waited = !state.wants_reading();
        state.flags &= !hold;
        if waited && state.wants_reading() {
            self.backend.want(state.slot(), true);
            if state.is(phase::READABLE) {
                self.enqueue(i);
            }
        }
    }

    /// A queue has got shorter: reads on if it was too long, and is not.
    #[cold]
    fn end_hold_of_full(&mut self, i: usize) {
        if !self.limits.hold_reads(self.slots.state_mut(i)) {
            self.end_hold(i, phase::FULL);
        }
    }

    /// Has a poll soon, also on a sleeping core.
    fn wake_later(&mut self) {
        if !self.backend.wake_later() {
            self.stays_awake = true;
            self.waker.wake_by_ref();
        }
    }

    // ---- Coming

    fn attach_own(&mut self, socket: Box<B::Socket>, token: Token) -> Result<SockId, Refused<Box<B::Socket>, NetError>> {
        self.make_room();
        let places = self.slots.room();
        let Ok(i) = self.slots.put(Box::new(()), 0, token, 0) else {
            return Err(Refused { item: socket, why: NetError::GroupFull(places) });
        };
        let slot = self.slot(i);
        let Opened { kind, number, acknowledge } = match self.backend.open(slot, socket) {
            Ok(opened) => opened,
            Err(refused) => {
                self.slots.take(i);
                return Err(refused);
            }
        };
        let state = self.slots.state_mut(i);
        (state.fd, state.flags) = (number, state.flags & slab::LISTS | if acknowledge { phase::ACKNOWLEDGE } else { 0 });
        match kind {
            Kind::Listener => state.enter(Phase::Listening),
            Kind::Stream => state.enter(Phase::Open),
            Kind::Finished => {
                state.enter(Phase::Finishing);
                state.flags |= phase::FIN_SENT;
            }
            Kind::Broken => {
                state.enter(Phase::Broken);
                state.flags |= phase::READABLE | phase::DRAIN;
                self.enqueue(i);
            }
            Kind::Connect => {
                state.enter(Phase::Connecting);
                self.begin_connect(i);
            }
            // What became of it is told in polls, and only of what is polled.
            Kind::Connecting => state.enter(Phase::Connecting),
        }
        Ok(slot.id())
    }

    /// A place for one more, though sockets that are leaving may hold it yet.
    fn make_room(&mut self) {
        let full = |group: &Self| group.slots.sockets() == group.slots.room();
        if full(self) && self.leaving > 0 {
            self.settle(SOON, |group| !full(group));
        }
    }

    /// A connect begins with the attach; what comes of it is told in polls.
    fn begin_connect(&mut self, i: usize) {
        let slot = self.slot(i);
        match self.backend.connect(slot) {
            Connecting::UnderWay(number) => self.slots.state_mut(i).fd = number,
            Connecting::Failed(why) => self.end(i, Release::Over, Some(why)),
            Connecting::Connected => debug_assert!(false, "nobody could be told yet"),
        }
    }

    // ---- Going

    /// The end of a socket: its frames come back as cancelled, then `Closed`; once the system has
    /// nothing of it any more.
    fn end(&mut self, i: usize, how: Release, why: Option<NetError>) {
        let slot = self.slot(i);
        match self.backend.release(slot, how) {
            Released::Now(socket) => self.close_slot(i, why, socket),
            Released::Later | Released::Stays(_) => {
                self.leave(i, false);
                self.ends.set(i, why);
            }
        }
    }

    /// The system holds something of a socket that has ended for the application.
    fn leave(&mut self, i: usize, detached: bool) {
        self.slots.state_mut(i).enter_leaving(detached);
        self.leaving += 1;
    }

    fn close_slot(&mut self, i: usize, why: Option<NetError>, socket: Box<B::Socket>) {
        let state = self.slots.state_mut(i);
        let (id, token) = (state.id, state.token);
        self.vacate(i);
        self.frames.closed(id, token, why);
        drop(socket);
        self.retry_accepts();
    }

    /// Frees a slot; its frames come back as cancelled.
    fn vacate(&mut self, i: usize) {
        let state = self.slots.state_mut(i);
        let (id, token, written) = (state.id, state.token, state.written);
        let mut queue = mem::take(&mut state.queue);
        self.frames.cancel(&mut queue, id, token, written);
        self.slots.take(i);
    }

    /// The system has given back what it held of a slot.
    fn released(&mut self, id: SockId, socket: Box<B::Socket>) -> Option<Box<B::Socket>> {
        let i = self.slots.find(id).filter(|i| self.slots.state_mut(*i).is_in(Phase::Leaving))?;
        self.leaving -= 1;
        if self.slots.state_mut(i).is(phase::DETACHED) {
            self.vacate(i);
            return Some(socket);
        }
        let why = self.ends.take(i);
        self.close_slot(i, why, socket);
        None
    }

    fn detach_own(&mut self, id: SockId) -> Result<Box<B::Socket>, NetError> {
        let i = self.find(id)?;
        let slot = self.slot(i);
        match self.backend.release(slot, Release::Detach) {
            Released::Now(socket) => {
                self.vacate(i);
                Ok(socket)
            }
            Released::Stays(why) => Err(why),
            Released::Later => {
                self.leave(i, true);
                self.wait_for_detached(i, slot)
            }
        }
    }

    /// The socket of a slot that is to be detached, when the system has given it back; or another
    /// handle to it, if that takes too long.
    #[cold]
    fn wait_for_detached(&mut self, i: usize, slot: Slot) -> Result<Box<B::Socket>, NetError> {
        if let Some(socket) = self.settle_for(SOON, Some(slot.id()), |_| false) {
            return Ok(socket);
        }
        let again = self.backend.detach_now(slot);
        if again.is_err() {
            // The application does not wait for it any more.
            self.slots.state_mut(i).flags &= !phase::DETACHED;
        }
        again
    }

    /// Urges the system until `done`; false if `patience` urges in a row bring nothing nearer.
    fn settle(&mut self, patience: usize, done: impl Fn(&Self) -> bool) -> bool {
        drop(self.settle_for(patience, None, &done));
        done(self)
    }

    /// The same, or until the socket `wanted` is back.
    fn settle_for(&mut self, patience: usize, wanted: Option<SockId>, done: impl Fn(&Self) -> bool) -> Option<Box<B::Socket>> {
        let mut in_vain = 0;
        while in_vain < patience && !done(self) {
            in_vain = if self.backend.urge() { 0 } else { in_vain + 1 };
            if let Some(socket) = self.hear_quiet(wanted) {
                return Some(socket);
            }
        }
        None
    }

    /// What the application is not told of, up to the return of the socket `wanted`.
    fn hear_quiet(&mut self, wanted: Option<SockId>) -> Option<Box<B::Socket>> {
        while let Some(happened) = self.backend.next_quiet() {
            match happened {
                Happened::Released(id, socket) => {
                    // Nobody waits for the original of a socket that has gone on by another handle.
                    let back = self.released(id, socket);
                    if wanted == Some(id) {
                        return back;
                    }
                }
                Happened::Sent(id, taken) => self.sent(id, taken),
                Happened::SendFailed(id) => self.sent_nothing(id),
                Happened::Time => self.time_has_come(),
                Happened::Ready(..) | Happened::Bytes(..) => debug_assert!(false, "the application is told of it"),
            }
        }
        None
    }

    /// Closes everything, and waits for the system to give it back. False if it keeps something all
    /// the same.
    fn wind_up(&mut self) -> bool {
        for i in 0..self.slots.places() {
            if self.slots.state_mut(i).is_here() {
                self.end(i, Release::Close, None);
            }
        }
        let is_back = |group: &Self| group.leaving == 0;
        is_back(self) || self.settle(LATE, is_back) || {
            self.backend.abandon();
            self.settle(LATE, is_back)
        }
    }

    // ---- What has happened

    /// What the backend tells. An open connection on which nothing is special, and which has bytes,
    /// is all that an echo meets: it is read here and now if `at_once` says that nobody waits to be
    /// served before it.
    #[inline]
    fn on(&mut self, happened: Happened<B::Socket>, at_once: bool, out: &mut Events) {
        match happened {
            Happened::Ready(id, ready) => {
                let Some(state) = self.slots.find_state_mut(id) else { return };
                if at_once && ready.is_plain_read() && state.is_plain() && out.room() > 0 {
                    self.receive_plain(id.index(), out);
                } else {
                    self.on_special(id.index(), ready, at_once, out);
                }
            }
            Happened::Bytes(id, buf) => self.on_bytes(id, buf, at_once, out),
            Happened::Sent(id, taken) => self.sent(id, taken),
            Happened::SendFailed(id) => self.sent_nothing(id),
            Happened::Released(id, socket) => drop(self.released(id, socket)),
            Happened::Time => self.time_has_come(),
        }
    }

    #[inline(never)]
    fn on_special(&mut self, i: usize, ready: Ready, at_once: bool, out: &mut Events) {
        let state = self.slots.state_mut(i);
        if ready.is_special() {
            state.flags |= phase::DRAIN | if ready.is(Ready::OVER) { phase::OVER } else { 0 };
        }
        if state.is(phase::BLOCKED) && ready.is(Ready::WRITE.and(Ready::OVER)) {
            state.flags &= !phase::BLOCKED;
            self.write(i);
        }
        let state = self.slots.state_mut(i);
        if !state.is_here() || ready.0 & !Ready::WRITE.0 == 0 && !state.is_in(Phase::Connecting) {
            return;
        }
        state.flags |= phase::READABLE;
        if at_once && out.room() > 0 && !state.is(phase::IN_READY) {
            self.serve(i, out);
        } else {
            self.enqueue(i);
        }
    }

    /// Hands out at most `most` reports.
    fn deliver(&mut self, most: usize, out: &mut Events) {
        for _ in 0..most {
            let Some((event, shorter)) = self.frames.next_report(&self.limits, &mut self.slots) else { return };
            if let Some(i) = shorter
                && self.slots.state_mut(i).is(phase::FULL)
            {
                self.end_hold_of_full(i);
            }
            // Who has closed a socket does not send on it again.
            if !matches!(event, NetEvent::Writable { id, .. } if self.find(id).is_err()) {
                out.append(event);
            }
        }
    }

    /// Looks how many buffers are left; while they are short, ends those whose peers take nothing.
    #[cold]
    fn mind_supply(&mut self) {
        let was_low = self.supply.is_low();
        self.supply.look(self.backend.lying(), &mut self.limits, &mut self.stats);
        if self.supply.is_low() != was_low {
            self.backend.set_low(self.limits.answers_first());
        }
        if !self.supply.ends_stalled() {
            return;
        }
        let now = self.platform.now().as_nanos();
        for (id, why) in self.supply.stalled(&mut self.slots, &self.frames, phase::STUCK, now) {
            if let Ok(i) = self.find(id) {
                self.stats.stalled += 1;
                self.end(i, Release::Abort, Some(why));
            }
        }
        self.wake_for_look();
    }

    /// While somebody may be ended it is the clock that ends them, so the core must not sleep past
    /// the next look.
    fn wake_for_look(&mut self) {
        if self.supply.ends_stalled() {
            let nanos = self.supply.next_look().saturating_sub(self.platform.now().as_nanos());
            let millis = u32::try_from(nanos.div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX);
            if !self.backend.wake_for_look(millis) {
                self.stays_awake = true;
                self.waker.wake_by_ref();
            }
        }
    }

    /// A time has come. This poll has looked for who is to be ended, and asked for buffers, before
    /// it heard of it, and the next one may be far off.
    #[cold]
    fn time_has_come(&mut self) {
        self.retry_accepts();
        if !self.starving.is_empty() {
            self.ask_for_a_buffer();
        }
        self.wake_for_look();
    }

    /// A poll that has found nothing lets the core sleep, so what it has made possible does not
    /// wait for the next one.
    #[inline]
    fn finish_idle(&mut self, out: &mut Events) {
        if !self.dirty.is_empty() {
            self.write_dirty();
        }
        self.backend.flush();
        if self.frames.has_reports() {
            self.deliver(out.room(), out);
        }
        if !self.ready.is_empty() || self.frames.has_reports() {
            // Served in vain, or no room: there is no news to come that would end the sleep.
            self.waker.wake_by_ref();
        }
    }
}

impl<B: Backend> SockGroup for Group<B> {
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>> {
        if !(&*socket as &dyn Any).is::<B::Socket>() {
            let why = NetError::WrongBackend { socket: socket.backend(), group: B::NAME };
            return Err(Refused { item: socket, why });
        }
        let Ok(socket) = (socket as Box<dyn Any>).downcast::<B::Socket>() else { unreachable!("its type was looked at above") };
        self.attach_own(socket, token).map_err(|Refused { item, why }| Refused { item: item as Box<dyn Socket>, why })
    }

    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError> {
        let socket = self.detach_own(id)?;
        Ok(socket)
    }

    #[inline]
    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        // One buffer without a tag, where nothing is queued, is all that an echo sends: there is
        // room for it, whatever the limits.
        match self.slots.find_state_mut(id) {
            Some(state) if state.is_plain() && frame.single().is_some_and(|buf| !buf.is_empty()) => {
                state.flags |= phase::IN_DIRTY;
                Frames::push_first(state, frame);
                self.dirty.push(id.index() as u32);
                Ok(())
            }
            _ => self.send_special(id, frame),
        }
    }

    fn shutdown(&mut self, id: SockId) -> Result<(), NetError> {
        let i = self.find(id)?;
        let state = self.slots.state_mut(i);
        if state.is_in(Phase::Listening) {
            return Err(NetError::NotConnected);
        }
        if state.is(phase::SENDS | Phase::Connecting as u32) {
            state.flags = state.flags & !slab::REFUSED | phase::FIN_WANTED;
            self.end_sending(i);
        }
        Ok(())
    }

    fn close(&mut self, id: SockId) -> Result<(), NetError> {
        let i = self.find(id)?;
        self.end(i, Release::Close, None);
        Ok(())
    }

    fn abort(&mut self, id: SockId) -> Result<(), NetError> {
        let i = self.find(id)?;
        self.end(i, Release::Abort, None);
        Ok(())
    }

    fn pause(&mut self, id: SockId) -> Result<(), NetError> {
        let i = self.find(id)?;
        self.hold(i, phase::PAUSED);
        Ok(())
    }

    fn resume(&mut self, id: SockId) -> Result<(), NetError> {
        let i = self.find(id)?;
        self.end_hold(i, phase::PAUSED);
        Ok(())
    }

    fn flush(&mut self) {
        self.write_dirty();
        self.backend.flush();
        self.hear_quiet(None);
    }

    fn poll(&mut self, out: &mut Events) -> usize {
        let before = out.len();
        self.stats.polls += 1;
        if let Some(sockets) = self.view.asked() {
            self.show(sockets);
        }
        if !self.dirty.is_empty() {
            self.write_dirty();
        }
        if self.frames.has_reports() {
            // Half of the room, rounded now up and now down: a sender that always has more to hear
            // of leaves room for what arrives.
            self.deliver((out.room() + (self.stats.polls & 1) as usize) / 2, out);
        }
        self.turns.begin();
        if self.supply.may_be_low(self.backend.lying()) {
            self.mind_supply();
        }
        if self.stays_awake {
            self.stays_awake = false;
            self.retry_accepts();
        }
        // Whoever was ready before comes before whoever is ready now, and whoever waits for a
        // buffer before whoever would take one. Where nobody does, and buffers are plenty, the
        // rotation is not needed, nor a count of what each has had in this poll.
        let mut at_once = self.ready.is_empty() && self.starving.is_empty() && !self.supply.is_low();
        if !self.starving.is_empty() {
            self.feed(out);
        }
        self.backend.poll();
        let (mut room, mut look_at) = (out.room(), out.room().saturating_sub(EVENTS_A_LOOK));
        while let Some(happened) = self.backend.next(room) {
            self.on(happened, at_once, out);
            room = out.room();
            if room < look_at {
                // Many may each take one in the same poll, so that the last buffers would go before
                // the next.
                at_once = at_once && !self.supply.may_be_low(self.backend.lying());
                look_at = room.saturating_sub(EVENTS_A_LOOK);
            }
        }
        if !at_once || out.len() == before {
            self.serve_ready(out);
        }
        if self.frames.has_reports() {
            self.deliver(out.room(), out);
        }
        if out.len() == before {
            self.finish_idle(out);
        }
        let found = out.len() - before;
        if found > 0 {
            self.stats.busy_polls += 1;
            self.stats.events += found as u64;
        }
        if self.trace.is_on() {
            self.trace.polled(out.iter().skip(before), &self.stats, self.platform.now());
        }
        found
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.bufs.get().or_else(|| {
            let buf = self.backend.retract();
            self.hear_quiet(None);
            buf
        })
    }

    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        let socket = self.socket(id)?;
        Ok((socket.local_addr()?, socket.peer_addr()))
    }

    fn options(&self, id: SockId) -> Result<SockOptions, NetError> {
        self.socket(id)?.options()
    }

    fn stats(&self) -> GroupStats {
        GroupStats { sockets: self.slots.sockets(), unsent: self.slots.queued(), ..self.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.backend.wait_source()
    }
}

impl<B: Backend> Group<B> {
    fn socket(&self, id: SockId) -> Result<&B::Socket, NetError> {
        let slot = self.slots.find(id).map(|i| self.slots.state(i)).filter(|state| state.is_here()).ok_or(NetError::Stale)?.slot();
        self.backend.socket(slot).ok_or(NetError::Stale)
    }
}

impl<B: Backend> Drop for Group<B> {
    fn drop(&mut self) {
        let mut winding = Winding { group: self, is_back: false };
        winding.is_back = winding.group.wind_up();
    }
}

/// A group that ends, until all of it is back from the system. If that does not come, because the
/// system keeps it or because somebody panicked who was woken on the way, the frames that it may
/// still read are leaked.
struct Winding<'a, B: Backend> {
    group: &'a mut Group<B>,
    is_back: bool,
}

impl<B: Backend> Drop for Winding<'_, B> {
    fn drop(&mut self) {
        let holds =
            |group: &mut Group<B>| group.leaving > 0 || (0..group.slots.places()).any(|i| group.slots.state_mut(i).is(phase::PENDING));
        if self.is_back || !holds(self.group) {
            return;
        }
        let slots = mem::replace(&mut self.group.slots, Slab::new(0, 0));
        let frames = mem::replace(&mut self.group.frames, Frames::new(0));
        Box::leak(Box::new((slots, frames)));
        logging::warn!("the system keeps what it has of {} sockets of a group that has ended: their memory is lost", self.group.leaving);
    }
}
