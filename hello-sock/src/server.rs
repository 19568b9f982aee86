//! An echo server over poll groups: on each core a thread `poll_group_N` with a socket group.
//!
//! The listener sits in the first group (or, with `reuse_port`, one in each): what it accepts goes
//! to the group that [`GroupMap`] names, as a `Box<dyn Socket>` inside a message.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;

use core_reactor::net::{
    Events, Frame, GroupConfig, GroupMap, GroupStats, NetError, NetEvent, NetImpl, SockGroup, SockOptions, Socket, Token,
};
use core_reactor::{CoreId, CpuSet, Cx, Peers, Polled, Shard, ShardConfig, Sharded, SpawnError, ThreadLib};
use pool::{BufGroup, Class, DataPool, PoolError, ReserveConfig};
use spin::Mutex;

/// Events that a group takes from one poll.
const EVENTS: usize = 128;

/// The token of listeners.
const LISTENER: Token = Token(u64::MAX);

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
    /// The buffers that all groups share.
    pub pool: DataPool,
    /// What each group has for itself, so that it can go on whatever the others do.
    pub reserve: ReserveConfig,
}

/// A running server, for any thread: where it listens, and what its groups have done.
#[derive(Clone)]
pub struct Server(Sharded<EchoGroup>);

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
    /// Starts a server: a group on each of `cores`, the listener in the first. `ready` hears where
    /// it listens once every group is open, or why one could not be opened; see [`Sharded::start`].
    ///
    /// # Errors
    /// The first thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, cores: &CpuSet, config: ServerConfig, ready: F) -> Result<Self, SpawnError>
    where
        F: Fn(&mut Cx<'_>, Result<SocketAddr, ServerError>) + Send + Sync + 'static,
    {
        let (at, common) = (config.at, Common { config, local: Mutex::new(None) });
        let ready = move |cx: &mut Cx<'_>, outcome: Result<&Sharded<EchoGroup>, _>| {
            ready(cx, outcome.map(|server| server.common().local.lock().unwrap_or(at)));
        };
        Ok(Self(Sharded::start(lib, ShardConfig::new("poll_group", cores), common, ready)?))
    }

    /// Where it listens, once it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        *self.0.common().local.lock()
    }

    /// Each group's core and what it has done; final when the groups' threads have ended.
    pub fn reports(&self) -> Vec<(CoreId, GroupReport)> {
        self.0.reports()
    }
}

struct Common {
    config: ServerConfig,
    local: Mutex<Option<SocketAddr>>,
}

/// One poll group.
struct EchoGroup {
    peers: Peers<Self>,
    group: Box<dyn SockGroup>,
    /// Taken out while they are handled.
    events: Option<Events>,
    bufs: BufGroup,
    /// Where the connections that this group accepts go.
    map: GroupMap,
    report: GroupReport,
}

impl Shard for EchoGroup {
    type Common = Common;
    type Report = GroupReport;
    type Error = ServerError;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, ServerError> {
        let Common { config, local } = peers.common();
        let bufs = config.pool.group(config.reserve)?;
        let mut group_config = GroupConfig::new(bufs.clone());
        // One place is the listener's.
        group_config.sockets = config.sockets + 1;
        // Nothing is read while an echo waits, so that a peer that does not read holds what one
        // poll took from it, and no more of the pool.
        group_config.hold_reads_at = 1;
        let mut group = config.net.group(cx, group_config)?;
        if peers.index() == 0 || config.options.reuse_port {
            // A free port that the first listener found is the others' too.
            let at = local.lock().unwrap_or(config.at);
            let listener = config.net.listen(at, &config.options)?;
            local.lock().get_or_insert(listener.local_addr()?);
            group.attach(listener, LISTENER).map_err(|refused| refused.why)?;
        }
        let map = GroupMap::new(peers.cores());
        Ok(Self { peers, group, events: Some(Events::new(EVENTS)), bufs, map, report: GroupReport::default() })
    }

    fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
        let Some(mut events) = self.events.take() else { return Polled::Idle };
        let polled = if self.group.poll(&mut events) == 0 { Polled::Idle } else { Polled::Busy };
        for event in events.drain() {
            self.handle(event);
        }
        self.events = Some(events);
        polled
    }

    fn unsent(&self) -> u64 {
        self.group.stats().unsent
    }

    fn report(&self) -> GroupReport {
        GroupReport { stats: self.group.stats(), bufs: self.bufs.stats(Class::Small), ..self.report.clone() }
    }
}

impl EchoGroup {
    fn handle(&mut self, event: NetEvent) {
        match event {
            NetEvent::Received { id, buf, .. } => {
                // The group stops reading before its send queue is full, so a refusal means that
                // the connection has just ended. If it has not, an echo with a hole in it would be
                // worse than none.
                if let Err(refused) = self.group.send(id, Frame::from(buf)) {
                    logging::debug!("an echo was not sent, so its connection is reset: {}", format!("{}", refused.why).as_str());
                    let _ = self.group.abort(id);
                }
            }
            NetEvent::Accepted { socket, .. } => self.accepted(socket),
            // All that came has been answered, or is queued before the FIN. A key that is stale by
            // now needs no FIN.
            NetEvent::PeerClosed { id, .. } => drop(self.group.shutdown(id)),
            NetEvent::Closed { why, token, .. } if token != LISTENER => self.closed(why),
            NetEvent::Closed { why: Some(why), .. } => logging::error!("the listener ended: {}", format!("{why}").as_str()),
            _ => {}
        }
    }

    fn accepted(&mut self, socket: Box<dyn Socket>) {
        if let (Some(from), Ok(to)) = (socket.peer_addr(), socket.local_addr()) {
            let line = format!("Accepting a new connection from ({}, {}) to ({}, {})", from.ip(), from.port(), to.ip(), to.port());
            logging::info!("{}", line.as_str());
        }
        let (peers, own) = (&self.peers, self.peers.index());
        let optimal =
            if peers.common().config.options.reuse_port { own } else { self.map.optimal_group(&*socket, |group| peers.load(group)) };
        // Packets may arrive at the core of a group that is gone.
        let to = if peers.is_gone(optimal) { own } else { optimal };
        peers.add_load(to);
        peers.send(to, |group, _| group.adopt(socket));
    }

    fn adopt(&mut self, socket: Box<dyn Socket>) {
        match self.group.attach(socket, Token(0)) {
            Ok(_) => self.report.connections += 1,
            Err(refused) => {
                self.peers.take_load(self.peers.index());
                logging::warn!("a connection was turned away: {}", format!("{}", refused.why).as_str());
            }
        }
    }

    fn closed(&mut self, why: Option<NetError>) {
        self.peers.take_load(self.peers.index());
        self.report.failed += u64::from(why.is_some());
        match why {
            None => logging::info!("Connection closed"),
            Some(why) => logging::info!("Connection closed: {}", format!("{why}").as_str()),
        }
    }
}
