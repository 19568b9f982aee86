//! The deadlines of one thread's futures: a heap whose entries know where they are, so that a sleep
//! that is dropped leaves at once, and nothing is allocated for one once there were as many.

use alloc::vec::Vec;
use core::mem;
use core::task::Waker;

use core_reactor::Instant;

/// Not in the heap: it has gone off.
const OFF: u32 = u32::MAX;

#[derive(Default)]
pub(crate) struct Timers {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries, those with the earliest deadline first.
    heap: Vec<u32>,
    inserted: u64,
}

struct Entry {
    /// The deadline, and behind it the order of coming.
    due: (Instant, u64),
    /// Where in the heap it is.
    at: u32,
    waker: Option<Waker>,
}

impl Timers {
    /// Adds one, which goes off at `deadline`. Its key is its owner's until
    /// [`remove`](Self::remove).
    pub(crate) fn insert(&mut self, deadline: Instant, waker: &Waker) -> u32 {
        self.inserted += 1;
        let entry = Entry { due: (deadline, self.inserted), at: self.heap.len() as u32, waker: Some(waker.clone()) };
        let key = match self.free.pop() {
            Some(key) => {
                self.entries[key as usize] = entry;
                key
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.heap.push(key);
        self.rise(self.heap.len() - 1);
        key
    }

    /// Has another be woken. What was to be woken before comes back, to be dropped.
    pub(crate) fn set_waker(&mut self, key: u32, waker: &Waker) -> Option<Waker> {
        let entry = &mut self.entries[key as usize];
        match &entry.waker {
            Some(there) if there.will_wake(waker) => None,
            _ => entry.waker.replace(waker.clone()),
        }
    }

    /// Takes one away, gone off or not.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Waker> {
        let Entry { at, ref mut waker, .. } = self.entries[key as usize];
        let waker = mem::take(waker);
        if at != OFF {
            self.take_out(at as usize);
        }
        self.free.push(key);
        waker
    }

    /// When the next one is to go off.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.heap.first().map(|key| self.entries[*key as usize].due.0)
    }

    /// Lets the first go off, if its time has come: who is to be woken.
    pub(crate) fn go_off(&mut self, now: Instant) -> Option<Waker> {
        while self.first().is_some_and(|deadline| deadline <= now) {
            let key = self.heap[0];
            self.take_out(0);
            let entry = &mut self.entries[key as usize];
            entry.at = OFF;
            if let Some(waker) = entry.waker.take() {
                return Some(waker);
            }
        }
        None
    }

    fn take_out(&mut self, at: usize) {
        let last = self.heap.len() - 1;
        self.swap(at, last);
        self.heap.pop();
        if at < last {
            self.rise(at);
            self.sink(at);
        }
    }

    fn due(&self, at: usize) -> (Instant, u64) {
        self.entries[self.heap[at] as usize].due
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for at in [a, b] {
            self.entries[self.heap[at] as usize].at = at as u32;
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.due(at) < self.due((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2].into_iter().filter(|below| *below < self.heap.len());
            let Some(least) = below.min_by_key(|below| self.due(*below)).filter(|below| self.due(*below) < self.due(at)) else { return };
            self.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_off_in_order_and_whoever_is_removed_does_not() {
        let (mut timers, mut random) = (Timers::default(), 1_u64);
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        for _ in 0..50 {
            let mut there: Vec<_> = (0..60).map(|_| timers.insert(Instant::from_nanos(1 + next() % 40), Waker::noop())).collect();
            for _ in 0..25 {
                let key = there.swap_remove(next() as usize % there.len());
                assert!(timers.remove(key).is_some());
            }
            there.sort_unstable_by_key(|key| timers.entries[*key as usize].due);
            for key in there {
                let at = timers.entries[key as usize].due.0;
                assert_eq!(timers.first(), Some(at));
                assert!(timers.go_off(Instant::from_nanos(at.as_nanos() - 1)).is_none(), "before its time");
                assert!(timers.go_off(at).is_some());
                assert_eq!(timers.entries[key as usize].at, OFF, "those of one time in the order of their coming");
                assert!(timers.remove(key).is_none());
            }
            assert_eq!((timers.first(), timers.entries.len()), (None, 60));
        }
    }
}
