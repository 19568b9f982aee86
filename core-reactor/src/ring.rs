//! A bounded ring from many senders to one receiver.
//!
//! A slot of up to 64 bytes never lies across two cache lines, so a message (56 bytes and a
//! sequence number) is one line that moves from the sender's core to the receiver's, and four
//! numbers are. A sender claims a position by one compare-and-swap, writes the slot and publishes
//! it by the slot's sequence number; it never reads a slot, so the line is fetched for writing
//! only, behind the sender's back. The receiver reads only slots, and tells how far it got once per
//! batch.
//!
//! The bad moment: a sender that stops between claiming and publishing holds up what was sent
//! behind it (not the senders themselves, and nothing sent before). On a preemptible core that can
//! last a time slice.
// UNSAFETY: slots are written and read without a lock; who may touch a slot follows from the
// positions, see `Ring`.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use crate::Refused;
use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell, model_fence};

/// Positions count modulo this; the tail keeps one more bit for `CLOSED`.
const POSITIONS: usize = usize::MAX >> 1;
const CLOSED: usize = 1;

/// Why a ring does not take an item.
///
/// ```
/// use core_reactor::{PushError, Ring};
///
/// let (ring, mut receiver) = Ring::new(2);
/// assert!(ring.push(1).is_ok() && ring.push(2).is_ok());
/// assert_eq!(ring.push(3).map_err(|refused| refused.why), Err(PushError::Full));
/// receiver.close();
/// assert_eq!(ring.push(3).map_err(|refused| refused.why), Err(PushError::Closed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// As many items wait as the ring holds.
    #[error("the ring is full")]
    Full,
    /// Its receiver is gone or has ended it.
    #[error("the ring is closed")]
    Closed,
}

impl<T> From<crate::Refused<T, PushError>> for PushError {
    fn from(refused: crate::Refused<T, Self>) -> Self {
        refused.why
    }
}

/// The senders' side of a ring.
///
/// Position `p` lives in slot `p % capacity`. A slot belongs to the sender that claimed its
/// position (by moving `tail` past it) until it publishes `p + 1` as the slot's sequence, then to
/// the receiver until that moves `head` past it, then to the sender that claims `p + capacity`.
///
/// ```
/// use core_reactor::{PushError, Ring};
///
/// let (ring, mut receiver) = Ring::new(2);
/// let sender = std::thread::spawn(move || {
///     assert!(ring.push(1).is_ok() && ring.push(2).is_ok());
///     let refused = ring.push(3).expect_err("two wait");
///     assert_eq!((refused.item, refused.why), (3, PushError::Full));
/// });
/// sender.join().map_err(|_| "it panicked")?;
/// assert_eq!((receiver.pop(), receiver.pop(), receiver.pop()), (Some(1), Some(2), None));
/// receiver.publish(2, 2);
/// # Ok::<(), &str>(())
/// ```
pub struct Ring<T> {
    send: CachePadded<SendSide>,
    /// Positions before this are read. Written by the receiver, once per batch.
    head: CachePadded<AtomicUsize>,
    /// Most items that the receiver found waiting.
    high_water: AtomicUsize,
    slots: Slots<T>,
}

struct SendSide {
    /// The next position to claim, times two, plus `CLOSED`.
    tail: AtomicUsize,
    /// A value that `head` had: enough to see that there is room, without fetching the receiver's
    /// line.
    seen_head: AtomicUsize,
}

struct Slot<T> {
    sequence: AtomicUsize,
    item: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: an item is reached by one side at a time, as the positions say, and handed over by
// release and acquire on the slot's sequence (sender to receiver) and on `head` (receiver to
// sender).
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; `&Ring` can only push.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// A ring for `capacity` items (rounded up to a power of two, at least 2, at most 65536) and
    /// its receiver.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, _receiver) = Ring::<u64>::new(100);
    /// assert_eq!(ring.capacity(), 128, "a power of two");
    /// ```
    #[allow(clippy::new_ret_no_self, reason = "a ring without its receiver is of no use")]
    pub fn new(capacity: usize) -> (Arc<Self>, Receiver<T>) {
        let capacity = capacity.clamp(2, 1 << 16).next_power_of_two();
        let ring = Arc::new(Self {
            send: CachePadded::new(SendSide { tail: AtomicUsize::new(0), seen_head: AtomicUsize::new(0) }),
            head: CachePadded::new(AtomicUsize::new(0)),
            high_water: AtomicUsize::new(0),
            slots: Slots::new(capacity),
        });
        let receiver = Receiver { ring: ring.clone(), head: 0, told: 0 };
        (ring, receiver)
    }

