//! The client: connections that each do one piece of work, all on one thread with a queue group of
//! its own.

mod report;
mod stream;
mod transfer;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lcore::pool::{Buf, BufGroup, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
use lcore::transport::{
    QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueId, QueueOptions, Token, Transport, TransportError, Wait,
};
use lcore::{CoreId, CpuSet, Cx, Polled, Schedule, SpawnError, ThreadConfig, ThreadHandle, ThreadLib};
use smb_direct::{Agreed, Connection, Received, Settings};

pub use self::report::{ClientError, Digest, Report};
use self::stream::{Source, Stream};
use self::transfer::Transfers;
use crate::clock::{TIME, schedule, since_start};
use crate::{Service, Session};

/// Events that are taken from one poll.
const EVENTS: usize = 128;

/// Bytes of a buffer, and so of the longest message in one piece.
const BUFFER: usize = 8192;

/// Bytes that are moved by descriptor at a time: a large buffer.
const TRANSFER: usize = 1 << 20;

/// What a client is to be.
pub struct ClientConfig {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// The server.
    pub to: SocketAddr,
    /// How its core waits.
    pub wait: Wait,
    /// A server's short response is taken, as [`Settings::lenient_short_response`] says.
    pub lenient_short_response: bool,
    /// Connections, from 1 to [`MOST`](Self::MOST). All are there before the first does its work.
    pub connections: u32,
    /// What each does.
    pub task: Task,
    /// Buffers, as many as [`pool`](Self::pool) says.
    pub pool: DataPool,
}

/// What a connection does once it stands. Then it ends.
pub enum Task {
    /// Nothing.
    Negotiate,
    /// So many bytes go through the server's echo, generated, and of each connection others.
    Bytes(u64),
    /// All of this goes through the echo, over the first connection; the others do nothing.
    Input(Box<dyn Read + Send>),
    /// Memory is moved by RDMA, up to 1 MiB.
    Memory {
        /// The server writes a pattern of its own into this end's memory, where it is compared.
        read: bool,
        /// The server reads a pattern of this end's; then it writes what it read into other memory
        /// of this end's, where it is compared.
        write: bool,
    },
}

impl ClientConfig {
    /// The most connections.
    pub const MOST: u32 = 1024;

    /// The buffers that a client of so many connections needs.
    pub fn pool(connections: u32, task: &Task) -> DataPoolConfig {
        let large = if matches!(task, Task::Memory { .. }) { connections as usize } else { 0 };
        DataPoolConfig::DEFAULT
            .small(ClassConfig { count: Sizes::of(connections).buffers(), size: BUFFER })
            .large(ClassConfig { count: large, size: TRANSFER })
            .control(ClassConfig { count: 0, size: 4096 })
            .waiters(16)
    }
}

/// How the buffers are shared out: a single connection gets all that SMB Direct can make use of,
/// many get less each.
#[derive(Clone, Copy)]
struct Sizes {
    connections: u32,
    credits: u16,
    depth: u32,
}

impl Sizes {
    fn of(connections: u32) -> Self {
        let connections = connections.clamp(1, ClientConfig::MOST);
        let credits = (2048 / connections).clamp(Settings::LEAST_CREDITS.into(), 255) as u16;
        Self { connections, credits, depth: if connections == 1 { 64 } else { 16 } }
    }

    /// One for each credit, and one for each negotiate response.
    fn receives(self) -> u32 {
        self.connections * (u32::from(self.credits) + 1)
    }

