//! The server: on each core the connections that it was given, and a shard of the keys.

use std::error::Error;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use lcore::net::{Events, GroupConfig, NetError, NetEvent, NetImpl, SockGroup, SockId, SockMap, SockOptions, Socket, Token};
use lcore::pool::{DataPool, ReserveConfig};
use lcore::{CpuSet, Cx, Peers, Polled, Shard, ShardConfig, Sharded, SpawnError, ThreadLib};

use crate::KEPT;
use crate::plan::{Keys, Progress, Round};
use crate::store::{Batch, Store};

/// Events that are taken from one poll.
const EVENTS: usize = 128;
/// Bytes of a value that nobody has to reckon with: as many as any number has.
const SHORT: usize = 20;
/// Bytes that are kept of a peer whose answers are still under way; then it is not read.
const MOST_WAITING: usize = 64 << 10;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct KvConfig {
    /// The backend.
    pub net: &'static dyn NetImpl,
    /// Where to listen.
    pub at: SocketAddr,
    /// Connections on each core.
    pub sockets: usize,
    /// Bytes of keys and values on each core.
    pub memory: usize,
    /// The buffers that all cores share.
    pub pool: DataPool,
    /// What each core has of them for itself.
    pub reserve: ReserveConfig,
}

/// What one core has done.
#[derive(Clone, Debug, Default)]
pub struct KvReport {
    /// Connections that it was given.
    pub connections: u64,
    /// Times that it asked another core, for all requests of a turn at once.
    pub asked: u64,
}

/// A running server, for any thread.
#[derive(Clone, Debug)]
pub struct KvServer(Sharded<KvShard>);

impl KvServer {
    /// Starts a server on `cores`. `ready` hears where it listens, once it does on all of them, or
    /// why it cannot on one.
    ///
    /// # Errors
    /// The first thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, cores: &CpuSet, config: KvConfig, ready: F) -> Result<Self, SpawnError>
    where
        F: Fn(&mut Cx<'_>, Result<SocketAddr, Box<dyn Error + Send + Sync>>) + Send + Sync + 'static,
    {
        let keys = Keys { shards: cores.count(), hasher: RandomState::new(), longest: AtomicUsize::new(SHORT) };
        let common = Common { config, keys, listens: OnceLock::new() };
        let ready = move |cx: &mut Cx<'_>, outcome: Result<&Sharded<KvShard>, _>| {
            ready(cx, outcome.map(|kv| kv.common().listens.get().copied().unwrap_or(kv.common().config.at)));
        };
        Ok(Self(Sharded::start(lib, ShardConfig::new("kv", cores), common, ready)?))
    }

    /// What each core has done, in order.
    pub fn reports(&self) -> Vec<KvReport> {
        self.0.reports().into_iter().map(|(_, report)| report).collect()
    }
}

struct Common {
    config: KvConfig,
    keys: Keys,
    listens: OnceLock<SocketAddr>,
}

struct KvShard {
    peers: Peers<Self>,
    group: Box<dyn SockGroup>,
    /// Taken out while they are handled.
    events: Events,
    store: Store,
    peer: SockMap<Peer>,
    /// The requests of this turn, and those whose answers have not all come.
    round: Round,
    rounds: Vec<Round>,
    last_number: u32,
    spare: Vec<Round>,
    /// In their places while they travel.
    #[allow(clippy::vec_box, reason = "as in the rounds")]
    spare_batches: Vec<Box<Batch>>,
    /// Peers with more input than there was room for.
    again: Vec<SockId>,
    /// Peers whose answers found no buffer.
    starving: Vec<SockId>,
    args: Vec<Range<usize>>,
    answers: Vec<u8>,
    report: KvReport,
}

/// A connection.
#[derive(Default)]
struct Peer {
    /// What has come and was not taken up: part of a request, or what came meanwhile.
    input: Vec<u8>,
    /// Answers are under way.
    asked: bool,
    /// Answers that the peer has not taken.
    output: Vec<u8>,
    /// It is among those that found no buffer.
    starving: bool,
    /// It is not read.
    paused: bool,
    /// It will send no more.
    ended: bool,
    progress: Progress,
}

impl Peer {
    /// While it is, nothing of it is taken up, so that what it can have asked for is bounded.
    fn is_busy(&self) -> bool {
        self.asked || !self.output.is_empty()
    }
}

