//! The group: its parts, and what the application calls.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use core_reactor::net::group_tag;
use core_reactor::transport::{
    ACCEPT_DATA, Access, ExposedKey, Frame, Listener, Op, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueGroupInfo,
    QueueGroupStats, QueueGroupView, QueueId, QueueLimits, REQUEST_DATA, RemoteMemory, Slab, Token, TransportError, Wait,
};
use core_reactor::{Cx, Hold, Platform, Refused, WaitSource, Watch};
use pool::{Buf, BufGroup, Class};

use crate::exposed::Exposures;
use crate::fabric::Lot;
use crate::pair::{Pair, Posted, State};
use crate::queue::{MemoryListener, MemoryQueue, Role};
use crate::wire::{Answer, Gone, Side, Waker, Wire};
use crate::{NAME, Weather, limit};

/// Events that a queue may deliver before the next has its turn.
const QUOTA: usize = 8;

pub(crate) struct Group {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Option<Watch>,
    _hold: Hold,
    members: Slab<Member>,
    /// Places in rotation.
    turns: VecDeque<usize>,
    tag: u16,
    /// Send depths of all queues.
    operations: u32,
    most_operations: u32,
    weather: Weather,
    lot: Lot,
    waker: Arc<Waker>,
    stats: QueueGroupStats,
    view: Arc<QueueGroupView>,
    shared: Shared,
}

/// What the queues of a group share.
pub(crate) struct Shared {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) exposures: Exposures,
    pub(crate) receives: Receives,
    /// Something waits that nobody will announce.
    pub(crate) look_again: bool,
}

/// The shared receive queue.
pub(crate) struct Receives {
    bufs: BufGroup,
    posted: Vec<Buf>,
    depth: usize,
    waits: u64,
}

enum Member {
    Listener { id: QueueId, token: Token, listener: Option<Box<MemoryListener>> },
    Queue(Box<Pair>),
}

impl Group {
    pub(crate) fn new(cx: &mut Cx<'_>, config: QueueGroupConfig, weather: Weather, lot: Lot) -> Result<Self, TransportError> {
        let QueueGroupConfig { queues, operations, receives, exposures, wait, bufs, .. } = config;
        let waker = match wait {
            Wait::Polled => Waker::polled(),
            Wait::Events => Waker::events().map_err(|error| TransportError::Os {
                doing: "make an eventfd for a group",
                code: error.raw_os_error(),
                // Its words would end with the number.
                text: error.kind().to_string().into(),
            })?,
        };
        let tag = group_tag();
        let mut receives = Receives { bufs, posted: Vec::new(), depth: receives as usize, waits: 0 };
        receives.refill();
        let exposures = Exposures::new(exposures, tag);
        let view = Arc::new(QueueGroupView::new(NAME));
        cx.list_view(&view);
        Ok(Self {
            _watch: waker.source().map(|source| cx.watch(source)).transpose()?,
            _hold: cx.hold("memory queue group"),
            members: Slab::new(queues),
            turns: VecDeque::new(),
            tag,
            operations: 0,
            most_operations: operations,
            weather,
            lot,
            waker: Arc::new(waker),
            stats: QueueGroupStats::default(),
            view,
            shared: Shared { platform: cx.platform(), exposures, receives, look_again: false },
        })
    }

    fn place(&self, id: QueueId) -> Result<usize, TransportError> {
        let found = self.members.peek(id.index(), id.generation());
        found.filter(|_| id.group() == self.tag).map(|_| id.index()).ok_or(TransportError::Stale)
    }

    fn member(&self, id: QueueId) -> Result<&Member, TransportError> {
        self.place(id)?;
        self.members.peek(id.index(), id.generation()).ok_or(TransportError::Stale)
    }

    fn pair(&mut self, id: QueueId) -> Result<(&mut Pair, &mut Shared), TransportError> {
        let place = self.place(id)?;
        match self.members.at(place) {
            Some(Member::Queue(pair)) => Ok((pair, &mut self.shared)),
            Some(Member::Listener { .. }) => Err(TransportError::NotConnected),
            None => Err(TransportError::Stale),
        }
    }

    fn post(&mut self, id: QueueId, posted: Posted) -> Result<(), Refused<Frame, TransportError>> {
        match self.pair(id) {
            Ok((pair, _)) => pair.post(posted),
            Err(why) => Err(Refused { item: posted.frame, why }),
        }
    }