    /// Receives, those that are handed out at a time, and what is sent or about to be.
    fn buffers(self) -> usize {
        self.receives() as usize + EVENTS + self.connections as usize * (self.depth as usize + stream::AHEAD + 2)
    }
}

/// A running client, for any thread.
#[derive(Clone, Debug)]
pub struct Client {
    thread: ThreadHandle,
    back: Arc<AtomicU64>,
}

impl Client {
    /// Starts it on `core`; `done` is called on its thread when its last connection has ended, with
    /// one report for each.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, core: CoreId, config: ClientConfig, done: F) -> Result<Self, SpawnError>
    where
        F: FnOnce(&mut Cx<'_>, Result<Vec<Report>, ClientError>) + Send + 'static,
    {
        let back = Arc::new(AtomicU64::new(0));
        let count = back.clone();
        let thread = lib.spawn(ThreadConfig::new("smbd_client").cpus(CpuSet::of(core)), move |cx| {
            let wait = config.wait;
            match Run::open(cx, config, count) {
                Ok(run) => run.register(cx, wait, done),
                Err(why) => done(cx, Err(why)),
            }
        })?;
        Ok(Self { thread, back })
    }

    /// Bytes that have come back through the echo.
    pub fn bytes_back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    /// Drops all connections where they are.
    pub fn abort(&self) {
        self.thread.exit();
    }
}

/// A client at work. It is its thread's channel, so that both of its pollers reach it.
struct Run {
    group: Box<dyn QueueGroup>,
    bufs: BufGroup,
    settings: Settings,
    links: Vec<Link>,
    /// Connections that are not at their end.
    open: usize,
    /// Those of them that have not negotiated yet.
    negotiating: usize,
    /// Work may come from elsewhere than the group.
    input: bool,
    back: Arc<AtomicU64>,
}

/// A connection.
struct Link {
    id: QueueId,
    session: Option<Session>,
    work: Work,
    heard: bool,
    agreed: Option<Agreed>,
    began: Option<Duration>,
    took: Duration,
    outcome: Option<Result<(), ClientError>>,
}

/// What a connection has to do.
enum Work {
    Nothing,
    Stream(Box<Stream>),
    Transfers(Box<Transfers>),
}

impl Run {
    fn open(cx: &mut Cx<'_>, config: ClientConfig, back: Arc<AtomicU64>) -> Result<Self, ClientError> {
        if !(1..=ClientConfig::MOST).contains(&config.connections) {
            return Err(ClientError::Connections { connections: config.connections, most: ClientConfig::MOST });
        }
        let sizes = Sizes::of(config.connections);
        let large = if matches!(config.task, Task::Memory { .. }) { sizes.connections as usize } else { 0 };
        let bufs = config.pool.group(ReserveConfig { small: sizes.buffers(), large, control: 0 })?;
        let mut group_config = QueueGroupConfig::new(bufs.clone());
        (group_config.queues, group_config.receives) = (sizes.connections, sizes.receives());
        (group_config.operations, group_config.exposures) = (sizes.connections * sizes.depth, sizes.connections);
        group_config.wait = config.wait;
        let group = config.transport.group(cx, group_config)?;
        let size = u32::try_from(bufs.buf_size()).unwrap_or(u32::MAX);
        let settings = Settings {
            credits: sizes.credits,
            preferred_send_size: size,
            max_receive_size: size,
            lenient_short_response: config.lenient_short_response,
            ..Settings::client()
        };
        let count = sizes.connections as usize;
        let input = matches!(config.task, Task::Input(_));
        let mut run = Self { group, bufs, settings, links: Vec::with_capacity(count), open: count, negotiating: count, input, back };
        // Many connections at once take their time to be made.
        let options = QueueOptions::default().send_depth(sizes.depth).connect_timeout(Duration::from_secs(30));
        run.connect(cx, config, &options)?;
        Ok(run)
    }

