//! Queues and listeners that are in no group.

use std::net::SocketAddr;
use std::sync::Arc;

use core_reactor::Refused;
use core_reactor::transport::{Listener, Queue, QueueOptions, REJECT_DATA, REQUEST_DATA, TransportError};

use crate::fabric::{Fabric, Listening};
use crate::wire::{Answer, Side, Wire};
use crate::{NAME, limit};

pub(crate) struct MemoryListener {
    fabric: Arc<Fabric>,
    pub(crate) listening: Arc<Listening>,
}

impl MemoryListener {
    pub(crate) fn new(fabric: Arc<Fabric>, at: SocketAddr, options: &QueueOptions) -> Result<Self, TransportError> {
        let listening = fabric.listen(at, options)?;
        Ok(Self { fabric, listening })
    }
}

impl Listener for MemoryListener {
    fn local_addr(&self) -> SocketAddr {
        self.listening.at
    }

    fn transport(&self) -> &'static str {
        NAME
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.fabric.unlisten(&self.listening);
    }
}

pub(crate) struct MemoryQueue {
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) options: QueueOptions,
    /// `None` once a group has it.
    role: Option<Role>,
}

pub(crate) enum Role {
    ToConnect(SocketAddr),
    Requested { wire: Arc<Wire>, private_data: Box<[u8]>, reads: u32 },
}

impl MemoryQueue {
    pub(crate) fn to_connect(fabric: Arc<Fabric>, to: SocketAddr, options: &QueueOptions) -> Self {
        Self { fabric, options: options.clone(), role: Some(Role::ToConnect(to)) }
    }

    /// The other end of `wire`, for who listens there.
    pub(crate) fn requested(fabric: Arc<Fabric>, wire: Arc<Wire>, options: &QueueOptions, private_data: &[u8], reads: u32) -> Self {
        let role = Role::Requested { wire, private_data: fabric.private(private_data, REQUEST_DATA), reads };
        Self { fabric, options: options.clone(), role: Some(role) }
    }

    pub(crate) fn is_to_connect(&self) -> bool {
        matches!(self.role, Some(Role::ToConnect(_)))
    }

    /// Whether who requested it still waits for an answer.
    pub(crate) fn has_peer(&self) -> bool {
        matches!(&self.role, Some(Role::Requested { wire, .. }) if wire.end(Side::Accepted).gone.is_none())
    }

    /// What it is, for the group that takes it.
    pub(crate) fn into_role(mut self) -> Option<Role> {
        self.role.take()
    }

    /// Ends it without a word to its peer.
    pub(crate) fn forget(mut self) {
        self.role = None;
    }

    fn say_no(&mut self, private_data: &[u8]) {
        if let Some(Role::Requested { wire, .. }) = self.role.take() {
            wire.tell(Side::Accepted, |end| end.answer = Some(Answer::Rejected(self.fabric.private(private_data, REJECT_DATA))));
        }
    }
}

impl Queue for MemoryQueue {
    fn peer_addr(&self) -> SocketAddr {
        match &self.role {
            Some(Role::ToConnect(to)) => *to,
            Some(Role::Requested { wire, .. }) => wire.addr(Side::Asked),
            None => unreachable!("it was consumed"),
        }
    }

    fn private_data(&self) -> &[u8] {
        match &self.role {
            Some(Role::Requested { private_data, .. }) => private_data,
            _ => &[],
        }
    }

    fn reject(mut self: Box<Self>, private_data: &[u8]) -> Result<(), Refused<Box<dyn Queue>, TransportError>> {
        if let Err(why) = limit("private data of a rejection", private_data.len() as u64, REJECT_DATA as u64) {
            return Err(Refused { item: self, why });
        }
        self.say_no(private_data);
        Ok(())
    }

    fn transport(&self) -> &'static str {
        NAME
    }
}

impl Drop for MemoryQueue {
    fn drop(&mut self) {
        self.say_no(&[]);
    }
}
