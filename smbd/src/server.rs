//! The server: a thread `poll_group_N` with a queue group on each core. The listener sits in the
//! first group; what asks to connect goes to the group with the fewest connections, as a
//! `Box<dyn Queue>` inside a message.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use lcore::pool::{BufGroup, DataPool, PoolError, ReserveConfig};
use lcore::transport::{
    Frame, Op, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueGroupStats, QueueId, QueueOptions, Token, Transport,
    TransportError, Wait,
};
use lcore::{CoreId, CpuSet, Cx, Peers, Polled, Schedule, Shard, ShardConfig, Sharded, SpawnError, ThreadLib};
use smb_direct::wire::{self, NegotiateRequest};
use smb_direct::{Connection, Received, Settings};

use crate::clock::{TIME, schedule, since_start};
use crate::session::{End, Session};
use crate::work::MemoryWork;
use crate::{Budget, Service};

/// Events that a group takes from one poll.
const EVENTS: usize = 128;

/// One in so many receives may be out, with messages that have begun, before all connections are
/// asked for a sign of life.
const DOUBTS: u32 = 16;

/// Ends that a group's report keeps.
const LAST_ENDS: usize = 16;

/// The token of the listener.
const LISTENER: Token = Token(u64::MAX);

/// What a server is to be.
#[derive(Clone)]
pub struct ServerConfig {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// Where to listen; port 0 takes a free one.
    pub at: SocketAddr,
    /// Options of the listener, which its queues have.
    pub options: QueueOptions,
    /// How the groups' cores wait.
    pub wait: Wait,
    /// What each connection is to be. The longest message is cut down to a buffer's size.
    pub settings: Settings,
    /// Connections that one group can hold.
    pub connections: u32,
    /// Receive buffers of one group: at least 5 for each connection.
    pub receives: u32,
    /// Messages of data come back. Otherwise a client that asks for the echo is refused when it
    /// sends some.
    pub echo: bool,
    /// The buffers that all groups share. Each takes for itself small ones for twice its receives,
    /// as a buffer that is echoed is replaced meanwhile, and for the events of a poll, and two
    /// large ones.
    pub pool: DataPool,
}

/// A running server, for any thread.
#[derive(Clone)]
pub struct Server(Sharded<Group>);

struct Common {
    config: ServerConfig,
    local: OnceLock<SocketAddr>,
}

/// What one group has done.
#[derive(Clone, Debug, Default)]
pub struct GroupReport {
    /// Connections that it was given.
    pub connections: u64,
    /// Connections that ended for a reason other than an orderly end.
    pub failed: u64,
    /// Connections that are there now; in the final report, those that the stop has cut short.
    pub open: usize,
    /// Messages that came after negotiation, and those of them that carried data.
    pub messages: u64,
    /// Bytes of data that came.
    pub bytes: u64,
    /// Why connections failed, the last ones.
    pub last_ends: VecDeque<End>,
    /// The queue group's own figures.
    pub stats: QueueGroupStats,
}

/// Why a group could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The transport refused the group or the listener.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The pool has not what the group is to have for itself.
    #[error("the buffers of a poll group: {0}")]
    Buffers(#[from] PoolError),
    /// There is no thread for the group.
    #[error("the thread of a poll group: {0}")]
    Thread(#[from] SpawnError),
    /// The device has no room for so many connections.
    #[error("{connections} connections on each core are more than the device has room for, which is {most} ({why})")]
    Connections {
        /// Those that there are to be.
        connections: u32,
        /// Those for which there is room, with as many receives for each.
        most: u32,
        /// What there is not enough of.
        why: Box<TransportError>,
    },
    /// A server without a place for a connection.
    #[error("a server for 0 connections serves nobody; at least 1 is needed")]
    NoConnections,
    /// The receives do not do for the connections.
    #[error("{receives} receive buffers for {connections} connections, which need {needed}")]
    Receives {
        /// Those that there are to be.
        receives: u32,
        /// Connections.
        connections: u32,
        /// Those that are needed.
        needed: u32,
    },
    /// No connection can be like that.
    #[error(transparent)]
    Settings(#[from] smb_direct::SettingsError),
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
        let shards = ShardConfig::new("poll_group", cores).schedule(schedule(config.wait));
        let (at, common) = (config.at, Common { config, local: OnceLock::new() });
        let ready = move |cx: &mut Cx<'_>, outcome: Result<&Sharded<Group>, _>| {
            ready(cx, outcome.map(|server| server.common().local.get().copied().unwrap_or(at)));
        };
        Ok(Self(Sharded::start(lib, shards, common, ready)?))
    }

    /// Where it listens, once it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.common().local.get().copied()
    }

    /// Connections that the groups have now, or that are on their way to them.
    pub fn connections(&self) -> Vec<usize> {
        (0..self.0.shards()).map(|group| if self.0.is_gone(group) { 0 } else { self.0.load(group) }).collect()
    }

    /// Each group's core and what it has done; final when the groups' threads have ended.
    pub fn reports(&self) -> Vec<(CoreId, GroupReport)> {
        self.0.reports()
    }
}

