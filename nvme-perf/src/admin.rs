//! The admin queue, as something that can be awaited: it is polled by one poller, and so is the
//! future that awaits its answers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use lcore::net::{Events, GroupConfig, NetEvent, NetImpl, SockGroup, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{Cx, Instant};
use nvme::fabrics::{self, ConnectData, cc, property};
use nvme::host::{Bringup, Event, Payload, Settings, Step};
use nvme::{Shape, Sqe, Status, auth};
use zerocopy::IntoBytes;

use crate::auth::{Proof, random};
use crate::error::Trouble;
use crate::link::Link;
use crate::secure::{Keys, RECORD, Secure};

/// Entries of the admin queue, as Linux has them.
const ENTRIES: u16 = 32;
/// The most data in the capsule of an admin command.
const IN_CAPSULE: u32 = 8192;
/// How long a target may say nothing while it owes an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// KATO, in milliseconds.
const KEEP_ALIVE: u32 = 10_000;
/// Buffers that the admin queue has.
pub(crate) const BUFFERS: usize = 8;

/// The admin queue of a controller. Clones are the same.
#[derive(Clone)]
pub(crate) struct Admin(Rc<RefCell<Inner>>);

struct Inner {
    group: Box<dyn SockGroup>,
    events: Option<Events>,
    bufs: BufGroup,
    link: Link,
    calls: Vec<Call>,
    /// Commands in flight.
    open: usize,
    ready: bool,
    failed: Option<Trouble>,
    ended: bool,
    now: Instant,
    /// When something was last sent or received.
    active: Instant,
    kept: Instant,
    keeps_alive: bool,
}

/// A command in flight, by its identifier.
#[derive(Default)]
struct Call {
    data: Vec<u8>,
    done: Option<(Status, u64)>,
    /// Nobody waits for it: a Keep Alive.
    detached: bool,
}

/// What a command came to.
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) result: u64,
    pub(crate) data: Vec<u8>,
}

impl Admin {
    pub(crate) fn connect(
        cx: &mut Cx<'_>,
        net: &dyn NetImpl,
        at: SocketAddr,
        (shape, keys): (Shape, Option<&Keys>),
        bufs: BufGroup,
    ) -> Result<Self, Trouble> {
        let secure = keys.map(|keys| Secure::new(at, keys, &bufs)).transpose()?;
        let mut config = GroupConfig::new(bufs.clone());
        (config.sockets, config.hold_reads_at, config.stall_limit) = (1, usize::MAX, None);
        let mut group = net.group(cx, config)?;
        let id = group.attach(net.connect(&[at], &SockOptions::default())?, Token(0)).map_err(|refused| refused.why)?;
        let commands = ENTRIES - 1;
        let link = Link::new(at, id, Settings { shape, commands, in_capsule: IN_CAPSULE }, secure);
        let mut calls = Vec::new();
        calls.resize_with(commands.into(), Call::default);
        let now = cx.now();
        Ok(Self(Rc::new(RefCell::new(Inner {
            group,
            events: Some(Events::new(16)),
            bufs,
            link,
            calls,
            open: 0,
            ready: false,
            failed: None,
            ended: false,
            now,
            active: now,
            kept: now,
            keeps_alive: false,
        }))))
    }

    /// One poll; how many events there were.
    pub(crate) fn poll(&self, now: Instant) -> usize {
        self.0.borrow_mut().poll(now)
    }

