//! A poll group: the connections of one core, and what they use.

mod admin;
mod auth;
pub(crate) mod base;
pub(crate) mod bufs;
mod io;
mod place;
pub(crate) mod queue;
mod queues;
mod quiet;
pub(crate) mod secure;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use core::time::Duration;

use bdev::{BdevEvent, Completion, Completions};
use core_reactor::net::{Events, GroupInfo, GroupMap, NetEvent, SockId, Socket, Token};
use core_reactor::{Cx, Gone, Peers, Polled, Schedule, Shard, Sharded};
use nvme::target::Tag;

use self::auth::Computed;
use self::base::{Base, Way};
use self::queue::{Queue, Role};
use self::queues::Queues;
use crate::association::QueueKey;
use crate::atomic::bump;
use crate::server::{Common, ServerError};
use crate::{Association, Subsystem};

/// Events that a group takes from one poll.
pub(crate) const EVENTS: usize = 128;

/// Completions that it takes from a device at a time.
const COMPLETIONS: usize = 256;

/// So many answers go out at once where no more than [`FEW`] commands are done: the host works on
/// them while the rest is made ready. Else it would wait for all of them, and then the target for
/// all of its next commands, each with a core asleep meanwhile.
const PART: usize = 16;

/// With more than that there is always something for both to do, and fewer calls are better.
const FEW: usize = 64;

/// How often it is looked what takes too long.
const TIME: Duration = Duration::from_millis(250);

/// Sockets that are looked at, those with the most unsent bytes first.
const LOOKED_AT: usize = 64;

/// Tokens of listeners have this bit; the port's number follows.
const LISTENER: u64 = 1 << 63;

/// A listener of a group.
struct Port {
    token: u64,
    at: SocketAddr,
    is_secure: bool,
    id: SockId,
}

/// The connections of one core.
pub(crate) struct Group {
    pub(crate) base: Base,
    queues: Queues,
    /// Taken out while they are handled.
    events: Option<Events>,
    completions: Option<Completions>,
    /// Listeners of this group.
    ports: Vec<Port>,
    next_port: u64,
    map: GroupMap,
    /// There was no room for a connection, which was said.
    is_full: bool,
}

impl Shard for Group {
    type Common = Common;
    type Report = ();
    type Error = ServerError;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, ServerError> {
        let (base, sockets) = peers.common().base(cx, &peers)?;
        let timers = |cx: &mut Cx<'_>| Sharded::<Self>::here(cx, |group, cx| group.on_time(cx)).unwrap_or(Polled::Done);
        cx.local_poller("nvmf_timers", Schedule::Every(TIME), timers);
        let map = GroupMap::new(peers.cores());
        let (events, completions) = (Some(Events::new(EVENTS)), Some(Completions::new(COMPLETIONS)));
        let queues = Queues::new(sockets);
        Ok(Self { base, queues, events, completions, ports: Vec::new(), next_port: 0, map, is_full: false })
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        self.base.now = cx.now();
        if cx.is_exiting() && !self.base.is_stopping {
            self.stop();
        }
        let events = self.poll_sockets(cx);
        let mut is_busy = events > 0;
        is_busy |= self.poll_devices(cx);
        if !self.base.watches.is_empty() {
            self.look_after_watches(events);
        }
        is_busy |= self.serve(cx);
        if !self.base.dirty.is_empty() {
            self.flush();
        }
        if is_busy {
            self.base.sock.flush();
            Polled::Busy
        } else {
            Polled::Idle
        }
    }

    /// Bytes to be sent, and commands that are to be answered.
    fn unsent(&self) -> u64 {
        self.base.sock.stats().unsent + self.base.under_way() as u64
    }

    fn report(&self) {}
}

impl Group {
    /// Takes what sockets have; how much that was.
    fn poll_sockets(&mut self, cx: &mut Cx<'_>) -> usize {
        let Some(mut events) = self.events.take() else { return 0 };
        self.base.polls += 1;
        let count = self.base.sock.poll(&mut events);
        for event in events.drain() {
            self.handle(cx, event);
        }
        self.events = Some(events);
        count
    }