/// One poll group.
struct Group {
    peers: Peers<Self>,
    group: Box<dyn QueueGroup>,
    /// Taken out while they are handled.
    events: Option<QueueEvents>,
    bufs: BufGroup,
    settings: Settings,
    budget: Budget,
    /// By token.
    places: Vec<Option<Client>>,
    free: Vec<usize>,
    report: GroupReport,
}

/// A connection.
struct Client {
    from: SocketAddr,
    credits: u16,
    service: Service,
    /// From the moment on at which it is established.
    session: Option<Session>,
    memory: Option<MemoryWork>,
    /// The negotiate request has come; its response is out.
    asked: bool,
    answered: bool,
}

impl Shard for Group {
    type Common = Common;
    type Report = GroupReport;
    type Error = ServerError;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, ServerError> {
        let Common { config, local } = peers.common();
        let (receives, connections) = (config.receives, config.connections);
        if connections == 0 {
            return Err(ServerError::NoConnections);
        }
        let budget = Budget::new(receives, connections).map_err(|needed| ServerError::Receives { receives, connections, needed })?;
        let bufs = config.pool.group(ReserveConfig { small: 2 * receives as usize + EVENTS, large: 2, control: 0 })?;
        let mut settings = config.settings;
        settings.max_receive_size = settings.max_receive_size.min(u32::try_from(bufs.buf_size()).unwrap_or(u32::MAX));
        settings.preferred_send_size = settings.preferred_send_size.min(settings.max_receive_size);
        Connection::server(settings, Duration::ZERO)?;
        let mut group = queue_group(cx, config, &bufs)?;
        if peers.index() == 0 {
            let listener = config.transport.listen(config.at, &config.options)?;
            let _ = local.set(listener.local_addr());
            group.listen(listener, LISTENER).map_err(|refused| refused.why)?;
        }
        let timers = |cx: &mut Cx<'_>| Sharded::<Self>::here(cx, |group, cx| group.on_time(since_start(cx))).unwrap_or(Polled::Done);
        cx.local_poller("timers", Schedule::Every(TIME), timers);
        let (places, free) = ((0..connections).map(|_| None).collect(), (0..connections as usize).rev().collect());
        let (events, report) = (Some(QueueEvents::new(EVENTS)), GroupReport::default());
        Ok(Self { peers, group, events, bufs, settings, budget, places, free, report })
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        let Some(mut events) = self.events.take() else { return Polled::Idle };
        let polled = if self.group.poll(&mut events) == 0 { Polled::Idle } else { Polled::Busy };
        let now = since_start(cx);
        for event in events.drain() {
            self.handle(event, now);
        }
        if polled == Polled::Busy {
            self.group.flush();
        }
        self.events = Some(events);
        polled
    }

    fn unsent(&self) -> u64 {
        self.places.iter().flatten().filter_map(|client| client.session.as_ref()).map(Session::unsent).sum()
    }

    fn report(&self) -> GroupReport {
        GroupReport { stats: self.group.stats(), open: self.places.iter().flatten().count(), ..self.report.clone() }
    }
}

impl Group {
    fn on_time(&mut self, now: Duration) -> Polled {
        // Receives that may be lost are found when each connection has received something
        // (statement 91).
        let ask = self.group.stats().receives_out > u64::from(self.peers.common().config.receives / DOUBTS);
        let group = &mut *self.group;
        for session in self.places.iter_mut().flatten().filter_map(|client| client.session.as_mut()) {
            if ask {
                session.conn().ask_for_answer(now);
            }
            // Also what waits for buffers is tried again.
            session.conn().on_time(now);
            session.pump(group, now);
        }
        self.peers.publish(self.report());
        Polled::Idle
    }