    /// What went wrong, once.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0.borrow_mut().failed.take()
    }

    /// Connects and takes the controller to ready, with `queues` I/O queues; none for discovery.
    pub(crate) async fn bring_up(&self, data: ConnectData, queues: u16, proof: &Proof) -> Result<Bringup, Trouble> {
        let inner = &self.0;
        poll_fn(|_| if inner.borrow().ready { Poll::Ready(()) } else { Poll::Pending }).await;
        let at = inner.borrow().link.at;
        let kato = if queues == 0 { 0 } else { KEEP_ALIVE };
        let mut bringup = Bringup::new(data, ENTRIES, kato, queues);
        let mut was_asked = false;
        loop {
            let (sqe, payload) = match bringup.step() {
                Step::Submit(sqe, payload) => (sqe, payload),
                Step::Ready => break,
                Step::Authenticate => {
                    self.prove(proof.begin(at, 0)?).await?;
                    was_asked = true;
                    bringup.authenticated();
                    continue;
                }
            };
            let send = if matches!(payload, Payload::Send(_)) { bringup.data().as_bytes().to_vec() } else { Vec::new() };
            let answer = self.command(sqe, payload, &send).await?;
            bringup.done(answer.status, answer.result, &answer.data).map_err(|why| Trouble::BringUp { at, why })?;
        }
        proof.was_enough(at, was_asked)?;
        inner.borrow_mut().keeps_alive = kato > 0;
        Ok(bringup)
    }

    /// Shows who this host is, and is shown who the controller is where that is wanted.
    async fn prove(&self, mut end: auth::Host) -> Result<(), Trouble> {
        let at = self.0.borrow().link.at;
        loop {
            let answer = match end.step() {
                auth::Step::Authenticated => return Ok(()),
                auth::Step::Failed(why) => return Err(Trouble::Unproven { at, why }),
                auth::Step::Send(sqe) => self.command(sqe, Payload::Send(end.data().len() as u32), end.data()).await?,
                auth::Step::Receive(sqe, length) => self.command(sqe, Payload::Receive(length), &[]).await?,
            };
            end.done(answer.status, &answer.data, &mut random);
        }
    }

    /// One command that reads `length` bytes.
    pub(crate) async fn read(&self, what: &'static str, sqe: Sqe, length: u32) -> Result<Vec<u8>, Trouble> {
        let at = self.0.borrow().link.at;
        let answer = self.command(sqe, Payload::Receive(length), &[]).await?;
        if answer.status.is_success() { Ok(answer.data) } else { Err(Trouble::Command { at, what, status: answer.status }) }
    }

    async fn command(&self, sqe: Sqe, payload: Payload, data: &[u8]) -> Result<Answer, Trouble> {
        let cid = self.0.borrow_mut().submit(sqe, payload, data, false)?;
        poll_fn(|_| {
            let call = &mut self.0.borrow_mut().calls[usize::from(cid)];
            match call.done.take() {
                Some((status, result)) => Poll::Ready(Ok(Answer { status, result, data: std::mem::take(&mut call.data) })),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Says good-bye as hosts do: a shutdown of the controller.
    pub(crate) async fn shut_down(&self) -> Result<(), Trouble> {
        let set = Sqe::property_set(property::CC, cc::EN | cc::ENTRY_SIZES | 1 << 14);
        self.command(set, Payload::None, &[]).await?;
        self.0.borrow_mut().ended = true;
        Ok(())
    }
}

impl Inner {
    fn submit(&mut self, sqe: Sqe, payload: Payload, data: &[u8], detached: bool) -> Result<u16, Trouble> {
        let command = self.link.queue.submit(sqe, payload)?;
        self.link.head(&mut *self.group, &self.bufs, &command.head)?;
        if command.with_data {
            self.link.slice(&mut *self.group, &self.bufs, data)?;
        }
        self.link.flush(&mut *self.group)?;
        let length = if let Payload::Receive(length) = payload { length } else { 0 };
        self.calls[usize::from(command.cid)] = Call { data: vec![0; length as usize], done: None, detached };
        self.open += 1;
        (self.active, self.kept) = (self.now, self.now);
        Ok(command.cid)
    }

    fn poll(&mut self, now: Instant) -> usize {
        self.now = now;
        let Some(mut events) = self.events.take() else { return 0 };
        let got = self.group.poll(&mut events);
        for event in events.drain() {
            if let Err(why) = self.handle(event) {
                self.fail(why);
            }
        }
        self.events = Some(events);
        if !self.ended
            && let Err(why) = self.look_at_the_time()
        {
            self.fail(why);
        }
        got
    }

    fn fail(&mut self, why: Trouble) {
        if !self.ended {
            self.ended = true;
            self.failed = Some(why);
        }
    }

    fn handle(&mut self, event: NetEvent) -> Result<(), Trouble> {
        let at = self.link.at;
        self.active = self.now;
        match event {
            NetEvent::Connected { .. } => {
                self.link.connected(&mut *self.group, &self.bufs)?;
                self.link.flush(&mut *self.group).map(drop)
            }
            NetEvent::Received { buf, .. } if self.link.is_secured() => self.decrypt(&buf),
            NetEvent::Received { buf, .. } => self.received(&buf),
            NetEvent::PeerClosed { .. } | NetEvent::Closed { why: None, .. } => Err(Trouble::Closed { at, during: String::new() }),
            NetEvent::Closed { why: Some(why), .. } => Err(Trouble::Net { at, why }),
            _ => Ok(()),
        }
    }

    fn decrypt(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.link.take(&mut *self.group, bytes)?;
        let mut record = vec![0; RECORD];
        loop {
            match self.link.read(&mut record)? {
                0 => return Ok(()),
                some => self.received(&record[..some])?,
            }
        }
    }

    fn received(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        loop {
            let event = match self.link.queue.receive(&mut bytes) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(why) => return Err(self.link.broken(&mut *self.group, &self.bufs, why)),
            };
            match event {
                Event::Ready => self.ready = true,
                Event::Data { cid, offset, bytes } => {
                    self.calls[usize::from(cid)].data[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
                // No admin command of ours sends more than fits its capsule.
                Event::Wanted { .. } => {}
                Event::Completed { cid, status, result } => {
                    self.open -= 1;
                    let call = &mut self.calls[usize::from(cid)];
                    call.done = (!call.detached).then_some((status, result));
                }
                Event::Terminated { fes, fei } => return Err(Trouble::Terminated { at: self.link.at, fes, fei }),
            }
        }
    }

    /// Sends a Keep Alive in time, and gives up on a target that is silent.
    fn look_at_the_time(&mut self) -> Result<(), Trouble> {
        let waits = !self.ready || self.open > 0;
        if waits && self.now.since(self.active) >= PATIENCE {
            return Err(Trouble::Silent { at: self.link.at, patience: PATIENCE });
        }
        let due = self.now.since(self.kept) >= Duration::from_millis(u64::from(KEEP_ALIVE / 3));
        // It must not take the place of an answer that was not fetched.
        if self.keeps_alive && due && self.open == 0 && self.calls.iter().all(|call| call.done.is_none()) {
            self.submit(Bringup::keep_alive(), Payload::None, &[], true)?;
        }
        Ok(())
    }
}

/// What Connect says of this host.
pub(crate) fn connect_data(subnqn: &str, hostnqn: &str, hostid: [u8; 16], cntlid: u16) -> Result<ConnectData, Trouble> {
    ConnectData::new(hostid, cntlid, subnqn, hostnqn)
        .filter(|_| !hostnqn.is_empty())
        .ok_or_else(|| Trouble::Unfit(format!("an NQN has 1 to {} bytes", fabrics::LONGEST_NQN)))
}
