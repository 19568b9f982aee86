//! The sockets of a group, under one epoll set: what the engine asks, in system calls.

use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Cx, Refused, WaitSource, Watch};
use net_group::{
    Accept, Backend, Bufs, Connecting, Happened, Kind, Opened, Outgoing, Parts, PerSlot, Ready, Recv, Release, Released, Sending, Slot,
};
use net_sockets::{Errno, Whose, connect, error, options, whose};

use crate::sys::{self, Epoll, EpollEvent, Timer};
use crate::{NAME, PosixSocket};

/// What every socket is added to epoll for.
const INTEREST: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET) as u32;

const _: () = assert!(Ready::READ.0 == libc::EPOLLIN as u32 && Ready::WRITE.0 == libc::EPOLLOUT as u32);
const _: () = assert!(Ready::OVER.0 == (libc::EPOLLERR | libc::EPOLLHUP) as u32);

/// Most descriptors that one poll asks epoll about; what is left comes first in the next poll. Each
/// takes a buffer before the application gives the first one back, so this bounds the memory that a
/// busy group walks through: with 256 an echo on 512 connections costs 3 % more CPU.
const READY_BATCH: usize = 32;

/// The timer's key names no socket.
const TIMER: u64 = u64::MAX;

/// Milliseconds after which a group tries again what waits for descriptors that others hold. Their
/// return is not announced, and the core may be asleep.
const RETRY_MILLIS: u32 = 10;

/// Pieces that one call takes. The system's limit is 1024; so many keep the list on the stack.
const PIECES: usize = 64;

/// Why a read has brought no bytes.
enum NoBytes {
    NoBuffer,
    Empty,
    Eof,
    Failed(Errno),
}

impl NoBytes {
    #[cold]
    #[inline(never)]
    fn of(done: Result<usize, Errno>) -> Self {
        match done {
            Ok(_) => Self::Eof,
            Err(errno) if errno.would_block() => Self::Empty,
            Err(errno) => Self::Failed(errno),
        }
    }

    /// Without a buffer an end can be told, and who has no bytes waits for none.
    #[cold]
    #[inline(never)]
    fn of_peek(slot: Slot) -> Self {
        match net_sockets::sys::peek(slot.number()) {
            Ok(1..) => Self::NoBuffer,
            nothing => Self::of(nothing),
        }
    }
}

/// See the crate's documentation.
pub(crate) struct EpollSockets {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Watch,
    epoll: Epoll,
    timer: Timer,
    armed: Option<TimerFor>,
    sockets: PerSlot<Box<PosixSocket>>,
    /// What epoll told last; those before `at` have been passed on.
    events: Vec<EpollEvent>,
    at: usize,
    /// There is, or was, a Unix socket among them.
    has_unix: bool,
    /// Connects that found a listener's queue full, until the timer goes off; and those of which it
    /// has, to be told.
    full: Vec<SockId>,
    again: Vec<SockId>,
}

/// What the timer runs for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TimerFor {
    Look,
    /// Does not wait for the end of what may be a long time; nor does a look need another timer
    /// beside this.
    Retry,
}

impl EpollSockets {
    pub(crate) fn new(cx: &mut Cx<'_>, config: &GroupConfig) -> Result<Self, NetError> {
        let sockets = config.sockets;
        let epoll = Epoll::new().map_err(|e| error::plain("epoll_create1", e))?;
        let timer = Timer::new().map_err(|e| error::plain("timerfd_create", e))?;
        epoll.add(timer.as_raw_fd(), (libc::EPOLLIN | libc::EPOLLET) as u32, TIMER).map_err(|e| error::plain("epoll_ctl", e))?;
        Ok(Self {
            _watch: cx.watch(WaitSource(epoll.as_raw_fd()))?,
            epoll,
            timer,
            armed: None,
            sockets: PerSlot::of(sockets),
            events: Vec::with_capacity(READY_BATCH.min(sockets + 1)),
            at: 0,
            has_unix: false,
            full: Vec::new(),
            again: Vec::new(),
        })
    }

