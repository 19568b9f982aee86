//! The group: its parts, and what the application calls.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use core_reactor::net::{Events, Frame, GroupConfig, GroupStats, NetError, SockGroup, SockId, SockOptions, Socket, Token, group_tag};
use core_reactor::{Cx, Platform, Refused, WaitSource, Watch};
use net_sockets::{Frames, Kind, Limits, Slab, Supply, Turns, error, slab};
use pool::{Buf, BufGroup, Request};

use crate::sys::{Epoll, Ready, Timer};
use crate::{NAME, PosixSocket, flag};

/// What every socket is added to epoll for.
const INTEREST: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET) as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const IN: u32 = libc::EPOLLIN as u32;
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// Most descriptors that one poll asks epoll about; what is left comes first in the next poll. Each takes a buffer before the application gives the first
/// one back, so this bounds the memory that a busy group walks through: with 256 an echo on 512 connections costs 3 % more CPU.
const READY_BATCH: usize = 32;

/// The timer's key names no socket.
const TIMER: u64 = u64::MAX;

/// Milliseconds after which a group tries again what waits for descriptors that others hold. Their return is not announced, and the core may be asleep.
const RETRY_MILLIS: u32 = 10;

/// A posix group. See the crate's documentation.
pub(crate) struct Group {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Watch,
    epoll: Epoll,
    timer: Timer,
    timer_armed: bool,
    pub(crate) slab: Slab<PosixSocket>,
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
    pub(crate) platform: Arc<dyn Platform>,
    /// Listeners that wait for a descriptor.
    pub(crate) no_fd: VecDeque<u32>,
    /// The want of descriptors was logged, and is not over.
    pub(crate) no_fd_said: bool,
    events: Box<[Ready]>,
    pub(crate) limits: Limits,
    pub(crate) turns: Turns,
    pub(crate) supply: Supply,
    pub(crate) stats: GroupStats,
}

impl Group {
    pub(crate) fn new(cx: &mut Cx<'_>, config: GroupConfig) -> Result<Self, NetError> {
        config.check()?;
        let (limits, supply) = (Limits::new(&config), Supply::new(&config));
        let GroupConfig { sockets, bufs, .. } = config;
        let epoll = Epoll::new().map_err(|e| error::plain("epoll_create1", e))?;
        let timer = Timer::new().map_err(|e| error::plain("timerfd_create", e))?;
        epoll.add(timer.fd(), (libc::EPOLLIN | libc::EPOLLET) as u32, TIMER).map_err(|e| error::plain("epoll_ctl", e))?;
        Ok(Self {
            _watch: cx.watch(WaitSource(epoll.fd()))?,
            epoll,
            timer,
            timer_armed: false,
            slab: Slab::new(sockets, group_tag()),
            // Room for an echo on each socket, and for the report of its end.
            frames: Frames::new(2 * sockets),
            bufs,
            dirty: Vec::with_capacity(sockets),
            ready: VecDeque::with_capacity(sockets),
            starved: VecDeque::with_capacity(sockets),
            wait: None,
            waker: cx.handle().waker(),
            platform: cx.platform(),
            no_fd: VecDeque::with_capacity(sockets),
            no_fd_said: false,
            events: vec![Ready::NONE; READY_BATCH.min(sockets + 1)].into_boxed_slice(),
            limits,
            turns: Turns::new(sockets),
            supply,
            stats: GroupStats::default(),
        })
    }

    /// Adds the socket of a place to epoll.
    pub(crate) fn enrol(&mut self, place: usize) -> Result<(), NetError> {
        let hot = self.slab.hot(place);
        let (fd, key) = (hot.fd, hot.id.raw());
        self.epoll.add(fd, INTEREST, key).map_err(|e| error::plain("epoll_ctl", e))
    }