    fn handle(&mut self, event: QueueEvent, now: Duration) {
        match event {
            QueueEvent::Requested { queue, .. } => self.requested(queue),
            QueueEvent::Established { id, token, .. } => self.established(id, token, now),
            QueueEvent::Received { token, buf, .. } => self.received(token, buf, now),
            QueueEvent::Done { token, tag, op, frame, error, .. } => self.done(token, (tag, op), frame, error, now),
            QueueEvent::Closed { token: LISTENER, why: Some(why), .. } => log::error!("the listener ended: {why}"),
            QueueEvent::Closed { token, why, .. } if token != LISTENER => self.closed(token, why),
            _ => {}
        }
    }

    fn requested(&mut self, queue: Box<dyn Queue>) {
        let from = queue.peer_addr();
        log::info!("Connect request from {} port {}", from.ip(), from.port());
        if Service::asked_for(queue.private_data()).is_none() {
            log::warn!("a connect request was rejected: its private data asks for no service there is");
            // It has no private data that could be too much.
            let _ = queue.reject(&[]);
            return;
        }
        let to = self.peers.least_loaded();
        self.peers.add_load(to);
        self.peers.send(to, |group, _| group.adopt(queue));
    }

    fn adopt(&mut self, queue: Box<dyn Queue>) {
        let (from, service) = (queue.peer_addr(), Service::asked_for(queue.private_data()).unwrap_or(Service::Echo));
        let taken = self.free.pop().and_then(|place| Some((place, self.budget.take(self.settings.credits)?)));
        let Some((place, credits)) = taken else {
            self.peers.take_load(self.peers.index());
            log::warn!("a connection was turned away: all {} places of this core are taken", self.places.len());
            let _ = queue.reject(&[]);
            return;
        };
        match self.group.attach(queue, Token(place as u64), &[]) {
            Ok(_) => {
                self.report.connections += 1;
                self.places[place] = Some(Client { from, credits, service, session: None, memory: None, asked: false, answered: false });
            }
            Err(refused) => {
                self.free.push(place);
                self.budget.give_back(credits);
                self.peers.take_load(self.peers.index());
                log::warn!("a connection was turned away: {}", refused.why);
            }
        }
    }

    fn established(&mut self, id: QueueId, token: Token, now: Duration) {
        let Some(client) = client_of(&mut self.places, token) else { return };
        log::info!("Connected: {} port {}", client.from.ip(), client.from.port());
        let depth = self.group.limits(id).map_or(1, |limits| limits.sends);
        let Ok(conn) = Connection::server(Settings { credits: client.credits, ..self.settings }, now) else {
            unreachable!("such settings were tried when the group was made, and a budget gives no less than the least credits")
        };
        client.session = Some(Session::new(id, conn, depth).with_share(client.credits.into()));
        client.memory = (client.service == Service::Memory).then(|| MemoryWork::new(self.settings.max_read_write_size));
    }

    fn received(&mut self, token: Token, buf: lcore::pool::Buf, now: Duration) {
        let Some(client) = client_of(&mut self.places, token) else { return };
        let Some(session) = &mut client.session else { return };
        if !client.asked {
            client.asked = true;
            print_request(client.from, &buf);
        }
        let open = session.conn().agreed().is_some();
        let outcome = match session.conn().on_message(now, &buf) {
            Received::Fragment { bytes, first, remaining } => {
                self.report.messages += 1;
                self.report.bytes += bytes.len() as u64;
                let total = first.then_some(bytes.len() + remaining);
                match &mut client.memory {
                    Some(memory) => {
                        let group = &mut *self.group;
                        memory.on_piece(session, buf, bytes, remaining).and_then(|()| memory.go_on(session, group, &self.bufs))
                    }
                    None if self.peers.common().config.echo => {
                        session.send_back(buf, bytes.start, bytes.end, total);
                        Ok(())
                    }
                    None => Err(End::Application("data, which only a server with --echo takes".into())),
                }
            }
            _ => {
                self.report.messages += u64::from(open);
                session.conn().receives_freed(u16::from(open));
                Ok(())
            }
        };
        match outcome {
            Ok(()) => session.pump(&mut *self.group, now),
            Err(end) => session.fail(&mut *self.group, end),
        }
    }