    fn add(&mut self, make: impl FnOnce(QueueId) -> Member) -> Option<QueueId> {
        let (index, generation) = self.members.next()?;
        let id = QueueId::new(index, generation, self.tag);
        let place = self.members.insert(make(id)).ok()?;
        self.turns.push_back(place);
        Some(id)
    }

    fn may_attach(&self, queue: &MemoryQueue, private_data: &[u8]) -> Result<(), TransportError> {
        let most = if queue.is_to_connect() { REQUEST_DATA } else { ACCEPT_DATA };
        limit("private data", private_data.len() as u64, most as u64)?;
        let depth = u64::from(self.operations) + u64::from(queue.options.send_depth);
        limit("send depths of the group's queues (QueueGroupConfig::operations)", depth, self.most_operations)?;
        if self.members.len() == self.members.capacity() {
            return Err(TransportError::GroupFull(self.members.capacity()));
        }
        Ok(())
    }

    /// Makes a member of a queue that [`may_attach`](Self::may_attach) has let pass.
    fn attach_memory(&mut self, queue: MemoryQueue, token: Token, private_data: &[u8]) -> Option<QueueId> {
        let (fabric, options) = (queue.fabric.clone(), queue.options.clone());
        let until = self.shared.platform.now() + options.connect_timeout;
        self.operations += options.send_depth;
        match queue.into_role()? {
            Role::Requested { wire, reads, .. } => {
                let mut options = options;
                options.reads = options.reads.min(reads);
                wire.end(Side::Accepted).waker = Some(self.waker.clone());
                let answer = Answer::Accepted { private_data: fabric.private(private_data, ACCEPT_DATA), reads: options.reads };
                wire.tell(Side::Accepted, |end| end.answer = Some(answer));
                self.add(|id| Member::Queue(Box::new(Pair::new(id, token, wire, Side::Accepted, State::Accepting(until), options))))
            }
            Role::ToConnect(to) => {
                let wire = Wire::new(fabric.clone(), fabric.own_addr(to), to);
                wire.end(Side::Asked).waker = Some(self.waker.clone());
                let asked = fabric.find(to).and_then(|listening| {
                    let request = MemoryQueue::requested(fabric.clone(), wire.clone(), &listening.options, private_data, options.reads);
                    listening.knock(request)
                });
                let id =
                    self.add(|id| Member::Queue(Box::new(Pair::new(id, token, wire, Side::Asked, State::Connecting(until), options))))?;
                if let (Err(why), Ok((pair, shared))) = (asked, self.pair(id)) {
                    pair.end(Some(why), None, Gone::Lost, shared);
                }
                Some(id)
            }
        }
    }

    /// One turn for each member, as long as there is room.
    fn round(&mut self, out: &mut QueueEvents) {
        self.shared.look_again = false;
        self.shared.receives.refill();
        // Those in front have not had their turn.
        for waiting in (1..=self.turns.len()).rev() {
            if out.room() == 0 {
                self.shared.look_again = true;
                return;
            }
            let turn = if self.weather.shuffle { self.lot.below(waiting) } else { 0 };
            let Some(place) = self.turns.remove(turn) else { return };
            if self.serve(place, out) {
                self.turns.push_back(place);
            }
        }
    }

    /// Delivers what a member has to tell, up to its quota; false if that was its end.
    fn serve(&mut self, place: usize, out: &mut QueueEvents) -> bool {
        for _ in 0..QUOTA.min(out.room()) {
            let Some(event) = self.next_event(place) else { return true };
            self.count(&event);
            let closed = matches!(event, QueueEvent::Closed { .. });
            let refused = out.push(event).is_err();
            debug_assert!(!refused, "there was room");
            if closed {
                self.forget(place);
                return false;
            }
        }
        self.shared.look_again = true;
        true
    }

    fn next_event(&mut self, place: usize) -> Option<QueueEvent> {
        match self.members.at(place)? {
            Member::Listener { id, token, listener: None } => Some(QueueEvent::Closed { id: *id, token: *token, why: None }),
            Member::Listener { id, token, listener: Some(listener) } => {
                let queue = std::iter::from_fn(|| listener.listening.next()).find_map(still_there)?;
                Some(QueueEvent::Requested { id: *id, token: *token, queue: Box::new(queue) })
            }
            Member::Queue(pair) => loop {
                if let Some(event) = pair.next_report() {
                    return Some(event);
                }
                if !pair.advance(&mut self.shared) {
                    return None;
                }
            },
        }
    }

