//! Completion queues, and the channels that tell of them.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::Rc;

use rdma_sys as ffi;
use rdma_sys::{ibv_wc_opcode as opcode, ibv_wc_status as status};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Device, Errno};

/// Completions that are taken off a queue at a time.
const BATCH: usize = 32;

/// Events that are acknowledged at a time, since that takes a lock.
const ACKNOWLEDGE: u32 = 64;

/// The bit in a request's id that says that it is a receive. Below it, the number of its queue; in
/// the low half, its place there.
pub(super) const RECEIVE: u64 = 1 << 63;

/// A completion queue. On one core; its queue pairs hold it.
pub(crate) struct CompletionQueue {
    raw: NonNull<ffi::ibv_cq>,
    channel: Option<Channel>,
    /// Events taken and not acknowledged.
    unacknowledged: Cell<u32>,
    /// How often it was seen empty, with all that was found before handed on.
    emptied: Cell<u64>,
}

/// What has become of a request. Whoever has one may have the request's memory back; there is one
/// for each, and it does not outlive the poll that has found it.
pub(crate) struct Completion<'poll> {
    _poll: PhantomData<&'poll CompletionQueue>,
    /// The request's id.
    pub(super) id: u64,
    /// The queue pair's number.
    pub(crate) pair: u32,
    pub(crate) status: Status,
    /// Bytes received.
    pub(super) bytes: u32,
    /// A write of the peer's told of itself.
    pub(crate) is_write: bool,
    pub(crate) imm: Option<u32>,
}

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    Flushed,
    /// The peer did not answer.
    TimedOut,
    /// The peer had no receive buffer.
    NotReady,
    /// The peer cannot take such a message; of a receive: what came is too long.
    Invalid,
    /// The peer does not expose that.
    Access,
    /// This end could not do it; of a receive, with Soft-RoCE: what came is too long.
    Local,
    /// Anything else, with the library's number for it.
    Other(u32),
}

impl CompletionQueue {
    /// A queue for so many completions; with `tells`, one that has a channel.
    pub(crate) fn new(device: Device, completions: u32, tells: bool) -> Result<Rc<Self>, Errno> {
        let channel = tells.then(|| Channel::new(device)).transpose()?;
        let channel_ptr = channel.as_ref().map_or(std::ptr::null_mut(), |channel| channel.0.as_ptr());
        let size = i32::try_from(completions).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: the device is open and the channel lives as long as the queue.
        let raw = unsafe { ffi::ibv_create_cq(device.context(), size, std::ptr::null_mut(), channel_ptr, 0) };
        let raw = NonNull::new(raw).ok_or_else(Errno::last)?;
        Ok(Rc::new(Self { raw, channel, unacknowledged: Cell::new(0), emptied: Cell::new(0) }))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_cq {
        self.raw.as_ptr()
    }

    /// Takes up to `most` completions, and up to [`BATCH`], off the queue. Tells whether it was
    /// seen empty.
    pub(crate) fn poll(&self, most: usize, mut take: impl FnMut(Completion<'_>)) -> bool {
        let mut taken = [const { MaybeUninit::<ffi::ibv_wc>::uninit() }; BATCH];
        let most = most.min(BATCH);
        // SAFETY: the queue lives, and there is room for so many.
        let n = unsafe { ffi::ibv_poll_cq(self.as_ptr(), most as i32, taken.as_mut_ptr().cast()) };
        let n = usize::try_from(n).unwrap_or_else(|_| {
            log::error!("a completion queue cannot be polled");
            0
        });
        for wc in &taken[..n] {
            // SAFETY: the library has written so many. Those that failed have some fields only, and
            // all of them are numbers.
            take(Completion::new(unsafe { wc.assume_init_ref() }));
        }
        if n < most {
            self.emptied.update(|n| n + 1);
        }
        n < most
    }

    /// How often it was seen empty. What was on it before is noted when this has grown.
    pub(super) fn emptied(&self) -> u64 {
        self.emptied.get()
    }

    /// Asks for an event for the next completion.
    pub(crate) fn arm(&self) -> Result<(), Errno> {
        // SAFETY: the queue lives.
        Errno::check(unsafe { ffi::ibv_req_notify_cq(self.as_ptr(), 0) })
    }

    /// Takes the event that was asked for, if it is there.
    pub(crate) fn take_event(&self) -> bool {
        let Some(channel) = &self.channel else { return false };
        let (mut queue, mut context) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the channel lives; both are written on success.
        if unsafe { ffi::ibv_get_cq_event(channel.0.as_ptr(), &raw mut queue, &raw mut context) } != 0 {
            return false;
        }
        self.unacknowledged.update(|n| n + 1);
        if self.unacknowledged.get() == ACKNOWLEDGE {
            self.acknowledge();
        }
        true
    }

    /// The queue cannot be destroyed before.
    fn acknowledge(&self) {
        // SAFETY: the queue lives, and so many events of it were taken: the channel has no other
        // queue.
        unsafe { ffi::ibv_ack_cq_events(self.as_ptr(), self.unacknowledged.take()) };
    }

    /// What becomes ready by events.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(Channel::as_fd)
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        self.acknowledge();
        // SAFETY: its queue pairs hold it, so they are gone, or leaked, and then the library
        // refuses.
        if let Err(why) = Errno::check(unsafe { ffi::ibv_destroy_cq(self.as_ptr()) }) {
            log::error!("a completion queue cannot be destroyed (error {})", why.0);
        }
    }
}

impl Completion<'_> {
    #[inline]
    fn new(wc: &ffi::ibv_wc) -> Self {
        let done = wc.status == status::IBV_WC_SUCCESS;
        let has_imm = done && wc.wc_flags & ffi::ibv_wc_flags::IBV_WC_WITH_IMM.0 != 0;
        // SAFETY: the flag says that it is there.
        let imm = has_imm.then(|| u32::from_be(unsafe { wc.imm_data_invalidated_rkey_union.imm_data }));
        Self {
            _poll: PhantomData,
            id: wc.wr_id,
            pair: wc.qp_num,
            status: Status::new(wc.status),
            bytes: wc.byte_len,
            is_write: done && wc.opcode == opcode::IBV_WC_RECV_RDMA_WITH_IMM,
            imm,
        }
    }