    fn done(&mut self, token: Token, (tag, op): (u64, Op), frame: Frame, error: Option<TransportError>, now: Duration) {
        let Some(client) = client_of(&mut self.places, token) else { return };
        let Some(session) = &mut client.session else { return };
        let owners = session.on_done(&mut *self.group, tag);
        if error.is_some() {
            // `Closed` says why.
            return;
        }
        if !std::mem::replace(&mut client.answered, true) {
            log::info!("Send completed: negotiate response to {} port {}", client.from.ip(), client.from.port());
        }
        if let Some(memory) = &mut client.memory {
            if owners {
                memory.on_done(op, frame);
            }
            if let Err(end) = memory.go_on(session, &mut *self.group, &self.bufs) {
                return session.fail(&mut *self.group, end);
            }
        }
        session.pump(&mut *self.group, now);
    }

    fn closed(&mut self, token: Token, why: Option<TransportError>) {
        let place = token.0 as usize;
        let Some(client) = self.places.get_mut(place).and_then(Option::take) else { return };
        self.free.push(place);
        self.budget.give_back(client.credits);
        self.peers.take_load(self.peers.index());
        let end = client.session.as_ref().and_then(|session| session.end().cloned()).or(why.map(End::Transport));
        match end {
            None => log::info!("Disconnected: {} port {}", client.from.ip(), client.from.port()),
            Some(end) => {
                log::info!("Disconnected: {} port {}: {end}", client.from.ip(), client.from.port());
                self.report.failed += 1;
                if self.report.last_ends.len() == LAST_ENDS {
                    self.report.last_ends.pop_front();
                }
                self.report.last_ends.push_back(end);
            }
        }
    }
}

fn client_of(places: &mut [Option<Client>], token: Token) -> Option<&mut Client> {
    places.get_mut(token.0 as usize)?.as_mut()
}

/// The group, or for how many connections there would be one: better told now than to the first
/// client that finds no room.
fn queue_group(cx: &mut Cx<'_>, config: &ServerConfig, bufs: &BufGroup) -> Result<Box<dyn QueueGroup>, ServerError> {
    let why = match config.transport.group(cx, group_config(config, config.connections, bufs)) {
        Ok(group) => return Ok(group),
        Err(why @ TransportError::Limit { .. }) => why,
        Err(why) => return Err(why.into()),
    };
    let (mut most, mut too_many) = (0, config.connections);
    while too_many - most > 1 {
        let middle = most + (too_many - most) / 2;
        match config.transport.group(cx, group_config(config, middle, bufs)) {
            Ok(_) => most = middle,
            Err(TransportError::Limit { .. }) => too_many = middle,
            Err(why) => return Err(why.into()),
        }
    }
    if most == 0 {
        return Err(why.into());
    }
    Err(ServerError::Connections { connections: config.connections, most, why: Box::new(why) })
}

/// The queue group for so many of the connections.
fn group_config(config: &ServerConfig, connections: u32, bufs: &BufGroup) -> QueueGroupConfig {
    let mut made = QueueGroupConfig::new(bufs.clone());
    // One place is the listener's.
    made.queues = connections.saturating_add(1);
    made.operations = connections.saturating_mul(config.options.send_depth);
    made.receives = config.receives.saturating_sub(Budget::needed(config.connections - connections)).max(1);
    // What clients reach is their own memory; a server exposes none.
    made.exposures = 0;
    made.wait = config.wait;
    made
}

fn print_request(from: SocketAddr, message: &[u8]) {
    let Some(request) = wire::read::<NegotiateRequest>(message) else { return };
    log::info!(
        "Negotiate request from port {}: MinVersion {:#06x}, MaxVersion {:#06x}, CreditsRequested {}, PreferredSendSize {}, MaxReceiveSize {}, MaxFragmentedSize {}",
        from.port(),
        request.min_version,
        request.max_version,
        request.credits_requested,
        request.preferred_send_size,
        request.max_receive_size,
        request.max_fragmented_size
    );
}