    fn count(&mut self, event: &QueueEvent) {
        let stats = &mut self.stats;
        match event {
            QueueEvent::Done { error: Some(_), .. } => stats.errors += 1,
            QueueEvent::Done { op, frame, .. } => match op {
                Op::Message => (stats.sends, stats.bytes_out) = (stats.sends + 1, stats.bytes_out + frame.bytes() as u64),
                Op::Write => (stats.writes, stats.bytes_out) = (stats.writes + 1, stats.bytes_out + frame.bytes() as u64),
                Op::Read => stats.reads += 1,
            },
            QueueEvent::Received { buf, .. } => {
                (stats.receives, stats.bytes_in) = (stats.receives + 1, stats.bytes_in + buf.len() as u64);
            }
            QueueEvent::Written { .. } => stats.receives += 1,
            _ => {}
        }
    }

    /// Puts down the figures.
    #[cold]
    fn show(&self) {
        let bufs = Class::ALL.map(|class| self.shared.receives.bufs.stats(class));
        self.view.show(QueueGroupInfo { stats: self.stats(), bufs });
    }

    fn forget(&mut self, place: usize) {
        if let Some(Member::Queue(pair)) = self.members.remove(place) {
            self.operations -= pair.options.send_depth;
            pair.wire.end(pair.side).waker = None;
        }
    }
}

impl QueueGroup for Group {
    fn attach(
        &mut self,
        queue: Box<dyn Queue>,
        token: Token,
        private_data: &[u8],
    ) -> Result<QueueId, Refused<Box<dyn Queue>, TransportError>> {
        if !(&*queue as &dyn Any).is::<MemoryQueue>() {
            let why = TransportError::WrongTransport { queue: queue.transport(), group: NAME };
            return Err(Refused { item: queue, why });
        }
        let Ok(queue) = (queue as Box<dyn Any>).downcast::<MemoryQueue>() else { unreachable!("its type was looked at above") };
        if let Err(why) = self.may_attach(&queue, private_data) {
            return Err(Refused { item: queue, why });
        }
        let Some(id) = self.attach_memory(*queue, token, private_data) else { unreachable!("a queue has a role, and there was room") };
        Ok(id)
    }

    fn listen(&mut self, listener: Box<dyn Listener>, token: Token) -> Result<QueueId, Refused<Box<dyn Listener>, TransportError>> {
        if !(&*listener as &dyn Any).is::<MemoryListener>() {
            let why = TransportError::WrongTransport { queue: listener.transport(), group: NAME };
            return Err(Refused { item: listener, why });
        }
        if self.members.len() == self.members.capacity() {
            return Err(Refused { item: listener, why: TransportError::GroupFull(self.members.capacity()) });
        }
        let Ok(listener) = (listener as Box<dyn Any>).downcast::<MemoryListener>() else { unreachable!("its type was looked at above") };
        listener.listening.set_waker(self.waker.clone());
        let Some(id) = self.add(|id| Member::Listener { id, token, listener: Some(listener) }) else { unreachable!("there was room") };
        Ok(id)
    }

