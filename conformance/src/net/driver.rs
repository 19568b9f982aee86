//! One group, driven by the test.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use core_reactor::net::{Events, Frame, GroupConfig, GroupView, NetError, NetEvent, SockGroup, SockId, SockOptions, Socket, Token};
use core_reactor::{CpuSet, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup};

use super::{Env, Peer};
use crate::platform::CORE;

/// Time after which a condition that does not come is a failure. Nothing waits this long in a run
/// that passes.
const DEADLINE: Duration = Duration::from_secs(30);

/// The token of a driver's own listener.
pub const LISTENER: Token = Token(u64::MAX);

/// The size of a driver's group.
#[derive(Clone, Copy)]
pub struct Setup {
    /// [`GroupConfig::sockets`].
    pub sockets: usize,
    /// Room of the event list.
    pub room: usize,
    /// Buffers of the group.
    pub bufs: usize,
    /// Bytes of each.
    pub buf_size: usize,
    /// [`GroupConfig::send_limit`].
    pub send_limit: usize,
    /// [`GroupConfig::send_frames`].
    pub send_frames: usize,
    /// [`GroupConfig::hold_reads_at`]. Never, unless a test is about it.
    pub hold_reads_at: usize,
    /// [`GroupConfig::stall_limit`]. None, unless a test is about it.
    pub stall_limit: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sockets: 64,
            room: 64,
            bufs: 128,
            buf_size: 4096,
            send_limit: 1 << 20,
            send_frames: 64,
            hold_reads_at: usize::MAX,
            stall_limit: None,
        }
    }
}

/// A group with its thread, buffers and events. Ends with a check that every buffer has come home.
pub struct Driver {
    group: Option<Box<dyn SockGroup>>,
    events: Events,
    /// Events that nobody has asked for yet.
    seen: VecDeque<NetEvent>,
    bufs: BufGroup,
    setup: Setup,
    env: Env,
    /// Last, so that it outlives the group, which holds it.
    thread: Thread,
}

impl Driver {
    /// A group of the usual size.
    pub fn new(env: &Env) -> Self {
        Self::with(env, Setup::default())
    }

    /// A group of this size.
    pub fn with(env: &Env, setup: Setup) -> Self {
        Self::over(env, setup, BufGroup::new(setup.bufs, setup.buf_size))
    }

    /// A group of this size over buffers of the test's, of which `setup.bufs` must be there in the
    /// end.
    pub fn over(env: &Env, setup: Setup, bufs: BufGroup) -> Self {
        let config = GroupConfig::new(bufs.clone())
            .sockets(setup.sockets)
            .send_limit(setup.send_limit)
            .send_frames(setup.send_frames)
            .hold_reads_at(setup.hold_reads_at)
            .stall_limit(setup.stall_limit);
        let lib = ThreadLib::new(env.platform.clone(), CpuSet::of(CORE), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("driver"), CORE).expect("the platform has this core");
        let group = thread.with(|cx| env.backend.group(cx, config)).expect("a group");
        let seen = VecDeque::new();
        Self { group: Some(group), events: Events::new(setup.room), seen, bufs, setup, env: env.clone(), thread }
    }

    /// A socket that connects to the first of these that answers.
    pub fn connect(&mut self, to: &[SocketAddr], token: Token) -> SockId {
        let socket = self.env.backend.connect(to, &SockOptions::default()).expect("a socket");
        self.attach(socket, token)
    }

    /// Waits until a connect has succeeded.
    pub fn connected(&mut self, id: SockId) {
        self.wait("Connected", |event| match event {
            NetEvent::Connected { id: of, .. } if of == id => Ok(()),
            other => Err(other),
        });
    }

    /// The group, as it is seen from its thread.
    pub fn view(&mut self) -> Option<Arc<GroupView>> {
        self.thread.with(|cx| cx.views()).pop()
    }

    /// The group.
    pub fn group(&mut self) -> &mut dyn SockGroup {
        &mut **self.group.as_mut().expect("it is there until the end")
    }

