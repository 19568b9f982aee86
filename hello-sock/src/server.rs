//! An echo server over poll groups.
//!
//! Each core has a thread `poll_group_N` with a socket group and one poller. The listener sits in the first group (or, with `reuse_port`, one in
//! each): what it accepts goes to the group that [`GroupMap`] names, as a `Box<dyn Socket>` inside a
//! message.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use core_reactor::net::{
    Events, Frame, GroupConfig, GroupMap, GroupStats, NetError, NetEvent, NetImpl, SockGroup, SockOptions, Socket, Token,
};
use core_reactor::{CoreId, CpuSet, Cx, Instant, Msg, Polled, PushError, Schedule, SpawnError, ThreadConfig, ThreadHandle, ThreadLib};
use pool::{BufGroup, Class, DataPool, PoolError, ReserveConfig};
use spin::Mutex;

/// Events that a group takes from one poll.
const EVENTS: usize = 128;

/// How long the end of a group waits for peers to take what is on its way to them.
const DRAIN: Duration = Duration::from_secs(1);

/// What a server is to be.
#[derive(Clone)]
pub struct ServerConfig {
    /// The backend.
    pub net: &'static dyn NetImpl,
    /// Where to listen.
    pub at: SocketAddr,
    /// Options of the listener, which its connections inherit.
    pub options: SockOptions,
    /// Connections that one group can hold.
    pub sockets: usize,
    /// The buffers that all groups share, and what each has for itself.
    pub pool: DataPool,
    /// What each group has for itself, so that it can go on whatever the others do.
    pub reserve: ReserveConfig,
}

/// A running server, for any thread: where it listens, and what its groups have done.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    config: ServerConfig,
    local: Mutex<Option<SocketAddr>>,
    groups: Box<[Place]>,
}

/// What others see of one group.
struct Place {
    core: CoreId,
    /// Connections that it has or that are on their way to it.
    connections: AtomicUsize,
    /// Its thread, while the group is open.
    thread: Mutex<Option<ThreadHandle>>,
    /// It could not be opened, or has ended.
    gone: AtomicBool,
    report: Mutex<GroupReport>,
}

impl Place {
    fn new(core: CoreId) -> Self {
        Self {
            core,
            connections: AtomicUsize::new(0),
            thread: Mutex::new(None),
            gone: AtomicBool::new(false),
            report: Mutex::new(GroupReport::default()),
        }
    }
}

