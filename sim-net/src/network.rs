//! The network: its sockets, what is under way between them, and who is told of it.
//!
//! All of it is behind one lock and happens in the order of the clock, so the same calls with the
//! same seed have the same outcome. Whatever travels to a socket is a [`Piece`], a connect that is
//! under way included. The numbers of the two sides of a connection differ in the last bit.

use alloc::collections::{BTreeMap, BinaryHeap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Reverse;
use core::fmt::Write;
use core::mem;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::{Poll, Waker};
use core::time::Duration;

use core_reactor::net::{NetError, SockOptions};
use core_reactor::{Instant, Platform};
use spin::Mutex;

use crate::Faults;
use crate::random::Random;
use crate::ready::{Readiness, Role};

/// The first port of those that are given out where none was asked for.
const FREE_PORTS: u16 = 49_152;
/// How long a connect waits for a listener that has no room, if its options do not say; and how
/// often it tries.
const CONNECT_TIME: Duration = Duration::from_secs(120);
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The network, for those who share it.
pub(crate) struct Shared(Mutex<Network>);

impl Shared {
    pub(crate) fn new(network: Network) -> Self {
        Self(Mutex::new(network))
    }

    /// Does this, behind all that the time has come for, and lets follow from it what does at once.
    /// Cores are woken under the lock: what wakes a thread takes none of ours.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Network) -> R) -> R {
        let mut network = self.0.lock();
        let now = network.clock();
        network.catch_up(now);
        let result = f(&mut network);
        network.catch_up(now);
        result
    }
}

/// What travels to a socket.
#[derive(Debug)]
enum Piece {
    /// Its own connect, to the listener and not yet back.
    Connect,
    Connected,
    Bytes(usize),
    Fin,
    /// The end of the connection, or of a try to connect.
    Failed(NetError),
}

/// A socket: a listener, or one side of a connection.
pub(crate) struct End {
    here: SocketAddr,
    options: SockOptions,
    role: Role,
    /// The other side.
    peer: Option<SocketAddr>,
    /// Addresses to connect to; the first is being tried since then.
    to: VecDeque<SocketAddr>,
    since: Option<Instant>,
    connected: bool,
    /// Connections to be accepted.
    queue: VecDeque<u64>,
    /// What was written to it: bytes that have arrived, those that are under way, and those that
    /// wait with the writer until the window has room.
    bytes: VecDeque<u8>,
    arrived: usize,
    under_way: usize,
    /// Most bytes that have arrived and are under way; and that wait with the writer.
    window: usize,
    send_buf: usize,
    fin_wanted: bool,
    broken: bool,
    /// What is under way, with its time of arrival, which comes for each behind those before it.
    pieces: VecDeque<(Instant, Piece)>,
    /// What has come of it.
    eof: bool,
    failed: Option<NetError>,
    /// A write of it found no room.
    blocked: bool,
    /// Who watches it, and under which key.
    watched: Option<(u64, u64)>,
}

/// What a watcher has not been told yet.
struct Untold {
    news: VecDeque<(u64, Readiness)>,
    waker: Waker,
}

#[derive(Default)]
pub(crate) struct Network {
    clock: Option<Arc<dyn Platform>>,
    now: Instant,
    faults: Faults,
    random: Random,
    numbers: u64,
    port: u16,
    ends: BTreeMap<u64, End>,
    /// Who has an address.
    bound: BTreeMap<SocketAddr, u64>,
    watchers: BTreeMap<u64, Untold>,
    /// When something arrives at which socket; the number in the middle keeps them in order.
    due: BinaryHeap<Reverse<(Instant, u64, u64)>>,
    trace: Option<String>,
}