    fn send(&mut self, id: QueueId, frame: Frame, imm: Option<u32>, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Posted { tag, op: Op::Message, frame, imm, remote: None })
    }

    fn read(&mut self, id: QueueId, into: Frame, from: RemoteMemory, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Posted { tag, op: Op::Read, frame: into, imm: None, remote: Some(from) })
    }

    fn write(
        &mut self,
        id: QueueId,
        frame: Frame,
        to: RemoteMemory,
        imm: Option<u32>,
        tag: u64,
    ) -> Result<(), Refused<Frame, TransportError>> {
        self.post(id, Posted { tag, op: Op::Write, frame, imm, remote: Some(to) })
    }

    fn expose(&mut self, id: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), Refused<Buf, TransportError>> {
        let open = self.pair(id).and_then(|(pair, _)| if pair.state == State::Open { Ok(()) } else { Err(TransportError::NotConnected) });
        if let Err(why) = open {
            return Err(Refused { item: buf, why });
        }
        if self.shared.exposures.capacity() == 0 {
            // There never will be room for one.
            let why = TransportError::Limit { what: "exposed buffers (QueueGroupConfig::exposures)", asked: 1, limit: 0 };
            return Err(Refused { item: buf, why });
        }
        if buf.is_empty() {
            let why = TransportError::Limit { what: "bytes to be exposed, of a buffer without any", asked: 1, limit: 0 };
            return Err(Refused { item: buf, why });
        }
        let limit = self.shared.exposures.capacity() as u32;
        let full = TransportError::QueueFull { what: "exposures", limit };
        self.shared.exposures.add(id, buf, access).map_err(|buf| Refused { item: buf, why: full })
    }

    fn withdraw(&mut self, key: ExposedKey) -> Result<(), TransportError> {
        let (id, buf) = self.shared.exposures.remove(key).ok_or(TransportError::Stale)?;
        let (pair, _) = self.pair(id)?;
        pair.reports.push_back(QueueEvent::Withdrawn { id, token: pair.token, key, buf });
        Ok(())
    }

    fn disconnect(&mut self, id: QueueId) -> Result<(), TransportError> {
        let place = self.place(id)?;
        match self.members.at(place) {
            Some(Member::Listener { listener, .. }) => *listener = None,
            Some(Member::Queue(pair)) if pair.state != State::Ending => pair.end(None, None, Gone::Orderly, &mut self.shared),
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) {
        for place in &self.turns {
            if let Some(Member::Queue(pair)) = self.members.at(*place) {
                pair.flush();
            }
        }
    }

    fn poll(&mut self, out: &mut QueueEvents) -> usize {
        let before = out.len();
        self.stats.polls += 1;
        self.flush();
        self.round(out);
        if out.len() == before {
            self.waker.arm();
            self.round(out);
            if self.shared.look_again {
                self.waker.wake();
            }
        }
        let found = out.len() - before;
        self.stats.busy_polls += u64::from(found > 0);
        self.stats.events += found as u64;
        if self.view.asked().is_some() {
            self.show();
        }
        found
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.shared.receives.bufs.get()
    }

    fn addresses(&self, id: QueueId) -> Result<(SocketAddr, Option<SocketAddr>), TransportError> {
        match self.member(id)? {
            Member::Listener { listener: Some(listener), .. } => Ok((listener.local_addr(), None)),
            Member::Listener { .. } => Err(TransportError::NotConnected),
            Member::Queue(pair) => Ok((pair.wire.addr(pair.side), Some(pair.wire.addr(pair.side.other())))),
        }
    }

    fn limits(&self, id: QueueId) -> Result<QueueLimits, TransportError> {
        let receives = &self.shared.receives;
        match self.member(id)? {
            Member::Queue(pair) if matches!(pair.state, State::Open | State::Ending) => {
                Ok(pair.limits(receives.depth as u32, receives.bufs.buf_size()))
            }
            _ => Err(TransportError::NotConnected),
        }
    }

    fn stats(&self) -> QueueGroupStats {
        QueueGroupStats { queues: self.members.len(), buffer_waits: self.shared.receives.waits, ..self.stats }
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.waker.source()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in &self.turns {
            if let Some(Member::Queue(pair)) = self.members.at(*place)
                && pair.state != State::Ending
            {
                pair.wire.tell(pair.side, |end| end.gone = Some(Gone::Lost));
            }
        }
    }
}

impl Receives {
    /// Takes as many buffers as are missing and can be had.
    fn refill(&mut self) {
        while self.posted.len() < self.depth {
            let Some(buf) = self.bufs.get() else {
                self.waits += 1;
                return;
            };
            self.posted.push(buf);
        }
    }

    pub(crate) fn any(&self) -> bool {
        !self.posted.is_empty()
    }

    pub(crate) fn take(&mut self) -> Option<Buf> {
        self.posted.pop()
    }

    pub(crate) fn put(&mut self, buf: Buf) {
        self.posted.push(buf);
    }
}

/// A request whose sender has not given up meanwhile.
fn still_there(queue: MemoryQueue) -> Option<MemoryQueue> {
    if queue.has_peer() {
        return Some(queue);
    }
    queue.forget();
    None
}
