//! Listeners and queues that are in no group.

use std::net::SocketAddr;

use core_reactor::Refused;
use core_reactor::transport::{Listener, Queue, QueueOptions, REJECT_DATA, TransportError};

use crate::NAME;
use crate::error::{limit, listen, no_manager};
use crate::registry::Registry;
use crate::verbs::{ConnId, EventChannel, Request};

/// A listener, on a channel of its own: also in a group, as Linux loses the requests of one that
/// moves.
pub(crate) struct RdmaListener {
    pub(crate) id: ConnId,
    pub(crate) at: SocketAddr,
    pub(crate) options: QueueOptions,
}

impl RdmaListener {
    pub(crate) fn new(registry: &Registry, at: SocketAddr, options: &QueueOptions) -> Result<Self, TransportError> {
        registry.check(options)?;
        let channel = EventChannel::new().map_err(no_manager)?;
        let id = ConnId::new(&channel, 0).map_err(no_manager)?;
        id.bind(at).map_err(|why| listen(at, why))?;
        if let Some((device, _)) = id.device() {
            registry.node(device)?.check(options)?;
        }
        id.listen(options.backlog).map_err(|why| listen(at, why))?;
        let at = id.local_addr().unwrap_or(at);
        Ok(Self { id, at, options: options.clone() })
    }
}

impl Listener for RdmaListener {
    fn local_addr(&self) -> SocketAddr {
        self.at
    }

    fn transport(&self) -> &'static str {
        NAME
    }
}

/// A queue that is to connect, or was requested.
pub(crate) struct RdmaQueue {
    pub(crate) peer: SocketAddr,
    pub(crate) options: QueueOptions,
    /// `None` of one that is to connect, or has been answered.
    request: Option<Request>,
}

impl RdmaQueue {
    pub(crate) fn to_connect(to: SocketAddr, options: &QueueOptions) -> Self {
        Self { peer: to, options: options.clone(), request: None }
    }

    pub(crate) fn requested(request: Request, options: &QueueOptions) -> Self {
        // An id that was requested has its peer's address.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { peer: request.id.peer_addr().unwrap_or(nowhere), options: options.clone(), request: Some(request) }
    }

    pub(crate) fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The request, to be answered by the caller.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// Undoes [`take_request`](Self::take_request).
    pub(crate) fn put_back(&mut self, request: Request) {
        self.request = Some(request);
    }

    fn say_no(&mut self, private_data: &[u8]) {
        if let Some(request) = self.request.take()
            && let Err(why) = request.id.reject(private_data)
        {
            log::debug!("{} has not waited for a rejection (error {})", self.peer, why.0);
        }
    }
}

impl Queue for RdmaQueue {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn private_data(&self) -> &[u8] {
        self.request.as_ref().map_or(&[], |request| &request.private_data)
    }

    fn reject(mut self: Box<Self>, private_data: &[u8]) -> Result<(), Refused<Box<dyn Queue>, TransportError>> {
        if let Err(why) = limit("bytes of private data with a rejection", private_data.len() as u64, REJECT_DATA as u64) {
            return Err(Refused { item: self, why });
        }
        self.say_no(private_data);
        Ok(())
    }

    fn transport(&self) -> &'static str {
        NAME
    }
}

impl Drop for RdmaQueue {
    fn drop(&mut self) {
        self.say_no(&[]);
    }
}
