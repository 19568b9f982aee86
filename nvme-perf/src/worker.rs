//! The I/O queues of one core, and what is on the way on them.
//!
//! Nothing is allocated for a command, and no data is kept: what is read is compared as it comes,
//! what is written is made when the target asks for it.
//!
//! ```text
//!  Idle ──fill──► Fill ──all written──► Idle ──run──► Run ──stop──► Stopping ──none in flight──► Idle
//!  Idle ──read back──► ReadBack ──all read──► Idle
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use lcore::net::{Events, GroupConfig, NetEvent, NetImpl, SockGroup, SockOptions, Token};
use lcore::pool::{BufGroup, DataPool, ReserveConfig};
use lcore::{Cx, Instant, Peers, Polled, Shard, ThreadHandle};
use nvme::command::io;
use nvme::fabrics::asks_who;
use nvme::host::{Event, Payload, Settings};
use nvme::{Sqe, Status, auth};
use zerocopy::IntoBytes;

use crate::admin::connect_data;
use crate::auth::Proving;
use crate::error::Trouble;
use crate::link::{DATA, HEADERS, Link};
use crate::pattern::Part;
use crate::plan::Plan;
use crate::report::Tally;
use crate::script::Inbox;
use crate::secure::{RECORD, Secure};
use crate::space::Space;

/// Events of one poll.
const EVENTS: usize = 128;
/// Buffers for headers that must be there before a command or a piece of data goes out: of its
/// header, of the digest, one that is begun, and one for what TLS adds.
const SPARE: usize = 4;

/// What all workers see.
pub(crate) struct Common {
    pub(crate) plan: Arc<Plan>,
    pub(crate) net: &'static dyn NetImpl,
    pub(crate) pool: DataPool,
    pub(crate) reserve: ReserveConfig,
    /// Commands that each core has completed.
    pub(crate) progress: Box<[AtomicU64]>,
    /// Who is told.
    pub(crate) script: ThreadHandle,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Idle,
    /// Writes each unit once.
    Fill,
    /// Does what was asked for, until it is stopped.
    Run,
    Stopping,
    /// Reads each unit once.
    ReadBack,
}

/// The queues of one core.
pub(crate) struct Worker {
    peers: Peers<Self>,
    group: Box<dyn SockGroup>,
    events: Option<Events>,
    bufs: BufGroup,
    queues: Vec<IoQueue>,
    state: State,
    connected: usize,
    /// Where a record of TLS is decrypted.
    record: Vec<u8>,
    /// It has told that it failed.
    failed: bool,
}

/// What all queues of a core share.
struct State {
    plan: Arc<Plan>,
    space: Space,
    rng: Rng,
    job: Job,
    in_flight: usize,
    tally: Tally,
}

struct IoQueue {
    link: Link,
    /// What it was connected with, until it is.
    connecting: bool,
    /// Showing who this host is, where it is asked.
    proving: Option<Box<Proving>>,
    depth: usize,
    in_flight: usize,
    flights: Box<[Flight]>,
    /// Commands whose data is asked for.
    wanted: VecDeque<u16>,
}

/// A command on the way.
#[derive(Clone, Copy)]
struct Flight {
    unit: u64,
    write: bool,
    generation: u32,
    began: Instant,
}

const LANDED: Flight = Flight { unit: 0, write: false, generation: 0, began: Instant::ZERO };