    fn handle(&mut self, cx: &mut Cx<'_>, event: NetEvent) {
        match event {
            NetEvent::Received { token, buf, .. } => {
                if let Some(queue) = self.queues.get(QueueKey::of(token).0) {
                    queue.received(&mut self.base, cx, &buf);
                }
            }
            NetEvent::Accepted { token, socket, .. } => self.accepted(token, socket),
            // A host that has ended its side wants no answers.
            NetEvent::PeerClosed { id, .. } => drop(self.base.sock.close(id)),
            NetEvent::Closed { token, why, .. } if token.0 & LISTENER == 0 => {
                if let Some(why) = why {
                    logging::debug!("a connection ended: {}", alloc::format!("{why}").as_str());
                }
                self.closed(token);
            }
            NetEvent::Closed { why: Some(why), .. } => logging::error!("a listener ended: {}", alloc::format!("{why}").as_str()),
            _ => {}
        }
    }

    fn closed(&mut self, token: Token) {
        let (key, _) = QueueKey::of(token);
        if let Some(mut queue) = self.queues.take(key) {
            queue.forget(&mut self.base);
            self.base.peers.take_load(self.base.index);
            self.is_full = false;
        }
    }

    /// Looks what devices have done. Whether they have done anything.
    fn poll_devices(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(mut completions) = self.completions.take() else { return false };
        let (now, mut is_busy) = (self.base.now, false);
        for place in 0..self.base.places.len() {
            for leaving in [false, true] {
                let mut at = 0;
                while let Some(device) = self.base.device_at(place, leaving, at) {
                    at += 1;
                    let count = device.channel.poll(now, &mut completions);
                    is_busy |= count > 0;
                    for (done, event) in completions.drain().enumerate() {
                        if count <= FEW && done > 0 && done % PART == 0 {
                            self.flush();
                        }
                        self.device_event(cx, (place, leaving, at - 1), event);
                    }
                    self.resubmit(place, leaving, at - 1);
                }
            }
        }
        self.completions = Some(completions);
        is_busy
    }

    fn device_event(&mut self, _: &mut Cx<'_>, (place, leaving, at): (usize, bool, usize), event: BdevEvent) {
        match event {
            BdevEvent::Done(Completion { request, result }) => {
                let (key, tag) = QueueKey::of(request.token);
                // One whose queue has ended takes its buffers home.
                match self.queues.get(key) {
                    Some(queue) if !queue.is_over() => queue.done(&mut self.base, tag, request, result),
                    _ => self.came_back(key, (place, leaving, at), &request),
                }
            }
            BdevEvent::Resized { .. } | BdevEvent::Removed => {
                let target = self.base.target.clone();
                let Some(Some(it)) = self.base.places.get(place) else { return };
                let Some(device) = (if leaving { it.leaving.get(at) } else { it.devices.get(at) }) else { return };
                if matches!(event, BdevEvent::Removed) {
                    target.device_gone(&it.subsystem, &device.namespace);
                } else {
                    target.namespace_changed(&it.subsystem, device.namespace.nsid());
                }
            }
            _ => {}
        }
    }

    #[cold]
    fn came_back(&mut self, key: QueueKey, (place, leaving, at): (usize, bool, usize), request: &bdev::Request) {
        if let Some(nsid) = self.base.device_at(place, leaving, at).map(|device| device.namespace.nsid()) {
            self.base.came_back(key, nsid, request.kind.changes());
        }
    }

    /// Hands in what waited for room at a device.
    fn resubmit(&mut self, place: usize, leaving: bool, at: usize) {
        let now = self.base.now;
        while let Some(refused) = self.base.device_at(place, leaving, at).and_then(|device| device.resubmit(now)) {
            let (key, tag) = QueueKey::of(refused.item.token);
            if let Some(queue) = self.queues.get(key) {
                queue.done(&mut self.base, tag, refused.item, Err(refused.why));
            }
        }
    }

