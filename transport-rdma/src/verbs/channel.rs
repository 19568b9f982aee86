//! The event channel: what the connection manager tells.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rdma_sys as ffi;
use rdma_sys::rdma_cm_event_type as kind;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{ConnId, Errno};

/// A source of events of the connection ids that are on it. Lives as long as any of them.
pub(crate) struct EventChannel(NonNull<ffi::rdma_event_channel>);

// SAFETY: librdmacm allows its calls on a channel from any thread, at the same time.
unsafe impl Send for EventChannel {}
// SAFETY: as above.
unsafe impl Sync for EventChannel {}

/// Something that happened to an id.
pub(crate) struct CmEvent {
    /// Which id: not to be reached through, since it may be gone.
    pub(crate) of: usize,
    /// The id's key. An id that was requested has the key of its listener until it gets another.
    pub(crate) key: u64,
    pub(crate) what: Happened,
}

/// What happened to an id. Errors are the system's numbers.
pub(crate) enum Happened {
    AddressResolved,
    RouteResolved,
    /// The address cannot be resolved, or no way leads there, or nobody answers there.
    Unreachable(Errno),
    Requested(Request),
    Established {
        private_data: Box<[u8]>,
        /// Reads that the peer answers at a time.
        reads: u8,
    },
    /// The connection could not be made.
    Failed(Errno),
    /// With InfiniBand's reason (12.6.7.2).
    Rejected {
        reason: i32,
        private_data: Box<[u8]>,
    },
    Disconnected,
    DeviceRemoved,
    /// Nothing that anybody here asks for.
    Other,
}

/// A request to connect.
pub(crate) struct Request {
    pub(crate) id: ConnId,
    pub(crate) private_data: Box<[u8]>,
    /// Reads that the peer wants to have under way.
    pub(crate) reads_in: u8,
    /// Reads that the peer answers at a time.
    pub(crate) reads_out: u8,
}

impl EventChannel {
    /// A channel whose calls do not block.
    pub(crate) fn new() -> Result<Arc<Self>, Errno> {
        // SAFETY: no memory is passed.
        let channel = NonNull::new(unsafe { ffi::rdma_create_event_channel() }).ok_or_else(Errno::last)?;
        let channel = Self(channel);
        let flags = fcntl_getfl(channel.as_fd()).map_err(|e| Errno(e.raw_os_error()))?;
        fcntl_setfl(channel.as_fd(), flags | OFlags::NONBLOCK).map_err(|e| Errno(e.raw_os_error()))?;
        Ok(Arc::new(channel))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rdma_event_channel {
        self.0.as_ptr()
    }

    /// The next event, if there is one. It is acknowledged before it is told, so no call that waits
    /// for that can hang.
    pub(crate) fn next(self: &Arc<Self>) -> Result<Option<CmEvent>, Errno> {
        let mut event = std::ptr::null_mut();
        // SAFETY: the channel lives; the event is written on success.
        if unsafe { ffi::rdma_get_cm_event(self.as_ptr(), &raw mut event) } != 0 {
            let why = Errno::last();
            return if why == Errno(libc::EAGAIN) { Ok(None) } else { Err(why) };
        }
        // SAFETY: just got, and not acknowledged yet, which keeps the event and the ids that it
        // names where they are.
        let told = unsafe { self.read(&*event) };
        // SAFETY: got above, acknowledged once, and not used after it.
        unsafe { ffi::rdma_ack_cm_event(event) };
        Ok(Some(told))
    }

    /// Copies what an event says.
    ///
    /// # Safety
    /// The event was not acknowledged yet.
    unsafe fn read(self: &Arc<Self>, event: &ffi::rdma_cm_event) -> CmEvent {
        // SAFETY: the id of a request is new, and nobody else's yet; it comes on the channel of its
        // listener, which is this one.
        let requested = || unsafe { ConnId::from_request(event.id, self.clone()) };
        // SAFETY: these events have `conn` for their parameter, whose private data is the event's.
        let private_data = || unsafe { private_data(&event.param.conn) };
        let failed = || Errno(event.status.abs());
        let what = match event.event {
            kind::RDMA_CM_EVENT_ADDR_RESOLVED => Happened::AddressResolved,
            kind::RDMA_CM_EVENT_ROUTE_RESOLVED => Happened::RouteResolved,
            kind::RDMA_CM_EVENT_ADDR_ERROR | kind::RDMA_CM_EVENT_ROUTE_ERROR | kind::RDMA_CM_EVENT_UNREACHABLE => {
                Happened::Unreachable(failed())
            }
            kind::RDMA_CM_EVENT_CONNECT_REQUEST => {
                // SAFETY: this event has `conn` for its parameter.
                let (reads_in, reads_out) = unsafe { (event.param.conn.responder_resources, event.param.conn.initiator_depth) };
                Happened::Requested(Request { id: requested(), private_data: private_data(), reads_in, reads_out })
            }
            kind::RDMA_CM_EVENT_ESTABLISHED => {
                // SAFETY: as above.
                let reads = unsafe { event.param.conn.initiator_depth };
                Happened::Established { private_data: private_data(), reads }
            }
            kind::RDMA_CM_EVENT_CONNECT_ERROR => Happened::Failed(failed()),
            kind::RDMA_CM_EVENT_REJECTED => Happened::Rejected { reason: event.status, private_data: private_data() },
            kind::RDMA_CM_EVENT_DISCONNECTED => Happened::Disconnected,
            kind::RDMA_CM_EVENT_DEVICE_REMOVAL => Happened::DeviceRemoved,
            _ => Happened::Other,
        };
        let id = if matches!(what, Happened::Requested(_)) { event.listen_id } else { event.id };
        // SAFETY: an id that an event names is not destroyed before the event is acknowledged; its
        // context is changed only while no event of it is out (`ConnId::move_to`).
        let key = unsafe { (*id).context }.addr() as u64;
        CmEvent { of: id.addr(), key, what }
    }
}

/// # Safety
/// The parameter's private data is what it says.
unsafe fn private_data(conn: &ffi::rdma_conn_param) -> Box<[u8]> {
    if conn.private_data.is_null() || conn.private_data_len == 0 {
        return Box::default();
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(conn.private_data.cast::<u8>(), conn.private_data_len.into()) }.into()
}

impl AsFd for EventChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel's own descriptor, open until the channel is destroyed.
        unsafe { BorrowedFd::borrow_raw((*self.as_ptr()).fd) }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: its ids hold it, so they are gone.
        unsafe { ffi::rdma_destroy_event_channel(self.as_ptr()) }
    }
}
