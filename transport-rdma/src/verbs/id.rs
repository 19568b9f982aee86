//! Connection ids of the connection manager.

use std::net::SocketAddr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdma_sys as ffi;

use super::{Errno, EventChannel, address};

/// A connection id: a listener, or one end of a connection before and beside its queue pair.
/// Dropped, it is destroyed: what was asked of it, or asked for, is rejected, and a connection is
/// ended.
pub(crate) struct ConnId {
    raw: NonNull<ffi::rdma_cm_id>,
    /// Where its events come.
    channel: Arc<EventChannel>,
}

// SAFETY: librdmacm takes calls on an id from any thread; they are made by its one owner.
unsafe impl Send for ConnId {}

/// What goes with a request, or its acceptance.
pub(crate) struct Parameters<'a> {
    pub(crate) private_data: &'a [u8],
    /// Reads of the peer's that are answered at a time.
    pub(crate) reads_in: u8,
    /// Reads that may be under way.
    pub(crate) reads_out: u8,
    /// How often the peer tries a message that finds no receive buffer here; 7 is for ever.
    pub(crate) rnr_retry: u8,
}

impl ConnId {
    /// An id on this channel; its events carry `key`.
    pub(crate) fn new(channel: &Arc<EventChannel>, key: u64) -> Result<Self, Errno> {
        let mut raw = std::ptr::null_mut();
        let context = std::ptr::without_provenance_mut(key as usize);
        // SAFETY: the channel lives, and the id is written on success. The context is a number that
        // nobody follows.
        let made = unsafe { ffi::rdma_create_id(channel.as_ptr(), &raw mut raw, context, ffi::rdma_port_space::RDMA_PS_TCP) };
        Errno::check(made)?;
        let raw = NonNull::new(raw).ok_or(Errno(libc::EIO))?;
        Ok(Self { raw, channel: channel.clone() })
    }

    /// # Safety
    /// `raw` is the id of a request that has just come on `channel`, and nobody else's.
    pub(super) unsafe fn from_request(raw: *mut ffi::rdma_cm_id, channel: Arc<EventChannel>) -> Self {
        // SAFETY: the id of an event is not null.
        Self { raw: unsafe { NonNull::new_unchecked(raw) }, channel }
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rdma_cm_id {
        self.raw.as_ptr()
    }

    /// What [`CmEvent::of`](super::CmEvent::of) says of its events.
    pub(crate) fn name(&self) -> usize {
        self.raw.addr().get()
    }

    /// Where its events come.
    pub(crate) fn channel(&self) -> &Arc<EventChannel> {
        &self.channel
    }

    /// Moves it to another channel, and gives it another key. Not for listeners: Linux loses the
    /// requests that wait (6.1 leaves their ids on the old channel).
    pub(crate) fn move_to(&mut self, channel: &Arc<EventChannel>, key: u64) -> Result<(), Errno> {
        if !Arc::ptr_eq(&self.channel, channel) {
            // SAFETY: both channels live. It returns when every event of the id that was got from
            // the old one is acknowledged.
            Errno::check(unsafe { ffi::rdma_migrate_id(self.as_ptr(), channel.as_ptr()) })?;
            self.channel = channel.clone();
        }
        // SAFETY: the id lives, and only who reads this channel reads its context: the caller, who
        // is not doing so now.
        unsafe { (*self.as_ptr()).context = std::ptr::without_provenance_mut(key as usize) };
        Ok(())
    }

    pub(crate) fn bind(&self, at: SocketAddr) -> Result<(), Errno> {
        let mut at = address::CAddr::new(at);
        // SAFETY: the id lives; the address is read during the call.
        Errno::check(unsafe { ffi::rdma_bind_addr(self.as_ptr(), at.as_mut_ptr()) })
    }

    pub(crate) fn listen(&self, backlog: u32) -> Result<(), Errno> {
        // SAFETY: the id lives.
        Errno::check(unsafe { ffi::rdma_listen(self.as_ptr(), i32::try_from(backlog).unwrap_or(i32::MAX)) })
    }

    pub(crate) fn resolve_address(&self, to: SocketAddr, limit: Duration) -> Result<(), Errno> {
        let mut to = address::CAddr::new(to);
        // SAFETY: the id lives; the address is read during the call, and null for the source means:
        // any.
        Errno::check(unsafe { ffi::rdma_resolve_addr(self.as_ptr(), std::ptr::null_mut(), to.as_mut_ptr(), millis(limit)) })
    }

    pub(crate) fn resolve_route(&self, limit: Duration) -> Result<(), Errno> {
        // SAFETY: the id lives.
        Errno::check(unsafe { ffi::rdma_resolve_route(self.as_ptr(), millis(limit)) })
    }

    pub(crate) fn connect(&self, with: &Parameters<'_>) -> Result<(), Errno> {
        let mut raw = with.raw();
        // SAFETY: the id lives; the parameters and the private data that they point to are read
        // during the call.
        Errno::check(unsafe { ffi::rdma_connect(self.as_ptr(), &raw mut raw) })
    }

    pub(crate) fn accept(&self, with: &Parameters<'_>) -> Result<(), Errno> {
        let mut raw = with.raw();
        // SAFETY: as in `connect`.
        Errno::check(unsafe { ffi::rdma_accept(self.as_ptr(), &raw mut raw) })
    }

    pub(crate) fn reject(&self, private_data: &[u8]) -> Result<(), Errno> {
        // SAFETY: the id lives; the private data is read during the call.
        Errno::check(unsafe { ffi::rdma_reject(self.as_ptr(), private_data.as_ptr().cast(), private_data.len() as u8) })
    }

    /// Flushes what its queue pair has, and tells the peer that the connection ends, or that this
    /// end has heard of it.
    pub(crate) fn disconnect(&self) -> Result<(), Errno> {
        // SAFETY: the id lives.
        Errno::check(unsafe { ffi::rdma_disconnect(self.as_ptr()) })
    }

    /// Its own address, as far as it is known.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        // SAFETY: the id lives, and all bits of a storage mean something.
        address::read(unsafe { &(*self.as_ptr()).route.addr.src_addr_union.src_storage })
    }

    /// Its peer's address.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        // SAFETY: as above.
        address::read(unsafe { &(*self.as_ptr()).route.addr.dst_addr_union.dst_storage })
    }

    /// The device that it is bound to, if it is.
    pub(super) fn context(&self) -> Option<NonNull<ffi::ibv_context>> {
        // SAFETY: the id lives.
        NonNull::new(unsafe { (*self.as_ptr()).verbs })
    }

    /// The device that it is bound to, if it is, and the device's port.
    pub(crate) fn device(&self) -> Option<(super::Device, u8)> {
        // SAFETY: the id lives.
        let port = unsafe { (*self.as_ptr()).port_num };
        self.context().map(|context| (super::Device::of(context), port))
    }
}

impl Drop for ConnId {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once, by its owner, and its queue pair before it. That waits for
        // events that are being read, and those are acknowledged at once.
        unsafe { ffi::rdma_destroy_id(self.as_ptr()) };
    }
}

impl Parameters<'_> {
    fn raw(&self) -> ffi::rdma_conn_param {
        ffi::rdma_conn_param {
            private_data: self.private_data.as_ptr().cast(),
            private_data_len: self.private_data.len() as u8,
            responder_resources: self.reads_in,
            initiator_depth: self.reads_out,
            flow_control: 1,
            // As often as three bits can say: what is not acknowledged is lost on the way.
            retry_count: 7,
            rnr_retry_count: self.rnr_retry,
            srq: 1,
            qp_num: 0,
        }
    }
}

fn millis(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1)
}
