//! Deadlines in order: a queue for each period, and a heap of the queues.
//!
//! A timed poller's next deadline is its turn's time plus its period, so among pollers of one
//! period deadlines only ever grow: a new deadline goes to the end of its period's queue, and
//! expiry and postponing are O(1). The heap orders the queues by their first entry, so with `p`
//! different periods each of these costs O(log p) at most. Periods are few (SPDK keeps one tree of
//! all pollers and pays O(log n)); where they are many, those beyond [`SHARED`] have a queue for
//! each timer, and then the heap is a tree of timers as SPDK's is. So has a timer of a fixed rate,
//! whose next deadline may come before those of others with its period.
//!
//! After a pause many timers of one period are due in one turn and get one deadline, and among
//! equals the earlier registered comes first. Each of them goes to the end all the same, and the
//! equals are put in order once, when the last of them has come: O(k log k) for `k` timers that
//! fired, and less where they are nearly in order.

use alloc::vec::Vec;

use crate::Instant;

const NONE: u32 = u32::MAX;

/// Periods that have a queue which their timers share: a bound on what is moved when a period comes
/// or goes.
const SHARED: usize = 64;

/// Which comes first: the earlier deadline, among equals the earlier registered.
type Order = (Instant, u64);

#[derive(Default)]
pub(crate) struct Timers {
    /// By the poller's slot.
    entries: Vec<Entry>,
    queues: Vec<Queue>,
    /// Queues that timers share, sorted by their period, and queues that are not in use.
    by_period: Vec<(u64, u32)>,
    unused: Vec<u32>,
    /// Queues that are not empty, a binary heap by their first entry's order.
    heap: Vec<u32>,
    registered: u64,
    /// Entries that were looked at, for the tests that count.
    #[cfg(test)]
    looks: core::cell::Cell<usize>,
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
    /// Its index in the heap; `NONE` when empty.
    heap_index: u32,
    /// The entries at its end, those of the last deadline, may not be in the order of their
    /// registration.
    unsorted: bool,
}