    /// Gives buffers to commands that wait for them. Whether there were any.
    fn serve(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.base.bufs.is_short() {
            return false;
        }
        let mut served = false;
        let now = self.base.now;
        let queues = &mut self.queues;
        while let Some((waiter, buf)) = self.base.bufs.serve(now, |it| queues.peek(it.queue).is_some_and(|queue| queue.waits(it))) {
            served = true;
            if let Some(queue) = queues.get(waiter.queue) {
                queue.granted(&mut self.base, cx, waiter.tag, buf);
            }
        }
        served
    }

    /// Sends what queues have to say.
    fn flush(&mut self) {
        let mut dirty = core::mem::take(&mut self.base.dirty);
        dirty.retain(|key| self.queues.get(*key).is_some_and(|queue| !queue.flush(&mut self.base)));
        // Ends may have added some.
        dirty.append(&mut self.base.dirty);
        self.base.dirty = dirty;
        self.base.sock.flush();
    }

    fn on_time(&mut self, cx: &mut Cx<'_>) -> Polled {
        self.base.now = cx.now();
        for queue in self.queues.iter() {
            queue.on_time(&mut self.base);
        }
        if self.base.bufs.is_short() {
            self.look_for_stalled(cx);
        }
        self.base.figures.pending_io.store(self.base.under_way() as u64, Ordering::Relaxed);
        for place in 0..self.base.places.len() {
            self.base.refresh(cx, place);
            let is_over = self.base.places[place].as_mut().is_some_and(|it| it.clear());
            if is_over {
                self.base.places[place] = None;
            }
        }
        self.flush();
        Polled::Idle
    }

    /// Looks who does not take what is sent, as of the last time that this was asked for.
    fn look_for_stalled(&mut self, cx: &mut Cx<'_>) {
        for view in cx.views::<GroupInfo>() {
            for socket in view.seen().sockets {
                if let Some(queue) = self.queues.get(QueueKey::of(socket.token).0).filter(|_| socket.token.0 & LISTENER == 0) {
                    queue.has_unsent(&mut self.base, socket.unsent as u64);
                }
            }
            view.ask(LOOKED_AT);
        }
    }

    /// Nothing new is taken; what is under way comes to its end.
    fn stop(&mut self) {
        self.base.is_stopping = true;
        for port in self.ports.drain(..) {
            let _ = self.base.sock.close(port.id);
        }
        for queue in self.queues.iter() {
            let _ = self.base.sock.pause(queue.sock);
        }
    }

    fn accepted(&mut self, token: Token, socket: Box<dyn Socket>) {
        let Some((port, is_secure)) = self.ports.iter().find(|port| port.token == token.0).map(|port| (port.at, port.is_secure)) else {
            return;
        };
        let (peers, own) = (&self.base.peers, self.base.index);
        let optimal = self.map.optimal_group(&*socket, |group| peers.load(group));
        let to = if peers.is_gone(optimal) { own } else { optimal };
        peers.add_load(to);
        // A message has no room for one more word.
        if is_secure {
            peers.send(to, move |group, _| group.adopt(socket, port, true));
        } else {
            peers.send(to, move |group, _| group.adopt(socket, port, false));
        }
    }

    fn adopt(&mut self, socket: Box<dyn Socket>, port: SocketAddr, is_secure: bool) {
        let way = Way { port, is_secure, local: socket.local_addr().unwrap_or(port), peer: socket.peer_addr() };
        let base = &mut self.base;
        let vacant = self.queues.vacant();
        if vacant.is_none() {
            bump(&base.figures.turned_away, 1);
            if !core::mem::replace(&mut self.is_full, true) {
                logging::warn!("connections are turned away: this core has as many as it has room for");
            }
        }
        let attached = if base.is_stopping { None } else { vacant }.and_then(|key| {
            let sock = base.sock.attach(socket, key.token()).inspect_err(|refused| {
                logging::warn!("a connection was turned away: {}", alloc::format!("{}", refused.why).as_str());
            });
            Some((key, sock.ok()?))
        });
        match attached {
            Some((key, sock)) => self.queues.put(key, Queue::new(key, sock, way, base)),
            None => base.peers.take_load(base.index),
        }
    }