    /// How many items it holds at most.
    pub fn capacity(&self) -> usize {
        self.slots.mask + 1
    }

    /// How many items wait, claimed ones included.
    pub fn depth(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        distance(head, self.send.tail.load(Ordering::Acquire) >> 1).min(self.capacity())
    }

    /// Whether nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.send.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The most items that were seen waiting at once: by the receiver when it took some, or by a
    /// sender that found the ring full.
    pub fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    /// Appends an item. Never blocks.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, mut receiver) = Ring::new(2);
    /// assert!(ring.push("a").is_ok() && ring.push("b").is_ok());
    /// assert_eq!(ring.push("c").map_err(|refused| refused.item), Err("c"));
    /// assert_eq!(receiver.pop(), Some("a"));
    /// ```
    ///
    /// # Errors
    /// The ring is full or closed; the item comes back.
    #[inline(always)] // so that an item made just before goes into its slot from registers
    pub fn push(&self, item: T) -> Result<(), Refused<T, PushError>> {
        match self.claim(1) {
            Ok((position, _)) => {
                // SAFETY: `claim` gave us this position.
                unsafe { self.fill(position, item) };
                Ok(())
            }
            Err(why) => Err(Refused { item, why }),
        }
    }

    /// Appends items from the front of `items`, as many as there is room for, next to each other.
    /// Tells how many.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use core_reactor::Ring;
    ///
    /// let (ring, mut receiver) = Ring::new(4);
    /// let mut items: VecDeque<_> = (0..6).collect();
    /// assert_eq!(ring.push_bulk(&mut items), Ok(4));
    /// assert_eq!((receiver.pop(), items.len()), (Some(0), 2));
    /// ```
    ///
    /// # Errors
    /// There is no room at all or the ring is closed; nothing was taken from `items`.
    pub fn push_bulk(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        if items.is_empty() {
            return Ok(0);
        }
        let (first, count) = self.claim(items.len())?;
        for (n, item) in items.drain(..count).enumerate() {
            // SAFETY: `claim` gave us these `count` positions, and a drain of a VecDeque yields all
            // of them without running foreign code.
            unsafe { self.fill(first.wrapping_add(n) & POSITIONS, item) };
        }
        Ok(count)
    }

    /// Claims the next positions, `want` or as many as there is room for (at least one).
    #[inline(always)]
    fn claim(&self, want: usize) -> Result<(usize, usize), PushError> {
        let mut tail = self.send.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(PushError::Closed);
            }
            let position = tail >> 1;
            // `seen_head` never passes the real head, so this errs on the side of "full"; so does a
            // tail that is behind (it wraps to a huge distance), for which the exchange below would
            // fail anyway.
            let mut used = distance(self.send.seen_head.load(Ordering::Acquire), position);
            if used.saturating_add(want) > self.capacity() {
                used = self.look_at_head(&mut tail, position)?;
            }
            let count = want.min(self.capacity().saturating_sub(used));
            if count == 0 {
                continue; // `look_at_head` found that `tail` had moved
            }
            let next = tail.wrapping_add(count << 1);
            // SeqCst: whoever sends looks at the receiver's sleep afterwards; see
            // `Receiver::is_empty`.
            match self.send.tail.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    model_fence();
                    return Ok((position, count));
                }
                Err(now) => tail = now,
            }
        }
    }

    /// The slow look when there seems to be no room: the receiver's own figure. Gives the whole
    /// capacity as used if `tail` moved meanwhile.
    #[cold]
    fn look_at_head(&self, tail: &mut usize, position: usize) -> Result<usize, PushError> {
        let head = self.head.load(Ordering::Acquire);
        self.send.seen_head.store(head, Ordering::Release);
        let now = self.send.tail.load(Ordering::Relaxed);
        if now != *tail {
            *tail = now;
            return Ok(self.capacity());
        }
        let used = distance(head, position);
        if used >= self.capacity() {
            self.high_water.fetch_max(self.capacity(), Ordering::Relaxed);
            return Err(PushError::Full);
        }
        Ok(used)
    }

    /// Writes and publishes a claimed position.
    ///
    /// # Safety
    /// The caller claimed `position` and has not filled it yet.
    #[inline(always)]
    unsafe fn fill(&self, position: usize, item: T) {
        let slot = self.slots.at(position);
        // SAFETY: the position is the caller's, and `head` has passed the slot's last use, so
        // nobody else touches the item.
        slot.item.with_mut(|p| unsafe { (*p).write(item) });
        slot.sequence.store(position.wrapping_add(1), Ordering::Release);
    }
}

