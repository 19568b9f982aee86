//! Deadlines in order: a queue for each period, and a heap of the queues.
//!
//! A timed poller's next deadline is its turn's time plus its period, so among pollers of one period deadlines only ever grow: a new deadline goes
//! to the end of its period's queue, and expiry, postponing and removal are O(1). The heap orders the queues by their first entry, so with `p`
//! different periods each of these costs O(log p) at most. Periods are few (SPDK keeps one tree of all pollers and pays O(log n)).

use alloc::vec::Vec;

use crate::Instant;

const NONE: u32 = u32::MAX;

/// Which comes first: the earlier deadline, among equals the earlier registered.
type Order = (Instant, u64);

#[derive(Default)]
pub(crate) struct Timers {
    /// By the poller's slot.
    entries: Vec<Entry>,
    queues: Vec<Queue>,
    /// Queues that are in use, sorted by their period, and those that are not.
    by_period: Vec<(u64, u32)>,
    unused: Vec<u32>,
    /// Queues that are not empty, a binary heap by their first entry's order.
    heap: Vec<u32>,
    registered: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: Instant,
    /// Number of its registration.
    number: u64,
    queue: u32,
    before: u32,
    behind: u32,
}

struct Queue {
    period: u64,
    first: u32,
    last: u32,
    /// Its place in the heap; `NONE` when empty.
    place: u32,
}

impl Timers {
    /// Enters `slot`, as the last registered.
    pub(crate) fn insert(&mut self, slot: u32, deadline: Instant, period: u64) {
        let unused = Entry { deadline, number: 0, queue: NONE, before: NONE, behind: NONE };
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, unused);
        }
        self.registered += 1;
        let queue = self.queue_for(period);
        self.entries[slot as usize] = Entry { number: self.registered, queue, ..unused };
        self.link(slot);
    }

    /// Takes `slot` out.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        self.entries[slot as usize].queue = NONE;
    }

    /// Moves `slot` to a later deadline of the same period.
    #[inline]
    pub(crate) fn postpone(&mut self, slot: u32, deadline: Instant) {
        let queue = self.entries[slot as usize].queue;
        let q = &self.queues[queue as usize];
        if q.first == slot && q.last == slot {
            self.entries[slot as usize].deadline = deadline;
            self.sink(self.queues[queue as usize].place);
            return;
        }
        self.unlink(slot);
        self.entries[slot as usize].deadline = deadline;
        self.link(slot);
    }

    /// The slot whose deadline is first, if it has passed.
    #[inline]
    pub(crate) fn due(&self, now: Instant) -> Option<u32> {
        let first = self.queues[*self.heap.first()? as usize].first;
        (self.entries[first as usize].deadline <= now).then_some(first)
    }

    /// The first deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = self.queues[*self.heap.first()? as usize].first;
        Some(self.entries[first as usize].deadline)
    }

    /// The deadline of `slot`, if it is entered.
    pub(crate) fn deadline(&self, slot: u32) -> Option<Instant> {
        self.entries.get(slot as usize).filter(|e| e.queue != NONE).map(|e| e.deadline)
    }

    /// The queue of a period. The list is touched here and when a queue empties, never when a timer fires.
    fn queue_for(&mut self, period: u64) -> u32 {
        let at = match self.by_period.binary_search_by_key(&period, |(period, _)| *period) {
            Ok(at) => return self.by_period[at].1,
            Err(at) => at,
        };
        let fresh = Queue { period, first: NONE, last: NONE, place: NONE };
        let queue = match self.unused.pop() {
            Some(queue) => {
                self.queues[queue as usize] = fresh;
                queue
            }
            None => {
                self.queues.push(fresh);
                (self.queues.len() - 1) as u32
            }
        };
        self.by_period.insert(at, (period, queue));
        queue
    }

    fn order(&self, slot: u32) -> Order {
        let e = &self.entries[slot as usize];
        (e.deadline, e.number)
    }

    /// Puts a slot into its queue: at the end but for equal deadlines that were registered later (they ran earlier in this same turn).
    fn link(&mut self, slot: u32) {
        let order = self.order(slot);
        let queue = self.entries[slot as usize].queue;
        let mut before = self.queues[queue as usize].last;
        let mut behind = NONE;
        while before != NONE && self.order(before) > order {
            behind = before;
            before = self.entries[before as usize].before;
        }
        self.entries[slot as usize].before = before;
        self.entries[slot as usize].behind = behind;
        match behind {
            NONE => self.queues[queue as usize].last = slot,
            _ => self.entries[behind as usize].before = slot,
        }
        match before {
            NONE => self.set_first(queue, slot),
            _ => self.entries[before as usize].behind = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { queue, before, behind, .. } = self.entries[slot as usize];
        match behind {
            NONE => self.queues[queue as usize].last = before,
            _ => self.entries[behind as usize].before = before,
        }
        match before {
            NONE => self.set_first(queue, behind),
            _ => self.entries[before as usize].behind = behind,
        }
    }

    /// Gives a queue another first entry and its place in the heap.
    fn set_first(&mut self, queue: u32, first: u32) {
        let place = self.queues[queue as usize].place;
        self.queues[queue as usize].first = first;
        if first == NONE {
            self.retire(queue, place);
        } else if place == NONE {
            self.heap.push(queue);
            let place = (self.heap.len() - 1) as u32;
            self.queues[queue as usize].place = place;
            self.rise(place);
        } else {
            self.sink(place);
            self.rise(self.queues[queue as usize].place);
        }
    }

    /// Takes an empty queue out of use.
    fn retire(&mut self, queue: u32, place: u32) {
        let q = &mut self.queues[queue as usize];
        q.place = NONE;
        if let Ok(at) = self.by_period.binary_search_by_key(&q.period, |(period, _)| *period) {
            self.by_period.remove(at);
        }
        self.unused.push(queue);
        self.heap.swap_remove(place as usize);
        if let Some(moved) = self.heap.get(place as usize).copied() {
            self.queues[moved as usize].place = place;
            self.sink(place);
            self.rise(self.queues[moved as usize].place);
        }
    }

    fn heap_order(&self, place: u32) -> Order {
        self.order(self.queues[self.heap[place as usize] as usize].first)
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.heap.swap(a as usize, b as usize);
        self.queues[self.heap[a as usize] as usize].place = a;
        self.queues[self.heap[b as usize] as usize].place = b;
    }

    fn rise(&mut self, mut place: u32) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap_order(parent) <= self.heap_order(place) {
                return;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: u32) {
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if (child as usize) < self.heap.len() && self.heap_order(child) < self.heap_order(least) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}
