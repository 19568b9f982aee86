//! Queue pairs, and what is posted on them.

use std::collections::VecDeque;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use core_reactor::transport::{Frame, Op, RemoteMemory};
use rdma_sys as ffi;
use rdma_sys::{ibv_qp_attr_mask as mask, ibv_qp_type, ibv_send_flags as flags, ibv_wr_opcode as opcode};

use super::receive::Floor;
use super::{Completion, CompletionQueue, ConnId, Domain, Errno, Region, SharedReceive, Status, serial};

/// Requests that are handed over at a time: one system call or doorbell for all.
const BATCH: usize = 16;

/// Buffers of a frame.
const PARTS: usize = Frame::PARTS;

/// How long a peer whose message finds no receive buffer waits before it tries again: 0.64 ms
/// (InfiniBand 9.7.5.2.8). The connection manager's own choice is 655 ms.
const NOT_READY_TIMER: u8 = 12;

/// A queue pair with its connection id. What is posted on it, it owns until the device is done with
/// it.
pub(crate) struct QueuePair {
    /// `None` once it is destroyed.
    raw: Option<NonNull<ffi::ibv_qp>>,
    number: u32,
    serial: u64,
    config: PairConfig,
    posted: ManuallyDrop<VecDeque<Posted>>,
    /// Those in front that have ended.
    ended: usize,
    /// Those in front that the device has been given, or has no part in.
    handed: usize,
    /// One has failed.
    failed: bool,
    region: Arc<Region>,
    receive: Rc<SharedReceive>,
    /// What it may have of the receives.
    floor: Rc<Floor>,
    completions: Rc<CompletionQueue>,
    /// How often the completion queue had been seen empty when the pair was destroyed.
    emptied: u64,
    _domain: Arc<Domain>,
    /// Last: an id is destroyed after its queue pair.
    id: ConnId,
}

/// The size of a queue pair.
#[derive(Clone, Copy)]
pub(crate) struct PairConfig {
    pub(crate) send_depth: u32,
    pub(crate) gather: u32,
    pub(crate) inline: u32,
}

/// Something to be posted.
pub(crate) struct Work {
    pub(crate) op: Op,
    pub(crate) tag: u64,
    pub(crate) frame: Frame,
    /// What a read or a write reaches.
    pub(crate) remote: Option<RemoteMemory>,
    pub(crate) imm: Option<u32>,
}

impl Work {
    /// Whether it moves nothing and tells nothing, so that the device need not hear of it.
    fn is_nothing(&self) -> bool {
        let bytes = match self.op {
            Op::Message => return false,
            Op::Read => self.remote.map_or(0, |remote| remote.len as usize),
            Op::Write => self.frame.bytes(),
        };
        bytes == 0 && self.imm.is_none()
    }
}

struct Posted {
    work: Work,
    status: Status,
}

/// Something posted that has ended.
pub(crate) struct Finished {
    pub(crate) work: Work,
    pub(crate) status: Status,
}

impl QueuePair {
    /// Makes the queue pair of an id, which must be bound to the domain's device.
    ///
    /// # Errors
    /// The id comes back.
    pub(crate) fn new(
        id: ConnId,
        domain: &Arc<Domain>,
        region: &Arc<Region>,
        receive: &Rc<SharedReceive>,
        completions: &Rc<CompletionQueue>,
        config: PairConfig,
    ) -> Result<Self, (ConnId, Errno)> {
        let (receives, sends) = (receive.as_ptr(), completions.as_ptr());
        let mut init = init_attr(sends, receives, config);
        // SAFETY: id and domain live; the structure is read and written during the call, and names
        // objects that the pair holds.
        if let Err(why) = Errno::check(unsafe { ffi::rdma_create_qp(id.as_ptr(), domain.as_ptr(), &raw mut init) }) {
            return Err((id, why));
        }
        // SAFETY: made just now.
        let Some(raw) = NonNull::new(unsafe { (*id.as_ptr()).qp }) else { return Err((id, Errno(libc::EIO))) };
        // SAFETY: it lives.
        let number = unsafe { raw.as_ref().qp_num };
        Ok(Self {
            raw: Some(raw),
            number,
            serial: serial(),
            config,
            posted: ManuallyDrop::new(VecDeque::with_capacity(config.send_depth as usize)),
            ended: 0,
            handed: 0,
            failed: false,
            region: region.clone(),
            receive: receive.clone(),
            floor: receive.join(),
            completions: completions.clone(),
            emptied: 0,
            _domain: domain.clone(),
            id,
        })
    }

