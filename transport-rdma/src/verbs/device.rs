//! Devices, and what they can do.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rdma_sys as ffi;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Errno;

/// A device of this machine, opened by librdmacm, which keeps it open while the library is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device(NonNull<ffi::ibv_context>);

// SAFETY: libibverbs takes calls on a context from any thread, at the same time.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// What a device can do, as it says itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceLimits {
    pub(crate) queue_pairs: u32,
    pub(crate) send_depth: u32,
    pub(crate) gather: u32,
    pub(crate) reads: u32,
    pub(crate) completions: u32,
    pub(crate) registrations: u32,
    pub(crate) receives: u32,
    /// It is Soft-RoCE, in the kernel. Its shared receive queue is a ring, from whose front a queue
    /// pair takes the receive of one message at a time.
    pub(super) is_soft_roce: bool,
}

/// The vendor that Soft-RoCE gives (`RXE_VENDOR_ID` in the kernel's `rxe_param.h`).
const SOFT_ROCE: u32 = 0xFF_FFFF;

/// The devices of this machine. None is an empty list, or an error that says so.
pub(crate) fn devices() -> Result<Vec<Device>, Errno> {
    let mut count = 0;
    // SAFETY: the count is written during the call.
    let list = NonNull::new(unsafe { ffi::rdma_get_devices(&raw mut count) }).ok_or_else(Errno::last)?;
    // SAFETY: the list has so many entries.
    let contexts = unsafe { std::slice::from_raw_parts(list.as_ptr(), usize::try_from(count).unwrap_or(0)) };
    let devices = contexts.iter().filter_map(|context| NonNull::new(*context)).map(Device).collect();
    // SAFETY: got above and freed once. The devices stay open.
    unsafe { ffi::rdma_free_devices(list.as_ptr()) };
    Ok(devices)
}

impl Device {
    pub(super) fn of(context: NonNull<ffi::ibv_context>) -> Self {
        Self(context)
    }

    pub(super) fn context(self) -> *mut ffi::ibv_context {
        self.0.as_ptr()
    }

    /// Its name, such as "mlx5_0" or "rxe0".
    pub(crate) fn name(self) -> String {
        // SAFETY: an open context has a device, whose name is a string as long as it is open.
        let name = unsafe { CStr::from_ptr(ffi::ibv_get_device_name((*self.context()).device)) };
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn limits(self) -> Result<DeviceLimits, Errno> {
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut attr: ffi::ibv_device_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the context is open; the structure is written during the call.
        Errno::check(unsafe { ffi::ibv_query_device(self.context(), &raw mut attr) })?;
        let count = |n: i32| u32::try_from(n).unwrap_or(0);
        Ok(DeviceLimits {
            queue_pairs: count(attr.max_qp),
            send_depth: count(attr.max_qp_wr),
            gather: count(attr.max_sge),
            // Eight bits of the connection manager's messages carry it.
            reads: count(attr.max_qp_rd_atom.min(attr.max_qp_init_rd_atom)).min(255),
            completions: count(attr.max_cqe),
            registrations: count(attr.max_mr),
            receives: count(attr.max_srq_wr),
            is_soft_roce: attr.vendor_id == SOFT_ROCE,
        })
    }

    /// Lets [`next_at_its_end`](Self::next_at_its_end) not block.
    pub(super) fn unblock(self) -> Result<(), Errno> {
        // SAFETY: the device's own descriptor, open as long as the context.
        let fd = unsafe { BorrowedFd::borrow_raw((*self.context()).async_fd) };
        let flags = fcntl_getfl(fd).map_err(|e| Errno(e.raw_os_error()))?;
        fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(|e| Errno(e.raw_os_error()))
    }

    /// Takes an event of the device's, if there is one: the number of the queue pair which it says
    /// has taken its last receive, or nothing that anybody here asks for.
    pub(super) fn next_at_its_end(self) -> Option<Option<u32>> {
        let mut event = MaybeUninit::<ffi::ibv_async_event>::uninit();
        // SAFETY: the context is open; the event is written on success.
        if unsafe { ffi::ibv_get_async_event(self.context(), event.as_mut_ptr().cast()) } != 0 {
            return None;
        }
        let event = event.as_mut_ptr();
        // SAFETY: written above. Read as a number: a library newer than these bindings has kinds
        // that are not in their list.
        let what = unsafe { (&raw const (*event).event_type).cast::<u32>().read() };
        let told = (what == ffi::ibv_event_type::IBV_EVENT_QP_LAST_WQE_REACHED as u32).then(|| {
            // SAFETY: this event is of a queue pair, which is not destroyed before the event is
            // acknowledged.
            unsafe { (*(*event).element.qp).qp_num }
        });
        // SAFETY: got above, acknowledged once, and not used after it.
        unsafe { ffi::ibv_ack_async_event(event.cast()) };
        Some(told)
    }

    /// Bytes that one operation may move through a port.
    pub(crate) fn message(self, port: u8) -> Result<u32, Errno> {
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut attr: ffi::ibv_port_attr = unsafe { std::mem::zeroed() };
        // SAFETY: as in `limits`.
        Errno::check(unsafe { ffi::___ibv_query_port(self.context(), port, &raw mut attr) })?;
        Ok(attr.max_msg_sz)
    }
}
