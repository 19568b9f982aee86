//! The group: its parts, and what the application calls.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use core_reactor::net::group_tag;
use core_reactor::transport::{
    ACCEPT_DATA, Access, ExposedKey, Frame, Listener, Op, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueGroupInfo,
    QueueGroupStats, QueueGroupView, QueueId, QueueLimits, REQUEST_DATA, RemoteMemory, Slab, Token, TransportError, Wait,
};
use core_reactor::{Cx, Hold, Platform, Refused, WaitSource, Watch};
use pool::{Buf, Class, Request};

use crate::NAME;
use crate::error::{limit, no_manager, os};
use crate::member::{Link, Listening, Member, Pair, State};
use crate::port::Port;
use crate::queue::{RdmaListener, RdmaQueue};
use crate::registry::Registry;
use crate::verbs::{ConnId, EventChannel, Exposure, Work};
use crate::wait::Sources;

/// Events that a group has room for before any list takes them: what one poll finds, and what it
/// may find beyond.
pub(crate) const READY: usize = 256;

pub(crate) struct Group {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Option<Watch>,
    _hold: Hold,
    pub(crate) sources: Option<Sources>,
    /// Before `members` and `ports`: a registration ends before what it needs.
    pub(crate) exposures: Slab<Exposed>,
    pub(crate) members: Slab<Member>,
    pub(crate) ports: Vec<Port>,
    pub(crate) channel: Arc<EventChannel>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: QueueGroupConfig,
    pub(crate) tag: u16,
    /// Send depths of all queues.
    pub(crate) operations: u32,
    /// Events that found no room yet.
    pub(crate) ready: VecDeque<QueueEvent>,
    /// Places with something to hand over.
    pub(crate) dirty: Vec<usize>,
    /// Places of listeners. Each has a channel of its own.
    pub(crate) listeners: Vec<usize>,
    /// Places in states that do not last.
    pub(crate) unsettled: Vec<usize>,
    /// Polls in a row that found nothing, and that found something.
    pub(crate) idle: u32,
    pub(crate) busy: u32,
    /// A request for a receive buffer, when all are out.
    pub(crate) wanted: Option<Request>,
    /// Receive buffers are missing.
    pub(crate) short: bool,
    pub(crate) waker: Waker,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) stats: QueueGroupStats,
    pub(crate) view: Arc<QueueGroupView>,
}

/// A buffer that a queue's peer can reach.
pub(crate) struct Exposed {
    pub(crate) key: ExposedKey,
    pub(crate) queue: QueueId,
    pub(crate) exposure: Exposure,
}

impl Group {
    pub(crate) fn new(cx: &mut Cx<'_>, config: QueueGroupConfig, registry: Arc<Registry>) -> Result<Self, TransportError> {
        let nodes = registry.check_group(&config)?;
        let channel = EventChannel::new().map_err(no_manager)?;
        let sources = (config.wait == Wait::Events).then(Sources::new).transpose()?;
        if let Some(sources) = &sources {
            sources.add(&*channel)?;
        }
        let watch = sources.as_ref().map(|sources| cx.watch(sources.source())).transpose()?;
        let mut group = Self {
            _watch: watch,
            _hold: cx.hold("rdma queue group"),
            sources,
            exposures: Slab::new(config.exposures),
            members: Slab::new(config.queues),
            ports: Vec::new(),
            channel,
            registry,
            tag: group_tag(),
            operations: 0,
            ready: VecDeque::with_capacity(READY),
            dirty: Vec::with_capacity(config.queues as usize),
            listeners: Vec::new(),
            unsettled: Vec::with_capacity(config.queues as usize),
            idle: 0,
            busy: 0,
            wanted: None,
            short: false,
            waker: cx.handle().waker(),
            platform: cx.platform(),
            stats: QueueGroupStats::default(),
            view: Arc::new(QueueGroupView::new(NAME)),
            config,
        };
        cx.list_view(&group.view);
        // With several devices, each queue's address tells which one it needs.
        if let [only] = &*nodes {
            group.port(only.domain.device())?;
        }
        Ok(group)
    }