impl Shard for Worker {
    type Common = Common;
    type Report = ();
    type Error = Trouble;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, Trouble> {
        let Common { plan, net, pool, reserve, .. } = peers.common();
        // What is received has its own: were all buffers waiting to be sent, nothing could be read.
        let mut config = GroupConfig::new(pool.group(ReserveConfig { large: 0, control: 0, ..*reserve })?);
        let bufs = pool.group(ReserveConfig { small: 0, ..*reserve })?;
        (config.sockets, config.hold_reads_at, config.stall_limit) = (plan.queues.into(), usize::MAX, None);
        // Never more than all data of all commands, in as many frames.
        (config.send_limit, config.send_frames) = (usize::MAX >> 1, reserve.control + reserve.large + 64);
        let mut group = net.group(cx, config)?;
        let at = plan.target.at;
        let mut queues = Vec::with_capacity(plan.queues.into());
        for queue in 0..plan.queues {
            let socket = net.connect(&[at], &SockOptions::default().unpaced(true)).map_err(|why| Trouble::Net { at, why })?;
            let id = group.attach(socket, Token(queue.into())).map_err(|refused| refused.why)?;
            // Connect is the first command, and its data is in its capsule everywhere.
            let settings = Settings { shape: plan.shape, commands: plan.entries - 1, in_capsule: 8192 };
            let secure = plan.keys.as_ref().map(|keys| Secure::new(at, keys, &bufs)).transpose()?;
            queues.push(IoQueue::new(Link::new(at, id, settings, secure), plan.depth_of(queue), plan.entries));
        }
        let index = peers.index() as u64;
        let state = State {
            plan: plan.clone(),
            space: plan.space(index),
            rng: Rng::with_seed(plan.seed.wrapping_add(index.wrapping_mul(0x9E37_79B9))),
            job: Job::Idle,
            in_flight: 0,
            tally: Tally::new(),
        };
        Ok(Self { peers, group, events: Some(Events::new(EVENTS)), bufs, queues, state, connected: 0, record: Vec::new(), failed: false })
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        let Some(mut events) = self.events.take() else { return Polled::Idle };
        let got = self.group.poll(&mut events);
        // The turn's time is from before the poll, and latency is what is measured here.
        let now = if got > 0 { cx.clock() } else { cx.now() };
        let before = self.state.tally.commands;
        let mut outcome = Ok(());
        for event in events.drain() {
            if outcome.is_ok() {
                outcome = self.handle(event, now);
            }
        }
        self.events = Some(events);
        if self.state.tally.commands != before {
            self.peers.common().progress[self.peers.index()].store(self.state.tally.commands, Ordering::Relaxed);
        }
        let sent = match outcome.and_then(|()| self.pump(now)) {
            Ok(sent) => sent,
            Err(why) => {
                self.fail(why, now);
                false
            }
        };
        if got > 0 || sent { Polled::Busy } else { Polled::Idle }
    }

    fn report(&self) {}
}

impl Worker {
    /// Begins a job; its end is told.
    pub(crate) fn begin(&mut self, job: Job, now: Instant) {
        if self.failed {
            return;
        }
        self.state.job = job;
        self.state.space.rewind();
        self.state.tally.begin(job == Job::Run, now);
        if let Err(why) = self.pump(now) {
            self.fail(why, now);
        }
    }

    /// Ends a run: what is in flight is waited for, and does not count.
    pub(crate) fn stop(&mut self, now: Instant) {
        if self.state.job == Job::Run {
            self.state.job = Job::Stopping;
            self.state.tally.end(now);
            self.look_whether_done();
        }
    }

    /// What was counted.
    pub(crate) fn tally(&self) -> Tally {
        self.state.tally.clone()
    }

    fn fail(&mut self, why: Trouble, now: Instant) {
        if !std::mem::replace(&mut self.failed, true) {
            self.state.job = Job::Idle;
            self.state.tally.end(now);
            Inbox::tell_failure(&self.peers.common().script, why);
        }
    }

    fn handle(&mut self, event: NetEvent, now: Instant) -> Result<(), Trouble> {
        let index = event.token().0 as usize;
        let at = self.state.plan.target.at;
        match event {
            NetEvent::Received { buf, .. } if self.queues[index].link.is_secured() => self.decrypt(index, &buf, now),
            NetEvent::Received { buf, .. } => self.received(index, &buf, now),
            NetEvent::Connected { .. } => self.queues[index].link.connected(&mut *self.group, &self.bufs),
            NetEvent::PeerClosed { .. } | NetEvent::Closed { why: None, .. } => {
                let during = format!(" with {} commands in flight on this core", self.state.in_flight);
                Err(Trouble::Closed { at, during })
            }
            NetEvent::Closed { why: Some(why), .. } => Err(Trouble::Net { at, why }),
            _ => Ok(()),
        }
    }

    fn decrypt(&mut self, index: usize, bytes: &[u8], now: Instant) -> Result<(), Trouble> {
        self.queues[index].link.take(&mut *self.group, bytes)?;
        let mut record = std::mem::take(&mut self.record);
        record.resize(RECORD, 0);
        loop {
            let some = self.queues[index].link.read(&mut record)?;
            if some == 0 {
                break;
            }
            self.received(index, &record[..some], now)?;
        }
        self.record = record;
        Ok(())
    }