    /// The connection id.
    pub(crate) fn id(&self) -> &ConnId {
        &self.id
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    /// The number that its completions carry.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Sets what the connection manager leaves at its slowest. The pair must be connected.
    pub(crate) fn hasten(&self) -> Result<(), Errno> {
        let Some(raw) = self.raw else { return Ok(()) };
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut attr: ffi::ibv_qp_attr = unsafe { std::mem::zeroed() };
        attr.min_rnr_timer = NOT_READY_TIMER;
        // SAFETY: the pair lives; the structure is read during the call.
        Errno::check(unsafe { ffi::ibv_modify_qp(raw.as_ptr(), &raw mut attr, mask::IBV_QP_MIN_RNR_TIMER.0 as i32) })
    }

    /// How many have been posted and not been taken back by [`next_finished`](Self::next_finished).
    pub(crate) fn posted(&self) -> usize {
        self.posted.len()
    }

    /// Whether the device has something that it has not ended.
    pub(crate) fn is_busy(&self) -> bool {
        self.handed > self.ended
    }

    /// Takes something to be handed to the device by [`flush`](Self::flush). It comes back if there
    /// is no room, or if its buffers are not of the region's pool.
    pub(crate) fn push(&mut self, work: Work) -> Result<(), Work> {
        let parts = work.frame.parts();
        if self.posted.len() >= self.config.send_depth as usize || !parts.iter().all(|buf| self.region.has(buf)) {
            return Err(work);
        }
        self.posted.push_back(Posted { work, status: Status::Done });
        Ok(())
    }

    /// Hands over what was pushed. If that fails, the connection is to be ended; what is posted
    /// comes back by [`destroy`](Self::destroy).
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        while self.handed < self.posted.len() && !self.failed {
            self.hand_over()?;
        }
        self.end_nothings();
        Ok(())
    }

    /// Hands over a batch, up to the next that the device need not hear of.
    fn hand_over(&mut self) -> Result<(), Errno> {
        let Some(raw) = self.raw else { return Err(Errno(libc::ENOTCONN)) };
        // Only as much is written as there are requests.
        let mut sges = [const { MaybeUninit::<ffi::ibv_sge>::uninit() }; BATCH * PARTS];
        let mut requests = [const { MaybeUninit::<ffi::ibv_send_wr>::uninit() }; BATCH];
        let (first_sge, first) = (sges.as_mut_ptr().cast::<ffi::ibv_sge>(), requests.as_mut_ptr().cast::<ffi::ibv_send_wr>());
        let mut n = 0;
        for posted in self.posted.iter_mut().skip(self.handed).take(BATCH).take_while(|posted| !posted.work.is_nothing()) {
            let parts = first_sge.wrapping_add(n * PARTS);
            // SAFETY: both arrays have this place, and a frame has no more than so many parts.
            unsafe {
                let count = gather(&mut posted.work, self.region.key(), parts);
                let mut request = describe(&posted.work, self.config.inline);
                (request.wr_id, request.sg_list, request.num_sge) = (self.serial, parts, count);
                first.add(n).write(request);
                if n > 0 {
                    (*first.add(n - 1)).next = first.add(n);
                }
            }
            n += 1;
        }
        if n == 0 {
            self.handed += 1;
            return Ok(());
        }
        let mut bad = std::ptr::null_mut();
        // SAFETY: the pair lives; the list and its elements are read during the call. The memory
        // that they name is of the region, and of buffers that are kept in `posted` until their
        // completion, or until the pair is destroyed.
        let done = Errno::check(unsafe { ffi::ibv_post_send(raw.as_ptr(), first, &raw mut bad) });
        // Those in front of a bad one are the device's.
        self.handed += if done.is_ok() { n } else { bad.addr().saturating_sub(first.addr()) / size_of::<ffi::ibv_send_wr>() };
        done
    }