impl Network {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self { faults, random: Random::new(seed), port: FREE_PORTS - 1, ..Self::default() }
    }

    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(crate) fn record(&mut self) {
        self.trace = Some(String::new());
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.clone().unwrap_or_default()
    }

    // ---- Time

    /// The time, as the clock has it.
    pub(crate) fn clock(&self) -> Instant {
        self.clock.as_ref().map_or(Instant::ZERO, |clock| clock.now()).max(self.now)
    }

    /// Lets all happen whose time has come by then.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        while self.next_due().is_some_and(|at| at <= now)
            && let Some(Reverse((at, _, id))) = self.due.pop()
        {
            self.now = at.max(self.now);
            self.arrive(id);
        }
        self.now = now;
    }

    /// When something arrives next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    // ---- Watchers

    pub(crate) fn set_clock(&mut self, clock: Arc<dyn Platform>) {
        self.clock = Some(clock);
    }

    /// A watcher joins. The first one's clock is the network's, if it has none yet.
    pub(crate) fn add_watcher(&mut self, clock: Arc<dyn Platform>, waker: Waker) -> u64 {
        self.clock.get_or_insert(clock);
        let watcher = self.number();
        self.watchers.insert(watcher, Untold { news: VecDeque::new(), waker });
        watcher
    }

    pub(crate) fn remove_watcher(&mut self, watcher: u64) {
        self.watchers.remove(&watcher);
    }

    /// What a watcher has not been told yet.
    pub(crate) fn news(&mut self, watcher: u64) -> Option<&mut VecDeque<(u64, Readiness)>> {
        self.watchers.get_mut(&watcher).map(|untold| &mut untold.news)
    }

    /// Tells the watcher of a socket what it is ready for, and wakes it.
    fn tell(&mut self, id: u64) {
        if let Some((ready, (watcher, key))) = self.ends.get(&id).and_then(|end| Some((end.ready(), end.watched?)))
            && ready != Readiness::default()
            && let Some(untold) = self.watchers.get_mut(&watcher)
        {
            if untold.news.back() != Some(&(key, ready)) {
                untold.news.push_back((key, ready));
            }
            untold.waker.wake_by_ref();
        }
    }

    // ---- Sockets come, and go

    pub(crate) fn end(&self, id: u64) -> Result<&End, NetError> {
        self.ends.get(&id).ok_or(NetError::Stale)
    }

    fn put(&mut self, end: End) -> u64 {
        // Even; the odd one after it is kept for the other side.
        let id = 2 * self.number();
        self.ends.insert(id, end);
        id
    }

    pub(crate) fn listen(&mut self, at: SocketAddr, options: SockOptions) -> Result<u64, NetError> {
        let here = match at.port() {
            _ if !is_here(at.ip()) => return Err(NetError::AddressUnavailable(at)),
            0 => self.free_port(at.ip())?,
            _ if self.is_bound(at) => return Err(NetError::AddressInUse(at)),
            _ => at,
        };
        let id = self.put(End::new(here, options.source(None), Role::Listener, self.faults.window));
        self.bound.insert(here, id);
        Ok(id)
    }

    pub(crate) fn connect(&mut self, to: &[SocketAddr], options: SockOptions) -> Result<u64, NetError> {
        options.check_source(to)?;
        let first = *to.iter().find(|to| options.can_reach(to)).ok_or(NetError::NoAddress)?;
        let here = self.source(&first, options.source)?;
        let end = End::new(SocketAddr::new(here.ip(), 0), options, Role::Connect, self.faults.window);
        Ok(self.put(End { to: to.iter().copied().collect(), peer: Some(first), ..end }))
    }

    /// Where a connect to `to` comes from, a port of 0 being any.
    fn source(&self, to: &SocketAddr, asked: Option<SocketAddr>) -> Result<SocketAddr, NetError> {
        let source = asked.unwrap_or(SocketAddr::new(loopback(to), 0));
        let ip = if source.ip().is_unspecified() { loopback(to) } else { source.ip() };
        let here = SocketAddr::new(ip, source.port());
        match () {
            () if !is_here(ip) => Err(NetError::AddressUnavailable(source)),
            () if source.port() != 0 && self.is_bound(here) => Err(NetError::AddressInUse(source)),
            () => Ok(here),
        }
    }

    /// Whether somebody has this address, or one with its port that overlaps.
    fn is_bound(&self, at: SocketAddr) -> bool {
        let overlap = |there: &SocketAddr| there.ip() == at.ip() || there.ip().is_unspecified() || at.ip().is_unspecified();
        self.bound.keys().any(|there| there.port() == at.port() && there.is_ipv4() == at.is_ipv4() && overlap(there))
    }

    fn free_port(&mut self, ip: IpAddr) -> Result<SocketAddr, NetError> {
        for _ in FREE_PORTS..=u16::MAX {
            self.port = self.port.checked_add(1).unwrap_or(FREE_PORTS);
            if !self.bound.keys().any(|there| there.port() == self.port) {
                return Ok(SocketAddr::new(ip, self.port));
            }
        }
        Err(NetError::AddressInUse(SocketAddr::new(ip, 0)))
    }

    fn unbind(&mut self, here: SocketAddr, id: u64) {
        if self.bound.get(&here) == Some(&id) {
            self.bound.remove(&here);
        }
    }

    /// Says who watches a socket, who is told of it. Tells what it is.
    pub(crate) fn set_watched(&mut self, id: u64, by: Option<(u64, u64)>) -> Result<Role, NetError> {
        let end = self.ends.get_mut(&id).ok_or(NetError::Stale)?;
        end.watched = by;
        let role = if end.role == Role::Connect && end.since.is_some() { Role::Connecting } else { end.role };
        self.tell(id);
        Ok(role)
    }

    /// A socket goes. What it has written still arrives, if this is in order, and its end behind
    /// it.
    pub(crate) fn close(&mut self, id: u64, in_order: bool) {
        let Some(end) = self.ends.remove(&id) else { return };
        self.unbind(end.here, id);
        end.queue.into_iter().for_each(|accepted| self.close(accepted, false));
        if in_order { self.finish_to(id ^ 1) } else { self.break_off(id ^ 1) }
    }

    // ---- Connects

    /// Begins a connect that has not begun, to the first of its addresses.
    pub(crate) fn begin(&mut self, id: u64) {
        let Some(to) = self.ends.get(&id).filter(|end| end.since.is_none()).and_then(|end| end.to.front().copied()) else { return };
        let here = self.leave(id, to);
        let Some(end) = self.ends.get_mut(&id) else { return };
        (end.since, end.peer) = (Some(self.now), Some(to));
        match here {
            Ok(here) => {
                end.here = here;
                self.bound.insert(here, id);
                self.send_piece(id, Piece::Connect, Duration::ZERO);
            }
            Err(why) => self.send_piece(id, Piece::Failed(why), Duration::ZERO),
        }
    }

    /// The address from which a socket begins a connect to `to`.
    fn leave(&mut self, id: u64, to: SocketAddr) -> Result<SocketAddr, NetError> {
        let options = &self.end(id)?.options;
        if !is_here(to.ip()) || !options.can_reach(&to) {
            return Err(NetError::Unreachable(to));
        }
        let here = self.source(&to, options.source)?;
        if here.port() == 0 { self.free_port(here.ip()) } else { Ok(here) }
    }

    /// On to the next address, or the end of it.
    fn not_connected(&mut self, id: u64, why: NetError) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.to.pop_front();
        match end.to.is_empty() {
            true => end.failed = Some(why),
            false => end.since = None,
        }
        let here = end.here;
        self.unbind(here, id);
        self.begin(id);
    }

    /// A connect arrives where it goes to: the other side is made, and the answer is on its way.
    fn connect_arrives(&mut self, id: u64) {
        let Some(client) = self.ends.get(&id) else { return };
        let (Some(to), here) = (client.peer, client.here) else { return };
        let (waited, time) = (client.since.map(|since| self.now.since(since)), client.options.user_timeout.unwrap_or(CONNECT_TIME));
        let send_buf = client.options.send_buf;
        let any = SocketAddr::new(if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, to.port());
        let is_refused = self.random.happens(self.faults.refuse_per_mille);
        let listener = [to, any].iter().find_map(|at| self.bound.get(at)).copied().filter(|_| !is_refused);
        let listening = listener.and_then(|listener| self.ends.get_mut(&listener)).filter(|end| end.role == Role::Listener);
        let (Some(listener), Some(listening)) = (listener, listening) else {
            return self.send_piece(id, Piece::Failed(NetError::ConnectRefused(to)), Duration::ZERO);
        };
        if listening.queue.len() >= listening.options.backlog.unwrap_or(1) as usize {
            // No answer, so it tries again, as a kernel would.
            let in_vain = waited >= Some(time);
            return if in_vain { self.not_connected(id, NetError::TimedOut) } else { self.send_piece(id, Piece::Connect, TRY_AGAIN) };
        }
        listening.queue.push_back(id ^ 1);
        let options = listening.options.clone();
        if let Some(client) = self.ends.get_mut(&id) {
            client.send_buf = options.send_buf.unwrap_or(0);
        }
        let accepted = End {
            peer: Some(here),
            connected: true,
            send_buf: send_buf.unwrap_or(0),
            ..End::new(to, options, Role::Stream, self.faults.window)
        };
        self.ends.insert(id ^ 1, accepted);
        self.tell(listener);
        self.send_piece(id, Piece::Connected, Duration::ZERO);
    }

    /// How a connect went, which has begun before. Who has been told is connected from then on.
    pub(crate) fn go_on(&mut self, id: u64) -> Poll<Result<(), NetError>> {
        let end = self.end(id)?;
        if end.since.is_none() && !end.connected {
            self.begin(id);
            return Poll::Pending;
        }
        match self.ends.get_mut(&id) {
            Some(End { failed: Some(why), .. }) => Poll::Ready(Err(why.clone())),
            Some(end) if end.connected => {
                if end.role == Role::Connect {
                    end.role = Role::Stream;
                }
                Poll::Ready(Ok(()))
            }
            _ => Poll::Pending,
        }
    }

    pub(crate) fn accept(&mut self, listener: u64) -> Option<u64> {
        self.ends.get_mut(&listener)?.queue.pop_front()
    }

    // ---- What travels

    /// Sends a piece on its way to a socket.
    fn send_piece(&mut self, id: u64, piece: Piece, later: Duration) {
        let jitter = u64::try_from(self.faults.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = if jitter == 0 { 0 } else { self.random.up_to(jitter) };
        let at = self.now + later + self.faults.delay + Duration::from_nanos(jitter);
        let number = self.number();
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.pieces.push_back((at, piece));
        if at > self.now && self.next_due().is_none_or(|first| at < first) {
            // Who sleeps longer than that looks again.
            self.watchers.values().for_each(|untold| untold.waker.wake_by_ref());
        }
        self.due.push(Reverse((at, number, id)));
    }

    /// What has arrived at a socket.
    fn arrive(&mut self, id: u64) {
        while let Some(end) = self.ends.get_mut(&id)
            && let Some((_, piece)) = end.pieces.pop_front_if(|(at, _)| *at <= self.now)
        {
            if let Some(trace) = &mut self.trace {
                // A string takes whatever is written.
                let _ = writeln!(trace, "{:?} {} {piece:?}", self.now, end.here);
            }
            match piece {
                Piece::Connect => self.connect_arrives(id),
                Piece::Connected => end.connected = true,
                Piece::Bytes(len) => (end.under_way, end.arrived) = (end.under_way - len, end.arrived + len),
                Piece::Fin => end.eof = true,
                Piece::Failed(why) if end.connected => end.failed = Some(why),
                Piece::Failed(why) => self.not_connected(id, why),
            }
            self.tell(id);
        }
    }

    /// Sends off what waits for a socket's window, and FIN behind it.
    fn send_off(&mut self, id: u64) {
        while let Some(end) = self.ends.get_mut(&id).filter(|end| !end.broken) {
            let started = end.arrived + end.under_way;
            let len = (end.bytes.len() - started).min(end.window.saturating_sub(started));
            if len > 0 {
                end.under_way += len;
                self.send_piece(id, Piece::Bytes(len), Duration::ZERO);
            } else if started == end.bytes.len() && mem::take(&mut end.fin_wanted) {
                self.send_piece(id, Piece::Fin, Duration::ZERO);
            } else {
                return;
            }
        }
    }

    /// The connection breaks, which a socket learns behind what is under way to it. Nothing else
    /// sets out to it any more.
    fn break_off(&mut self, id: u64) {
        if let Some(end) = self.ends.get_mut(&id)
            && !mem::replace(&mut end.broken, true)
        {
            self.send_piece(id, Piece::Failed(NetError::Reset), Duration::ZERO);
        }
    }

    fn finish_to(&mut self, id: u64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.fin_wanted = true;
            self.send_off(id);
        }
    }

    /// Ends the sending side of a socket.
    pub(crate) fn finish(&mut self, id: u64) {
        if let Some(end) = self.ends.get_mut(&id).filter(|end| end.connected && end.role != Role::Finished) {
            end.role = Role::Finished;
            self.finish_to(id ^ 1);
        }
    }

    pub(crate) fn read(&mut self, id: u64, into: &mut [u8]) -> Poll<Result<usize, NetError>> {
        let end = self.end(id)?;
        let (arrived, eof) = (end.arrived, end.eof);
        match &end.failed {
            _ if arrived > 0 => {}
            _ if eof => return Poll::Ready(Ok(0)),
            Some(why) => return Poll::Ready(Err(why.clone())),
            None => return Poll::Pending,
        }
        let mut len = arrived.min(into.len());
        if self.random.happens(self.faults.short_per_mille) {
            len = len.min(self.random.up_to(len as u64) as usize);
        }
        let Some(end) = self.ends.get_mut(&id) else { return Poll::Pending };
        into.iter_mut().zip(end.bytes.drain(..len)).for_each(|(to, byte)| *to = byte);
        end.arrived -= len;
        self.send_off(id);
        if self.ends.get(&(id ^ 1)).is_some_and(|end| end.blocked) && self.has_room(id ^ 1) {
            self.tell(id ^ 1);
        }
        Poll::Ready(Ok(len))
    }

    pub(crate) fn write(&mut self, id: u64, from: &[u8]) -> Poll<Result<usize, NetError>> {
        match self.end(id)? {
            End { failed: Some(why), .. } => return Poll::Ready(Err(why.clone())),
            end if !end.connected || end.role == Role::Finished => return Poll::Ready(Err(NetError::NotConnected)),
            _ => {}
        }
        if self.random.happens(self.faults.reset_per_mille) {
            self.break_off(id ^ 1);
            self.break_off(id);
            return Poll::Ready(Ok(from.len()));
        }
        let mut len = self.ends.get(&(id ^ 1)).filter(|peer| !peer.broken).map_or(from.len(), |peer| peer.room().min(from.len()));
        if len == 0 && !from.is_empty() {
            self.has_room(id);
            return Poll::Pending;
        }
        if self.random.happens(self.faults.short_per_mille) {
            len = len.min(self.random.up_to(len as u64) as usize);
        }
        match self.ends.get_mut(&(id ^ 1)) {
            Some(peer) if !peer.broken => peer.bytes.extend(&from[..len]),
            Some(_) => {}
            // Nobody is there any more, which the answer will say.
            None => self.break_off(id),
        }
        self.send_off(id ^ 1);
        Poll::Ready(Ok(len))
    }

    /// Whether a write would be taken that is not small; if not, it is told when.
    pub(crate) fn has_room(&mut self, id: u64) -> bool {
        let has_room = self.ends.get(&(id ^ 1)).is_none_or(|peer| peer.broken || peer.room() >= (peer.window + peer.send_buf).div_ceil(3));
        if let Some(end) = self.ends.get_mut(&id) {
            end.blocked = !has_room;
        }
        has_room
    }
}