    /// Whether it is of a receive.
    #[inline]
    pub(crate) fn is_receive(&self) -> bool {
        self.id & RECEIVE != 0
    }

    /// Bytes that were received or written.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Status {
    #[inline]
    fn new(raw: status::Type) -> Self {
        match raw {
            status::IBV_WC_SUCCESS => Self::Done,
            status::IBV_WC_WR_FLUSH_ERR => Self::Flushed,
            status::IBV_WC_RETRY_EXC_ERR | status::IBV_WC_RESP_TIMEOUT_ERR => Self::TimedOut,
            status::IBV_WC_RNR_RETRY_EXC_ERR => Self::NotReady,
            // Soft-RoCE answers with the last one when a message does not fit; elsewhere it stands
            // for a receiver that is broken in itself, which comes to the same.
            status::IBV_WC_REM_INV_REQ_ERR | status::IBV_WC_LOC_LEN_ERR | status::IBV_WC_REM_OP_ERR => Self::Invalid,
            status::IBV_WC_LOC_QP_OP_ERR => Self::Local,
            status::IBV_WC_REM_ACCESS_ERR => Self::Access,
            other => Self::Other(other),
        }
    }
}

/// A completion channel.
struct Channel(NonNull<ffi::ibv_comp_channel>);

impl Channel {
    /// A channel whose calls do not block.
    fn new(device: Device) -> Result<Self, Errno> {
        // SAFETY: the device is open.
        let channel = unsafe { ffi::ibv_create_comp_channel(device.context()) };
        let channel = Self(NonNull::new(channel).ok_or_else(Errno::last)?);
        let flags = fcntl_getfl(channel.as_fd()).map_err(|e| Errno(e.raw_os_error()))?;
        fcntl_setfl(channel.as_fd(), flags | OFlags::NONBLOCK).map_err(|e| Errno(e.raw_os_error()))?;
        Ok(channel)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel's own descriptor, open until it is destroyed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_ref().fd) }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: the queue that has it was destroyed before it (`CompletionQueue`), or was leaked,
        // and then the library refuses.
        unsafe { ffi::ibv_destroy_comp_channel(self.0.as_ptr()) };
    }
}

/// [`Status::Local`] as a number.
pub(crate) const LOCAL: u32 = status::IBV_WC_LOC_QP_OP_ERR;

/// The library's words for a status.
pub(crate) fn status_text(raw: u32) -> String {
    // SAFETY: any number is taken, and the answer is a string that stays.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::ibv_wc_status_str(raw)) };
    text.to_string_lossy().into_owned()
}