    /// Notes a completion of something posted here.
    pub(crate) fn complete(&mut self, completion: Completion<'_>) {
        if completion.id != self.serial {
            return;
        }
        // One is made for each request, in the order of their posting.
        self.end_nothings();
        if self.ended < self.handed {
            self.posted[self.ended].status = completion.status;
            self.ended += 1;
            self.failed |= completion.status != Status::Done;
        }
        self.end_nothings();
    }

    /// Ends those whose turn it is and that the device has no part in.
    fn end_nothings(&mut self) {
        while self.ended < self.handed && self.posted[self.ended].work.is_nothing() {
            self.posted[self.ended].status = if self.failed { Status::Flushed } else { Status::Done };
            self.ended += 1;
        }
    }

    /// The oldest that has ended and was not taken back.
    pub(crate) fn next_finished(&mut self) -> Option<Finished> {
        if self.ended == 0 {
            return None;
        }
        let Posted { mut work, status } = self.posted.pop_front()?;
        self.ended -= 1;
        self.handed = self.handed.saturating_sub(1);
        if work.op == Op::Read && status == Status::Done {
            fill(&mut work.frame, work.remote.map_or(0, |remote| remote.len as usize));
        }
        Some(Finished { work, status })
    }

    /// Destroys the queue pair; the id stays. False if the library will not have it: then what is
    /// posted stays where it is, for ever.
    pub(crate) fn destroy(&mut self) -> bool {
        let Some(raw) = self.raw else { return true };
        self.emptied = self.completions.emptied();
        // SAFETY: it lives, and it is destroyed once. From then on the device reaches nothing for
        // it.
        if let Err(why) = Errno::check(unsafe { ffi::ibv_destroy_qp(raw.as_ptr()) }) {
            log::error!("a queue pair cannot be destroyed (error {})", why.0);
            return false;
        }
        // SAFETY: the id lives; it must not know of the pair any more.
        unsafe { (*self.id.as_ptr()).qp = std::ptr::null_mut() };
        self.raw = None;
        // What was completed up to here may be noted only now.
        self.emptied = self.completions.emptied();
        true
    }

    /// After [`destroy`](Self::destroy), also one that has failed: whether all completions were
    /// noted since.
    pub(crate) fn is_drained(&self) -> bool {
        self.completions.emptied() != self.emptied
    }

    /// Once it is destroyed and [drained](Self::is_drained): what is left has been flushed, and it
    /// has no receive any more.
    pub(crate) fn flush_rest(&mut self) {
        if self.raw.is_some() || !self.is_drained() {
            return;
        }
        self.receive.leave(&self.floor);
        self.end_nothings();
        for posted in self.posted.iter_mut().skip(self.ended) {
            posted.status = Status::Flushed;
        }
        (self.ended, self.handed) = (self.posted.len(), self.posted.len());
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        if self.destroy() {
            // SAFETY: dropped once, here; the device has let go of it.
            unsafe { ManuallyDrop::drop(&mut self.posted) };
        } else {
            log::error!("{} requests of a queue pair are lost", self.posted.len());
        }
    }
}