    /// Puts a place at the end of the rotation.
    pub(crate) fn enqueue(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_READY) {
            self.ready.push_back(place as u32);
        }
    }

    /// The end of a socket: its frames come back as cancelled, then `Closed`.
    pub(crate) fn finish(&mut self, place: usize, why: Option<NetError>) {
        let hot = self.slab.hot(place);
        let (id, token, written) = (hot.id, hot.token, hot.written);
        let mut queue = std::mem::take(&mut hot.queue);
        self.frames.cancel(&mut queue, id, token, written);
        self.frames.closed(id, token, why);
        drop(self.slab.take(place));
        self.retry_accepts();
    }

    /// Whether a socket holds so much to send that nothing more is read from it.
    #[inline]
    pub(crate) fn is_full(&mut self, place: usize) -> bool {
        self.limits.hold_reads(self.slab.hot(place))
    }

    /// Goes on reading from a socket whose queue has got shorter.
    #[cold]
    pub(crate) fn end_hold(&mut self, place: usize) {
        if !self.is_full(place) {
            self.slab.hot(place).flags &= !flag::HELD;
            self.enqueue(place);
        }
    }

    /// Has a poll soon, also on a sleeping core.
    pub(crate) fn wake_later(&mut self) {
        if !self.timer_armed {
            self.timer_armed = true;
            self.timer.arm(RETRY_MILLIS);
        }
    }

    /// Looks how many buffers are left; while they are short, ends those whose peers take nothing.
    #[cold]
    fn mind_supply(&mut self) {
        self.supply.look(0, &mut self.limits, &mut self.stats);
        if !self.supply.ends_stalled() {
            return;
        }
        // It is the clock that ends them, so the core must not sleep for long.
        self.wake_later();
        let now = self.platform.now().as_nanos();
        for (id, why) in self.supply.stalled(&mut self.slab, &self.frames, flag::BLOCKED, now) {
            if let Some(place) = self.slab.find(id) {
                self.stats.stalled += 1;
                self.reset_when_closed(place);
                self.finish(place, Some(why));
            }
        }
    }

    /// Has a socket end by a reset.
    fn reset_when_closed(&self, place: usize) {
        if let Some(socket) = self.slab.socket(place)
            && let Err(why) = socket.socket.set_linger(Some(Duration::ZERO))
        {
            log::debug!("a reset becomes an orderly end: SO_LINGER: {why}");
        }
    }

    fn place(&self, id: SockId) -> Result<usize, NetError> {
        self.slab.find(id).ok_or(NetError::Stale)
    }

    /// What epoll told of a socket. An open connection on which nothing is special, and which has bytes, is all that an echo meets: it is read here and
    /// now if `at_once` says that nobody waits to be served before it.
    #[inline]
    fn on_event(&mut self, event: Ready, at_once: bool, out: &mut Events) {
        if let Some(place) = self.slab.find(SockId::from_raw(event.key())) {
            let hot = self.slab.hot(place);
            let plain = hot.flags == flag::STREAM && hot.frames == 0;
            if plain && at_once && event.flags() & !OUT == IN && out.room() > 0 {
                self.read_plain(place, out);
            } else {
                self.on_special(place, event.flags(), at_once, out);
            }
        } else {
            self.on_no_socket(event.key());
        }
    }

    #[inline(never)]
    fn on_special(&mut self, place: usize, told: u32, at_once: bool, out: &mut Events) {
        let hot = self.slab.hot(place);
        if told & !(IN | OUT) != 0 {
            hot.flags |= flag::DRAIN | if told & GONE != 0 { flag::ENDED } else { 0 };
        }
        if hot.is(flag::BLOCKED) && told & (OUT | GONE) != 0 {
            hot.flags &= !flag::BLOCKED;
            self.write(place);
        }
        let hot = self.slab.hot(place);
        if told & !OUT == 0 && !hot.is(flag::CONNECTING) {
            return;
        }
        hot.flags |= flag::READABLE;
        if at_once && out.room() > 0 {
            self.serve(place, out);
        } else {
            self.enqueue(place);
        }
    }

    #[cold]
    fn on_no_socket(&mut self, key: u64) {
        if key == TIMER {
            self.timer_armed = false;
            self.retry_accepts();
        }
    }

    /// Reads, accepts or goes on connecting; the caller has left room for an event.
    pub(crate) fn serve(&mut self, place: usize, out: &mut Events) {
        let flags = self.slab.hot(place).flags;
        if flags & flag::READABLE == 0 {
        } else if flags & flag::STREAM != 0 {
            self.receive(place, None, out);
        } else if flags & flag::LISTENER != 0 {
            self.accept(place, out);
        } else if flags & flag::CONNECTING != 0 {
            self.connected(place, out);
        }
    }

    /// One turn for each socket in the rotation, as long as there is room.
    fn serve_ready(&mut self, out: &mut Events) {
        for _ in 0..self.ready.len() {
            if out.room() == 0 {
                return;
            }
            let Some(place) = self.ready.pop_front() else { return };
            self.slab.hot(place as usize).flags &= !flag::IN_READY;
            self.serve(place as usize, out);
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

    fn attach_posix(&mut self, socket: Box<PosixSocket>, token: Token) -> Result<SockId, (Box<PosixSocket>, NetError)> {
        let mut flags = match &socket.kind {
            Kind::Listener => flag::LISTENER,
            Kind::Connect(_) => flag::CONNECTING,
            Kind::Stream => flag::STREAM,
        };
        let fresh = matches!(&socket.kind, Kind::Connect(connect) if !connect.under_way);
        flags |= if socket.fin_sent { flag::FIN_SENT } else { 0 };
        flags |= if socket.kept.quick_ack { flag::QUICK_ACK } else { 0 };
        flags |= if socket.failed.is_some() { flag::FAILED | flag::READABLE | flag::DRAIN } else { 0 };
        let (places, fd) = (self.slab.room(), socket.fd());
        let place = self.slab.put(socket, fd, token, flags).map_err(|socket| (socket, NetError::GroupFull(places)))?;
        let id = self.slab.hot(place).id;
        if fresh {
            self.connect(place);
        } else if let Err(why) = self.enrol(place) {
            let Some(socket) = self.slab.take(place) else { unreachable!("it was put there above") };
            return Err((socket, why));
        }
        if flags & flag::READABLE != 0 {
            self.enqueue(place);
        }
        Ok(id)
    }
}

impl SockGroup for Group {
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>> {
        if !(&*socket as &dyn Any).is::<PosixSocket>() {
            let why = NetError::WrongBackend { socket: socket.backend(), group: NAME };
            return Err(Refused { item: socket, why });
        }
        let Ok(socket) = (socket as Box<dyn Any>).downcast::<PosixSocket>() else { unreachable!("its type was looked at above") };
        self.attach_posix(socket, token).map_err(|(socket, why)| Refused { item: socket as Box<dyn Socket>, why })
    }

    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError> {
        let place = self.place(id)?;
        let hot = self.slab.hot(place);
        let (fd, token, written) = (hot.fd, hot.token, hot.written);
        self.epoll.remove(fd).map_err(|e| error::plain("epoll_ctl", e))?;
        let mut queue = std::mem::take(&mut self.slab.hot(place).queue);
        self.frames.cancel(&mut queue, id, token, written);
        let socket = self.slab.take(place).ok_or(NetError::Stale)?;
        Ok(socket)
    }

    #[inline]
    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        let Some(hot) = self.slab.find_hot(id) else { return Err(Refused { item: frame, why: NetError::Stale }) };
        if hot.flags & (flag::STREAM | flag::CANNOT_SEND) != flag::STREAM {
            return Err(Refused { item: frame, why: NetError::NotConnected });
        }
        if self.limits.refuse_sends(hot) {
            return Err(self.limits.refused(hot, frame));
        }
        self.frames.push(hot, frame);
        if !hot.is(flag::BLOCKED) && hot.enlist(flag::IN_DIRTY) {
            self.dirty.push(id.index() as u32);
        }
        Ok(())
    }

    fn shutdown(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.place(id)?;
        let hot = self.slab.hot(place);
        if hot.is(flag::LISTENER) {
            return Err(NetError::NotConnected);
        }
        if !hot.is(flag::CANNOT_SEND) {
            hot.flags = hot.flags & !slab::REFUSED | flag::FIN_WANTED;
            self.end_sending(place);
        }
        Ok(())
    }

    fn close(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.place(id)?;
        if let Some(socket) = self.slab.socket(place) {
            socket.hang_up();
        }
        self.finish(place, None);
        Ok(())
    }

    fn abort(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.place(id)?;
        self.reset_when_closed(place);
        self.finish(place, None);
        Ok(())
    }

    fn pause(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.place(id)?;
        self.slab.hot(place).flags |= flag::PAUSED;
        Ok(())
    }

    fn resume(&mut self, id: SockId) -> Result<(), NetError> {
        let place = self.place(id)?;
        self.slab.hot(place).flags &= !flag::PAUSED;
        if self.slab.hot(place).is(flag::READABLE) {
            self.enqueue(place);
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.write_dirty();
    }

    fn poll(&mut self, out: &mut Events) -> usize {
        let before = out.len();
        self.stats.polls += 1;
        if !self.dirty.is_empty() {
            self.write_dirty();
        }
        if self.frames.has_reports() {
            // Half of the room, rounded now up and now down: a sender that always has more to hear of leaves room for what arrives.
            self.deliver((out.room() + (self.stats.polls & 1) as usize) / 2, out);
        }
        self.turns.begin();
        if self.supply.may_be_low(0) {
            self.mind_supply();
        }
        // Whoever was ready before comes before whoever is ready now, and whoever waits for a buffer before whoever would take one. Where nobody does, and
        // buffers are plenty, the rotation is not needed, nor a count of what each has had in this poll.
        let at_once = self.ready.is_empty() && self.starved.is_empty() && !self.supply.is_low();
        if !self.starved.is_empty() {
            self.feed(out);
        }
        for i in 0..self.epoll.poll(&mut self.events) {
            self.on_event(self.events[i], at_once, out);
        }
        // A poll that finds nothing lets the core sleep, and what the timer put into the rotation
        // just now has no event of its own to end that.
        if !at_once || out.len() == before {
            self.serve_ready(out);
        }
        if self.frames.has_reports() {
            self.deliver(out.room(), out);
        }
        let found = out.len() - before;
        if found > 0 {
            self.stats.busy_polls += 1;
            self.stats.events += found as u64;
        }
        found
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.bufs.get()
    }

    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        let socket = self.slab.socket(self.place(id)?).ok_or(NetError::Stale)?;
        Ok((socket.local()?, socket.peer))
    }

    fn options(&self, id: SockId) -> Result<SockOptions, NetError> {
        self.slab.socket(self.place(id)?).ok_or(NetError::Stale)?.read_options()
    }

    fn stats(&self) -> GroupStats {
        GroupStats { sockets: self.slab.sockets(), unsent: self.slab.queued(), ..self.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(self.epoll.fd()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.slab.drain().for_each(|socket| socket.hang_up());
    }
}