impl End {
    fn new(here: SocketAddr, options: SockOptions, role: Role, most: usize) -> Self {
        Self {
            here,
            window: options.recv_buf.unwrap_or(0).min(most).max(1),
            options,
            role,
            peer: None,
            to: VecDeque::new(),
            since: None,
            connected: false,
            queue: VecDeque::new(),
            bytes: VecDeque::new(),
            arrived: 0,
            under_way: 0,
            send_buf: 0,
            fin_wanted: false,
            broken: false,
            pieces: VecDeque::new(),
            eof: false,
            failed: None,
            blocked: false,
            watched: None,
        }
    }

    /// Bytes that can be written to it.
    fn room(&self) -> usize {
        (self.window + self.send_buf).saturating_sub(self.bytes.len())
    }

    /// Whether a read would find something.
    pub(crate) fn is_readable(&self) -> bool {
        self.arrived > 0 || self.eof || self.failed.is_some()
    }

    fn ready(&self) -> Readiness {
        let connects = self.role == Role::Connect && self.connected;
        let enough = self.options.low_water.unwrap_or(1).min(self.window);
        let over = self.failed.is_some();
        Readiness {
            read: self.arrived >= enough || self.eof || over || connects || !self.queue.is_empty(),
            write: self.connected && !self.blocked,
            over,
        }
    }

    pub(crate) fn unread(&self) -> usize {
        self.arrived
    }

    /// Bytes that were written to it and not read, wherever they are.
    pub(crate) fn written(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn failed(&self) -> Option<NetError> {
        self.failed.clone()
    }

    pub(crate) fn here(&self) -> SocketAddr {
        self.here
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) fn options(&self) -> &SockOptions {
        &self.options
    }
}

/// Whether the network has this address.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// The address from which this one is connected to.
fn loopback(to: &SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}