    fn set_timer(&mut self, what: TimerFor, millis: u32) {
        if self.armed.is_none_or(|armed| armed < what) {
            self.armed = Some(what);
            self.timer.set(millis);
        }
    }

    fn is_unix(&self, index: usize) -> bool {
        self.has_unix && self.sockets.get(index).is_some_and(|socket| socket.kept.unix)
    }

    /// What epoll says of a Unix socket, in the words of TCP: that both sides have ended is no
    /// error, and what is left can be read.
    #[cold]
    fn of_unix(index: usize, flags: u32, sockets: &PerSlot<Box<PosixSocket>>) -> u32 {
        match sockets.get(index) {
            Some(socket) if socket.kept.unix => flags & !Ready::OVER.0 | INTEREST & !(libc::EPOLLET as u32),
            _ => flags,
        }
    }

    /// Has a connect asked for again when the listener's queue may have room.
    #[cold]
    fn ask_again_later(&mut self, id: SockId) {
        if !self.full.contains(&id) {
            self.full.push(id);
        }
        self.set_timer(TimerFor::Retry, RETRY_MILLIS);
    }

    fn failed(&mut self, slot: Slot) -> Option<NetError> {
        self.sockets.get_mut(slot.index())?.failed.take()
    }

    /// What a read without bytes is to the engine. Inlined by force, as each answer of it that is
    /// known where it is made spares the way with bytes a look at which it was.
    #[inline(always)]
    fn no_bytes(&mut self, slot: Slot, what: NoBytes) -> Recv {
        match what {
            NoBytes::NoBuffer => Recv::NoBuffer,
            NoBytes::Empty => Recv::Empty,
            NoBytes::Eof => Recv::Eof,
            NoBytes::Failed(errno) => Recv::Failed(self.failed(slot).unwrap_or_else(|| error::plain("recv", errno))),
        }
    }

    /// Several pieces in one call.
    #[inline(never)]
    fn gather(&mut self, slot: Slot, parts: Parts<'_>) -> Sending {
        let pieces: heapless::Vec<_, PIECES> = parts.iter().take(PIECES).map(IoSlice::new).collect();
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let Some(socket) = self.sockets.get(slot.index()) else { return self.sent_less(slot, Err(Errno(libc::EBADF))) };
        match socket.socket.send_vectored_with_flags(&pieces, libc::MSG_NOSIGNAL) {
            Ok(n) if n == offered => Sending::Taken(n),
            done => self.sent_less(slot, done.map_err(|e| Errno::of(&e))),
        }
    }

    /// A call took less than it was offered, or nothing. Not inlined, so that what it needs is not
    /// kept ready before each call.
    #[cold]
    #[inline(never)]
    fn sent_less(&mut self, slot: Slot, done: Result<usize, Errno>) -> Sending {
        let errno = match done {
            // The system promises an EPOLLOUT after a short write as after EAGAIN (epoll(7),
            // question 9).
            Ok(n) => return Sending::Blocked(n),
            Err(errno) => errno,
        };
        if errno.would_block() {
            return Sending::Blocked(0);
        }
        if errno.0 == libc::EINTR {
            return Sending::Taken(0);
        }
        if let Some(socket) = self.sockets.get_mut(slot.index()) {
            socket.failed = Some(error::plain("send", errno));
        }
        Sending::Failed
    }
}

