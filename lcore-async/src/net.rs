//! The sockets of one thread: one group, what each socket has, and who waits for what.
//!
//! Bytes that have come belong to their socket and not to a read: a read that is dropped takes
//! nothing with it. Bytes that are to be sent belong to the group once they are counted as taken,
//! and before that to the caller.
//!
//! ```text
//!          attach         Connected or accepted            Closed
//!  a socket ───► opening ─────────────────────► open ──────────────────► over: what has come is
//!                                                │                       still read
//!                      the last handle is dropped│
//!                                                └─► leaving: what was taken is sent, then close
//! ```
//!
//! A slot is free again when its socket is closed and no handle is left.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use core_reactor::net::{
    Events, Frame, GroupConfig, NetError, NetEvent, NetImpl, SockGroup, SockId, SockOptions, Socket, Token, UnixAddress,
};
use core_reactor::{Cx, Deadlines, Instant, Refused};
use pool::{Buf, BufGroup, Class, Request};

/// The tag of the frames that stand behind all that was to be sent: they are told of.
const MARK: u32 = 0;
/// Buffers for writes while all others are out, so that a task that must write before it reads on
/// can do so.
const SPARE: usize = 4;

/// The sockets of one thread.
pub(crate) struct Net {
    backend: &'static dyn NetImpl,
    group: Box<dyn SockGroup>,
    socks: Vec<Sock>,
    free: Vec<u32>,
    limit: usize,
    /// Those for which something came in this turn, or which came themselves.
    fed: Vec<u32>,
    /// When those that leave are cut off.
    cut_off: Deadlines,
    linger: Duration,
    leaving: usize,
    /// Who has something to write and no buffer, in order.
    starving: VecDeque<u32>,
    request: Option<Request>,
    /// What it was granted.
    granted: Option<Buf>,
    /// Listeners with connections for which the group has no room.
    crowded: VecDeque<u32>,
    bufs: BufGroup,
    spare: BufGroup,
    waker: Waker,
}

/// What a socket is, and what of it is there.
struct Sock {
    id: SockId,
    is_listener: bool,
    /// How many of its handles are there.
    handles: u8,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// What was received and not read.
    inbox: VecDeque<Buf>,
    /// What a listener has taken.
    accepted: VecDeque<Box<dyn Socket>>,
    /// Nobody will read from it: what still comes is dropped.
    is_deaf: bool,
    /// It is connected, so that it sends.
    is_open: bool,
    /// Its peer has ended its side.
    is_eof: bool,
    /// What was taken is not sent any more. Why, its end will say, which comes behind all that is
    /// still to be read.
    is_broken: bool,
    /// How it ended.
    over: Option<Option<NetError>>,
    /// Nothing is read from it.
    is_paused: bool,
    /// It is in the list of those for which something came, of those that want a buffer, of those
    /// that want room in the group.
    is_fed: bool,
    is_starving: bool,
    is_crowded: bool,
    /// Sends were refused; it is told when there is room.
    is_full: bool,
    /// Its sending side is to end, when there is room for the mark before that.
    is_finishing: bool,
    /// Its sending side has ended.
    is_finished: bool,
    /// Something was queued behind the last mark.
    is_unmarked: bool,
    /// Marks that are not out.
    marks: u32,
    /// Bytes that were taken to be sent.
    taken: u64,
}

/// Who is to be woken by an event.
pub(crate) type Woken = [Option<Waker>; 2];

impl Sock {
    fn new() -> Self {
        Self {
            id: SockId::from_raw(u64::MAX),
            is_listener: false,
            handles: 0,
            reader: None,
            writer: None,
            inbox: VecDeque::new(),
            accepted: VecDeque::new(),
            is_deaf: false,
            is_open: false,
            is_eof: false,
            is_broken: false,
            over: None,
            is_paused: false,
            is_fed: false,
            is_starving: false,
            is_crowded: false,
            is_full: false,
            is_finishing: false,
            is_finished: false,
            is_unmarked: false,
            marks: 0,
            taken: 0,
        }
    }

    /// The same slot for the next socket. What is allocated stays, and the lists that it is in.
    fn renew(&mut self) {
        let (mut inbox, mut accepted) = (mem::take(&mut self.inbox), mem::take(&mut self.accepted));
        inbox.clear();
        accepted.clear();
        let Self { is_fed, is_starving, is_crowded, .. } = *self;
        *self = Self { inbox, accepted, is_fed, is_starving, is_crowded, ..Self::new() };
    }