    pub(crate) fn listen(&mut self, socket: Box<dyn Socket>, at: SocketAddr, is_secure: bool) {
        let token = LISTENER | self.next_port;
        self.next_port += 1;
        match self.base.sock.attach(socket, Token(token)) {
            Ok(id) => self.ports.push(Port { token, at, is_secure, id }),
            Err(refused) => logging::error!("no connection is taken: {}", alloc::format!("{}", refused.why).as_str()),
        }
    }

    pub(crate) fn unlisten(&mut self, at: SocketAddr) {
        let sock = &mut self.base.sock;
        self.ports.retain(|port| {
            if port.at == at {
                let _ = sock.close(port.id);
            }
            port.at != at
        });
    }

    /// Closes the queues of a controller that are here.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, association: &Arc<Association>, all: bool) {
        self.base.now = cx.now();
        for queue in self.queues.iter() {
            if queue.association().is_some_and(|it| Arc::ptr_eq(it, association)) && (all || !queue.is_admin()) {
                queue.end(&mut self.base);
            }
        }
    }

    /// The admin queue of a controller may have an event to tell.
    pub(crate) fn tell(&mut self, key: QueueKey) {
        if let Some(queue) = self.queues.get(key) {
            queue.tell(&mut self.base);
            self.flush();
        }
    }

    /// The namespaces of a subsystem have changed.
    pub(crate) fn refresh(&mut self, cx: &mut Cx<'_>, subsystem: &Arc<Subsystem>) {
        self.base.now = cx.now();
        let is_it = |place: &Option<place::Place>| place.as_ref().is_some_and(|it| Arc::ptr_eq(&it.subsystem, subsystem));
        if let Some(at) = self.base.places.iter().position(is_it) {
            self.base.refresh(cx, at);
        }
    }

    /// Aborts a command of a queue that is here. Whether it has ended by that.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>, key: QueueKey, cid: u16) -> bool {
        self.base.now = cx.now();
        let Some((tag, is_over)) = self.queues.get(key).and_then(|queue| queue.abort(&mut self.base, cid)) else { return false };
        if !is_over {
            self.poll_devices(cx);
        }
        let has_ended = is_over || self.queues.get(key).is_none_or(|queue| !queue.has(tag));
        self.flush();
        has_ended
    }

    /// What came of an abort elsewhere.
    pub(crate) fn aborted(&mut self, key: QueueKey, tag: Tag, is_aborted: Result<bool, Gone>) {
        if let Some(queue) = self.queues.get(key) {
            queue.aborted(&mut self.base, tag, is_aborted == Ok(true));
            self.flush();
        }
    }

    /// What was computed for a queue that is here has come.
    pub(crate) fn computed(&mut self, cx: &mut Cx<'_>, key: QueueKey, tag: Tag, computed: Computed) {
        self.base.now = cx.now();
        if let Some(queue) = self.queues.get(key) {
            queue.computed(&mut self.base, tag, computed);
            self.flush();
        }
    }

    /// Gives up commands for a namespace, of hosts whose reservations were preempted.
    pub(crate) fn abort_of_hosts(&mut self, cx: &mut Cx<'_>, subsystem: &Arc<Subsystem>, nsid: u32, hosts: &[[u8; 16]]) {
        self.base.now = cx.now();
        for queue in self.queues.iter() {
            let is_its = |it: &Arc<Association>| Arc::ptr_eq(&it.subsystem, subsystem) && hosts.contains(&it.hostid);
            if matches!(queue.role, Role::Io { .. }) && queue.association().is_some_and(is_its) {
                queue.give_up_namespace(&mut self.base, nsid);
            }
        }
    }
}

impl Drop for Group {
    /// Controllers end with their queues.
    fn drop(&mut self) {
        for queue in self.queues.iter() {
            queue.forget(&mut self.base);
        }
        self.base.figures.pending_io.store(0, Ordering::Relaxed);
    }
}
