//! The group: its parts, and what the application calls.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use core_reactor::net::{Events, Frame, GroupConfig, GroupStats, NetError, SockGroup, SockId, SockOptions, Socket, Token, group_tag};
use core_reactor::{Cx, Platform, Refused, WaitSource, Watch};
use net_sockets::{Errno, Frames, Kind, Limits, Slab, Supply, Turns, error, slab};
use pool::{Buf, BufGroup, Class, Request};

use crate::bufring::BufRing;
use crate::depth::Depth;
use crate::gather::Gathers;
use crate::leave::SOON;
use crate::line::Line;
use crate::ring::{Io, Ring, Sizes};
use crate::socket::{How, Luggage, Seat, UringSocket};
use crate::timers::{Timers, Which};
use crate::{NAME, flag};

/// A group: what it is, and the ring that it shares with the other groups of its core.
pub(crate) struct Group {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Watch,
    bell: OwnedFd,
    pub(crate) ring: Rc<Ring>,
    pub(crate) state: State,
}

/// What a group is, apart from its ring, so that completions can be handled where they lie in that.
pub(crate) struct State {
    /// Its number among the members of the ring.
    pub(crate) member: u16,
    pub(crate) slab: Slab<Seat>,
    pub(crate) frames: Frames,
    pub(crate) gathers: Gathers,
    /// Buffers that lie ready to be received into, and how many there are to be.
    pub(crate) buffers: BufRing,
    pub(crate) depth: Depth,
    pub(crate) bufs: BufGroup,
    /// Places for which something may have to be asked of the kernel.
    pub(crate) todo: Vec<u32>,
    /// Places with frames to send.
    pub(crate) dirty: Vec<u32>,
    /// Places with something early to deliver.
    pub(crate) ready: VecDeque<u32>,
    /// Places that wait for a buffer.
    pub(crate) starved: Line,
    /// What was asked of the pool for them.
    pub(crate) wait: Option<Request>,
    pub(crate) waker: Waker,
    pub(crate) platform: Arc<dyn Platform>,
    /// Listeners that wait for a descriptor.
    pub(crate) no_fd: VecDeque<u32>,
    /// The want of descriptors was logged, and is not over.
    pub(crate) no_fd_said: bool,
    /// Connections that wait until the machine has again what it was short of.
    pub(crate) short: Vec<u32>,
    /// That memory to be sent without a copy was short was logged.
    pub(crate) copies_said: bool,
    pub(crate) timers: Timers,
    /// Requests with the kernel.
    pub(crate) in_flight: usize,
    /// Places whose sockets are leaving.
    pub(crate) leaving: usize,
    pub(crate) limits: Limits,
    pub(crate) turns: Turns,
    pub(crate) supply: Supply,
    pub(crate) stats: GroupStats,
}

impl Group {
    pub(crate) fn new(cx: &mut Cx<'_>, config: GroupConfig, sizes: Sizes) -> Result<Self, NetError> {
        config.check()?;
        let sockets = config.sockets;
        let ring = Ring::here(sizes)?;
        let bell = ring.bell()?;
        let watch = cx.watch_bell(WaitSource(bell.as_raw_fd()), ring.clone())?;
        let mut io = ring.io.borrow_mut();
        // Room for two completions of each socket, and for buffers received.
        let member = io.join(2 * sockets + usize::from(sizes.buffers))?;
        let buffers = io.buffers(member, sizes.buffers).inspect_err(|_| io.leave(member))?;
        drop(io);
        Ok(Self { _watch: watch, bell, ring, state: State::new(cx, config, member, buffers, sizes) })
    }

    /// A place for one more, though sockets that are leaving may hold it yet.
    fn make_room(&mut self) {
        if self.state.slab.sockets() == self.state.slab.room() && self.state.leaving > 0 {
            let io = &mut *self.ring.io.borrow_mut();
            self.state.settle(io, SOON, |state| state.slab.sockets() < state.slab.room());
        }
    }
}

impl State {
    fn new(cx: &Cx<'_>, config: GroupConfig, member: u16, buffers: BufRing, sizes: Sizes) -> Self {
        let (limits, supply) = (Limits::new(&config), Supply::new(&config));
        let GroupConfig { sockets, bufs, .. } = config;
        // Half of the reserve is left to the application, though it can have the others back one by one.
        let reserve = bufs.stats(Class::Small).reserve;
        // Before buffers are seen to be low (under half), peers that do not read may take all that lies
        // ready, what is laid out behind it for those that wait, and some more: a quarter is left then.
        let most = (reserve / 2).min(bufs.capacity(Class::Small) / 8);
        Self {
            member,
            slab: Slab::new(sockets, group_tag()),
            // Room for an echo on each socket, and for the report of its end.
            frames: Frames::new(2 * sockets),
            gathers: Gathers::default(),
            buffers,
            depth: Depth::new(usize::from(sizes.buffers).min(most)),
            bufs,
            todo: Vec::with_capacity(sockets),
            dirty: Vec::with_capacity(sockets),
            ready: VecDeque::with_capacity(sockets),
            starved: Line::new(sockets),
            wait: None,
            waker: cx.handle().waker(),
            platform: cx.platform(),
            no_fd: VecDeque::with_capacity(sockets),
            no_fd_said: false,
            short: Vec::new(),
            copies_said: false,
            timers: Timers::default(),
            in_flight: 0,
            leaving: 0,
            limits,
            turns: Turns::new(sockets),
            supply,
            stats: GroupStats::default(),
        }
    }