    fn connect(&mut self, cx: &Cx<'_>, config: ClientConfig, options: &QueueOptions) -> Result<(), ClientError> {
        let service = if matches!(config.task, Task::Memory { .. }) { Service::Memory } else { Service::Echo };
        let mut task = config.task;
        for index in 0..self.open as u64 {
            let work = match &mut task {
                Task::Bytes(bytes) => Work::Stream(Box::new(Stream::new(Source::generated(index + 1, *bytes)))),
                Task::Memory { read, write } => Work::Transfers(Box::new(Transfers::new(*read, *write, index + 1))),
                Task::Negotiate => Work::Nothing,
                Task::Input(_) => match std::mem::replace(&mut task, Task::Negotiate) {
                    Task::Input(input) => Work::Stream(Box::new(Stream::new(Source::input(input, cx.handle())?))),
                    _ => Work::Nothing,
                },
            };
            let queue = config.transport.connect(config.to, options)?;
            let id = self.group.attach(queue, Token(index), &service.private_data()).map_err(|refused| refused.why)?;
            let (session, agreed, began, outcome) = (None, None, None, None);
            self.links.push(Link { id, session, work, heard: false, agreed, began, took: Duration::ZERO, outcome });
        }
        Ok(())
    }

    fn register<F>(self, cx: &mut Cx<'_>, wait: Wait, done: F)
    where
        F: FnOnce(&mut Cx<'_>, Result<Vec<Report>, ClientError>) + 'static,
    {
        cx.open_channel(self);
        let (mut events, mut done) = (QueueEvents::new(EVENTS), Some(done));
        cx.local_poller("client", schedule(wait), move |cx: &mut Cx<'_>| {
            let now = since_start(cx);
            let exiting = cx.is_exiting();
            let Some(run) = cx.channel::<Self>() else { return Polled::Done };
            let busy = run.poll(&mut events, now);
            if run.open > 0 && !exiting {
                return busy;
            }
            let outcome = if run.open > 0 { Err(ClientError::Stopped) } else { Ok(run.links.drain(..).map(Link::report).collect()) };
            cx.close_channel::<Self>();
            if let Some(done) = done.take() {
                done(cx, outcome);
            }
            Polled::Done
        });
        cx.local_poller("timers", Schedule::Every(TIME), move |cx: &mut Cx<'_>| {
            let now = since_start(cx);
            let Some(run) = cx.channel::<Self>() else { return Polled::Done };
            for session in run.links.iter_mut().filter_map(|link| link.session.as_mut()) {
                session.conn().on_time(now);
            }
            run.go_on(now);
            Polled::Idle
        });
    }

    fn poll(&mut self, events: &mut QueueEvents, now: Duration) -> Polled {
        let got = self.group.poll(events);
        for event in events.drain() {
            self.handle(event, now);
        }
        if got == 0 && !self.input {
            return Polled::Idle;
        }
        // A buffer that one connection gives back may be what another waits for.
        self.go_on(now);
        if got == 0 { Polled::Idle } else { Polled::Busy }
    }

    fn go_on(&mut self, now: Duration) {
        for link in &mut self.links {
            link.go_on(&mut *self.group, &self.bufs, self.negotiating == 0, now);
        }
        self.group.flush();
    }

    fn handle(&mut self, event: QueueEvent, now: Duration) {
        match event {
            QueueEvent::Established { id, token, .. } => self.established(id, token, now),
            QueueEvent::Received { token, buf, .. } => self.received(token, &buf, now),
            QueueEvent::Done { token, tag, .. } => {
                if let Some(session) = self.links.get_mut(token.0 as usize).and_then(|link| link.session.as_mut()) {
                    session.on_done(&mut *self.group, tag);
                }
            }
            QueueEvent::Withdrawn { token, buf, .. } => {
                if let Some(Link { work: Work::Transfers(transfers), .. }) = self.links.get_mut(token.0 as usize) {
                    transfers.on_withdrawn(buf);
                }
            }
            QueueEvent::Closed { token, why, .. } => self.closed(token, why),
            _ => {}
        }
    }

    fn established(&mut self, id: QueueId, token: Token, now: Duration) {
        let Some(link) = self.links.get_mut(token.0 as usize) else { return };
        if token == Token(0)
            && let Ok((own, Some(peer))) = self.group.addresses(id)
        {
            report::print_connected(own, peer);
        }
        let depth = self.group.limits(id).map_or(1, |limits| limits.sends);
        match Connection::client(self.settings, now) {
            Ok(conn) => link.session = Some(Session::new(id, conn, depth)),
            Err(why) => link.end(&mut *self.group, Err(why.into())),
        }
        link.go_on(&mut *self.group, &self.bufs, false, now);
    }