    /// A listener with these options, attached as [`LISTENER`], and its address.
    pub fn listen_with(&mut self, options: &SockOptions) -> (SockId, SocketAddr) {
        let listener = self.env.backend.listen((self.env.host, 0).into(), options).expect("a free port");
        let at = listener.local_addr().expect("its address");
        (self.attach(listener, LISTENER), at)
    }

    /// A listener, attached as [`LISTENER`], and its address.
    pub fn listen(&mut self) -> (SockId, SocketAddr) {
        self.listen_with(&SockOptions::default())
    }

    /// Attaches a socket.
    pub fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> SockId {
        self.group().attach(socket, token).map_err(|refused| refused.why).expect("room in the group")
    }

    /// A socket of the group as `token`, and its peer, connected through the listener at `at`.
    pub fn accept_from(&mut self, at: SocketAddr, token: Token) -> (SockId, Peer) {
        let peer = self.env.peers.connect(at).expect("the listener lets it wait");
        let here = peer.local_addr().expect("its address");
        let socket = self.wait("a connection", |event| match event {
            NetEvent::Accepted { socket, .. } if socket.peer_addr() == Some(here) => Ok(socket),
            other => Err(other),
        });
        (self.attach(socket, token), peer)
    }

    /// As [`accept_from`](Self::accept_from), over a listener of its own that is gone afterwards.
    pub fn pair(&mut self, token: Token) -> (SockId, Peer) {
        self.pair_with(token, &SockOptions::default())
    }

    /// As [`pair`](Self::pair), with options.
    pub fn pair_with(&mut self, token: Token, options: &SockOptions) -> (SockId, Peer) {
        let (listener, at) = self.listen_with(options);
        let pair = self.accept_from(at, token);
        self.group().close(listener).expect("it is there");
        self.wait("the listener's end", |event| match event {
            NetEvent::Closed { id, .. } if id == listener => Ok(()),
            other => Err(other),
        });
        pair
    }

    /// As [`pair`](Self::pair), and the system takes little of what is sent to a peer that does not
    /// read.
    pub fn narrow_pair(&mut self, token: Token) -> (SockId, Peer) {
        self.pair_with(token, &SockOptions::default().send_buf(16 << 10))
    }

    /// Polls once and hands out what it found, before anything that is still unasked for.
    pub fn poll(&mut self) -> Vec<NetEvent> {
        let group = self.group.as_mut().expect("it is there until the end");
        let told = group.poll(&mut self.events);
        let found: Vec<_> = self.events.drain().collect();
        assert_eq!(told, found.len(), "poll tells how many events it appended");
        assert!(told <= self.setup.room, "no more events than there was room for");
        found
    }