    /// Puts down the figures.
    #[cold]
    pub(crate) fn show(&self) {
        let bufs = Class::ALL.map(|class| self.config.bufs.stats(class));
        self.view.show(QueueGroupInfo { stats: self.stats(), bufs });
    }

    /// The number of the port on this device, which is made if there is none yet.
    pub(crate) fn port(&mut self, device: crate::verbs::Device) -> Result<usize, TransportError> {
        if let Some(known) = self.ports.iter().position(|port| port.node.domain.device() == device) {
            return Ok(known);
        }
        let port = Port::new(self.registry.node(device)?, &self.config)?;
        if let (Some(sources), Some(source)) = (&self.sources, port.completions.source()) {
            sources.add(source)?;
        }
        self.ports.push(port);
        self.refill();
        Ok(self.ports.len() - 1)
    }

    pub(crate) fn place(&self, id: QueueId) -> Result<usize, TransportError> {
        let found = self.members.peek(id.index(), id.generation()).filter(|_| id.group() == self.tag);
        found.map(|_| id.index()).ok_or(TransportError::Stale)
    }

    /// A queue that is open.
    pub(crate) fn open(&mut self, id: QueueId) -> Result<&mut Pair, TransportError> {
        match self.members.find(id.index(), id.generation()) {
            _ if id.group() != self.tag => Err(TransportError::Stale),
            None => Err(TransportError::Stale),
            Some(Member::Queue(pair)) if pair.state == State::Open => Ok(pair),
            Some(_) => Err(TransportError::NotConnected),
        }
    }

    pub(crate) fn queue_at(&mut self, place: usize) -> Option<&mut Pair> {
        match self.members.at(place)? {
            Member::Queue(pair) => Some(pair),
            Member::Listener(_) => None,
        }
    }

    /// The key of the next member.
    fn next_id(&self) -> Result<QueueId, TransportError> {
        let full = TransportError::GroupFull(self.members.capacity());
        self.members.next().map(|(place, generation)| QueueId::new(place, generation, self.tag)).ok_or(full)
    }

    /// Puts a member at the place of [`next_id`](Self::next_id).
    pub(crate) fn add(&mut self, member: Member) {
        let unsettled = matches!(member, Member::Queue(_));
        match self.members.insert(member) {
            Ok(place) if unsettled => self.unsettled.push(place),
            Ok(_) => {}
            Err(_) => unreachable!("a place was found for it"),
        }
    }

    /// Whether there is room for a queue, and its private data is not too long.
    fn may_attach(&self, queue: &RdmaQueue, private_data: &[u8]) -> Result<QueueId, TransportError> {
        let most = if queue.request().is_none() { REQUEST_DATA } else { ACCEPT_DATA };
        limit("bytes of private data", private_data.len() as u64, most as u64)?;
        let depth = u64::from(self.operations) + u64::from(queue.options.send_depth);
        limit("operations of the group's queues (QueueGroupConfig::operations)", depth, self.config.operations)?;
        self.next_id()
    }

    /// Begins to connect.
    fn dial(&mut self, id: QueueId, queue: &RdmaQueue, token: Token, private_data: &[u8]) -> Result<(), TransportError> {
        let conn = ConnId::new(&self.channel, id.raw()).map_err(|why| os("make a connection id", why))?;
        let (to, limit) = (queue.peer, queue.options.connect_timeout);
        let begun = conn.resolve_address(to, limit);
        let until = self.platform.now() + limit;
        let mut pair = Pair::new(id, token, State::Connecting, Link::Id(conn), to, queue.options.clone(), until);
        pair.private_data = private_data.into();
        self.operations += pair.options.send_depth;
        self.add(Member::Queue(Box::new(pair)));
        if let Err(why) = begun {
            self.end(id.index(), Some(crate::error::connect(to, why)));
        }
        Ok(())
    }