impl Shard for KvShard {
    type Common = Common;
    type Report = KvReport;
    type Error = Box<dyn Error + Send + Sync>;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, Self::Error> {
        let Common { config, keys, listens } = peers.common();
        let group_config = GroupConfig::new(config.pool.group(config.reserve)?).sockets(config.sockets + 1);
        let mut group = config.net.group(cx, group_config)?;
        // The first core accepts for all.
        if peers.index() == 0 {
            let listener = config.net.listen(config.at, &SockOptions::default())?;
            let _ = listens.set(listener.local_addr()?);
            group.attach(listener, Token(0))?;
        }
        Ok(Self {
            group,
            events: Events::new(EVENTS),
            store: Store::new(config.memory),
            peer: SockMap::new(),
            round: Round::new(keys.shards),
            rounds: Vec::new(),
            last_number: 0,
            spare: Vec::new(),
            spare_batches: Vec::new(),
            again: Vec::new(),
            starving: Vec::new(),
            args: Vec::new(),
            answers: Vec::new(),
            report: KvReport::default(),
            peers,
        })
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        let mut events = std::mem::take(&mut self.events);
        let found = self.group.poll(&mut events);
        events.drain().for_each(|event| self.handle(event));
        self.events = events;
        // Some have come home, of others.
        for id in std::mem::take(&mut self.starving) {
            if let Some(peer) = self.peer.get_mut(id) {
                peer.starving = false;
            }
            self.send_rest(id);
        }
        let again = std::mem::take(&mut self.again);
        again.iter().for_each(|id| self.take_up(*id));
        self.ask(cx);
        let swept = self.store.sweep(cx.now());
        if found == 0 && again.is_empty() && !swept { Polled::Idle } else { Polled::Busy }
    }

    fn unsent(&self) -> u64 {
        self.group.stats().unsent + self.rounds.len() as u64
    }

    fn report(&self) -> KvReport {
        self.report.clone()
    }
}

impl KvShard {
    fn handle(&mut self, event: NetEvent) {
        match event {
            NetEvent::Accepted { socket, .. } => {
                let to = self.peers.least_loaded();
                self.peers.add_load(to);
                self.peers.send(to, |shard, _| shard.adopt(socket));
            }
            NetEvent::Received { id, buf, .. } => self.received(id, &buf),
            NetEvent::Writable { id, .. } => self.send_rest(id),
            NetEvent::PeerClosed { id, .. } => {
                if let Some(peer) = self.peer.get_mut(id) {
                    peer.ended = true;
                    self.settle(id);
                }
            }
            NetEvent::Closed { id, .. } if self.peer.remove(id).is_some() => self.peers.take_load(self.peers.index()),
            NetEvent::Closed { why: Some(why), .. } => log::error!("the listener ended: {why}"),
            _ => {}
        }
    }

    fn adopt(&mut self, socket: Box<dyn Socket>) {
        match self.group.attach(socket, Token(0)) {
            Ok(id) => {
                self.report.connections += 1;
                self.peer.insert(id, Peer::default());
            }
            Err(refused) => {
                self.peers.take_load(self.peers.index());
                log::warn!("a connection was turned away: {refused}");
            }
        }
    }

    fn received(&mut self, id: SockId, bytes: &[u8]) {
        let Self { peer, round, args, peers, group, .. } = self;
        let Some(peer) = peer.get_mut(id) else { return };
        if peer.progress.over {
            return;
        }
        if peer.is_busy() {
            peer.input.extend_from_slice(bytes);
            peer.progress.more = true;
            if peer.input.len() >= MOST_WAITING && !peer.paused {
                peer.paused = true;
                let _ = group.pause(id);
            }
        } else if !peer.input.is_empty() {
            peer.input.extend_from_slice(bytes);
            self.take_up(id);
        } else {
            // The usual way: whole requests, out of the buffer into which they came.
            let taken;
            (taken, peer.asked) = round.take_up(id, bytes, &mut peer.progress, &peers.common().keys, args);
            peer.input.extend_from_slice(&bytes[taken..]);
        }
    }

    /// Takes up what a peer has sent before.
    fn take_up(&mut self, id: SockId) {
        let Self { peer, round, args, peers, .. } = self;
        let Some(peer) = peer.get_mut(id).filter(|peer| !peer.is_busy()) else { return };
        let taken;
        (taken, peer.asked) = round.take_up(id, &peer.input, &mut peer.progress, &peers.common().keys, args);
        peer.input.drain(..taken);
        peer.input.shrink_to(KEPT);
        self.settle(id);
    }