    fn received(&mut self, index: usize, mut bytes: &[u8], now: Instant) -> Result<(), Trouble> {
        let Self { queues, state, group, bufs, .. } = self;
        let queue = &mut queues[index];
        loop {
            match queue.link.queue.receive(&mut bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Data { offset, bytes, .. })) if queue.proving.is_some() => queue.told(offset, bytes),
                Ok(Some(Event::Data { cid, offset, bytes })) => state.compare(&queue.flights[usize::from(cid)], offset, bytes),
                Ok(Some(Event::Completed { cid, status, .. })) if !queue.connecting => state.completed(queue, cid, status, now),
                Ok(Some(Event::Wanted { cid })) => queue.wanted.push_back(cid),
                Ok(Some(Event::Ready)) => queue.connect(state, index as u64, &self.peers, &mut **group, bufs)?,
                Ok(Some(Event::Completed { status, result, .. })) => {
                    if !queue.is_proven(&state.plan, index as u64, (status, result), &mut **group, bufs)? {
                        continue;
                    }
                    queue.connecting = false;
                    queue.link.queue.set_in_capsule(state.plan.in_capsule);
                    self.connected += 1;
                    if self.connected == usize::from(state.plan.queues) {
                        Inbox::tell(&self.peers.common().script, Inbox::worker_is_done);
                    }
                }
                Ok(Some(Event::Terminated { fes, fei })) => return Err(Trouble::Terminated { at: queue.link.at, fes, fei }),
                Err(why) => return Err(queue.link.broken(&mut **group, bufs, why)),
            }
        }
    }

    /// Sends what is asked for and what there is room for; whether anything went out.
    fn pump(&mut self, now: Instant) -> Result<bool, Trouble> {
        if self.failed {
            return Ok(false);
        }
        let Self { queues, state, group, bufs, .. } = self;
        let mut sent = false;
        for queue in queues.iter_mut() {
            queue.answer(state, &mut **group, bufs)?;
            queue.submit(state, &mut **group, bufs, now)?;
            sent |= queue.link.flush(&mut **group)?;
        }
        if sent {
            self.group.flush();
        }
        self.look_whether_done();
        Ok(sent)
    }

    /// A job has ended when nothing of it is left.
    fn look_whether_done(&mut self) {
        let state = &mut self.state;
        let over = state.in_flight == 0
            && match state.job {
                Job::Idle | Job::Run => false,
                Job::Stopping => true,
                Job::Fill | Job::ReadBack => state.space.is_through(),
            };
        if over {
            state.job = Job::Idle;
            Inbox::tell(&self.peers.common().script, Inbox::worker_is_done);
        }
    }
}

impl IoQueue {
    fn new(link: Link, depth: u16, entries: u16) -> Self {
        let flights = vec![LANDED; entries.into()].into();
        Self {
            link,
            connecting: true,
            proving: None,
            depth: depth.into(),
            in_flight: 0,
            flights,
            wanted: VecDeque::with_capacity(entries.into()),
        }
    }

    /// Connects the I/O queue, once its connection is initialized.
    fn connect(
        &mut self,
        state: &State,
        index: u64,
        peers: &Peers<Worker>,
        group: &mut dyn SockGroup,
        bufs: &BufGroup,
    ) -> Result<(), Trouble> {
        let plan = &state.plan;
        // Queue 0 is the admin queue.
        let qid = peers.index() as u64 * u64::from(plan.queues) + index + 1;
        let data = connect_data(&plan.target.subnqn, &plan.hostnqn, plan.hostid, plan.cntlid)?;
        let command = self.link.queue.submit(Sqe::connect(qid as u16, plan.entries, 0), Payload::Send(size_of_val(&data) as u32))?;
        self.link.head(group, bufs, &command.head)?;
        self.link.slice(group, bufs, data.as_bytes())
    }

    /// Connect, or a step of showing who this host is, is done: goes on with that. Whether it is
    /// through with it.
    fn is_proven(
        &mut self,
        plan: &Plan,
        index: u64,
        (status, result): (Status, u64),
        group: &mut dyn SockGroup,
        bufs: &BufGroup,
    ) -> Result<bool, Trouble> {
        let at = self.link.at;
        let proving = match &mut self.proving {
            Some(proving) => {
                proving.done(status);
                proving
            }
            None if !status.is_success() => return Err(Trouble::Command { at, what: "Connect of an I/O queue", status }),
            None if !asks_who(result) => return plan.proof.was_enough(at, false).map(|()| true),
            None => self.proving.insert(Box::new(Proving::new(plan.proof.begin(at, index as u16 + 1)?))),
        };
        let (sqe, payload) = match proving.step() {
            auth::Step::Send(sqe) => (sqe, Payload::Send(proving.data().len() as u32)),
            auth::Step::Receive(sqe, length) => (sqe, Payload::Receive(length)),
            auth::Step::Failed(why) => return Err(Trouble::Unproven { at, why }),
            auth::Step::Authenticated => {
                self.proving = None;
                return Ok(true);
            }
        };
        let command = self.link.queue.submit(sqe, payload)?;
        self.link.head(group, bufs, &command.head)?;
        if command.with_data {
            self.link.slice(group, bufs, proving.data())?;
        }
        Ok(false)
    }