    /// Has it looked whether something is to be asked of the kernel for a place.
    pub(crate) fn look_at(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_TODO) {
            self.todo.push(place as u32);
        }
    }

    /// Whether a socket holds so much to send that nothing more is read from it.
    #[inline]
    pub(crate) fn is_full(&mut self, place: usize) -> bool {
        self.limits.hold_reads(self.slab.hot(place))
    }

    /// Hands out what was kept in the next poll.
    pub(crate) fn hand_out_later(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_READY) {
            self.ready.push_back(place as u32);
        }
    }

    /// Goes on reading from a socket whose queue has got shorter.
    #[cold]
    pub(crate) fn end_hold(&mut self, place: usize) {
        if !self.is_full(place) {
            self.slab.hot(place).flags &= !flag::HELD;
            self.go_on_reading(place);
        }
    }

    /// What came early comes first.
    pub(crate) fn go_on_reading(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if !hot.is(flag::EARLY) {
            self.look_at(place);
        } else {
            self.hand_out_later(place);
        }
    }

    /// Looks how many buffers are left; while they are short, ends those whose peers take nothing.
    #[cold]
    pub(crate) fn mind_supply(&mut self) {
        let new = self.supply.look(self.buffers.len(), &mut self.limits, &mut self.stats);
        self.depth.set_low(self.limits.answers_first());
        if new {
            self.hold_readers();
        }
        if !self.supply.ends_stalled() {
            return;
        }
        let now = self.platform.now().as_nanos();
        for (id, why) in self.supply.stalled(&mut self.slab, &self.frames, flag::SENDING, now) {
            if let Some(place) = self.slab.find(id) {
                self.stats.stalled += 1;
                self.reset_when_closed(place);
                self.finish(place, Some(why));
            }
        }
        self.wake_for_look();
    }

    /// It is the clock that ends who has stalled, so the core must not sleep past the next look.
    pub(crate) fn wake_for_look(&mut self) {
        if self.supply.ends_stalled() {
            let now = self.platform.now().as_nanos();
            self.timers.want(Which::Look, self.supply.next_look().saturating_sub(now));
        }
    }

    /// Buffers have become low: what has something to be sent is read no more, and nothing again and
    /// again, since the kernel would fill whole buffers without asking.
    fn hold_readers(&mut self) {
        for place in 0..self.slab.places() {
            if self.slab.hot(place).is(flag::STREAM) {
                if self.is_full(place) {
                    self.slab.hot(place).flags |= flag::HELD;
                }
                self.look_at(place);
            }
        }
    }

    /// Has a socket end by a reset.
    fn reset_when_closed(&self, place: usize) {
        if let Some(seat) = self.slab.socket(place)
            && let Err(why) = seat.socket.socket.set_linger(Some(Duration::ZERO))
        {
            log::debug!("a reset becomes an orderly end: SO_LINGER: {why}");
        }
    }

    fn place(&self, id: SockId) -> Result<usize, NetError> {
        self.slab.find(id).ok_or(NetError::Stale)
    }

    fn attach(&mut self, mut socket: Box<UringSocket>, token: Token) -> Result<SockId, (Box<UringSocket>, NetError)> {
        socket.mind_loopback();
        let (places, fd, flags) = (self.slab.room(), socket.fd(), socket.flags());
        let early = if self.slab.sockets() < places { socket.unpack(&self.bufs) } else { VecDeque::new() };
        let mut seat = Box::new(Seat::new(socket));
        seat.early = early;
        let came_early = !seat.early.is_empty();
        let place = self.slab.put(seat, fd, token, flags).map_err(|seat| (seat.socket, NetError::GroupFull(places)))?;
        if came_early {
            self.slab.hot(place).flags |= flag::EARLY;
        }
        self.go_on_reading(place);
        Ok(self.slab.hot(place).id)
    }

    /// Gives a socket back, with what had arrived, once the kernel has given back what it held of it.
    fn detach(&mut self, io: &mut Io, place: usize) -> Result<Box<UringSocket>, NetError> {
        self.leave(place, How::Detached);
        self.give_up(io, place);
        if self.settle(io, SOON, |state| !state.slab.hot(place).is(flag::IN_FLIGHT)) {
            let mut seat = self.vacate(place).ok_or(NetError::Stale)?;
            seat.socket.pack(std::mem::take(&mut seat.early));
            return Ok(seat.socket);
        }
        self.go_on_elsewhere(place).inspect_err(|_| self.closes_after_all(place))
    }

    /// A socket whose frames the kernel has, and nothing else: its peer does not take what was sent without a copy. It is given back through another descriptor,
    /// while the place keeps the frames, and the descriptor that there was, until they come back.
    #[cold]
    fn go_on_elsewhere(&mut self, place: usize) -> Result<Box<UringSocket>, NetError> {
        let only_lent = !self.slab.hot(place).is(flag::READING | flag::WATCHED);
        let Some(seat) = self.slab.socket_mut(place).filter(|seat| only_lent && seat.lent) else {
            return Err(NetError::Os { doing: "detach", code: libc::ETIME, text: "the kernel does not give the socket back".into() });
        };
        let again = seat.socket.socket.try_clone().map_err(|why| error::plain("dup", Errno::of(&why)))?;
        let mut socket = UringSocket::accepted(again, seat.socket.peer, seat.socket.kept);
        (socket.fin_sent, socket.failed) = (seat.socket.fin_sent, seat.socket.failed.take());
        socket.pack(std::mem::take(&mut seat.early));
        if let Some(leaving) = &mut seat.leaving {
            leaving.how = How::GoneOn;
        }
        Ok(Box::new(socket))
    }
}