impl Backend for EpollSockets {
    type Socket = PosixSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<PosixSocket>) -> Result<Opened, Refused<Box<PosixSocket>, NetError>> {
        let kind = match &socket.kind {
            net_sockets::Kind::Listener => Kind::Listener,
            net_sockets::Kind::Connect(connect) if connect.under_way => Kind::Connecting,
            net_sockets::Kind::Connect(_) => Kind::Connect,
            net_sockets::Kind::Stream if socket.failed.is_some() => Kind::Broken,
            net_sockets::Kind::Stream if socket.fin_sent => Kind::Finished,
            net_sockets::Kind::Stream => Kind::Stream,
        };
        // One that is not under way joins when its connect begins.
        if kind != Kind::Connect
            && let Err(why) = add_to_epoll(&self.epoll, slot, &socket)
        {
            return Err(Refused { item: socket, why });
        }
        self.has_unix |= socket.kept.unix;
        let opened = Opened { kind, number: socket.fd(), acknowledge: socket.kept.quick_ack };
        self.sockets.set(slot.index(), Some(socket));
        Ok(opened)
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<PosixSocket> {
        let Some(socket) = self.sockets.take(slot.index()) else { return Released::Stays(NetError::Stale) };
        match how {
            Release::Close => socket.hang_up(),
            Release::Abort => {
                if let Err(why) = socket.socket.set_linger(Some(Duration::ZERO)) {
                    log::debug!("a reset becomes an orderly end: SO_LINGER: {why}");
                }
            }
            Release::Over => {}
            Release::Detach => {
                if let Err(errno) = self.epoll.remove(socket.fd()) {
                    self.sockets.set(slot.index(), Some(socket));
                    return Released::Stays(error::plain("epoll_ctl", errno));
                }
            }
        }
        Released::Now(socket)
    }

    fn socket(&self, slot: Slot) -> Option<&PosixSocket> {
        self.sockets.get(slot.index()).map(|socket| &**socket)
    }

    /// Inlined by force, as the engine's fast way and its slow one call it: a call would pass what
    /// came of it through memory.
    #[inline(always)]
    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let what = match bufs.take() {
            None => NoBytes::of_peek(slot),
            Some(mut buf) => {
                let into = buf.spare_mut();
                let room = bufs.at_once(into.len());
                loop {
                    match net_sockets::sys::recv(slot.number(), &mut into[..room]) {
                        Ok(n) if n > 0 => {
                            buf.grow(n);
                            return Recv::Bytes(buf, n == room || self.is_unix(slot.index()));
                        }
                        Err(Errno(libc::EINTR)) => {}
                        none => break NoBytes::of(none),
                    }
                }
            }
        };
        self.no_bytes(slot, what)
    }

    fn accept(&mut self, listener: Slot) -> Accept<PosixSocket> {
        match net_sockets::sys::accept(listener.number()) {
            Ok((socket, peer)) => {
                let Some(kept) = self.sockets.get(listener.index()).map(|listener| listener.kept) else { return Accept::Gone };
                options::apply_to_accepted(&socket, &kept);
                Accept::Taken(Box::new(PosixSocket::accepted(socket, peer, kept)))
            }
            Err(errno) if errno.would_block() => Accept::Empty,
            Err(errno) => match whose::of_accept(errno) {
                Whose::Call => Accept::Gone,
                Whose::Machine => Accept::NoDescriptor,
                Whose::Socket => Accept::Failed(error::plain("accept4", errno)),
            },
        }
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        let Self { epoll, sockets, .. } = self;
        let Some(socket) = sockets.get_mut(slot.index()) else { return Connecting::Failed(NetError::Stale) };
        let connecting = connect::go_on(socket, |socket| add_to_epoll(epoll, slot, socket));
        if socket.is_to_ask_again() {
            self.ask_again_later(slot.id());
        }
        connecting
    }

    #[inline]
    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        match out {
            Outgoing::One(bytes) => match sys::send(slot.number(), bytes) {
                Ok(n) if n == bytes.len() => Sending::Taken(n),
                done => self.sent_less(slot, done),
            },
            Outgoing::Many(parts) => self.gather(slot, parts),
        }
    }

    fn fin(&mut self, slot: Slot) {
        if let Some(socket) = self.sockets.get_mut(slot.index()) {
            socket.fin_sent = true;
            // The only error is that the connection is gone, which reading tells.
            let _ = socket.socket.shutdown(Shutdown::Write);
        }
    }

    #[inline]
    fn poll(&mut self) {
        self.at = 0;
        self.epoll.wait(&mut self.events);
    }

    #[inline]
    fn next(&mut self, _: usize) -> Option<Happened<PosixSocket>> {
        let Some(&event) = self.events.get(self.at) else {
            return self.again.pop().map(|id| Happened::Ready(id, Ready::WRITE));
        };
        self.at += 1;
        if event.added_as() == TIMER {
            self.armed = None;
            self.again.append(&mut self.full);
            return Some(Happened::Time);
        }
        let (id, mut flags) = (SockId::from_raw(event.added_as()), event.flags());
        if flags & Ready::OVER.0 != 0 && self.has_unix {
            flags = Self::of_unix(id.index(), flags, &self.sockets);
        }
        Some(Happened::Ready(id, Ready(flags)))
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        let of_a_send = self.failed(slot);
        of_a_send.or_else(|| {
            let told = self.sockets.get(slot.index())?.socket.take_error().ok()?;
            told.map(|e| error::plain("recv", Errno::of(&e)))
        })
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        net_sockets::sys::has_room(slot.number())
    }

    #[cold]
    fn has_much(&mut self, slot: Slot) -> bool {
        net_sockets::sys::unread(slot.number()) > net_group::SPARING
    }

    /// The system goes back to delaying acknowledgements by itself (tcp(7)), so the wish is
    /// renewed.
    #[cold]
    fn acknowledge(&mut self, slot: Slot) {
        if let Some(socket) = self.sockets.get(slot.index()) {
            // The connection may be gone; the next read tells.
            let _ = socket.socket.set_tcp_quickack(true);
        }
    }

    fn wake_later(&mut self) -> bool {
        self.set_timer(TimerFor::Retry, RETRY_MILLIS);
        true
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.set_timer(TimerFor::Look, millis);
        true
    }

    #[cold]
    fn out_of_descriptors(&mut self, listener: Slot) {
        let at = self.sockets.get(listener.index()).and_then(|listener| listener.local().ok());
        let at = at.map_or_else(|| "a listener".to_owned(), |at| at.to_string());
        log::warn!("out of file descriptors: {at} accepts nothing until some are free (see ulimit -n)");
    }

    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(self.epoll.as_raw_fd()))
    }
}