    /// Asks each shard what the requests of this turn ask of it, in one message.
    fn ask(&mut self, cx: &Cx<'_>) {
        if self.round.is_empty() {
            return;
        }
        let next = self.spare.pop().unwrap_or_else(|| Round::new(self.peers.shards()));
        let mut round = std::mem::replace(&mut self.round, next);
        self.last_number = self.last_number.wrapping_add(1);
        round.number = self.last_number;
        let (number, own) = (round.number, self.peers.index());
        for (shard, batch) in round.batches.iter_mut().enumerate().filter(|(shard, batch)| *shard != own && !batch.asks.is_empty()) {
            let mut batch = std::mem::replace(batch, self.spare_batches.pop().unwrap_or_default());
            let ask = move |there: &mut Self, cx: &mut Cx<'_>| {
                there.store.serve(&mut batch, cx.now());
                batch
            };
            self.peers.ask(shard, ask, move |here, _, batch| here.answered(number, shard as u16, batch.unwrap_or_default()));
            round.missing += 1;
            self.report.asked += 1;
        }
        // While the others are at it.
        self.store.serve(&mut round.batches[own], cx.now());
        if round.missing == 0 { self.answer(round) } else { self.rounds.push(round) }
    }

    fn answered(&mut self, number: u32, shard: u16, batch: Box<Batch>) {
        let Some(at) = self.rounds.iter().position(|round| round.number == number) else { return };
        let round = &mut self.rounds[at];
        self.spare_batches.push(std::mem::replace(&mut round.batches[usize::from(shard)], batch));
        round.missing -= 1;
        if round.missing == 0 {
            let round = self.rounds.swap_remove(at);
            self.answer(round);
        }
    }

    /// All shards have answered.
    fn answer(&mut self, mut round: Round) {
        let mut answers = std::mem::take(&mut self.answers);
        round.answer(|id, write| {
            answers.clear();
            match self.peer.get_mut(id) {
                Some(peer) => write(&mut peer.progress, &mut answers),
                // It has left; what was asked for it is not for the next one.
                None => write(&mut Progress::default(), &mut answers),
            }
            let sent = self.send(id, &answers);
            if let Some(peer) = self.peer.get_mut(id) {
                peer.asked = false;
                peer.output.extend_from_slice(&answers[sent..]);
                self.settle(id);
            }
        });
        answers.shrink_to(KEPT);
        self.answers = answers;
        self.spare.push(round);
    }

    /// Sends as much as the peer takes, and tells how much.
    fn send(&mut self, id: SockId, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let Some(mut buf) = self.group.buffer() else {
                // Nothing tells when there are buffers again: others may have brought some back by
                // now already.
                if let Some(peer) = self.peer.get_mut(id)
                    && !std::mem::replace(&mut peer.starving, true)
                {
                    self.starving.push(id);
                }
                break;
            };
            let filled = buf.append(&bytes[sent..]);
            match self.group.send(id, buf.into()) {
                Ok(()) => sent += filled,
                // `Writable` tells when it takes more.
                Err(refused) if matches!(refused.why, NetError::SendLimit { .. }) => break,
                // `Closed` tells that there is nobody.
                Err(_) => return bytes.len(),
            }
        }
        sent
    }

    fn send_rest(&mut self, id: SockId) {
        let Some(peer) = self.peer.get_mut(id) else { return };
        let mut output = std::mem::take(&mut peer.output);
        let sent = self.send(id, &output);
        if let Some(peer) = self.peer.get_mut(id) {
            output.drain(..sent);
            output.shrink_to(KEPT);
            peer.output = output;
            self.settle(id);
        }
    }

    /// A peer that is owed nothing goes on, or ends.
    fn settle(&mut self, id: SockId) {
        let Some(peer) = self.peer.get_mut(id).filter(|peer| !peer.is_busy()) else { return };
        if peer.progress.over {
            let _ = self.group.shutdown(id);
        } else if peer.progress.more {
            self.again.push(id);
        } else if peer.ended {
            let _ = self.group.shutdown(id);
        }
        if peer.paused && !peer.progress.more {
            peer.paused = false;
            let _ = self.group.resume(id);
        }
    }
}