    /// A part of what the controller says of that.
    fn told(&mut self, offset: u32, bytes: &[u8]) {
        if let Some(proving) = &mut self.proving {
            proving.told(offset, bytes);
        }
    }

    /// Sends data that the target has asked for, as far as there are buffers.
    fn answer(&mut self, state: &State, group: &mut dyn SockGroup, bufs: &BufGroup) -> Result<(), Trouble> {
        while let Some(cid) = self.wanted.front().copied() {
            if !has_room(bufs, state.plan.data_buffers()) {
                return Ok(());
            }
            let Some(piece) = self.link.queue.next_piece(cid) else {
                self.wanted.pop_front();
                continue;
            };
            let flight = self.flights[usize::from(cid)];
            self.link.data(group, bufs, &piece.head, piece.length, |at, out| state.fill(&flight, piece.offset + at, out))?;
        }
        Ok(())
    }

    fn submit(&mut self, state: &mut State, group: &mut dyn SockGroup, bufs: &BufGroup, now: Instant) -> Result<(), Trouble> {
        let data = if state.writes() { state.plan.data_buffers() } else { 0 };
        while !self.connecting && self.in_flight < self.depth && has_room(bufs, data) {
            let Some((unit, write)) = state.next() else { return Ok(()) };
            let plan = &state.plan;
            let (opcode, payload) = if write { (io::WRITE, Payload::Send(plan.size)) } else { (io::READ, Payload::Receive(plan.size)) };
            let sqe = Sqe::blocks(opcode, plan.nsid, state.space.lba(unit), plan.blocks, 0);
            let command = self.link.queue.submit(sqe, payload)?;
            let flight = Flight { unit, write, generation: state.space.begin(unit, write), began: now };
            self.flights[usize::from(command.cid)] = flight;
            self.in_flight += 1;
            state.in_flight += 1;
            if command.with_data {
                self.link.data(group, bufs, &command.head, plan.size, |at, out| state.fill(&flight, at, out))?;
            } else {
                self.link.head(group, bufs, &command.head)?;
            }
        }
        Ok(())
    }
}

impl State {
    /// What is to be done next, if anything is: the unit, and whether it is written.
    fn next(&mut self) -> Option<(u64, bool)> {
        match self.job {
            Job::Idle | Job::Stopping => None,
            Job::Fill => self.space.once().map(|unit| (unit, true)),
            Job::ReadBack => self.space.once().map(|unit| (unit, false)),
            Job::Run => {
                let write = match self.plan.reads {
                    0 => true,
                    100 => false,
                    reads => self.rng.u8(..100) >= reads,
                };
                let unit = if self.plan.random { self.space.any(&mut self.rng) } else { self.space.in_order() };
                Some((unit, write))
            }
        }
    }

    /// Whether there may be writes.
    fn writes(&self) -> bool {
        self.job == Job::Fill || (self.job == Job::Run && self.plan.reads < 100)
    }

    fn part(&self, flight: &Flight, offset: u32) -> Part {
        Part { slba: self.space.lba(flight.unit), generation: flight.generation, offset: offset.into() }
    }

    /// What a write sends. Where nothing is verified, whatever the buffer held.
    fn fill(&self, flight: &Flight, offset: u32, out: &mut [u8]) {
        if let Some(pattern) = &self.plan.pattern {
            pattern.fill(self.part(flight, offset), out);
        }
    }

    /// A part of what a read has found.
    fn compare(&mut self, flight: &Flight, offset: u32, bytes: &[u8]) {
        let Some(pattern) = &self.plan.pattern else { return };
        if flight.generation == 0 {
            return;
        }
        match pattern.check(self.part(flight, offset), bytes) {
            Ok(()) => self.tally.compared += bytes.len() as u64,
            Err(mismatch) => self.tally.mismatch(mismatch),
        }
    }

    fn completed(&mut self, queue: &mut IoQueue, cid: u16, status: Status, now: Instant) {
        let Flight { unit, write, generation, began } = queue.flights[usize::from(cid)];
        let good = status.is_success();
        self.space.end(unit, write, generation, good);
        queue.in_flight -= 1;
        self.in_flight -= 1;
        if good {
            self.tally.done(write, now.nanos_since(began));
        } else {
            self.tally.error(status, write, self.space.lba(unit));
        }
    }
}

/// Whether there are buffers for a header, and so many for data.
fn has_room(bufs: &BufGroup, data: usize) -> bool {
    bufs.at_hand(HEADERS) >= SPARE && bufs.at_hand(DATA) >= data
}