    fn received(&mut self, token: Token, buf: &Buf, now: Duration) {
        let Some(link) = self.links.get_mut(token.0 as usize) else { return };
        let Some(session) = &mut link.session else { return };
        if !std::mem::replace(&mut link.heard, true) && token == Token(0) {
            report::print_response(buf);
        }
        let open = session.conn().agreed().is_some();
        match session.conn().on_message(now, buf) {
            Received::Negotiated(agreed) => {
                link.agreed = Some(agreed);
                self.negotiating -= 1;
            }
            Received::Fragment { bytes, remaining, .. } => {
                let taken = link.work.on_piece(&buf[bytes.clone()], remaining);
                self.back.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if let Err(why) = taken {
                    return link.end(&mut *self.group, Err(why));
                }
            }
            Received::Nothing => {}
        }
        session.conn().receives_freed(u16::from(open));
    }

    fn closed(&mut self, token: Token, why: Option<TransportError>) {
        let Some(link) = self.links.get_mut(token.0 as usize) else { return };
        self.open -= 1;
        self.negotiating -= usize::from(link.agreed.is_none());
        let end = link.session.take().and_then(|session| session.end().cloned());
        let why = end.map(ClientError::End).or(why.map(ClientError::Transport)).unwrap_or_else(|| link.work.cut_short());
        link.outcome.get_or_insert(Err(why));
    }
}

impl Link {
    /// Works as far as can be (when all connections are there), and sends what is to be sent.
    fn go_on(&mut self, group: &mut dyn QueueGroup, bufs: &BufGroup, all_there: bool, now: Duration) {
        let Some(session) = self.session.as_mut().filter(|_| self.outcome.is_none()) else { return };
        if all_there && self.agreed.is_some() {
            let began = *self.began.get_or_insert(now);
            match self.work.go_on(session, group, bufs) {
                Ok(false) => {}
                Ok(true) => {
                    self.took = now.saturating_sub(began);
                    return self.end(group, Ok(()));
                }
                Err(why) => return self.end(group, Err(why)),
            }
        }
        session.pump(group, now);
    }

    fn end(&mut self, group: &mut dyn QueueGroup, outcome: Result<(), ClientError>) {
        if !outcome.as_ref().is_err_and(ClientError::is_late) {
            self.outcome.get_or_insert(outcome);
        }
        // A key that is stale has ended already.
        let _ = group.disconnect(self.id);
    }

    fn report(self) -> Report {
        let (sent, back) = if let Work::Stream(stream) = &self.work { stream.digests() } else { Default::default() };
        let (read, written) = if let Work::Transfers(transfers) = &self.work { transfers.moved() } else { (0, 0) };
        Report { agreed: self.agreed, sent, back, read, written, took: self.took, outcome: self.outcome.unwrap_or(Ok(())) }
    }
}

impl Work {
    /// Does what can be done; true when all is.
    fn go_on(&mut self, session: &mut Session, group: &mut dyn QueueGroup, bufs: &BufGroup) -> Result<bool, ClientError> {
        match self {
            Self::Nothing => Ok(true),
            Self::Stream(stream) => stream.go_on(session, group),
            Self::Transfers(transfers) => transfers.go_on(session, group, bufs),
        }
    }

    fn on_piece(&mut self, piece: &[u8], remaining: usize) -> Result<(), ClientError> {
        match self {
            Self::Nothing => Err(ClientError::Wrong("data came, and nothing was asked for".into())),
            Self::Stream(stream) => stream.on_piece(piece),
            Self::Transfers(transfers) => transfers.on_piece(piece, remaining),
        }
    }

    fn cut_short(&self) -> ClientError {
        let (sent, back) = if let Self::Stream(stream) = self { stream.counts() } else { (0, 0) };
        ClientError::Closed { sent, back }
    }
}