    /// Ends a listener; what waits there is rejected.
    pub(crate) fn end_listener(&mut self, place: usize, why: Option<TransportError>) {
        let Some(Member::Listener(listening)) = self.members.remove(place) else { return };
        if let Some(sources) = &self.sources {
            sources.remove(&**listening.conn.channel());
        }
        self.listeners.retain(|listener| *listener != place);
        self.ready.push_back(QueueEvent::Closed { id: listening.id, token: listening.token, why });
    }

    fn withdrawn(&mut self, place: usize) {
        let Some(Exposed { key, queue, exposure }) = self.exposures.remove(place) else { return };
        let Some(Member::Queue(pair)) = self.members.find(queue.index(), queue.generation()) else { return };
        pair.exposed -= 1;
        let token = pair.token;
        if let Some(buf) = exposure.end() {
            self.ready.push_back(QueueEvent::Withdrawn { id: queue, token, key, buf });
        }
    }

    /// Takes back all that a queue exposes.
    pub(crate) fn withdraw_all(&mut self, id: QueueId) {
        let places: Vec<_> = self.exposures.taken().collect();
        for place in places {
            if self.exposures.at(place).is_some_and(|exposed| exposed.queue == id) {
                self.withdrawn(place);
            }
        }
    }

    fn try_expose(&mut self, id: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), (Buf, TransportError)> {
        let port = match self.open(id) {
            Ok(pair) => pair.port,
            Err(why) => return Err((buf, why)),
        };
        if self.exposures.capacity() == 0 {
            // There never will be room for one.
            return Err((buf, TransportError::Limit { what: "exposed buffers (QueueGroupConfig::exposures)", asked: 1, limit: 0 }));
        }
        if buf.is_empty() {
            let why = TransportError::Limit { what: "bytes to be exposed, of a buffer without any", asked: 1, limit: 0 };
            return Err((buf, why));
        }
        let Some((place, generation)) = self.exposures.next() else {
            let limit = self.exposures.capacity() as u32;
            return Err((buf, TransportError::QueueFull { what: "exposures", limit }));
        };
        let key = ExposedKey::new(place, generation, self.tag);
        let (port, bytes) = (&self.ports[port], buf.len());
        let exposure = Exposure::new(&port.node.domain, &port.region, buf, access).map_err(|(buf, why)| {
            let why = why.map_or(TransportError::ForeignBuffer, |why| crate::error::memory(bytes, why));
            (buf, why)
        })?;
        let memory = exposure.memory();
        if self.exposures.insert(Exposed { key, queue: id, exposure }).is_err() {
            unreachable!("a place was found for it");
        }
        if let Ok(pair) = self.open(id) {
            pair.exposed += 1;
        }
        Ok((memory, key))
    }
}

impl QueueGroup for Group {
    fn attach(
        &mut self,
        queue: Box<dyn Queue>,
        token: Token,
        private_data: &[u8],
    ) -> Result<QueueId, Refused<Box<dyn Queue>, TransportError>> {
        if !(&*queue as &dyn Any).is::<RdmaQueue>() {
            let why = TransportError::WrongTransport { queue: queue.transport(), group: NAME };
            return Err(Refused { item: queue, why });
        }
        let Ok(mut queue) = (queue as Box<dyn Any>).downcast::<RdmaQueue>() else { unreachable!("its type was looked at above") };
        let attached = self.may_attach(&queue, private_data).and_then(|id| {
            let begun = match queue.take_request() {
                None => self.dial(id, &queue, token, private_data),
                Some(request) => self.accept(id, request, &mut queue, token, private_data),
            };
            begun.map(|()| id)
        });
        attached.map_err(|why| Refused { item: queue as Box<dyn Queue>, why })
    }

