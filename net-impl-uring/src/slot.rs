//! What a group knows of a socket: its requests with the kernel, and how it ends.
//!
//! # The end
//!
//! A multishot receive runs when something has happened since it ran last, once for all that did,
//! and takes bytes only: a reset that came with them, or lay behind them before it was armed, is
//! never told. So a second request watches for the end, from the first moment to the last (decision
//! 0034). It tells what is so, not what happens, and a connection that is over stays so, whoever
//! has taken the error. From then on the socket is read by system calls, down to the error or the
//! end of the stream, which makes the end certain.
//!
//! # Leaving
//!
//! A socket goes when the last completion of its last request has come. Closing it before would not
//! even send its FIN, because a request holds on to it; and its frames are the kernel's until then.
//! What completes meanwhile is counted as sent, or kept for whoever attaches the socket next.

use std::net::Shutdown;
use std::time::Duration;

use core_reactor::net::{NetError, SockId};
use core_uring::{BufRing, Completion, Io, Key, Member};
use net_group::{Accept, Connecting, Happened, Opened, Outgoing, Ready, Recv, Release};
use net_sockets::{Errno, Kind, Whose, connect, error, options, sys, whose};
use pool::{Buf, BufGroup};

use crate::gather::Gathers;
use crate::key::Op;
use crate::reader::{Reader, Request, Step};
use crate::requests;
use crate::socket::UringSocket;
use crate::writer::{Sent, Writer};

/// See the module's documentation.
pub(crate) struct SlotData {
    id: SockId,
    /// What its requests are called by, but for what each is.
    key: Key,
    socket: Box<UringSocket>,
    reader: Reader,
    writer: Writer,
    /// A request watches for the end.
    watched: bool,
    over: Over,
    /// A send has failed, which is told when nothing is being received.
    send_failed: bool,
    /// The machine was short of what a send needs.
    send_short: bool,
    leaving: Option<Release>,
    /// Its requests were given up.
    given_up: bool,
    /// In the list of slots for which something may have to be asked.
    listed: bool,
}

/// Whether the connection is over, both ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    No,
    /// It is; that is told when no request reads.
    Seen,
    Told,
}

/// What a completion says.
pub(crate) enum News {
    Nothing,
    Ready(Ready),
    /// No buffer lay ready: what there is can be read by system calls.
    NoBuffers,
    /// So many bytes of a send are the kernel's.
    Sent(usize),
    /// A send is to go out with a copy.
    NeedsCopy(Errno),
    /// The machine is short of something; it is to be tried again later.
    Short,
}

impl SlotData {
    /// A socket that joins a group, as `member` of a ring.
    pub(crate) fn new(member: Member, id: SockId, mut socket: Box<UringSocket>, bufs: &BufGroup) -> Self {
        let mut reader = Reader::new(&socket.kind, &socket.kept, socket.own.unpack(bufs));
        if socket.failed.is_some() {
            reader.drain();
        }
        let writer = writer(&mut socket);
        Self {
            id,
            key: Op::Gone.key(member, id),
            socket,
            reader,
            writer,
            watched: false,
            over: Over::No,
            send_failed: false,
            send_short: false,
            leaving: None,
            given_up: false,
            listed: false,
        }
    }

    /// What it is, for the engine.
    pub(crate) fn opened(&self) -> Opened {
        let kind = match &self.socket.kind {
            Kind::Listener => net_group::Kind::Listener,
            Kind::Connect(connect) if connect.under_way => net_group::Kind::Connecting,
            Kind::Connect(_) => net_group::Kind::Connect,
            Kind::Stream if self.socket.failed.is_some() => net_group::Kind::Broken,
            Kind::Stream if self.socket.fin_sent => net_group::Kind::Finished,
            Kind::Stream => net_group::Kind::Stream,
        };
        Opened { kind, number: self.socket.fd(), acknowledge: self.socket.kept.quick_ack }
    }

    pub(crate) fn id(&self) -> SockId {
        self.id
    }

