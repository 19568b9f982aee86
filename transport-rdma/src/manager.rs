//! What the connection manager tells, and what is asked of it: from a request to a connection.

use std::sync::Arc;

use core_reactor::transport::{QueueEvent, QueueId, QueueLimits, Slab, Token, TransportError};

use crate::error::{connect, os, rejected};
use crate::group::Group;
use crate::member::{Link, Member, Pair, State};
use crate::queue::RdmaQueue;
use crate::verbs::{CmEvent, ConnId, Errno, EventChannel, Happened, PairConfig, Parameters, QueuePair, Request};

/// Events that are taken at a time.
const BATCH: usize = 32;

/// For as long as it takes, in the connection manager's three bits.
const FOR_EVER: u8 = 7;

impl Group {
    /// Takes what the connection manager tells: of queues, and of each listener.
    pub(crate) fn hear_manager(&mut self) {
        let channel = self.channel.clone();
        for event in heard(&channel) {
            let Ok(place) = self.place(QueueId::from_raw(event.key)) else { continue };
            if self.queue_at(place).and_then(|pair| pair.conn()).is_some_and(|conn| conn.name() == event.of) {
                self.progress(place, event.what);
            }
        }
        for n in 0..self.listeners.len() {
            let Some(Member::Listener(listening)) = self.members.at(self.listeners[n]) else { continue };
            for event in heard(&listening.conn.channel().clone()) {
                match event.what {
                    Happened::Requested(request) => {
                        let queue = Box::new(RdmaQueue::requested(request, &listening.options));
                        self.ready.push_back(QueueEvent::Requested { id: listening.id, token: listening.token, queue });
                    }
                    Happened::DeviceRemoved if event.of == listening.conn.name() => listening.removed = true,
                    // What else happens to a queue that was requested here and waits somewhere
                    // shows when it is attached.
                    _ => {}
                }
            }
        }
        self.end_removed_listeners();
    }

    /// A listener at an address of a device that is gone hears nothing any more. One at all
    /// addresses is not told, and hears of devices that come.
    fn end_removed_listeners(&mut self) {
        let gone = |members: &mut Slab<Member>, place: usize| matches!(members.at(place), Some(Member::Listener(one)) if one.removed);
        while let Some(place) = self.listeners.iter().copied().find(|place| gone(&mut self.members, *place)) {
            let Some(Member::Listener(listening)) = self.members.at(place) else { return };
            let name = listening.conn.device().map_or_else(String::new, |(device, _)| device.name());
            self.end_listener(place, Some(TransportError::DeviceRemoved(name.into())));
        }
    }

    fn progress(&mut self, place: usize, what: Happened) {
        let Some(pair) = self.queue_at(place) else { return };
        let (to, state) = (pair.peer, pair.state);
        match what {
            Happened::AddressResolved if state == State::Connecting => self.or_end(place, Self::resolve_route),
            Happened::RouteResolved if state == State::Connecting => self.or_end(place, Self::request),
            Happened::Established { private_data, reads } if state == State::Connecting => {
                pair.reads = pair.reads.min(u32::from(reads));
                self.establish(place, private_data);
            }
            Happened::Established { .. } if state == State::Accepting => self.establish(place, Box::default()),
            Happened::Unreachable(why) | Happened::Failed(why) => self.end(place, Some(connect(to, why))),
            Happened::Rejected { reason, private_data } => self.end(place, Some(rejected(to, reason, private_data))),
            Happened::Disconnected => {
                pair.disconnected = true;
                let never_stood = state == State::Connecting || state == State::Accepting;
                self.end(place, never_stood.then_some(TransportError::PeerGone));
            }
            Happened::DeviceRemoved => {
                let port = pair.port;
                let name = self.ports.get(port).map_or("", |port| &*port.node.name).into();
                self.removed(place, TransportError::DeviceRemoved(name));
            }
            _ => {}
        }
    }

    fn or_end(&mut self, place: usize, step: fn(&mut Self, usize) -> Result<(), TransportError>) {
        if let Err(why) = step(self, place) {
            self.end(place, Some(why));
        }
    }

