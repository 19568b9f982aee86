//! Shared receive queues.

use std::cell::{Cell, RefCell};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use pool::Buf;
use rdma_sys as ffi;

use super::completion::RECEIVE;
use super::{Completion, Domain, Errno, QueuePair, Region, SERIALS, serial};

/// The low bits of a receive's id are its place; above them is the serial number of its queue.
const PLACE_BITS: u32 = 24;
const PLACES: u32 = (1 << PLACE_BITS) - 1;

/// Receives that are posted at a time.
const BATCH: usize = 16;

/// A shared receive queue, and the buffers that lie in it. On one core; its queue pairs hold it.
///
/// # Receives that are never completed
///
/// A queue pair takes a receive with the first packet of a message. If its peer dies before the
/// last, the receive should come back flushed; Soft-RoCE does not see to that. So receives are
/// counted: they are taken in the order of their posting, and each posting has a *turn*, a number.
/// A receive is *out* when one of a later turn has come back: some queue pair has it, or had it. A
/// pair is done with all turns up to that of its own last completion, and never had one that was
/// out before it was made; that is its *floor*. What is out and not above the floor of any pair was
/// lost with a pair that is gone, and is posted anew ([`recover`](Self::recover)).
pub(crate) struct SharedReceive {
    raw: NonNull<ffi::ibv_srq>,
    serial: u64,
    /// The device takes receives in the order of their posting, and a queue pair one at a time.
    in_order: bool,
    places: RefCell<Places>,
    /// The queue pairs that may have a receive.
    pairs: RefCell<Vec<Rc<Floor>>>,
    region: Arc<Region>,
    /// Last: it outlives the queue.
    _domain: Arc<Domain>,
}

/// Of one queue pair: the last turn of which it has nothing any more.
pub(super) struct Floor(Cell<u64>);

struct Places {
    /// The buffers that the device has.
    bufs: ManuallyDrop<Vec<Option<Buf>>>,
    /// In which turn each was posted; 0 for those that the device has not got.
    turns: Vec<u64>,
    /// How many turns there were, and the latest of which it is known that its receive was taken.
    posted: u64,
    taken: u64,
    /// Receives that the device has, as far as they are not known to be lost.
    with_device: u64,
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
        let in_order = domain.device().limits().is_ok_and(|limits| limits.is_soft_roce);
        let places = Places {
            bufs: ManuallyDrop::new((0..depth).map(|_| None).collect()),
            turns: vec![0; depth as usize],
            posted: 0,
            taken: 0,
            with_device: 0,
            free: (0..depth).rev().collect(),
            again: Vec::with_capacity(depth as usize),
        };
        let places = RefCell::new(places);
        let pairs = RefCell::default();
        Ok(Rc::new(Self { raw, serial: serial(), in_order, places, pairs, region: region.clone(), _domain: domain.clone() }))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_srq {
        self.raw.as_ptr()
    }

    /// Buffers that are missing.
    pub(crate) fn missing(&self) -> usize {
        let places = self.places.borrow();
        places.free.len() + places.again.len()
    }

    /// A queue pair that begins to take receives.
    pub(super) fn join(&self) -> Rc<Floor> {
        let floor = Rc::new(Floor(Cell::new(self.places.borrow().taken)));
        self.pairs.borrow_mut().push(floor.clone());
        floor
    }

    /// The queue pair is destroyed, and all of its completions were noted.
    pub(super) fn leave(&self, floor: &Rc<Floor>) {
        self.pairs.borrow_mut().retain(|one| !Rc::ptr_eq(one, floor));
    }

    /// Receives that are out: with a queue pair, or lost.
    pub(crate) fn out(&self) -> u64 {
        self.places.borrow().out()
    }

    /// The latest turn of which it is known that its receive was taken.
    pub(crate) fn taken(&self) -> u64 {
        self.places.borrow().taken
    }