/// Adds the socket of a slot to epoll.
fn add_to_epoll(epoll: &Epoll, slot: Slot, socket: &PosixSocket) -> Result<(), NetError> {
    epoll.add(socket.fd(), INTEREST, slot.id().raw()).map_err(|e| error::plain("epoll_ctl", e))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use conformance::platform::{CORE, self_driven};
    use core_reactor::{CpuSet, ThreadConfig, ThreadLib, ThreadLibOptions};
    use pool::BufGroup;

    use super::*;

    /// The time that was asked for is told, and soon enough that nobody waits for what comes in an
    /// hour.
    fn time_comes(backend: &mut EpollSockets) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            backend.poll();
            if let Some(Happened::Time) = backend.next(1) {
                return;
            }
            assert!(Instant::now() < end, "nothing would wake the core");
            std::thread::yield_now();
        }
    }

    #[test]
    fn s74_what_is_tried_again_does_not_wait_for_a_look() {
        const HOUR: u32 = 3_600_000;
        let lib = ThreadLib::new(self_driven(), CpuSet::of(CORE), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("test"), CORE).expect("the platform has this core");
        let config = GroupConfig::new(BufGroup::new(1, 64));
        let mut backend = thread.with(|cx| EpollSockets::new(cx, &config)).expect("descriptors");
        assert!(backend.wake_for_look(HOUR) && backend.wake_later());
        time_comes(&mut backend);
        assert!(backend.wake_later() && backend.wake_for_look(HOUR));
        time_comes(&mut backend);
        // More than a second, and not a whole number of them.
        assert!(backend.wake_for_look(1001));
        time_comes(&mut backend);
    }
}
