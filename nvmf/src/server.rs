//! A target that runs: a poll group on each core.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::net::{GroupConfig, Keepalive, NetError, NetImpl, SockOptions};
use core_reactor::{CpuSet, Cx, Peers, ShardConfig, Sharded, SpawnError, ThreadLib};
use nvme::target::Settings;
use pool::{BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, PoolError, ReserveConfig};

use crate::group::base::Base;
use crate::group::bufs::{Bufs, CAPSULES, fits};
#[cfg(feature = "tls")]
use crate::group::secure::Secured;
use crate::group::{EVENTS, Group};
use crate::target::{Groups, WeakTarget};
use crate::{Association, GroupFigures, Subsystem, Target};

/// What a server is to be.
#[derive(Clone)]
pub struct ServerConfig {
    /// The backend.
    pub net: &'static dyn NetImpl,
    /// What it serves.
    pub target: Target,
    /// The buffers that all groups share. A small one holds the data of a small command, a large
    /// one that of any.
    pub pool: DataPool,
    /// What each group has for its commands, so that it can go on whatever the others do.
    pub reserve: ReserveConfig,
    /// Buffers that each group has of its own for what its sockets receive. The larger they are,
    /// the more small writes are taken and answered at a time. Their size is to be no multiple of
    /// 4096: see [`STAGGER`].
    pub receive: ClassConfig,
    /// Connections that one group can hold.
    pub connections: usize,
    /// How long a host may take from the beginning to its Connect.
    pub connect_timeout: Duration,
}

