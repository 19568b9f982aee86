//! Shared receive queues.

use std::cell::RefCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use pool::Buf;
use rdma_sys as ffi;

use super::completion::RECEIVE;
use super::{Completion, Domain, Errno, Region, serial};

/// Receives that are posted at a time.
const BATCH: usize = 16;

/// A shared receive queue, and the buffers that lie in it. On one core; its queue pairs hold it.
pub(crate) struct SharedReceive {
    raw: NonNull<ffi::ibv_srq>,
    serial: u32,
    places: RefCell<Places>,
    region: Arc<Region>,
    /// Last: it outlives the queue.
    _domain: Arc<Domain>,
}

struct Places {
    /// The buffers that the device has.
    bufs: ManuallyDrop<Vec<Option<Buf>>>,
    /// Places without one.
    free: Vec<u32>,
    /// Places whose buffers are to be posted as they are.
    again: Vec<u32>,
}

impl SharedReceive {
    /// A queue for so many buffers of the region's pool.
    pub(crate) fn new(domain: &Arc<Domain>, region: &Arc<Region>, depth: u32) -> Result<Rc<Self>, Errno> {
        let mut init = ffi::ibv_srq_init_attr {
            srq_context: std::ptr::null_mut(),
            attr: ffi::ibv_srq_attr { max_wr: depth, max_sge: 1, srq_limit: 0 },
        };
        // SAFETY: the domain lives; the structure is read and written during the call.
        let raw = NonNull::new(unsafe { ffi::ibv_create_srq(domain.as_ptr(), &raw mut init) }).ok_or_else(Errno::last)?;
        let places = Places {
            bufs: ManuallyDrop::new((0..depth).map(|_| None).collect()),
            free: (0..depth).rev().collect(),
            again: Vec::with_capacity(depth as usize),
        };
        let places = RefCell::new(places);
        Ok(Rc::new(Self { raw, serial: serial(), places, region: region.clone(), _domain: domain.clone() }))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_srq {
        self.raw.as_ptr()
    }

    /// Buffers that are missing.
    pub(crate) fn missing(&self) -> usize {
        let places = self.places.borrow();
        places.free.len() + places.again.len()
    }

    /// Posts what [`again`](Self::again) has put back, and what `get` gives as long as places are free.
    pub(crate) fn refill(&self, mut get: impl FnMut() -> Option<Buf>) -> Result<(), Errno> {
        let places = &mut *self.places.borrow_mut();
        loop {
            let mut batch = Batch { places: [0; BATCH], len: 0 };
            while batch.len < BATCH
                && let Some(place) = places.next(&self.region, &mut get)
            {
                batch.places[batch.len] = place;
                batch.len += 1;
            }
            if batch.len == 0 {
                return Ok(());
            }
            let posted = self.post(places, &batch);
            if let Err((why, not_posted)) = posted {
                // The device has not got these.
                places.again.extend(&batch.places[not_posted..batch.len]);
                return Err(why);
            }
        }
    }

    /// Hands the buffers of these places to the device. If it fails: why, and from which one on.
    fn post(&self, places: &mut Places, batch: &Batch) -> Result<(), (Errno, usize)> {
        let mut sges = [const { MaybeUninit::<ffi::ibv_sge>::uninit() }; BATCH];
        let mut requests = [const { MaybeUninit::<ffi::ibv_recv_wr>::uninit() }; BATCH];
        let (first_sge, first) = (sges.as_mut_ptr().cast::<ffi::ibv_sge>(), requests.as_mut_ptr().cast::<ffi::ibv_recv_wr>());
        for (n, place) in batch.places[..batch.len].iter().enumerate() {
            // Every place in a batch has a buffer; without one the device gets no byte of memory.
            let (at, len) = places.bufs[*place as usize].as_mut().map_or((std::ptr::null_mut(), 0), |buf| {
                let spare = buf.spare_mut();
                (spare.as_mut_ptr(), spare.len())
            });
            let sge = ffi::ibv_sge { addr: at.expose_provenance() as u64, length: len as u32, lkey: self.region.key() };
            let wr_id = RECEIVE | u64::from(self.serial) << 32 | u64::from(*place);
            let next = if n + 1 < batch.len { first.wrapping_add(n + 1) } else { std::ptr::null_mut() };
            // SAFETY: both arrays have this place.
            unsafe {
                first_sge.add(n).write(sge);
                first.add(n).write(ffi::ibv_recv_wr { wr_id, next, sg_list: first_sge.add(n), num_sge: 1 });
            }
        }
        let mut bad = std::ptr::null_mut();
        // SAFETY: the queue lives; the list and its elements are read during the call. The buffers are of the region's pool, kept in their places until their completions.
        let posted = Errno::check(unsafe { ffi::ibv_post_srq_recv(self.as_ptr(), first, &raw mut bad) });
        posted.map_err(|why| (why, (bad.addr().saturating_sub(first.addr())) / size_of::<ffi::ibv_recv_wr>()))
    }

    /// The buffer that a message came in, filled with it; an empty one if nothing came. `None` if it is not a receive of this queue's.
    pub(crate) fn take(&self, completion: Completion) -> Option<Buf> {
        let place = self.place(&completion)?;
        let places = &mut *self.places.borrow_mut();
        let mut buf = places.bufs[place as usize].take()?;
        places.free.push(place);
        if completion.status == super::Status::Done && !completion.is_write {
            buf.grow(completion.bytes as usize);
        }
        Some(buf)
    }

    /// Has a buffer posted again in which nothing has come.
    pub(crate) fn again(&self, completion: Completion) {
        if let Some(place) = self.place(&completion) {
            self.places.borrow_mut().again.push(place);
        }
    }

    fn place(&self, completion: &Completion) -> Option<u32> {
        let ours = completion.is_receive() && (completion.id >> 32) as u32 & 0x7FFF_FFFF == self.serial;
        ours.then_some(completion.id as u32)
    }
}

impl Places {
    /// A place that has a buffer to be posted.
    fn next(&mut self, region: &Region, get: &mut impl FnMut() -> Option<Buf>) -> Option<u32> {
        if let Some(place) = self.again.pop() {
            return Some(place);
        }
        let place = *self.free.last()?;
        let buf = get()?;
        debug_assert!(region.has(&buf), "the group takes them from its own pool");
        if !region.has(&buf) {
            return None;
        }
        self.free.pop();
        self.bufs[place as usize] = Some(buf);
        Some(place)
    }
}

/// Places whose buffers go out together.
struct Batch {
    places: [u32; BATCH],
    len: usize,
}

impl Drop for SharedReceive {
    fn drop(&mut self) {
        // SAFETY: its queue pairs hold it, so they are gone.
        match Errno::check(unsafe { ffi::ibv_destroy_srq(self.as_ptr()) }) {
            // SAFETY: dropped once, here; the device has let go of them.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.places.get_mut().bufs) },
            Err(why) => log::error!("a shared receive queue cannot be destroyed (error {}): its buffers are lost", why.0),
        }
    }
}