impl Timers {
    /// Enters `slot`, as the last registered. `shares`: in the queue of its period.
    pub(crate) fn insert(&mut self, slot: u32, deadline: Instant, period: u64, shares: bool) {
        let unused = Entry { deadline, number: 0, queue: NONE, before: NONE, behind: NONE };
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, unused);
        }
        self.registered += 1;
        let queue = if shares { self.queue_for(period) } else { self.fresh_queue(period) };
        self.entries[slot as usize] = Entry { number: self.registered, queue, ..unused };
        self.link(slot);
    }

    /// Takes `slot` out.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        let queue = core::mem::replace(&mut self.entries[slot as usize].queue, NONE);
        self.sort_if_first(queue);
    }

    /// Moves `slot` to a later deadline of the same period.
    #[inline]
    pub(crate) fn postpone(&mut self, slot: u32, deadline: Instant) {
        let queue = self.entries[slot as usize].queue;
        let q = &self.queues[queue as usize];
        if q.first == slot && q.last == slot {
            self.entries[slot as usize].deadline = deadline;
            self.sink(self.queues[queue as usize].heap_index);
            return;
        }
        self.unlink(slot);
        self.entries[slot as usize].deadline = deadline;
        self.link(slot);
        self.sort_if_first(queue);
    }

    /// The slot whose deadline is first, if that has passed, and the deadline.
    #[inline]
    pub(crate) fn due(&self, now: Instant) -> Option<(u32, Instant)> {
        let first = self.queues[*self.heap.first()? as usize].first;
        let deadline = self.entries[first as usize].deadline;
        (deadline <= now).then_some((first, deadline))
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

    /// The first deadline of `slot` after `now` that is whole periods behind the one it has.
    #[cold]
    pub(crate) fn next_whole_period(&self, slot: u32, period: u64, now: Instant) -> Instant {
        let deadline = self.entries[slot as usize].deadline;
        deadline.plus_nanos((now.nanos_since(deadline) / period + 1).saturating_mul(period))
    }

    /// The queue of a period. The list is touched here and when a queue empties, never when a timer
    /// fires.
    fn queue_for(&mut self, period: u64) -> u32 {
        let at = match self.by_period.binary_search_by_key(&period, |(period, _)| *period) {
            Ok(at) => return self.by_period[at].1,
            Err(at) => at,
        };
        let queue = self.fresh_queue(period);
        if self.by_period.len() < SHARED {
            self.by_period.insert(at, (period, queue));
        }
        queue
    }

    /// A queue that is in no list.
    fn fresh_queue(&mut self, period: u64) -> u32 {
        let fresh = Queue { period, first: NONE, last: NONE, heap_index: NONE, unsorted: false };
        match self.unused.pop() {
            Some(queue) => {
                self.queues[queue as usize] = fresh;
                queue
            }
            None => {
                self.queues.push(fresh);
                (self.queues.len() - 1) as u32
            }
        }
    }

    fn order(&self, slot: u32) -> Order {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let e = &self.entries[slot as usize];
        (e.deadline, e.number)
    }

    /// Puts a slot at the end of its queue, none of whose deadlines is later.
    fn link(&mut self, slot: u32) {
        let Entry { deadline, number, queue, .. } = self.entries[slot as usize];
        let before = self.queues[queue as usize].last;
        if let Some(last) = self.entries.get(before as usize) {
            let (earlier, in_order) = (last.deadline < deadline, last.number < number);
            debug_assert!(last.deadline <= deadline, "a thread's time went back");
            if earlier {
                self.sort_if_need_be(queue);
            } else if !in_order {
                self.queues[queue as usize].unsorted = true;
            }
        }
        self.append(queue, slot);
    }

    fn append(&mut self, queue: u32, slot: u32) {
        let before = core::mem::replace(&mut self.queues[queue as usize].last, slot);
        (self.entries[slot as usize].before, self.entries[slot as usize].behind) = (before, NONE);
        match before {
            NONE => self.enlist(queue, slot),
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
            NONE => self.lose_first(queue, behind),
            _ => self.entries[before as usize].behind = behind,
        }
    }

    /// Puts the entries of a queue's last deadline in order, if they may not be: they are looked at
    /// in order from now on, or end being the last ones.
    #[inline]
    fn sort_if_need_be(&mut self, queue: u32) {
        if core::mem::take(&mut self.queues[queue as usize].unsorted) {
            self.sort(queue);
        }
    }

    /// The same where the last deadline is the first, too: nothing of the queue is due before.
    #[inline]
    fn sort_if_first(&mut self, queue: u32) {
        let Queue { first, last, unsorted, .. } = self.queues[queue as usize];
        if unsorted && first != NONE && self.entries[first as usize].deadline == self.entries[last as usize].deadline {
            self.sort_if_need_be(queue);
        }
    }

    #[cold]
    fn sort(&mut self, queue: u32) {
        let deadline = self.entries[self.queues[queue as usize].last as usize].deadline;
        // Off the end of the queue, in runs that are in order already. Of two bins the later holds
        // twice the runs, so each entry is merged O(log k) times.
        let (mut bins, mut run, mut from) = ([NONE; 33], NONE, self.queues[queue as usize].last);
        while from != NONE && self.entries[from as usize].deadline == deadline {
            let before = self.entries[from as usize].before;
            let goes_on = run != NONE && self.order(from) < self.order(run);
            if !goes_on && run != NONE {
                self.collect(&mut bins, run);
            }
            self.entries[from as usize].behind = if goes_on { run } else { NONE };
            run = from;
            from = before;
        }
        let sorted = bins.into_iter().filter(|bin| *bin != NONE).fold(run, |sorted, bin| self.merge(sorted, bin));
        self.put_at_end(queue, from, sorted);
    }

    /// Puts a run into the first bin that is empty, with those of the bins before it.
    fn collect(&mut self, bins: &mut [u32], mut run: u32) {
        for bin in bins {
            match core::mem::replace(bin, NONE) {
                NONE => return *bin = run,
                other => run = self.merge(run, other),
            }
        }
    }

    /// Two runs as one, linked by `behind`, by the numbers of registration.
    fn merge(&mut self, mut a: u32, mut b: u32) -> u32 {
        let (mut first, mut last) = (NONE, NONE);
        while a != NONE || b != NONE {
            let take_a = b == NONE || (a != NONE && self.order(a) < self.order(b));
            let taken = if take_a { a } else { b };
            let next = self.entries[taken as usize].behind;
            if take_a {
                a = next
            } else {
                b = next
            }
            match last {
                NONE => first = taken,
                _ => self.entries[last as usize].behind = taken,
            }
            last = taken;
        }
        first
    }

    /// Makes the entries that are linked from `first` on a queue's last, behind `before`.
    fn put_at_end(&mut self, queue: u32, before: u32, first: u32) {
        match before {
            NONE => {
                self.queues[queue as usize].first = first;
                // The same deadline, and registered earlier if it is another.
                self.rise(self.queues[queue as usize].heap_index);
            }
            _ => self.entries[before as usize].behind = first,
        }
        let (mut before, mut at) = (before, first);
        while at != NONE {
            self.entries[at as usize].before = before;
            (before, at) = (at, self.entries[at as usize].behind);
        }
        self.queues[queue as usize].last = before;
    }

    /// Gives an empty queue its first entry and an index in the heap.
    fn enlist(&mut self, queue: u32, first: u32) {
        let heap_index = self.heap.len() as u32;
        self.heap.push(queue);
        (self.queues[queue as usize].first, self.queues[queue as usize].heap_index) = (first, heap_index);
        self.rise(heap_index);
    }

    /// Makes the entry behind a queue's first one its first, which never comes before that one did.
    #[inline]
    fn lose_first(&mut self, queue: u32, behind: u32) {
        let q = &mut self.queues[queue as usize];
        q.first = behind;
        let heap_index = q.heap_index;
        match behind {
            NONE => self.retire(queue, heap_index),
            _ => self.sink(heap_index),
        }
    }

    /// Takes an empty queue out of use.
    fn retire(&mut self, queue: u32, heap_index: u32) {
        let q = &mut self.queues[queue as usize];
        q.heap_index = NONE;
        if let Ok(at) = self.by_period.binary_search_by_key(&q.period, |(period, _)| *period)
            && self.by_period[at].1 == queue
        {
            self.by_period.remove(at);
        }
        self.unused.push(queue);
        self.heap.swap_remove(heap_index as usize);
        if let Some(moved) = self.heap.get(heap_index as usize).copied() {
            self.queues[moved as usize].heap_index = heap_index;
            self.sink(heap_index);
            self.rise(self.queues[moved as usize].heap_index);
        }
    }

    fn heap_order(&self, heap_index: u32) -> Order {
        self.order(self.queues[self.heap[heap_index as usize] as usize].first)
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.heap.swap(a as usize, b as usize);
        self.queues[self.heap[a as usize] as usize].heap_index = a;
        self.queues[self.heap[b as usize] as usize].heap_index = b;
    }

    fn rise(&mut self, mut heap_index: u32) {
        while heap_index > 0 {
            let parent = (heap_index - 1) / 2;
            if self.heap_order(parent) <= self.heap_order(heap_index) {
                return;
            }
            self.swap(heap_index, parent);
            heap_index = parent;
        }
    }

    fn sink(&mut self, mut heap_index: u32) {
        loop {
            let mut least = heap_index;
            for child in [2 * heap_index + 1, 2 * heap_index + 2] {
                if (child as usize) < self.heap.len() && self.heap_order(child) < self.heap_order(least) {
                    least = child;
                }
            }
            if least == heap_index {
                return;
            }
            self.swap(heap_index, least);
            heap_index = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 30_000_000_000;

    impl Timers {
        /// What is due at `now`, in the order in which it fires; each is postponed by its period as
        /// a turn does it.
        fn fire(&mut self, now: u64, period: impl Fn(u32) -> u64) -> Vec<u32> {
            let due = core::iter::from_fn(|| {
                let (slot, _) = self.due(Instant::from_nanos(now))?;
                self.postpone(slot, Instant::from_nanos(now + period(slot)));
                Some(slot)
            });
            due.collect()
        }

        /// How many entries are looked at while `f` runs.
        fn looks_of<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> (usize, R) {
            let before = self.looks.get();
            let result = f(self);
            (self.looks.get() - before, result)
        }
    }

    /// Timers of one period, registered one after the other in the course of one.
    fn apart(count: u32) -> Timers {
        let mut timers = Timers::default();
        for slot in 0..count {
            timers.insert(slot, Instant::from_nanos(PERIOD + u64::from(slot) * PERIOD / u64::from(count)), PERIOD, true);
        }
        timers
    }

    #[test]
    fn s04_a_pause_longer_than_the_period_costs_n_log_n_looks_at_most() {
        const COUNT: u32 = 10_000;
        const MOST: usize = COUNT as usize * 30;
        let mut timers = apart(COUNT);
        // The first half has fired in small steps, so that the queue begins in its middle.
        let mut now = PERIOD;
        while now < PERIOD * 3 / 2 {
            now += PERIOD / 1000;
            let (looks, fired) = timers.looks_of(|timers| timers.fire(now, |_| PERIOD));
            assert!(looks <= 10 * fired.len(), "{looks} looks for {} timers", fired.len());
        }
        // Three pauses, with whatever order each leaves.
        for step in [2 * PERIOD, 2 * PERIOD, 3 * PERIOD] {
            now += step;
            let (looks, fired) = timers.looks_of(|timers| timers.fire(now, |_| PERIOD));
            assert_eq!(fired.len(), COUNT as usize);
            assert!(looks < MOST, "{looks} looks for {COUNT} timers");
        }
        assert!(timers.fire(now + PERIOD, |_| PERIOD).into_iter().eq(0..COUNT), "equal deadlines, so in order of registration");
    }

    #[test]
    fn s04_timers_in_the_worst_order_cost_n_log_n_looks() {
        const COUNT: u32 = 1 << 13;
        let mut timers = Timers::default();
        // Registered in one order, due in another: a deadline that is later than the registration
        // says is what a hand-made order needs.
        for slot in 0..COUNT {
            timers.insert(slot, Instant::from_nanos(PERIOD + u64::from(slot)), PERIOD, true);
        }
        for slot in 0..COUNT {
            // No two neighbours are in order.
            timers.entries[slot as usize].number = u64::from((slot * 4_799 + 1) % COUNT);
        }
        let (looks, fired) = timers.looks_of(|timers| timers.fire(2 * PERIOD, |_| PERIOD));
        assert_eq!(fired.len(), COUNT as usize);
        assert!(looks < COUNT as usize * 13 * 4, "{looks} looks for {COUNT} timers");
        let numbers: Vec<_> = timers.fire(3 * PERIOD, |_| PERIOD).iter().map(|slot| timers.entries[*slot as usize].number).collect();
        assert!(numbers.is_sorted() && numbers.len() == COUNT as usize);
    }

    #[test]
    fn s04_many_periods_are_a_tree_of_timers() {
        const COUNT: u32 = 4_096;
        let mut timers = Timers::default();
        let period = |slot: u32| 1_000_000 + u64::from(slot.reverse_bits() >> 20);
        for slot in 0..COUNT {
            let (looks, ()) = timers.looks_of(|timers| timers.insert(slot, Instant::from_nanos(period(slot)), period(slot), true));
            assert!(looks <= 2 * 13, "{looks} looks");
        }
        assert_eq!((timers.by_period.len(), timers.heap.len()), (SHARED, COUNT as usize), "what is moved is bounded");
        let fired = timers.fire(2_000_000, period);
        assert!(fired.iter().map(|slot| period(*slot)).is_sorted() && fired.len() == COUNT as usize);
        for slot in 0..COUNT {
            let (looks, ()) = timers.looks_of(|timers| timers.remove(slot));
            assert!(looks <= 8 * 13, "{looks} looks");
        }
        assert_eq!((timers.next(), timers.by_period.len(), timers.unused.len()), (None, 0, COUNT as usize));
    }

    #[test]
    fn s04_equal_deadlines_of_two_periods_come_in_the_order_of_registration_after_a_pause() {
        let mut timers = Timers::default();
        let period = |slot: u32| [10, 40, 10][slot as usize];
        for (slot, deadline) in [(0, 10), (1, 40), (2, 15)] {
            timers.insert(slot, Instant::from_nanos(deadline), period(slot), true);
        }
        assert_eq!(timers.fire(12, period), [0]);
        // The last is due before the first, which comes before it again at 40, and before the other
        // period.
        assert_eq!(timers.fire(30, period), [2, 0]);
        assert_eq!(timers.fire(40, period), [0, 1, 2]);
    }

    #[test]
    fn a_period_beyond_the_shared_ones_is_shared_when_there_is_room_again() {
        let mut timers = Timers::default();
        for slot in 0..=SHARED as u32 {
            timers.insert(slot, Instant::from_nanos(1_000 + u64::from(slot)), 1_000 + u64::from(slot), true);
        }
        // The last one has a queue of its own, of which the list knows nothing, and its going
        // leaves the list alone.
        let last = SHARED as u32;
        let period = 1_000 + u64::from(last);
        timers.remove(0);
        timers.insert(last + 1, Instant::from_nanos(period), period, true);
        timers.remove(last);
        timers.insert(last + 2, Instant::from_nanos(period), period, true);
        assert_eq!(timers.entries[last as usize + 1].queue, timers.entries[last as usize + 2].queue);
        assert_eq!(timers.by_period.len(), SHARED);
        assert!(timers.fire(period, |_| PERIOD).into_iter().eq((1..last).chain([last + 1, last + 2])));
    }
}
