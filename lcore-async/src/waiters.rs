//! Who waits for one thing that happens once.

use alloc::vec::Vec;
use core::task::Waker;

#[derive(Default)]
pub(crate) struct Waiters {
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Waiters {
    /// Adds one. Its key is its owner's until [`remove`](Self::remove).
    pub(crate) fn insert(&mut self, waker: &Waker) -> u32 {
        let key = self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            (self.wakers.len() - 1) as u32
        });
        self.wakers[key as usize] = Some(waker.clone());
        key
    }

    /// Has another be woken. What was to be woken before comes back, to be dropped.
    pub(crate) fn set_waker(&mut self, key: u32, waker: &Waker) -> Option<Waker> {
        let there = &mut self.wakers[key as usize];
        if there.as_ref().is_some_and(|there| there.will_wake(waker)) { None } else { there.replace(waker.clone()) }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<Waker> {
        self.free.push(key);
        self.wakers[key as usize].take()
    }

    /// All that are to be woken.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}