    /// The device is known: finds out whether it can do what is asked for.
    fn resolve_route(&mut self, place: usize) -> Result<(), TransportError> {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return Ok(()) };
        let Link::Id(conn) = &pair.link else { return Ok(()) };
        let Some((device, _)) = conn.device() else { return Err(TransportError::Unreachable(pair.peer)) };
        let port = self.port(device)?;
        let node = self.ports[port].node.clone();
        let Some(pair) = self.queue_at(place) else { return Ok(()) };
        pair.port = port;
        node.check(&pair.options)?;
        let (to, limit) = (pair.peer, pair.options.connect_timeout);
        pair.conn().map_or(Ok(()), |conn| conn.resolve_route(limit)).map_err(|why| connect(to, why))
    }

    /// The way is known: makes the queue pair and asks the peer.
    fn request(&mut self, place: usize) -> Result<(), TransportError> {
        let Some(pair) = self.queue_at(place) else { return Ok(()) };
        let port = pair.port;
        let Link::Id(conn) = std::mem::replace(&mut pair.link, Link::Gone) else { return Ok(()) };
        let config = config_of(&pair.options);
        let queue = self.make_pair(conn, port, place, config).map_err(|(_, why)| os("make a queue pair", why))?;
        let Some(pair) = self.queue_at(place) else { return Ok(()) };
        let (private_data, to) = (std::mem::take(&mut pair.private_data), pair.peer);
        let reads = pair.options.reads as u8;
        let parameters = Parameters {
            private_data: &private_data,
            reads_in: reads,
            reads_out: reads,
            rnr_retry: pair.options.rnr_retry.unwrap_or(FOR_EVER),
        };
        let asked = queue.id().connect(&parameters);
        pair.link = Link::Pair(queue);
        asked.map_err(|why| connect(to, why))
    }

    /// The queue pair of a place.
    fn make_pair(&mut self, conn: ConnId, port: usize, place: usize, config: PairConfig) -> Result<QueuePair, (ConnId, Errno)> {
        let port = &mut self.ports[port];
        let queue = QueuePair::new(conn, &port.node.domain, &port.region, &port.receive, &port.completions, config)?;
        port.places.insert(queue.number(), place);
        Ok(queue)
    }

    /// Answers a request with yes. What goes wrong before the answer is refused; what goes wrong
    /// with it is the queue's end.
    pub(crate) fn accept(
        &mut self,
        id: QueueId,
        mut request: Request,
        queue: &mut RdmaQueue,
        token: Token,
        private_data: &[u8],
    ) -> Result<(), TransportError> {
        let prepared = self.prepare(id, &mut request, queue);
        let port = match prepared {
            Ok(port) => port,
            Err(why) => {
                queue.put_back(request);
                return Err(why);
            }
        };
        let Request { id: conn, private_data: asked, reads_in, reads_out } = request;
        let until = self.platform.now() + queue.options.connect_timeout;
        let reads = queue.options.reads;
        let link = match self.make_pair(conn, port, id.index(), config_of(&queue.options)) {
            Ok(made) => Link::Pair(made),
            // The connection manager knows nothing of the connection any more.
            Err((conn, Errno(libc::EINVAL))) => Link::Id(conn),
            Err((id, why)) => {
                queue.put_back(Request { id, private_data: asked, reads_in, reads_out });
                return Err(os("make a queue pair", why));
            }
        };
        let parameters = Parameters {
            private_data,
            reads_in: reads.min(reads_in.into()) as u8,
            reads_out: reads.min(reads_out.into()) as u8,
            rnr_retry: queue.options.rnr_retry.unwrap_or(FOR_EVER),
        };
        let accepted = match &link {
            Link::Pair(made) => made.id().accept(&parameters),
            _ => Err(Errno(libc::EINVAL)),
        };
        let mut pair = Pair::new(id, token, State::Accepting, link, queue.peer, queue.options.clone(), until);
        (pair.port, pair.reads) = (port, parameters.reads_out.into());
        self.operations += pair.options.send_depth;
        self.add(Member::Queue(Box::new(pair)));
        if let Err(why) = accepted {
            log::debug!("{} has not waited to be accepted (error {})", queue.peer, why.0);
            self.end(id.index(), Some(TransportError::PeerGone));
        }
        Ok(())
    }

    /// All that can be done before a request's answer.
    fn prepare(&mut self, id: QueueId, request: &mut Request, queue: &RdmaQueue) -> Result<usize, TransportError> {
        let Some((device, _)) = request.id.device() else { return Err(TransportError::PeerGone) };
        let port = self.port(device)?;
        self.ports[port].node.check(&queue.options)?;
        request.id.move_to(&self.channel, id.raw()).map_err(|why| os("move a queue to a group", why))?;
        Ok(port)
    }

    /// The connection stands.
    pub(crate) fn establish(&mut self, place: usize, private_data: Box<[u8]>) {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return };
        let Link::Pair(queue) = &pair.link else { return };
        if let Err(why) = queue.hasten() {
            log::debug!("a queue's peers wait long for receive buffers (error {})", why.0);
        }
        let device = queue.id().device();
        let message = device.map(|(device, port)| device.message(port));
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(why)) => return self.end(place, Some(os("ask a port what it can do", why))),
            None => return self.end(place, Some(TransportError::PeerGone)),
        };
        let options = &pair.options;
        pair.limits = Some(QueueLimits {
            sends: options.send_depth,
            reads: pair.reads,
            gather: options.gather.min(core_reactor::transport::Frame::PARTS as u32),
            inline: options.inline,
            message,
            receives: self.config.receives,
            receive_size: u32::try_from(self.config.bufs.buf_size()).unwrap_or(u32::MAX),
        });
        pair.state = State::Open;
        let (id, token) = (pair.id, pair.token);
        self.unsettled.retain(|unsettled| *unsettled != place);
        self.ready.push_back(QueueEvent::Established { id, token, private_data });
    }
}

/// What a channel tells, up to a bound.
fn heard(channel: &Arc<EventChannel>) -> impl Iterator<Item = CmEvent> + '_ {
    let next = || match channel.next() {
        Ok(event) => event,
        Err(why) => {
            log::error!("the connection manager tells nothing (error {})", why.0);
            None
        }
    };
    std::iter::from_fn(next).take(BATCH)
}

fn config_of(options: &core_reactor::transport::QueueOptions) -> PairConfig {
    PairConfig { send_depth: options.send_depth, gather: options.gather, inline: options.inline }
}