    /// Polls until `pick` takes an event. The others wait, in order, for a later call.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Result<T, NetEvent>) -> T {
        let mut passed = VecDeque::new();
        let end = Instant::now() + DEADLINE;
        loop {
            while let Some(event) = self.seen.pop_front() {
                match pick(event) {
                    Ok(found) => {
                        passed.append(&mut self.seen);
                        self.seen = passed;
                        return found;
                    }
                    Err(event) => passed.push_back(event),
                }
            }
            assert!(Instant::now() < end, "{what} did not come; instead: {}", last_of(&passed));
            self.turn();
        }
    }

    /// Polls until `done`; it sees the driver before each poll.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < end, "{what} did not come; unasked for: {}; {:?}", last_of(&self.seen), self.group().stats());
            self.turn();
        }
    }

    /// Polls `times` times; the events wait.
    pub fn turns(&mut self, times: usize) {
        (0..times).for_each(|_| self.turn());
    }

    fn turn(&mut self) {
        let found = self.poll();
        if found.is_empty() {
            // The peers need the cores, too.
            std::thread::yield_now();
        }
        self.seen.extend(found);
    }

    /// The oldest event that nobody has asked for.
    pub fn next_seen(&mut self) -> Option<NetEvent> {
        self.seen.pop_front()
    }

    /// The events that nobody has asked for.
    pub fn seen(&self) -> impl Iterator<Item = &NetEvent> {
        self.seen.iter()
    }

    /// A frame of one buffer with these bytes, which must fit.
    pub fn frame(&mut self, bytes: &[u8]) -> Frame {
        self.fill(bytes).into()
    }

    /// A buffer with these bytes, which must fit.
    pub fn fill(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.group().buffer().expect("a buffer");
        assert_eq!(buf.append(bytes), bytes.len(), "they fit a buffer");
        buf
    }

    /// Sends bytes, which must be taken.
    pub fn send(&mut self, id: SockId, bytes: &[u8]) {
        let frame = self.frame(bytes);
        self.send_frame(id, frame);
    }

    /// Sends a frame, which must be taken.
    pub fn send_frame(&mut self, id: SockId, frame: Frame) {
        self.group().send(id, frame).map_err(|refused| refused.why).expect("the frame is taken");
    }

    /// Receives exactly this many bytes from a socket.
    pub fn receive(&mut self, id: SockId, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let buf = self.wait("bytes", |event| match event {
                NetEvent::Received { id: of, buf, .. } if of == id => Ok(buf),
                other => Err(other),
            });
            assert!(!buf.is_empty(), "an event without bytes");
            all.extend_from_slice(&buf);
        }
        assert_eq!(all.len(), bytes, "no more than that");
        all
    }

    /// Waits for the end of a socket.
    pub fn closed(&mut self, id: SockId) -> Option<NetError> {
        self.wait("Closed", |event| match event {
            NetEvent::Closed { id: of, why, .. } if of == id => Ok(why),
            other => Err(other),
        })
    }

    /// Waits for the peer's end.
    pub fn peer_closed(&mut self, id: SockId) {
        self.wait("PeerClosed", |event| match event {
            NetEvent::PeerClosed { id: of, .. } if of == id => Ok(()),
            other => Err(other),
        });
    }

    /// Waits for the report of a frame of this socket's: its tag, how much was written, and why not
    /// all.
    pub fn sent(&mut self, id: SockId) -> (Frame, usize, Option<NetError>) {
        self.wait("Sent", |event| match event {
            NetEvent::Sent { id: of, frame, written, error, .. } if of == id => Ok((frame, written, error)),
            other => Err(other),
        })
    }

    /// All buffers that are home, taken. Back when dropped.
    pub fn take_buffers(&mut self) -> Vec<Buf> {
        std::iter::from_fn(|| self.group().buffer()).collect()
    }

    /// Ends the group. What it had been asked to send is forgotten, its sockets are closed.
    pub fn drop_group(&mut self) {
        self.group = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.group = None;
        self.seen.clear();
        let home: Vec<_> = std::iter::from_fn(|| self.bufs.get()).collect();
        assert_eq!(home.len(), self.setup.bufs, "every buffer has come home");
    }
}

/// The last events for people: there may be hundreds.
fn last_of(events: &VecDeque<NetEvent>) -> String {
    const SHOWN: usize = 20;
    let hidden = events.len().saturating_sub(SHOWN);
    let before = if hidden == 0 { String::new() } else { format!("{hidden} events, then ") };
    format!("{before}{:?}", events.iter().skip(hidden).map(name).collect::<Vec<_>>())
}

/// An event for people.
pub(crate) fn name(event: &NetEvent) -> String {
    match event {
        NetEvent::Accepted { id, .. } => format!("{id:?} Accepted"),
        NetEvent::Connected { id, .. } => format!("{id:?} Connected"),
        NetEvent::Received { id, buf, .. } => format!("{id:?} Received {}", buf.len()),
        NetEvent::Sent { id, written, error, .. } => format!("{id:?} Sent {written} {error:?}"),
        NetEvent::Writable { id, .. } => format!("{id:?} Writable"),
        NetEvent::PeerClosed { id, .. } => format!("{id:?} PeerClosed"),
        NetEvent::Closed { id, why, .. } => format!("{id:?} Closed {why:?}"),
        _ => "an event of a later version".to_owned(),
    }
}