    /// How reading ends, if it has: all has been read.
    fn end(&self) -> Option<Result<(), NetError>> {
        match &self.over {
            _ if self.is_eof => Some(Ok(())),
            Some(Some(why)) => Some(Err(why.clone())),
            // Reset from here: what the peer had still to say is not its end.
            Some(None) if self.is_broken => Some(Err(NetError::NotConnected)),
            Some(None) => Some(Ok(())),
            None => None,
        }
    }

    /// What was taken may still be on its way.
    fn sends_still(&self) -> bool {
        self.is_open && self.over.is_none()
    }

    /// Why nothing can be sent, if so.
    fn sends(&self) -> Result<(), NetError> {
        self.is_alive()?;
        if self.is_finishing { Err(NetError::NotConnected) } else { Ok(()) }
    }

    /// Why nothing that was taken will be sent, if so.
    fn is_alive(&self) -> Result<(), NetError> {
        match &self.over {
            Some(why) => Err(why.clone().unwrap_or(NetError::NotConnected)),
            None if self.is_broken => Err(NetError::NotConnected),
            None => Ok(()),
        }
    }
}

/// Has `cx` be woken in place of who waited before.
fn wait(waiter: &mut Option<Waker>, cx: &Context<'_>) {
    if !waiter.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waiter = Some(cx.waker().clone());
    }
}

impl Net {
    /// A group of `config` over `backend`, with slots for as many sockets.
    pub(crate) fn new(cx: &mut Cx<'_>, backend: &'static dyn NetImpl, config: GroupConfig, linger: Duration) -> Result<Self, NetError> {
        let (limit, bufs) = (config.sockets, config.bufs.clone());
        let group = backend.group(cx, config)?;
        let tick = (linger / 50).max(Duration::from_millis(1));
        Ok(Self {
            backend,
            group,
            socks: Vec::with_capacity(limit),
            free: Vec::with_capacity(limit),
            limit,
            fed: Vec::with_capacity(limit),
            cut_off: Deadlines::new(limit, tick),
            linger,
            leaving: 0,
            starving: VecDeque::with_capacity(limit),
            request: None,
            granted: None,
            crowded: VecDeque::new(),
            spare: BufGroup::new(SPARE, bufs.buf_size()),
            bufs,
            waker: cx.handle().waker(),
        })
    }

    fn sock(&mut self, n: u32) -> &mut Sock {
        &mut self.socks[n as usize]
    }

    // ---- Coming

    pub(crate) fn listen(&mut self, at: SocketAddr, options: &SockOptions) -> Result<u32, NetError> {
        let socket = self.backend.listen(at, options)?;
        self.attach_listener(socket)
    }

    pub(crate) fn listen_unix(&mut self, at: &UnixAddress, options: &SockOptions) -> Result<u32, NetError> {
        let socket = self.backend.listen_unix(at, options)?;
        self.attach_listener(socket)
    }

    pub(crate) fn connect_unix(&mut self, to: &UnixAddress, options: &SockOptions) -> Result<u32, NetError> {
        let socket = self.backend.connect_unix(to, options)?;
        self.attach(socket)
    }

    fn attach_listener(&mut self, socket: Box<dyn Socket>) -> Result<u32, NetError> {
        let n = self.attach(socket)?;
        self.sock(n).is_listener = true;
        self.note_fed(n);
        Ok(n)
    }

    pub(crate) fn connect(&mut self, to: &[SocketAddr], options: &SockOptions) -> Result<u32, NetError> {
        let socket = self.backend.connect(to, options)?;
        self.attach(socket)
    }

    /// Takes a connection that was accepted here or elsewhere.
    pub(crate) fn adopt(&mut self, socket: Box<dyn Socket>) -> Result<u32, NetError> {
        let n = self.attach(socket)?;
        self.sock(n).is_open = true;
        self.note_fed(n);
        Ok(n)
    }

    fn attach(&mut self, socket: Box<dyn Socket>) -> Result<u32, NetError> {
        if !self.has_room() {
            return Err(NetError::GroupFull(self.limit));
        }
        let n = self.free.pop().unwrap_or_else(|| {
            self.socks.push(Sock::new());
            (self.socks.len() - 1) as u32
        });
        match self.group.attach(socket, Token(n.into())) {
            Ok(id) => {
                let sock = self.sock(n);
                (sock.id, sock.handles) = (id, 1);
                Ok(n)
            }
            Err(Refused { why, .. }) => {
                self.free.push(n);
                Err(why)
            }
        }
    }