impl SockGroup for Group {
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>> {
        if !(&*socket as &dyn Any).is::<UringSocket>() {
            let why = NetError::WrongBackend { socket: socket.backend(), group: NAME };
            return Err(Refused { item: socket, why });
        }
        let Ok(socket) = (socket as Box<dyn Any>).downcast::<UringSocket>() else { unreachable!("its type was looked at above") };
        self.make_room();
        let begins = matches!(socket.kind, Kind::Connect(_));
        let id = self.state.attach(socket, token).map_err(|(socket, why)| Refused { item: socket as Box<dyn Socket>, why })?;
        if begins {
            // A connect takes a while, which had better begin now.
            let io = &mut *self.ring.io.borrow_mut();
            self.state.look_after(io);
            io.submit();
        }
        Ok(id)
    }

    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError> {
        let place = self.state.place(id)?;
        Ok(self.state.detach(&mut self.ring.io.borrow_mut(), place)?)
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
        if hot.is(flag::SENDING) {
            state.sent_behind(place);
        } else if hot.enlist(flag::IN_DIRTY) {
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
            self.state.end_sending(place);
        }
        Ok(())
    }

    fn close(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.finish(place, None);
        Ok(())
    }

    fn abort(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.reset_when_closed(place);
        self.state.finish(place, None);
        Ok(())
    }

    fn pause(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.slab.hot(place).flags |= flag::PAUSED;
        self.state.look_at(place);
        Ok(())
    }

    fn resume(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.state.place(id)?;
        self.state.slab.hot(place).flags &= !flag::PAUSED;
        self.state.go_on_reading(place);
        Ok(())
    }

    fn flush(&mut self) {
        self.state.flush(&mut self.ring.io.borrow_mut());
    }

    fn poll(&mut self, out: &mut Events) -> usize {
        self.state.poll(&mut self.ring.io.borrow_mut(), out)
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.state.bufs.get().or_else(|| self.state.retract(&mut self.ring.io.borrow_mut()))
    }

    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        let seat = self.state.slab.socket(self.state.place(id)?).ok_or(NetError::Stale)?;
        Ok((seat.socket.local()?, seat.socket.peer))
    }

    fn options(&self, id: SockId) -> Result<SockOptions, NetError> {
        self.state.slab.socket(self.state.place(id)?).ok_or(NetError::Stale)?.socket.read_options()
    }

    fn stats(&self) -> GroupStats {
        GroupStats { sockets: self.state.slab.sockets(), unsent: self.state.slab.queued(), ..self.state.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(self.bell.as_raw_fd()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let io = &mut *self.ring.io.borrow_mut();
        let mut winding = Winding { state: &mut self.state, ring: &self.ring, is_back: false };
        winding.is_back = winding.state.wind_up(io);
        let is_back = winding.is_back;
        drop(winding);
        if is_back {
            // Nothing of it is with the kernel from here on, and what follows may wake somebody who panics.
            io.leave(self.state.member);
            io.end_buffers(&mut self.state.buffers);
        }
    }
}

/// A group that ends, until all of it is back from the kernel. If that does not come, because the kernel keeps it or because somebody panicked who was woken on the way,
/// what the kernel may still read and write is leaked. The buffer ring leaks by itself.
struct Winding<'a> {
    state: &'a mut State,
    ring: &'a Rc<Ring>,
    is_back: bool,
}

impl Drop for Winding<'_> {
    fn drop(&mut self) {
        if self.is_back {
            return;
        }
        let state = &mut *self.state;
        let slab = std::mem::replace(&mut state.slab, Slab::new(0, 0));
        let frames = std::mem::replace(&mut state.frames, Frames::new(0));
        Box::leak(Box::new((slab, frames, std::mem::take(&mut state.gathers), self.ring.clone())));
        log::error!("the kernel keeps {} requests of a group that has ended: their memory is lost", state.in_flight);
    }
}