/// Writes down what a request reaches at this end, and tells in how many parts.
///
/// # Safety
/// `parts` has room for as many as the frame has buffers.
unsafe fn gather(work: &mut Work, key: u32, parts: *mut ffi::ibv_sge) -> i32 {
    let mut count = 0;
    let mut add = |addr: usize, len: usize| {
        // A length of 0 means 2 GiB to some devices.
        if len > 0 {
            // SAFETY: one for each buffer.
            unsafe { parts.add(count).write(ffi::ibv_sge { addr: addr as u64, length: len as u32, lkey: key }) };
            count += 1;
        }
    };
    match work.remote.filter(|_| work.op == Op::Read) {
        None => work.frame.parts().iter().for_each(|buf| add(buf.as_ptr().expose_provenance(), buf.len())),
        Some(from) => {
            let mut rest = from.len as usize;
            for buf in &mut work.frame {
                let len = rest.min(buf.spare_capacity());
                add(buf.spare_mut().as_mut_ptr().expose_provenance(), len);
                rest -= len;
            }
        }
    }
    count as i32
}

/// What is to be done, but for the memory at this end.
fn describe(work: &Work, inline: u32) -> ffi::ibv_send_wr {
    // SAFETY: all zeros is a value of this structure of numbers and pointers.
    let mut request: ffi::ibv_send_wr = unsafe { std::mem::zeroed() };
    request.opcode = match (work.op, work.imm) {
        (Op::Message, None) => opcode::IBV_WR_SEND,
        (Op::Message, Some(_)) => opcode::IBV_WR_SEND_WITH_IMM,
        (Op::Write, None) => opcode::IBV_WR_RDMA_WRITE,
        (Op::Write, Some(_)) => opcode::IBV_WR_RDMA_WRITE_WITH_IMM,
        (Op::Read, _) => opcode::IBV_WR_RDMA_READ,
    };
    request.send_flags = flags::IBV_SEND_SIGNALED.0;
    if work.op != Op::Read && work.frame.bytes() <= inline as usize {
        request.send_flags |= flags::IBV_SEND_INLINE.0;
    }
    if let Some(imm) = work.imm {
        request.imm_data_invalidated_rkey_union = ffi::imm_data_invalidated_rkey_union_t { imm_data: imm.to_be() };
    }
    if let Some(remote) = work.remote {
        request.wr = ffi::wr_t { rdma: ffi::rdma_t { remote_addr: remote.addr, rkey: remote.key } };
    }
    request
}

/// Counts so many more bytes of a frame as filled, the first buffer first.
fn fill(frame: &mut Frame, bytes: usize) {
    let mut rest = bytes;
    for buf in frame {
        let n = rest.min(buf.spare_capacity());
        buf.grow(n);
        rest -= n;
    }
}

fn init_attr(completions: *mut ffi::ibv_cq, receives: *mut ffi::ibv_srq, config: PairConfig) -> ffi::ibv_qp_init_attr {
    ffi::ibv_qp_init_attr {
        qp_context: std::ptr::null_mut(),
        send_cq: completions,
        recv_cq: completions,
        srq: receives,
        cap: ffi::ibv_qp_cap {
            max_send_wr: config.send_depth,
            max_recv_wr: 0,
            max_send_sge: config.gather,
            max_recv_sge: 0,
            max_inline_data: config.inline,
        },
        qp_type: ibv_qp_type::IBV_QPT_RC,
        sq_sig_all: 0,
    }
}

/// The most bytes that a device copies with a request, found out by doing, since no device tells.
pub(super) fn find_inline(domain: &Arc<Domain>) -> Result<u32, Errno> {
    let completions = CompletionQueue::new(domain.device(), 1, false)?;
    for inline in [4096, 2048, 1024, 512, 256, 128, 64, 32] {
        let mut init = init_attr(completions.as_ptr(), std::ptr::null_mut(), PairConfig { send_depth: 1, gather: 1, inline });
        init.cap.max_recv_wr = 1;
        init.cap.max_recv_sge = 1;
        // SAFETY: domain and completion queue live; the structure is read and written during the
        // call.
        let made = NonNull::new(unsafe { ffi::ibv_create_qp(domain.as_ptr(), &raw mut init) });
        if let Some(pair) = made {
            // SAFETY: made above, and destroyed once.
            unsafe { ffi::ibv_destroy_qp(pair.as_ptr()) };
            return Ok(init.cap.max_inline_data.max(inline));
        }
    }
    Ok(0)
}