    fn listen(&mut self, listener: Box<dyn Listener>, token: Token) -> Result<QueueId, Refused<Box<dyn Listener>, TransportError>> {
        if !(&*listener as &dyn Any).is::<RdmaListener>() {
            let why = TransportError::WrongTransport { queue: listener.transport(), group: NAME };
            return Err(Refused { item: listener, why });
        }
        let id = match self.next_id() {
            Ok(id) => id,
            Err(why) => return Err(Refused { item: listener, why }),
        };
        let Ok(listener) = (listener as Box<dyn Any>).downcast::<RdmaListener>() else { unreachable!("its type was looked at above") };
        if let Some(sources) = &self.sources
            && let Err(why) = sources.add(&**listener.id.channel())
        {
            return Err(Refused { item: listener, why });
        }
        let RdmaListener { id: conn, at, options } = *listener;
        self.add(Member::Listener(Listening { id, token, conn, at, options, removed: false }));
        self.listeners.push(id.index());
        Ok(id)
    }

    fn send(&mut self, id: QueueId, frame: Frame, imm: Option<u32>, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Work { op: Op::Message, tag, frame, remote: None, imm })
    }

    fn read(&mut self, id: QueueId, into: Frame, from: RemoteMemory, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Work { op: Op::Read, tag, frame: into, remote: Some(from), imm: None })
    }

    fn write(
        &mut self,
        id: QueueId,
        frame: Frame,
        to: RemoteMemory,
        imm: Option<u32>,
        tag: u64,
    ) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Work { op: Op::Write, tag, frame, remote: Some(to), imm })
    }

    fn expose(&mut self, id: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), Refused<Buf, TransportError>> {
        self.try_expose(id, buf, access).map_err(|(item, why)| Refused { item, why })
    }

    fn withdraw(&mut self, key: ExposedKey) -> Result<(), TransportError> {
        let found = self.exposures.find(key.index(), key.generation()).is_some_and(|exposed| exposed.key == key);
        if !found {
            return Err(TransportError::Stale);
        }
        self.withdrawn(key.index());
        Ok(())
    }

    fn disconnect(&mut self, id: QueueId) -> Result<(), TransportError> {
        let place = self.place(id)?;
        match self.members.at(place) {
            Some(Member::Listener(_)) => self.end_listener(place, None),
            // One that ends already has its reason, which its `Closed` is to tell.
            Some(Member::Queue(pair)) if !matches!(pair.state, State::Ending | State::Draining) => {
                pair.asked = true;
                self.end(place, None);
            }
            Some(Member::Queue(_)) | None => {}
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.hand_over();
    }

    fn poll(&mut self, out: &mut QueueEvents) -> usize {
        self.look(out)
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.config.bufs.get()
    }

    fn addresses(&self, id: QueueId) -> Result<(SocketAddr, Option<SocketAddr>), TransportError> {
        match self.members.peek(self.place(id)?, id.generation()) {
            Some(Member::Listener(listening)) => Ok((listening.at, None)),
            Some(Member::Queue(pair)) => {
                let own = pair.conn().and_then(ConnId::local_addr).ok_or(TransportError::NotConnected)?;
                Ok((own, Some(pair.peer)))
            }
            None => Err(TransportError::Stale),
        }
    }

    fn limits(&self, id: QueueId) -> Result<QueueLimits, TransportError> {
        match self.members.peek(self.place(id)?, id.generation()) {
            Some(Member::Queue(pair)) => pair.limits.ok_or(TransportError::NotConnected),
            Some(Member::Listener(_)) => Err(TransportError::NotConnected),
            None => Err(TransportError::Stale),
        }
    }

    fn stats(&self) -> QueueGroupStats {
        let receives_out = self.ports.iter().map(|port| port.receive.out()).sum();
        QueueGroupStats { queues: self.members.len(), receives_out, ..self.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.sources.as_ref().map(Sources::source)
    }
}