/// Slots of one ring, a power of two of them.
struct Slots<T> {
    groups: Box<[Group<T>]>,
    mask: usize,
}

/// Slots in a [`Group`]: as many as fill whole lines, whatever their size, since that is a multiple
/// of 8.
const GROUP: usize = 8;

/// Begins at a cache line: so slots of 16, 32 and 64 bytes lie within one, and small ones share
/// one. As an alignment of each slot that would be a line for every number.
#[repr(align(64))]
struct Group<T>([Slot<T>; GROUP]);

impl<T> Slots<T> {
    fn new(capacity: usize) -> Self {
        const { assert!(size_of::<Group<T>>() == GROUP * size_of::<Slot<T>>(), "there is a gap between the groups of slots") }
        let slot = |_| Slot { sequence: AtomicUsize::new(0), item: UnsafeCell::new(MaybeUninit::uninit()) };
        let groups = (0..capacity.div_ceil(GROUP)).map(|_| Group(core::array::from_fn(slot))).collect();
        Self { groups, mask: capacity - 1 }
    }

    /// The slot of a position.
    #[inline(always)]
    fn at(&self, position: usize) -> &Slot<T> {
        let first: *const Slot<T> = self.groups.as_ptr().cast();
        // SAFETY: there are at least `mask + 1` slots, without a gap. A check would not only be
        // made for each item; its panic would also keep the item in memory, for dropping, where
        // registers do.
        unsafe { &*first.add(position & self.mask) }
    }
}

impl<T> Slot<T> {
    /// Whether the item of this position is there.
    #[inline(always)]
    fn is_published(&self, position: usize) -> bool {
        self.sequence.load(Ordering::Acquire) == position.wrapping_add(1)
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // The receiver is gone and left `head` where it stopped; every sender has published what it
        // claimed.
        let tail = self.send.tail.load(Ordering::Acquire) >> 1;
        let mut at = self.head.load(Ordering::Acquire);
        while at != tail {
            let slot = self.slots.at(at);
            if slot.sequence.load(Ordering::Acquire) == at.wrapping_add(1) {
                // SAFETY: published, not yet read, and nobody else is left.
                slot.item.with_mut(|p| unsafe { (*p).assume_init_drop() });
            }
            at = at.wrapping_add(1) & POSITIONS;
        }
    }
}

/// The receiving side. Dropped, it closes the ring and drops what waits there; what a sender is
/// just writing is dropped with the ring.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    /// The next position to read; `ring.head` follows once per batch.
    head: usize,
    /// What `ring.head` is.
    told: usize,
}

impl<T> Receiver<T> {
    /// How many items can be taken now, counting no further than `most`.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, receiver) = Ring::new(8);
    /// assert!((0..5).all(|n| ring.push(n).is_ok()));
    /// assert_eq!((receiver.ready(3), receiver.ready(8)), (3, 5));
    /// ```
    #[inline]
    pub fn ready(&self, most: usize) -> usize {
        let slots = &self.ring.slots;
        let most = most.min(slots.mask + 1);
        let mut n = 0;
        while n < most {
            let position = self.head.wrapping_add(n) & POSITIONS;
            if !slots.at(position).is_published(position) {
                break;
            }
            n += 1;
        }
        n
    }