impl ServerConfig {
    /// One for `groups` cores out of this pool.
    pub fn new(net: &'static dyn NetImpl, target: Target, pool: DataPool, groups: usize) -> Self {
        let part = |class, most: usize| (pool.stats(class).count / 4 / groups.max(1)).min(most);
        let reserve = ReserveConfig { small: part(Class::Small, 128), large: part(Class::Large, 8), control: part(Class::Control, 16) };
        let size = 4 * pool.buf_size(Class::Small) - STAGGER;
        let receive = ClassConfig { count: part(Class::Small, 32), size };
        Self { net, target, pool, reserve, receive, connections: 1024, connect_timeout: Duration::from_secs(10) }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("target", &self.target).field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// What a buffer that is received into is short of a multiple of 4096 bytes.
///
/// Some processors (AMD's, since Zen 3) copy 30 times more slowly where the target lies 1 to 15
/// bytes behind the source, modulo 4096. The system copies out of a stream that lies in pages one
/// after the other into buffers that begin at a page. Were they all filled to the end of a page,
/// that distance would be the same for all, and a queue that once got into the slow distance would
/// not get out of it: being slow it finds its buffers filled. So each full buffer shifts it
/// (decision 0155).
pub const STAGGER: usize = 64;

/// Why a group could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The backend refused the group or a listener.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The pool has not what the group is to have for itself.
    #[error("the buffers of a poll group: {0}")]
    Buffers(#[from] PoolError),
    /// There is no thread for the group.
    #[error("the thread of a poll group: {0}")]
    Thread(#[from] SpawnError),
    /// A buffer of the pool is too small.
    #[error("{class:?} buffers of {size} bytes hold no data of a command; they need {least}")]
    Size {
        /// Which.
        class: Class,
        /// Their size.
        size: usize,
        /// The least size.
        least: usize,
    },
    /// The target is gone.
    #[error("the target has ended")]
    Gone,
}

/// A target that runs.
#[derive(Clone)]
pub struct Server(Sharded<Group>);

impl Server {
    /// Starts a server: a group on each of `cores`, which listen wherever subsystems of the target
    /// do, now and later. `ready` hears once every group is open, or why one could not be opened.
    ///
    /// # Errors
    /// The first thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, cores: &CpuSet, config: ServerConfig, ready: F) -> Result<Self, SpawnError>
    where
        F: Fn(&mut Cx<'_>, Result<(), ServerError>) + Send + Sync + 'static,
    {
        let figures = cores.iter().map(|_| Arc::default()).collect();
        let (target, net) = (config.target.downgrade(), config.net);
        let common = Common { target: config.target.downgrade(), config: Config::of(config), figures };
        let ready = move |cx: &mut Cx<'_>, outcome: Result<&Sharded<Group>, ServerError>| {
            let outcome = outcome.and_then(|groups| {
                let target = target.upgrade().ok_or(ServerError::Gone)?;
                target.started(Box::new(Running { groups: groups.clone(), net }))?;
                Ok(())
            });
            ready(cx, outcome);
        };
        Ok(Self(Sharded::start(lib, ShardConfig::new("nvmf_tgt_poll_group", cores), common, ready)?))
    }

    /// What each group has done.
    pub fn figures(&self) -> Vec<Arc<GroupFigures>> {
        self.0.common().figures.clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.0).finish()
    }
}

/// What all groups see. The target, which knows the groups, is not held by it.
pub(crate) struct Common {
    target: WeakTarget,
    config: Config,
    figures: Vec<Arc<GroupFigures>>,
}

/// A [`ServerConfig`] without its target.
struct Config {
    net: &'static dyn NetImpl,
    pool: DataPool,
    reserve: ReserveConfig,
    receive: ClassConfig,
    connections: usize,
    connect_timeout: Duration,
}

impl Config {
    fn of(config: ServerConfig) -> Self {
        let ServerConfig { net, target: _, pool, reserve, receive, connections, connect_timeout } = config;
        Self { net, pool, reserve, receive, connections, connect_timeout }
    }
}

/// Buffers that a connection may fill in a poll before the others have their turn, at most.
const TURN: usize = 4;

/// Listeners that the first group has room for, beside its connections.
const PORTS: usize = 64;

/// Frames that a socket may hold: a queue has no more commands than entries, each with data and a
/// response at most.
const FRAMES: usize = 4096 * 2 + 64;

/// Reading stops while a host has left so much unread.
const HOLD_READS_AT: usize = 1 << 20;

impl Common {
    /// What a group begins with, and how many connections it has room for.
    pub(crate) fn base(&self, cx: &mut Cx<'_>, peers: &Peers<Group>) -> Result<(Base, usize), ServerError> {
        let Config { net, pool, reserve, receive, connections, connect_timeout } = &self.config;
        let target = self.target.upgrade().ok_or(ServerError::Gone)?;
        for class in [Class::Small, Class::Large] {
            let (size, least) = (pool.buf_size(class), 8192 + 512);
            if fits(size) < 4096 {
                return Err(ServerError::Size { class, size, least });
            }
        }
        // What sockets receive has buffers of its own, so that data that was asked for can come
        // however many commands hold some.
        let mut config = GroupConfig::new(own_buffers(*receive)?);
        config.sockets = connections + PORTS;
        config.send_limit = usize::MAX;
        config.send_frames = FRAMES;
        config.hold_reads_at = HOLD_READS_AT;
        let sock = net.group(cx, config)?;
        let capsules = own_buffers(ClassConfig { count: CAPSULES, size: pool.buf_size(Class::Large) })?;
        let bufs = Bufs::new(pool.group(*reserve)?, capsules, cx.handle().waker());
        let largest = u32::try_from(1_usize << fits(pool.buf_size(Class::Large)).ilog2()).unwrap_or(u32::MAX);
        let settings = Settings { max_transfer: largest, connect_timeout: *connect_timeout, ..Settings::default() };
        let at_once = EVENTS.min(receive.count).max(1);
        let base = Base {
            index: peers.index(),
            peers: peers.clone(),
            target,
            transport: None,
            settings,
            sock,
            bufs,
            places: Vec::new(),
            left: Vec::new(),
            watches: Vec::new(),
            answers_at: cx.now(),
            polls: 0,
            quiet_below: (at_once / 2).max(1),
            patience: (connections * TURN / at_once) as u64 + 2,
            questions: 0,
            dirty: Vec::new(),
            #[cfg(feature = "tls")]
            secured: Secured::default(),
            figures: self.figures[peers.index()].clone(),
            now: cx.now(),
            is_stopping: false,
        };
        Ok((base, *connections))
    }
}

/// Buffers of a group that nobody else takes.
fn own_buffers(of: ClassConfig) -> Result<BufGroup, PoolError> {
    let none = ClassConfig { count: 0, size: 0 };
    let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(of).large(none).control(none).waiters(1))?;
    pool.group(ReserveConfig { small: of.count, large: 0, control: 0 })
}

/// The groups, as the target reaches them.
struct Running {
    groups: Sharded<Group>,
    net: &'static dyn NetImpl,
}

impl Running {
    fn all(&self) -> core::ops::Range<usize> {
        0..self.groups.shards()
    }
}

impl Groups for Running {
    fn listen(&self, at: SocketAddr, is_secure: bool) -> Result<SocketAddr, NetError> {
        // A host without keep alive that has vanished is found by the system.
        let keepalive = Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(10), probes: 3 };
        let options = SockOptions::default().keepalive(keepalive).unpaced(true);
        let socket = self.net.listen(at, &options)?;
        let at = socket.local_addr()?;
        // A message has no room for one more word.
        if is_secure {
            self.groups.send(0, move |group, _| group.listen(socket, at, true));
        } else {
            self.groups.send(0, move |group, _| group.listen(socket, at, false));
        }
        Ok(at)
    }

    fn unlisten(&self, at: SocketAddr) {
        self.groups.send(0, move |group, _| group.unlisten(at));
    }

    fn close(&self, association: &Arc<Association>, all: bool) {
        for group in self.all() {
            let association = association.clone();
            self.groups.send(group, move |group, cx| group.close(cx, &association, all));
        }
    }

    fn tell(&self, association: &Arc<Association>) {
        if let Some((group, key)) = association.admin() {
            self.groups.send(group, move |group, _| group.tell(key));
        }
    }

    fn refresh(&self, subsystem: &Arc<Subsystem>) {
        for group in self.all() {
            let subsystem = subsystem.clone();
            self.groups.send(group, move |group, cx| group.refresh(cx, &subsystem));
        }
    }

    fn figures(&self) -> Vec<Arc<GroupFigures>> {
        self.groups.common().figures.clone()
    }
}