    /// Finds what was lost with queue pairs that are gone, to be posted anew by
    /// [`refill`](Self::refill). Tells how many.
    pub(crate) fn recover(&self) -> usize {
        let places = &mut *self.places.borrow_mut();
        if places.out() == 0 || !self.in_order {
            return 0;
        }
        let floor = self.pairs.borrow().iter().map(|floor| floor.0.get()).min().unwrap_or(u64::MAX);
        let before = places.again.len();
        for (place, turn) in places.turns.iter_mut().enumerate().filter(|(_, turn)| (1..places.taken).contains(*turn) && **turn <= floor) {
            *turn = 0;
            places.again.push(place as u32);
        }
        let found = places.again.len() - before;
        places.with_device -= found as u64;
        found
    }

    /// Posts what [`again`](Self::again) has put back, and what `get` gives as long as places are
    /// free.
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
            let done = posted.map_or_else(|(_, done)| done, |()| batch.len);
            batch.places[..done].iter().for_each(|place| places.note_posted(*place));
            if let Err((why, _)) = posted {
                // The device has not got these.
                places.again.extend(&batch.places[done..batch.len]);
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
            let wr_id = RECEIVE | self.serial << PLACE_BITS | u64::from(*place);
            let next = if n + 1 < batch.len { first.wrapping_add(n + 1) } else { std::ptr::null_mut() };
            // SAFETY: both arrays have this place.
            unsafe {
                first_sge.add(n).write(sge);
                first.add(n).write(ffi::ibv_recv_wr { wr_id, next, sg_list: first_sge.add(n), num_sge: 1 });
            }
        }
        let mut bad = std::ptr::null_mut();
        // SAFETY: the queue lives; the list and its elements are read during the call. The buffers
        // are of the region's pool, kept in their places until their completions.
        let posted = Errno::check(unsafe { ffi::ibv_post_srq_recv(self.as_ptr(), first, &raw mut bad) });
        posted.map_err(|why| (why, (bad.addr().saturating_sub(first.addr())) / size_of::<ffi::ibv_recv_wr>()))
    }

    /// The buffer that a message came in, filled with it; an empty one if nothing came. `None` if
    /// it is not a receive of this queue's. `by` is the queue pair that it came by.
    pub(crate) fn take(&self, completion: Completion<'_>, by: Option<&QueuePair>) -> Option<Buf> {
        let place = self.came(&completion, by)?;
        let places = &mut *self.places.borrow_mut();
        let mut buf = places.bufs[place as usize].take()?;
        places.free.push(place);
        if completion.status == super::Status::Done && !completion.is_write {
            buf.grow(completion.bytes as usize);
        }
        Some(buf)
    }

    /// Has a buffer posted again in which nothing has come.
    pub(crate) fn again(&self, completion: Completion<'_>, by: Option<&QueuePair>) {
        if let Some(place) = self.came(&completion, by) {
            self.places.borrow_mut().again.push(place);
        }
    }

    /// Notes that a receive has come back.
    fn came(&self, completion: &Completion<'_>, by: Option<&QueuePair>) -> Option<u32> {
        let ours = completion.is_receive() && completion.id >> PLACE_BITS & SERIALS == self.serial;
        let place = completion.id as u32 & PLACES;
        let turn = ours.then(|| self.places.borrow_mut().note_taken(place))?;
        if let Some(pair) = by.filter(|pair| pair.number() == completion.pair) {
            let floor = &pair.floor().0;
            floor.set(floor.get().max(turn));
        }
        Some(place)
    }
}

impl Places {
    fn out(&self) -> u64 {
        // Those of later turns are all with the device, and waiting.
        self.with_device.saturating_sub(self.posted - self.taken)
    }

    #[inline]
    fn note_posted(&mut self, place: u32) {
        self.posted += 1;
        self.with_device += 1;
        self.turns[place as usize] = self.posted;
    }

    #[inline]
    fn note_taken(&mut self, place: u32) -> u64 {
        let turn = std::mem::take(&mut self.turns[place as usize]);
        self.with_device -= 1;
        self.taken = self.taken.max(turn);
        turn
    }

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