    /// Takes the next item, if there is one. Senders see the room only after
    /// [`publish`](Self::publish).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let slot = self.ring.slots.at(self.head);
        if !slot.is_published(self.head) {
            return None;
        }
        self.head = self.head.wrapping_add(1) & POSITIONS;
        // SAFETY: published and not yet read (`head` moved past it just now, and only here).
        Some(slot.item.with(|p| unsafe { (*p).assume_init_read() }))
    }

    /// As [`pop`](Self::pop), but leaves the item in its slot and tells where that is: the item is
    /// the caller's from now on, and stays there until [`publish`](Self::publish).
    #[inline(always)]
    pub(crate) fn pop_in_place(&mut self) -> Option<NonNull<T>> {
        let slot = self.ring.slots.at(self.head);
        if !slot.is_published(self.head) {
            return None;
        }
        self.head = self.head.wrapping_add(1) & POSITIONS;
        NonNull::new(slot.item.with_mut(|p| p.cast::<T>()))
    }

    /// Tells the senders how far the receiver got, and notes the high-water mark: `taken` is how
    /// many items this batch had, `most` how many it could have had.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, mut receiver) = Ring::new(2);
    /// assert!(ring.push(1).is_ok() && ring.push(2).is_ok());
    /// assert_eq!(receiver.pop(), Some(1));
    /// assert!(ring.push(3).is_err(), "no sender was told of the room");
    /// receiver.publish(1, 8);
    /// assert!(ring.push(3).is_ok());
    /// ```
    #[inline]
    pub fn publish(&mut self, taken: usize, most: usize) {
        // Not `taken == 0`: a batch that a panic cut short is told with the next one.
        if self.told == self.head {
            return;
        }
        let mark = self.ring.high_water.load(Ordering::Relaxed);
        // Only a full batch may hide more behind it. Whether that is more than ever is told by the
        // slot that lies so far behind the batch's first, which this side has read a lap ago; the
        // senders' own line is a miss, for them too when they send the next item.
        let record = self.told.wrapping_add(mark) & POSITIONS;
        if taken > mark || (taken >= most && self.ring.slots.at(record).is_published(record)) {
            let behind = if taken < most { 0 } else { distance(self.head, self.ring.send.tail.load(Ordering::Relaxed) >> 1) };
            self.ring.high_water.fetch_max((taken + behind).min(self.ring.capacity()), Ordering::Relaxed);
        }
        self.told = self.head;
        self.ring.head.store(self.head, Ordering::Release);
    }

    /// Whether nothing waits, not even a claimed position. A receiver that first says that it
    /// sleeps (SeqCst) and then finds this true may sleep: a sender claims (SeqCst) before it looks
    /// for sleepers, so one of the two sees the other.
    pub fn is_empty(&self) -> bool {
        self.ring.send.tail.load(Ordering::SeqCst) >> 1 == self.head
    }

    /// Closes the ring if nothing waits in it; no item can be lost in between.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, mut receiver) = Ring::new(2);
    /// assert!(ring.push("still here").is_ok());
    /// assert!(!receiver.close_if_empty());
    /// receiver.pop();
    /// assert!(receiver.close_if_empty() && ring.push("too late").is_err());
    /// ```
    pub fn close_if_empty(&mut self) -> bool {
        let empty = self.head << 1;
        let tail = &self.ring.send.tail;
        match tail.compare_exchange(empty, empty | CLOSED, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => now == empty | CLOSED,
        }
    }

    /// Closes the ring: nothing more is taken. What waits can still be received.
    ///
    /// ```
    /// # use core_reactor::Ring;
    /// let (ring, mut receiver) = Ring::new(2);
    /// assert!(ring.push("in time").is_ok());
    /// receiver.close();
    /// assert!(ring.is_closed() && ring.push("late").is_err());
    /// assert_eq!(receiver.pop(), Some("in time"));
    /// ```
    pub fn close(&mut self) {
        self.ring.send.tail.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// The senders' side.
    pub fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        // An item's own drop may panic; `head` is told first so that nothing is dropped twice.
        while self.ready(1) == 1 {
            let item = self.pop();
            self.ring.head.store(self.head, Ordering::Release);
            drop(item);
        }
        self.ring.head.store(self.head, Ordering::Release);
    }
}