    fn has_room(&self) -> bool {
        self.socks.len() - self.free.len() < self.limit
    }

    /// One more handle to a socket.
    pub(crate) fn share(&mut self, n: u32) {
        self.sock(n).handles += 1;
    }

    pub(crate) fn addresses(&mut self, n: u32) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        let id = self.sock(n).id;
        self.group.addresses(id)
    }

    /// Whether the connect is done.
    pub(crate) fn poll_connected(&mut self, n: u32, cx: &Context<'_>) -> Poll<Result<(), NetError>> {
        let sock = self.sock(n);
        match &sock.over {
            Some(why) => Poll::Ready(Err(why.clone().unwrap_or(NetError::Cancelled))),
            None if sock.is_open => Poll::Ready(Ok(())),
            None => {
                wait(&mut sock.writer, cx);
                Poll::Pending
            }
        }
    }

    /// A connection; if it is to stay here, as soon as there is room.
    pub(crate) fn poll_accept(&mut self, n: u32, cx: &Context<'_>, stays: bool) -> Poll<Result<Box<dyn Socket>, NetError>> {
        if stays && !self.has_room() && !self.sock(n).accepted.is_empty() {
            let sock = &mut self.socks[n as usize];
            wait(&mut sock.reader, cx);
            if !mem::replace(&mut sock.is_crowded, true) {
                self.crowded.push_back(n);
            }
            return Poll::Pending;
        }
        let sock = self.sock(n);
        if let Some(socket) = sock.accepted.pop_front() {
            return Poll::Ready(Ok(socket));
        }
        if let Some(why) = &sock.over {
            return Poll::Ready(Err(why.clone().unwrap_or(NetError::Cancelled)));
        }
        wait(&mut sock.reader, cx);
        self.resume(n);
        Poll::Pending
    }

    // ---- Reading

    /// Reads on, as somebody waits for it.
    fn resume(&mut self, n: u32) {
        let sock = self.sock(n);
        if sock.is_paused {
            sock.is_paused = false;
            // Stale: its end is about to be told.
            let _ = self.group.resume(self.socks[n as usize].id);
        }
    }

    /// The next buffer of what has come; `None` at the end.
    pub(crate) fn poll_recv(&mut self, n: u32, cx: &Context<'_>) -> Poll<Result<Option<Buf>, NetError>> {
        let sock = self.sock(n);
        if let Some(buf) = sock.inbox.pop_front() {
            return Poll::Ready(Ok(Some(buf)));
        }
        if let Some(end) = sock.end() {
            return Poll::Ready(end.map(|()| None));
        }
        wait(&mut sock.reader, cx);
        self.resume(n);
        Poll::Pending
    }

    /// Shows what has come to `take`, which tells how much of it it has taken; 0 at the end.
    pub(crate) fn poll_read(&mut self, n: u32, cx: &Context<'_>, take: impl FnOnce(&[u8]) -> usize) -> Poll<Result<usize, NetError>> {
        match self.sock(n).inbox.front_mut() {
            Some(buf) => {
                let taken = take(buf);
                buf.advance(taken);
                if buf.is_empty() {
                    self.sock(n).inbox.pop_front();
                }
                Poll::Ready(Ok(taken))
            }
            None => self.poll_recv(n, cx).map_ok(|_| 0),
        }
    }

    // ---- Writing

    /// An empty buffer to write into. If there is none, the writer waits for one.
    fn buffer(&mut self, n: u32, cx: &Context<'_>) -> Option<Buf> {
        let buf = self.granted.take().or_else(|| self.bufs.get()).or_else(|| self.spare.get());
        if buf.is_none() {
            let sock = &mut self.socks[n as usize];
            wait(&mut sock.writer, cx);
            if !mem::replace(&mut sock.is_starving, true) {
                self.starving.push_back(n);
            }
        }
        buf
    }

    /// Takes as much of `parts` as there is room for, a buffer at the most; tells how much.
    pub(crate) fn poll_write<'a>(
        &mut self,
        n: u32,
        cx: &Context<'_>,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<Result<usize, NetError>> {
        let mut parts = parts.filter(|part| !part.is_empty()).peekable();
        let sock = self.sock(n);
        sock.sends()?;
        if parts.peek().is_none() {
            return Poll::Ready(Ok(0));
        }
        if sock.is_full {
            wait(&mut sock.writer, cx);
            return Poll::Pending;
        }
        let Some(mut buf) = self.buffer(n, cx) else { return Poll::Pending };
        while buf.spare_capacity() > 0
            && let Some(part) = parts.next()
        {
            buf.append(part);
        }
        let bytes = buf.len();
        self.poll_send(n, cx, &mut Some(buf.into())).map_ok(|()| bytes)
    }

    /// Takes a frame as soon as there is room; until then, and with an error, it stays.
    pub(crate) fn poll_send(&mut self, n: u32, cx: &Context<'_>, frame: &mut Option<Frame>) -> Poll<Result<(), NetError>> {
        let sock = &mut self.socks[n as usize];
        sock.sends()?;
        let Some(next) = frame.take_if(|_| !sock.is_full) else {
            if frame.is_some() {
                wait(&mut sock.writer, cx);
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        };
        let bytes = next.bytes() as u64;
        match self.group.send(sock.id, next) {
            Ok(()) => {
                sock.taken += bytes;
                sock.is_unmarked = true;
                Poll::Ready(Ok(()))
            }
            Err(Refused { item, why }) => {
                *frame = Some(item);
                if !matches!(why, NetError::SendLimit { .. }) {
                    return Poll::Ready(Err(why));
                }
                sock.is_full = true;
                wait(&mut sock.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Bytes of a socket that were taken to be sent.
    pub(crate) fn taken(&mut self, n: u32) -> u64 {
        self.sock(n).taken
    }

    /// Ends the sending side behind all that was taken.
    pub(crate) fn poll_shutdown(&mut self, n: u32, cx: &Context<'_>) -> Poll<Result<(), NetError>> {
        self.finish(n);
        let sock = self.sock(n);
        if sock.is_finished {
            return Poll::Ready(Ok(()));
        }
        sock.is_alive()?;
        wait(&mut sock.writer, cx);
        Poll::Pending
    }

    /// The same, at once or when there is room for the mark.
    pub(crate) fn finish(&mut self, n: u32) {
        let sock = self.sock(n);
        if sock.is_finished || sock.is_alive().is_err() {
            return;
        }
        sock.is_finishing = true;
        if self.mark(n) {
            let sock = &mut self.socks[n as usize];
            sock.is_finished = true;
            // Stale: its end is about to be told.
            let _ = self.group.shutdown(sock.id);
        }
    }

    /// Queues a mark behind all that was taken, if that is not marked. Whether it is.
    fn mark(&mut self, n: u32) -> bool {
        let sock = &mut self.socks[n as usize];
        if !sock.is_unmarked {
            return true;
        }
        match self.group.send(sock.id, Frame::new().tagged(MARK)) {
            Ok(()) => {
                sock.is_unmarked = false;
                sock.marks += 1;
                true
            }
            Err(Refused { why: NetError::SendLimit { .. }, .. }) => {
                sock.is_full = true;
                false
            }
            // It is broken: nothing that was taken is sent any more.
            Err(_) => true,
        }
    }

    // ---- Going

    /// Resets a connection. What was taken and is not out is lost, as the peer hears.
    pub(crate) fn abort(&mut self, n: u32) {
        let sock = self.sock(n);
        if sock.over.is_none() {
            sock.is_broken = true;
            let id = sock.id;
            // Stale: it has ended by itself.
            let _ = self.group.abort(id);
        }
    }

    /// Nobody reads on: what has come goes home, and the peer is held back. Who waited comes back,
    /// to be dropped.
    pub(crate) fn deafen(&mut self, n: u32) -> Option<Waker> {
        let sock = self.sock(n);
        sock.is_deaf = true;
        sock.inbox.clear();
        let reader = sock.reader.take();
        if sock.over.is_none() && !mem::replace(&mut sock.is_paused, true) {
            let id = sock.id;
            // Stale: its end is about to be told.
            let _ = self.group.pause(id);
        }
        reader
    }

    /// A handle is dropped. With the last one the socket goes, behind all that was taken.
    pub(crate) fn release(&mut self, n: u32, now: Instant) {
        let sock = self.sock(n);
        sock.handles -= 1;
        if sock.handles > 0 {
            return;
        }
        sock.inbox.clear();
        sock.accepted.clear();
        if sock.over.is_some() {
            return self.vacate(n);
        }
        self.leaving += 1;
        self.cut_off.set(n as usize, now + self.linger);
        self.leave(n);
    }

    /// Closes a socket without handles, or does so when all is sent.
    fn leave(&mut self, n: u32) {
        let sock = &self.socks[n as usize];
        let may_close = sock.is_listener || !sock.is_open || self.mark(n);
        let sock = &self.socks[n as usize];
        if may_close && sock.marks == 0 {
            // Stale: it is closed already, which is about to be told.
            let _ = self.group.close(sock.id);
        }
    }

    fn vacate(&mut self, n: u32) {
        self.cut_off.clear(n as usize);
        self.sock(n).renew();
        self.free.push(n);
    }

    /// Sockets without handles that are not closed yet.
    pub(crate) fn leaving(&self) -> usize {
        self.leaving
    }

    /// The end of all, on time or by force. Dropped, the group closes every socket in order, so
    /// those of which something is not out are reset first: a part must not look like the whole.
    pub(crate) fn cut_off_all(&mut self, events: &mut Events) {
        let open: Vec<u32> = (0..self.socks.len() as u32).filter(|n| self.sock(*n).sends_still()).collect();
        let refused: Vec<bool> = open.iter().map(|n| !self.mark(*n)).collect();
        // A poll may tell of half as many as it has room for.
        for _ in 0..=2 * open.len() / events.room().max(1) + 1 {
            self.group.poll(events);
            events.drain().for_each(|event| drop(self.on(event)));
        }
        for (n, is_refused) in open.into_iter().zip(refused) {
            let sock = self.sock(n);
            if sock.sends_still() && (is_refused || sock.marks > 0) {
                let id = sock.id;
                // Stale: it has ended by itself.
                let _ = self.group.abort(id);
            }
        }
    }

    // ---- A turn

    /// Looks what has happened. Tells how many events there are.
    pub(crate) fn poll(&mut self, now: Instant, events: &mut Events) -> usize {
        while let Some(n) = self.cut_off.pop_expired(now) {
            // Its peer has not had all, and must not take it for all.
            let _ = self.group.abort(self.socks[n].id);
        }
        self.group.poll(events)
    }

    /// When those that leave are to be looked at.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.cut_off.next_look()
    }

    /// What an event changes, and who is to be woken.
    pub(crate) fn on(&mut self, event: NetEvent) -> Woken {
        let n = event.token().0 as u32;
        let sock = &mut self.socks[n as usize];
        match event {
            NetEvent::Received { buf, .. } if sock.handles > 0 && !sock.is_deaf => {
                sock.inbox.push_back(buf);
                let reader = sock.reader.take();
                self.note_fed(n);
                [reader, None]
            }
            NetEvent::Accepted { socket, .. } if sock.handles > 0 => {
                sock.accepted.push_back(socket);
                let reader = sock.reader.take();
                self.note_fed(n);
                [reader, None]
            }
            NetEvent::Connected { .. } => {
                sock.is_open = true;
                let writer = sock.writer.take();
                self.note_fed(n);
                [None, writer]
            }
            NetEvent::Writable { .. } => {
                sock.is_full = false;
                let writer = sock.writer.take();
                self.go_on_ending(n);
                [None, writer]
            }
            NetEvent::PeerClosed { .. } => {
                sock.is_eof = true;
                [sock.reader.take(), None]
            }
            NetEvent::Sent { frame, error: None, .. } if frame.tag() == Some(MARK) => {
                sock.marks -= 1;
                self.go_on_ending(n);
                [None, None]
            }
            NetEvent::Sent { error: Some(_), .. } => {
                (sock.is_broken, sock.is_unmarked, sock.marks) = (true, false, 0);
                let writer = sock.writer.take();
                self.go_on_ending(n);
                [None, writer]
            }
            NetEvent::Closed { why, .. } => {
                sock.over = Some(why);
                let woken = [sock.reader.take(), sock.writer.take()];
                if sock.handles == 0 {
                    self.leaving -= 1;
                    self.vacate(n);
                }
                woken
            }
            // What comes for a socket that leaves is dropped.
            _ => [None, None],
        }
    }

    fn note_fed(&mut self, n: u32) {
        if !mem::replace(&mut self.sock(n).is_fed, true) {
            self.fed.push(n);
        }
    }

    /// There is room, or a mark is out: what waited for that.
    fn go_on_ending(&mut self, n: u32) {
        let sock = self.sock(n);
        if sock.is_finishing && !sock.is_finished {
            self.finish(n);
        }
        if self.sock(n).handles == 0 {
            self.leave(n);
        }
    }

    /// Nothing is read from a socket while nobody waits for it: what it brings would keep buffers
    /// that others need. So at the end of a turn those are paused for which somebody did wait; and
    /// a listener of which somebody waits for room while there are connections.
    pub(crate) fn hold_back(&mut self) {
        for n in self.fed.drain(..) {
            let sock = &mut self.socks[n as usize];
            sock.is_fed = false;
            let is_enough = sock.reader.is_none() || !sock.accepted.is_empty();
            if is_enough && !sock.is_paused && sock.handles > 0 && sock.over.is_none() {
                sock.is_paused = true;
                // Stale: its end is about to be told.
                let _ = self.group.pause(sock.id);
            }
        }
    }

    /// Who has waited for a buffer, or for room in the group, and may try again; again and again,
    /// until there is nobody. `woken` were so before in this turn.
    pub(crate) fn next_fed(&mut self, woken: usize, now: Instant) -> Option<Waker> {
        while self.has_room()
            && let Some(n) = self.crowded.pop_front()
        {
            self.sock(n).is_crowded = false;
            if let Some(reader) = self.sock(n).reader.take() {
                return Some(reader);
            }
        }
        while let Some(n) = self.starving.front().copied() {
            let there = self.buffers(now);
            if there <= woken {
                // While there are some, they are for those that were woken, and this turn is not
                // the last.
                if there == 0 {
                    self.ask_for_a_buffer(now);
                }
                return None;
            }
            self.starving.pop_front();
            self.sock(n).is_starving = false;
            if let Some(writer) = self.sock(n).writer.take() {
                return Some(writer);
            }
        }
        self.request = None;
        if woken == 0 {
            // Nobody has come for it.
            self.granted = None;
        }
        None
    }

    /// Buffers that writers could have now.
    fn buffers(&mut self, now: Instant) -> usize {
        if let Some(mut granted) = self.request.as_mut().and_then(|request| request.poll(now.as_nanos())) {
            (self.request, self.granted) = (None, granted.next());
        }
        // While this runtime waits for one as well, those of the pool are not to be had.
        let pooled = if self.request.is_none() { self.bufs.available(Class::Small) } else { 0 };
        usize::from(self.granted.is_some()) + pooled + self.spare.available(Class::Small)
    }

    /// Has the thread be woken when there is a buffer.
    fn ask_for_a_buffer(&mut self, now: Instant) {
        if self.request.is_some() {
            return;
        }
        match self.bufs.request(Class::Small, 1, now.as_nanos(), &self.waker).map(|mut request| (request.poll(now.as_nanos()), request)) {
            Ok((None, request)) => self.request = Some(request),
            Ok((Some(mut granted), _)) => {
                // It came home just now, so that nobody tells of it.
                self.granted = granted.next();
                self.waker.wake_by_ref();
            }
            // As many as may wait do so, and nobody tells when there is a place among them.
            Err(_) => self.waker.wake_by_ref(),
        }
    }

    /// Who waits for a socket: for the end of all.
    pub(crate) fn take_waiters(&mut self) -> Vec<Waker> {
        self.socks.iter_mut().flat_map(|sock| [sock.reader.take(), sock.writer.take()]).flatten().collect()
    }
}

/// Sizes that the defaults of `send_limit` and `send_frames` keep small: a peer that takes nothing
/// holds so many buffers, and its writer waits.
pub(crate) fn group_config(bufs: &BufGroup, sockets: usize, send_limit: usize, stall_limit: Option<Duration>) -> GroupConfig {
    let config = GroupConfig::new(bufs.clone()).sockets(sockets).send_limit(send_limit).send_frames(16).stall_limit(stall_limit);
    // Tasks hold reading back themselves. A task that sends much before it reads the answers must
    // go on being read for the other one, which reads them.
    config.hold_reads_at(usize::MAX)
}

pub(crate) fn no_network() -> NetError {
    NetError::Unusable("the runtime was made without a network (Config::network), or its thread has ended".into())
}