    pub(crate) fn socket(&self) -> &UringSocket {
        &self.socket
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    #[inline]
    fn key(&self, op: Op) -> Key {
        self.key.with(op as u8)
    }

    /// Sets a mark that it is listed; false if it was.
    pub(crate) fn enlist(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    // ---- What is asked of the kernel

    /// Asks for what is wanted, and gives up what is not.
    pub(crate) fn ask(&mut self, io: &mut Io, buffers: &BufRing, low: bool) {
        self.listed = false;
        if self.leaving.is_some() {
            return self.give_up(io);
        }
        let fd = self.socket.fd();
        // A Unix socket is read by system calls, which find every end; and that both sides have
        // ended in good order is POLLHUP there.
        if matches!(self.socket.kind, Kind::Stream) && !self.socket.kept.unix && !self.watched && self.over == Over::No {
            self.watched = true;
            requests::watch(io, self.key(Op::Gone), fd, libc::POLLERR | libc::POLLHUP, true);
        }
        match self.reader.step(self.over != Over::Seen && !self.send_failed, low) {
            Step::Nothing => {}
            Step::Start(Request::Receive { wait }) => requests::receive(io, self.key(Op::Recv), fd, buffers, wait),
            Step::Start(Request::Readable) => requests::watch(io, self.key(Op::Poll), fd, libc::POLLIN, false),
            Step::Start(Request::Writable) => requests::watch(io, self.key(Op::Poll), fd, libc::POLLOUT, false),
            Step::Stop(op) => io.cancel(self.key(op)),
        }
    }

    /// Gives up a request that receives.
    pub(crate) fn give_up_receiving(&mut self, io: &mut Io) {
        if let Some(op) = self.reader.stop_receiving() {
            io.cancel(self.key(op));
        }
    }

    /// Asks the kernel to give back all that it holds of the socket, once.
    fn give_up(&mut self, io: &mut Io) {
        if !std::mem::replace(&mut self.given_up, true) {
            let (watches, sends) = (self.watched.then_some(Op::Gone), self.writer.is_busy().then_some(Op::Send));
            for op in [self.reader.stop(), watches, sends].into_iter().flatten() {
                io.cancel(self.key(op));
            }
        }
    }

    /// Whether the kernel has something of the socket.
    pub(crate) fn is_with_kernel(&self) -> bool {
        self.watched || self.reader.is_busy() || self.writer.is_busy()
    }

    // ---- Writing

    /// Has the kernel send.
    #[inline(always)]
    pub(crate) fn send(&mut self, io: &mut Io, lists: &mut Gathers, fd: i32, out: Outgoing<'_>) {
        self.writer.send(io, lists, self.key(Op::Send), fd, out);
    }

    /// Whether a completion of a send is one of which nothing special is to be said; then it has
    /// been handled.
    #[inline]
    pub(crate) fn sent_plainly(&mut self, completion: Completion) -> bool {
        self.leaving.is_none() && self.writer.sent_plainly(completion)
    }

    /// Another completion of a send.
    pub(crate) fn sent(&mut self, lists: &mut Gathers, completion: Completion) -> News {
        let errno = match self.writer.answered(lists, completion) {
            Sent::NotYet => return News::Nothing,
            Sent::Taken(n) => return News::Sent(n),
            Sent::NeedsCopy(errno) => return News::NeedsCopy(errno),
            Sent::Failed(errno) => errno,
        };
        match whose::of_connection(errno) {
            _ if self.leaving.is_some() => News::Sent(0),
            Whose::Call => News::Sent(0),
            Whose::Machine => {
                self.send_short = true;
                News::Short
            }
            Whose::Socket => {
                self.socket.failed = Some(error::plain("send", errno));
                self.send_failed = true;
                News::Nothing
            }
        }
    }

    /// The machine may have again what it was short of. Whether a send is to be tried again.
    pub(crate) fn retry(&mut self) -> bool {
        self.reader.retry();
        std::mem::take(&mut self.send_short)
    }

    /// The application's side has ended.
    pub(crate) fn fin(&mut self) {
        self.socket.fin_sent = true;
        // The only error is that the connection is gone, which reading tells.
        let _ = self.socket.socket.shutdown(Shutdown::Write);
    }

    // ---- Reading

    /// A completion of a receive, and the bytes that it brings.
    pub(crate) fn received(&mut self, completion: Completion, bytes: Option<Buf>) -> News {
        if !completion.more() {
            self.reader.end();
        }
        let errno = match bytes {
            Some(buf) => return if self.keep(buf) { News::Nothing } else { News::Ready(Ready::READ) },
            None if completion.result() >= 0 => return self.told(Ready::READ),
            None => Errno(-completion.result()),
        };
        match whose::of_connection(errno) {
            Whose::Call => News::Nothing,
            // TCP has no other use for this error.
            Whose::Machine if errno.0 == libc::ENOBUFS => {
                self.reader.go_direct();
                News::NoBuffers
            }
            Whose::Machine => self.fall_short(),
            Whose::Socket => {
                self.socket.failed = self.socket.failed.take().or_else(|| Some(error::plain("recv", errno)));
                self.told(Ready::READ)
            }
        }
    }

    /// The completion of a poll.
    pub(crate) fn polled(&mut self, completion: Completion) -> News {
        self.reader.end();
        match completion.result() {
            1.. if self.reader.waits_for_room() => self.told(Ready::WRITE),
            0.. => self.told(Ready::READ),
            n if whose::of_connection(Errno(-n)) == Whose::Call => News::Nothing,
            _ => self.fall_short(),
        }
    }

    /// There is something to be read, or room; it is read by system calls.
    fn told(&mut self, what: Ready) -> News {
        self.reader.go_direct();
        News::Ready(what)
    }

    fn fall_short(&mut self) -> News {
        self.reader.fall_short();
        News::Short
    }

    /// Keeps bytes that are not handed out now, unless nobody will have them. Whether there were
    /// some before.
    pub(crate) fn keep(&mut self, buf: Buf) -> bool {
        matches!(self.leaving, None | Some(Release::Detach)) && self.reader.keep(buf)
    }

    /// Receives by a system call, at most `room` bytes into a buffer. What is to be asked for then
    /// is what the reader knows; `Err` if the machine is short of memory.
    pub(crate) fn receive(&mut self, mut buf: Buf, room: usize) -> Result<Recv, Errno> {
        loop {
            let done = sys::recv(self.socket.fd(), &mut buf.spare_mut()[..room]);
            let errno = match done {
                Ok(n) if n > 0 => {
                    buf.grow(n);
                    return Ok(Recv::Bytes(buf, n == room || self.socket.kept.unix || self.reader.read_short()));
                }
                Err(Errno(libc::EINTR)) => continue,
                Err(errno) => Some(errno),
                Ok(_) => None,
            };
            return self.received_nothing(errno);
        }
    }

    /// Without a buffer an end can be told, and who has no bytes waits for none.
    #[cold]
    pub(crate) fn receive_without_buffer(&mut self) -> Result<Recv, Errno> {
        match sys::peek(self.socket.fd()) {
            Ok(1..) => Ok(Recv::NoBuffer),
            nothing => self.received_nothing(nothing.err()),
        }
    }

    /// A call found no bytes: the end, or an error.
    #[cold]
    fn received_nothing(&mut self, errno: Option<Errno>) -> Result<Recv, Errno> {
        if let Some(why) = self.socket.failed.take() {
            self.reader.read_end();
            return Ok(Recv::Failed(why));
        }
        match errno.map(|errno| (errno, whose::of_connection(errno))) {
            Some((_, Whose::Call)) => {
                // A connection that was taken for over is not, if there is no end.
                self.over = Over::No;
                self.reader.ask_again();
                Ok(Recv::Empty)
            }
            Some((errno, Whose::Machine)) => {
                self.reader.fall_short();
                Err(errno)
            }
            Some((errno, Whose::Socket)) => Ok(Recv::Failed(error::plain("recv", errno))),
            None => {
                self.reader.read_end();
                Ok(Recv::Eof)
            }
        }
    }

    /// A connection out of a listener.
    pub(crate) fn accept(&mut self) -> Accept<UringSocket> {
        match sys::accept(self.socket.fd()) {
            Ok((socket, peer)) => {
                options::apply_to_accepted(&socket, &self.socket.kept);
                Accept::Taken(Box::new(UringSocket::accepted(socket, peer, self.socket.kept)))
            }
            Err(errno) if errno.would_block() => {
                self.reader.ask_again();
                Accept::Empty
            }
            Err(errno) => match whose::of_accept(errno) {
                Whose::Call => Accept::Gone,
                Whose::Machine => Accept::NoDescriptor,
                Whose::Socket => Accept::Failed(error::plain("accept4", errno)),
            },
        }
    }

    /// Begins a connect, or looks how far it is.
    pub(crate) fn connect(&mut self) -> Connecting {
        let connecting = connect::go_on(&mut self.socket, |_| Ok(()));
        match connecting {
            // What polls would tell at once that it has an end, and again and again.
            Connecting::UnderWay(_) if self.is_to_ask_again() => self.reader.fall_short(),
            Connecting::UnderWay(_) => self.reader.ask_again(),
            Connecting::Failed(_) => self.reader.read_end(),
            Connecting::Connected => {
                self.reader.connected();
                self.writer = writer(&mut self.socket);
            }
        }
        connecting
    }

    /// A connect for which the listener's queue has no room now.
    pub(crate) fn is_to_ask_again(&self) -> bool {
        self.socket.is_to_ask_again()
    }

    // ---- The end

    /// A completion of the request that watches.
    pub(crate) fn watch_told(&mut self, completion: Completion) {
        self.watched = completion.more();
        // The kernel always tells of the peer's end as well (POLLRDHUP), which reading tells.
        if completion.result() > 0 && completion.result() & i32::from(libc::POLLERR | libc::POLLHUP) != 0 {
            self.is_over();
        }
    }

    /// The connection is over: it is read to its end.
    pub(crate) fn is_over(&mut self) {
        if self.over == Over::No {
            self.over = Over::Seen;
        }
    }

    /// An end that is known, and can be told as no request reads any more.
    pub(crate) fn end_to_tell(&mut self) -> Option<Happened<UringSocket>> {
        if self.reader.is_busy() || (!self.send_failed && self.over != Over::Seen) {
            return None;
        }
        self.reader.drain();
        if self.over == Over::Seen {
            self.over = Over::Told;
        }
        Some(if std::mem::take(&mut self.send_failed) {
            Happened::SendFailed(self.id)
        } else {
            Happened::Ready(self.id, Ready::READ.and(Ready::OVER))
        })
    }

    /// What the connection has ended of.
    pub(crate) fn error(&mut self) -> Option<NetError> {
        let known = self.socket.failed.take();
        known.or_else(|| self.socket.socket.take_error().ok()?.map(|e| error::plain("recv", Errno::of(&e))))
    }

    /// It leaves the group.
    pub(crate) fn leave(&mut self, how: Release) {
        if how == Release::Abort
            && let Err(why) = self.socket.socket.set_linger(Some(Duration::ZERO))
        {
            log::debug!("a reset becomes an orderly end: SO_LINGER: {why}");
        }
        self.leaving = Some(how);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The socket, of which nothing is with the kernel any more, ready for what becomes of it.
    pub(crate) fn into_socket(mut self) -> Box<UringSocket> {
        match self.leaving {
            Some(Release::Close) => self.socket.hang_up(),
            Some(Release::Detach) => self.socket.own.pack(self.reader.take_all()),
            _ => {}
        }
        self.socket
    }

    /// A socket whose frames the kernel has, and nothing else: its peer does not take what was sent
    /// without a copy. It goes on through another descriptor, while this one stays with the frames
    /// until they come back.
    #[cold]
    pub(crate) fn go_on_elsewhere(&mut self) -> Result<Box<UringSocket>, NetError> {
        if self.watched || self.reader.is_busy() || !self.writer.has_only_lent() {
            self.leaving = Some(Release::Close);
            return Err(NetError::Os { doing: "detach", code: libc::ETIME, text: "the kernel does not give the socket back".into() });
        }
        let again = self.socket.socket.try_clone().map_err(|why| error::plain("dup", Errno::of(&why)))?;
        let mut socket = Box::new(UringSocket::accepted(again, self.socket.peer, self.socket.kept));
        (socket.fin_sent, socket.failed) = (self.socket.fin_sent, self.socket.failed.take());
        socket.own.pack(self.reader.take_all());
        // What is left of it is no end of the connection.
        self.leaving = Some(Release::Over);
        Ok(socket)
    }
}

/// How a socket sends. Without a copy it does not where the other side is this machine: the system
/// copies there anyway.
fn writer(socket: &mut UringSocket) -> Writer {
    if socket.peer.is_some_and(|peer| peer.ip().is_loopback()) {
        socket.kept.zero_copy = None;
    }
    Writer::new(socket.kept.zero_copy)
}

#[cfg(test)]
impl SlotData {
    pub(crate) fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

#[cfg(test)]
mod tests;