/// Positions from `from` to `to`.
#[inline]
fn distance(from: usize, to: usize) -> usize {
    to.wrapping_sub(from) & POSITIONS
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("depth", &self.depth()).field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(self.ring()).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::rc::Rc;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// An empty ring whose next position is `position`.
    fn ring_at<T>(capacity: usize, position: usize) -> (Arc<Ring<T>>, Receiver<T>) {
        let (ring, mut receiver) = Ring::new(capacity);
        ring.send.tail.store(position << 1, Ordering::Relaxed);
        ring.send.seen_head.store(position, Ordering::Relaxed);
        ring.head.store(position, Ordering::Relaxed);
        (receiver.head, receiver.told) = (position, position);
        (ring, receiver)
    }

    /// What a ring is to its users: a list, and how much of it senders may fill.
    struct Model {
        capacity: usize,
        waiting: VecDeque<u32>,
        /// Taken, and not yet published.
        taken: usize,
        high_water: usize,
        closed: bool,
        next: u32,
    }

    impl Model {
        fn new(capacity: usize) -> Self {
            Self { capacity, waiting: VecDeque::new(), taken: 0, high_water: 0, closed: false, next: 0 }
        }

        /// Takes in some of `wanted` items.
        fn push(&mut self, wanted: usize) -> Result<usize, PushError> {
            let room = self.capacity - self.waiting.len() - self.taken;
            match (wanted, self.closed, room) {
                (0, ..) => return Ok(0),
                (_, true, _) => return Err(PushError::Closed),
                (.., 0) => {
                    self.high_water = self.capacity;
                    return Err(PushError::Full);
                }
                _ => {}
            }
            let fits = wanted.min(room);
            self.waiting.extend(self.next..self.next + fits as u32);
            self.next += fits as u32;
            Ok(fits)
        }

        fn publish(&mut self, most: usize) {
            // A batch that took less than it could have seen has seen all.
            let behind = if self.taken < most { 0 } else { self.waiting.len() };
            let seen = if self.taken == 0 { 0 } else { (self.taken + behind).min(self.capacity) };
            (self.high_water, self.taken) = (self.high_water.max(seen), 0);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        PushBulk(usize),
        /// Takes up to so many, one of the two ways.
        Take(usize, bool),
        /// Takes and publishes a batch of at most so many.
        Batch(usize),
        CloseIfEmpty,
        Close,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => Just(Step::Push),
            4 => (0..7usize).prop_map(Step::PushBulk),
            2 => (0..4usize, any::<bool>()).prop_map(|(most, in_place)| Step::Take(most, in_place)),
            6 => (0..7usize).prop_map(Step::Batch),
            1 => Just(Step::CloseIfEmpty),
            1 => Just(Step::Close),
        ]
    }

    fn take(receiver: &mut Receiver<Rc<u32>>, model: &mut Model, most: usize, in_place: bool) {
        let ready = model.waiting.len().min(most);
        assert_eq!(receiver.ready(most), ready);
        for _ in 0..ready {
            let item = if in_place {
                // SAFETY: it was received just now, is read once, and stays in its slot until the
                // next `publish`.
                receiver.pop_in_place().map(|item| unsafe { item.read() })
            } else {
                receiver.pop()
            };
            assert_eq!(item.map(|item| *item), model.waiting.pop_front());
        }
        model.taken += ready;
    }

    fn run(capacity: usize, position: usize, steps: &[Step]) {
        let (ring, mut receiver) = ring_at::<Rc<u32>>(capacity, position);
        let (mut model, mut made) = (Model::new(capacity.next_power_of_two().max(2)), Vec::new());
        assert_eq!(ring.capacity(), model.capacity);
        for step in steps {
            let item = |n: u32| Rc::new(n);
            match *step {
                Step::Push => {
                    let item = item(model.next);
                    made.push(item.clone());
                    let sent = ring.push(item).map_err(|refused| refused.why);
                    assert_eq!(sent, model.push(1).map(|_| ()));
                }
                Step::PushBulk(count) => {
                    let mut items: VecDeque<_> = (model.next..model.next + count as u32).map(item).collect();
                    made.extend(items.iter().cloned());
                    let sent = ring.push_bulk(&mut items);
                    assert_eq!(sent, model.push(count));
                    assert_eq!(items.len(), count - sent.unwrap_or(0));
                }
                Step::Take(most, in_place) => take(&mut receiver, &mut model, most, in_place),
                Step::Batch(most) => {
                    take(&mut receiver, &mut model, most, false);
                    receiver.publish(model.taken, most);
                    model.publish(most);
                }
                Step::CloseIfEmpty => {
                    let empty = model.waiting.is_empty();
                    assert_eq!(receiver.close_if_empty(), empty);
                    model.closed |= empty;
                }
                Step::Close => {
                    receiver.close();
                    model.closed = true;
                }
            }
            assert_eq!(ring.depth(), model.waiting.len() + model.taken);
            assert_eq!((receiver.is_empty(), ring.is_closed()), (model.waiting.is_empty(), model.closed));
            assert_eq!(ring.high_water(), model.high_water);
        }
        drop(receiver);
        assert_eq!(ring.push(Rc::new(0)).map_err(|refused| refused.why), Err(PushError::Closed));
        drop(ring);
        assert!(made.iter().all(|item| Rc::strong_count(item) == 1), "every item is dropped once");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Also where the positions begin anew, which takes 2^31 messages on a core of 32 bits.
        #[test]
        fn s02_s03_a_ring_is_a_list_with_a_bound(
            capacity in 1..9usize,
            before_the_end in prop_oneof![Just(POSITIONS), 0..12usize],
            steps in prop::collection::vec(step(), 0..60),
        ) {
            run(capacity, POSITIONS - before_the_end, &steps);
        }
    }
}