type Ready = dyn Fn(&mut Cx<'_>, usize, Result<SocketAddr, ServerError>) + Send + Sync;

/// What one poll group has done.
#[derive(Clone, Debug, Default)]
pub struct GroupReport {
    /// Connections that it was given.
    pub connections: u64,
    /// Connections that ended with an error.
    pub failed: u64,
    /// The socket group's own figures.
    pub stats: GroupStats,
    /// Its small buffers; those in use are held by sends that the peers have not taken.
    pub bufs: pool::GroupStats,
}

/// Why a group could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The backend refused the group or the listener.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The pool has not what the group is to have for itself.
    #[error("the buffers of a poll group: {0}")]
    Buffers(#[from] PoolError),
    /// There is no thread for the group.
    #[error("the thread of a poll group: {0}")]
    Thread(#[from] SpawnError),
}

impl Server {
    /// Starts a server: makes a group on each of `cores`, the listener in the first, and calls `ready` on each group's thread with the outcome
    /// (the group's index, and where the server listens): first of all the first group's. Only when all have been told of is every group open.
    ///
    /// # Errors
    /// The first thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, cores: &CpuSet, config: ServerConfig, ready: F) -> Result<Self, SpawnError>
    where
        F: Fn(&mut Cx<'_>, usize, Result<SocketAddr, ServerError>) + Send + Sync + 'static,
    {
        let groups = cores.iter().map(Place::new).collect();
        let server = Self(Arc::new(Shared { config, local: Mutex::new(None), groups }));
        server.spawn(lib, 0, Arc::new(ready))?;
        Ok(server)
    }

    /// Makes the thread of one group; the first one makes the others when it knows the port.
    fn spawn(&self, lib: &ThreadLib, index: usize, ready: Arc<Ready>) -> Result<(), SpawnError> {
        let server = self.clone();
        let config = ThreadConfig::new(&format!("poll_group_{index}")).cpus(CpuSet::of(self.0.groups[index].core));
        lib.spawn(config, move |cx| {
            let outcome = EchoGroup::open(cx, server.clone(), index);
            let opened = outcome.is_ok();
            server.0.groups[index].gone.store(!opened, Ordering::Relaxed);
            ready(cx, index, outcome);
            for other in 1..if index == 0 && opened { server.0.groups.len() } else { 0 } {
                if let Err(why) = server.spawn(&cx.lib(), other, ready.clone()) {
                    server.0.groups[other].gone.store(true, Ordering::Relaxed);
                    // A stop that comes this early is no failure.
                    if why != SpawnError::Stopping {
                        ready(cx, other, Err(why.into()));
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Where it listens, once it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        *self.0.local.lock()
    }

    /// Each group's core and what it has done; final when the groups' threads have ended.
    pub fn reports(&self) -> Vec<(CoreId, GroupReport)> {
        self.0.groups.iter().map(|g| (g.core, g.report.lock().clone())).collect()
    }
}

/// One poll group. It is its thread's channel, so that messages reach it.
pub struct EchoGroup {
    server: Server,
    index: usize,
    group: Box<dyn SockGroup>,
    bufs: BufGroup,
    /// Where the connections that this group accepts go.
    map: GroupMap,
    report: GroupReport,
    /// Connections on their way to groups whose mailboxes were full.
    waiting: VecDeque<(usize, Msg)>,
    /// When the group ends whatever is still to be sent; set once it is to end.
    leave_by: Option<Instant>,
}

impl EchoGroup {
    /// Makes the group of this thread, and the listener if it is the one to have it. Answers where the server listens.
    fn open(cx: &mut Cx<'_>, server: Server, index: usize) -> Result<SocketAddr, ServerError> {
        let config = &server.0.config;
        let bufs = config.pool.group(config.reserve)?;
        let mut group_config = GroupConfig::new(bufs.clone());
        // One place is the listener's.
        group_config.sockets = config.sockets + 1;
        // Nothing is read while an echo waits, so that a peer that does not read holds what one poll took from it, and no more of the pool.
        group_config.hold_reads_at = 1;
        let mut group = config.net.group(cx, group_config)?;
        // A free port that the first listener found is the others' too.
        let mut at = server.local_addr().unwrap_or(config.at);
        if index == 0 || config.options.reuse_port {
            let listener = config.net.listen(at, &config.options)?;
            at = listener.local_addr()?;
            group.attach(listener, Token(u64::MAX)).map_err(|refused| refused.why)?;
            server.0.local.lock().get_or_insert(at);
        }
        let report = GroupReport::default();
        let map = GroupMap::new(server.0.groups.iter().map(|group| group.core));
        *server.0.groups[index].thread.lock() = Some(cx.handle());
        cx.open_channel(Self { server, index, group, bufs, map, report, waiting: VecDeque::new(), leave_by: None });
        let mut events = Events::new(EVENTS);
        cx.local_poller("group", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            let (exiting, now) = (cx.is_exiting(), cx.now());
            let Some(group) = cx.channel::<Self>() else { return Polled::Done };
            if !exiting {
                return group.poll(&mut events);
            }
            if group.has_drained(now) {
                cx.close_channel::<Self>();
                return Polled::Done;
            }
            let _ = group.poll(&mut events);
            // Nothing would wake this core at the end of the wait.
            Polled::Busy
        });
        Ok(at)
    }

    /// One poll: takes the group's events, then acts on them.
    fn poll(&mut self, events: &mut Events) -> Polled {
        if !self.waiting.is_empty() {
            for (to, msg) in core::mem::take(&mut self.waiting) {
                self.send_to(to, msg);
            }
        }
        if self.group.poll(events) == 0 {
            // Nothing would wake this core when there is room for what waits.
            return if self.waiting.is_empty() { Polled::Idle } else { Polled::Busy };
        }
        for event in events.drain() {
            self.handle(event);
        }
        Polled::Busy
    }

    /// On the way out: whether the peers have taken what was on its way to them, or have had the time to.
    fn has_drained(&mut self, now: Instant) -> bool {
        let by = *self.leave_by.get_or_insert(now + DRAIN);
        now >= by || self.group.stats().unsent == 0
    }

    fn handle(&mut self, event: NetEvent) {
        match event {
            NetEvent::Received { id, buf, .. } => {
                // The group stops reading before its send queue is full, so a refusal means that the connection has just ended. If it has not, an echo
                // with a hole in it would be worse than none.
                if let Err(refused) = self.group.send(id, Frame::from(buf)) {
                    logging::debug!("an echo was not sent, so its connection is reset: {}", format!("{}", refused.why).as_str());
                    let _ = self.group.abort(id);
                }
            }
            NetEvent::Accepted { socket, .. } => self.accepted(socket),
            // All that came has been answered, or is queued before the FIN. A key that is stale by now needs no FIN.
            NetEvent::PeerClosed { id, .. } => drop(self.group.shutdown(id)),
            NetEvent::Closed { why, token, .. } if token != Token(u64::MAX) => self.closed(why),
            NetEvent::Closed { why: Some(why), .. } => logging::error!("the listener ended: {}", format!("{why}").as_str()),
            _ => {}
        }
    }

    fn accepted(&mut self, socket: Box<dyn Socket>) {
        if let (Some(from), Ok(to)) = (socket.peer_addr(), socket.local_addr()) {
            let line = format!("Accepting a new connection from ({}, {}) to ({}, {})", from.ip(), from.port(), to.ip(), to.port());
            logging::info!("{}", line.as_str());
        }
        let groups = &self.server.0.groups;
        // One that is not open yet counts: what it is given waits for it.
        let count = |group: usize| match groups[group].gone.load(Ordering::Relaxed) {
            false => groups[group].connections.load(Ordering::Relaxed),
            true => usize::MAX,
        };
        let optimal = if self.server.0.config.options.reuse_port { self.index } else { self.map.optimal_group(&*socket, count) };
        // Packets may arrive at the core of a group that is gone.
        let to = if groups[optimal].gone.load(Ordering::Relaxed) { self.index } else { optimal };
        self.server.0.groups[to].connections.fetch_add(1, Ordering::Relaxed);
        self.hand_over(to, socket);
    }

    /// Gives a connection to its group: this one, or another core's by a message.
    fn hand_over(&mut self, to: usize, socket: Box<dyn Socket>) {
        if to == self.index {
            return self.adopt(socket);
        }
        let adopt = move |cx: &mut Cx<'_>| {
            if let Some(group) = cx.channel::<Self>() {
                group.adopt(socket);
            }
        };
        self.send_to(to, Msg::new(adopt));
    }

    /// Sends to another group; while its mailbox is full, again with the next poll. If it has closed the connection ends with the message.
    fn send_to(&mut self, to: usize, msg: Msg) {
        let place = &self.server.0.groups[to];
        let waits = match &*place.thread.lock() {
            Some(thread) => thread.send_msg(msg).err().filter(|refused| refused.why == PushError::Full).map(|refused| refused.item),
            // It is about to open, unless it is gone: then the connection is closed with the message.
            None => Some(msg).filter(|_| !place.gone.load(Ordering::Relaxed)),
        };
        self.waiting.extend(waits.map(|msg| (to, msg)));
    }

    fn adopt(&mut self, socket: Box<dyn Socket>) {
        match self.group.attach(socket, Token(0)) {
            Ok(_) => self.report.connections += 1,
            Err(refused) => {
                self.server.0.groups[self.index].connections.fetch_sub(1, Ordering::Relaxed);
                logging::warn!("a connection was turned away: {}", format!("{}", refused.why).as_str());
            }
        }
    }

    fn closed(&mut self, why: Option<NetError>) {
        self.server.0.groups[self.index].connections.fetch_sub(1, Ordering::Relaxed);
        match why {
            None => logging::info!("Connection closed"),
            Some(why) => {
                self.report.failed += 1;
                logging::info!("Connection closed: {}", format!("{why}").as_str());
            }
        }
    }
}

impl Drop for EchoGroup {
    fn drop(&mut self) {
        self.report.stats = self.group.stats();
        if self.report.stats.unsent > 0 {
            let ms = DRAIN.as_millis() as u64;
            logging::warn!(
                "poll_group_{}: {} bytes were dropped, which their peers had not read after {} ms",
                self.index,
                self.report.stats.unsent,
                ms
            );
        }
        self.report.bufs = self.bufs.stats(Class::Small);
        let place = &self.server.0.groups[self.index];
        place.gone.store(true, Ordering::Relaxed);
        *place.thread.lock() = None;
        *place.report.lock() = self.report.clone();
    }
}
