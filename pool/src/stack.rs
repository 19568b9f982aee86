//! A lock-free stack of indices: what is free and belongs to no core.
//!
//! The stack is a linked list whose links live outside it ([`Links`]), one for each index, so
//! several stacks can share one set of links as long as an index is in one of them at a time. The
//! head holds the index on top and a tag that every pop changes:
//!
//! ```text
//!   head  [ tag:32 | index:32 ]        links  [ .. | next | .. ]
//! ```
//!
//! A [`Chain`] of any length goes in with one compare-and-swap, and comes out with one: whoever
//! walks the links while another core changes them may read nonsense, but then the tag has changed
//! and the swap fails.
//!
//! The bad moment: a core that sleeps between reading the head and swapping it, while the others do
//! an exact multiple of 2³² pops and leave the same index on top, would not notice. At one pop each
//! nanosecond that takes 4.3 s and then one chance in 2³².

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::PoolError;
use crate::memory::many;
use crate::sync::{AtomicU32, AtomicU64};

/// No index: the end of a list.
pub(crate) const NIL: u32 = u32::MAX;

/// The links that stacks are made of.
pub trait Links {
    /// The index that follows `index`.
    fn after(&self, index: u32) -> u32;

    /// Puts `next` behind `index`.
    fn set_after(&self, index: u32, next: u32);

    /// A chain of `indices` in this order; `None` if there are none. The caller owns them: none may
    /// be in a stack.
    fn chain(&self, indices: impl IntoIterator<Item = u32>) -> Option<Chain> {
        let mut indices = indices.into_iter();
        let first = indices.next()?;
        let mut chain = Chain { first, last: first, len: 1 };
        for index in indices {
            self.set_after(chain.last, index);
            chain.last = index;
            chain.len += 1;
        }
        Some(chain)
    }
}

/// Links in an array of their own.
#[derive(Debug)]
pub struct LinkArray(alloc::boxed::Box<[AtomicU32]>);

impl LinkArray {
    /// Links for the indices below `len`.
    ///
    /// # Errors
    /// [`PoolError::NoMemory`].
    pub fn new(len: u32) -> Result<Self, PoolError> {
        Ok(Self(many(len as usize, || AtomicU32::new(NIL))?))
    }
}

impl Links for LinkArray {
    // Acquire and release: a pop that finds too few must be sure that it walked an unchanged list
    // before it says so.
    fn after(&self, index: u32) -> u32 {
        self.0[index as usize].load(Acquire)
    }

    fn set_after(&self, index: u32, next: u32) {
        self.0[index as usize].store(next, Release);
    }
}

/// Linked indices that their holder owns. What follows `last` in the links means nothing.
#[derive(Debug)]
pub struct Chain {
    /// The index on top.
    pub first: u32,
    /// The index at the bottom.
    pub last: u32,
    /// How many there are, 1 or more.
    pub len: u32,
}

impl Chain {
    /// Takes the index on top; what is left of the chain, if anything, is the second.
    pub fn split_first(self, links: &(impl Links + ?Sized)) -> (u32, Option<Chain>) {
        let rest = (self.len > 1).then(|| Chain { first: links.after(self.first), last: self.last, len: self.len - 1 });
        (self.first, rest)
    }

    /// This chain, and `below` underneath.
    pub fn join(self, links: &(impl Links + ?Sized), below: Option<Chain>) -> Chain {
        let Some(below) = below else { return self };
        links.set_after(self.last, below.first);
        Chain { first: self.first, last: below.last, len: self.len + below.len }
    }
}

/// A lock-free stack of indices; any core may push and pop.
#[derive(Debug)]
pub struct FreeStack {
    head: AtomicU64,
    len: AtomicU32,
}

impl FreeStack {
    /// An empty stack.
    pub fn new() -> Self {
        Self { head: AtomicU64::new(pack(0, NIL)), len: AtomicU32::new(0) }
    }

    /// Puts a chain on top.
    pub fn push(&self, links: &(impl Links + ?Sized), chain: Chain) {
        // Counted before it can be taken, so that the count never falls below what is there.
        self.len.fetch_add(chain.len, Relaxed);
        let mut head = self.head.load(Relaxed);
        loop {
            links.set_after(chain.last, index(head));
            match self.head.compare_exchange_weak(head, pack(tag(head), chain.first), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes up to `most` from the top; `None` if there are fewer than `at_least` (1 or more), and
    /// then nothing is taken.
    ///
    /// `visit` is shown each position and index on the way; after a lost race it is shown position
    /// 0 again and what it saw is void.
    pub fn pop(&self, links: &(impl Links + ?Sized), at_least: u32, most: u32, mut visit: impl FnMut(u32, u32)) -> Option<Chain> {
        debug_assert!(0 < at_least && at_least <= most);
        let mut head = self.head.load(Acquire);
        loop {
            let first = index(head);
            let (mut last, mut next, mut len) = (NIL, first, 0);
            while len < most && next != NIL {
                visit(len, next);
                last = next;
                next = links.after(next);
                len += 1;
            }
            if len < at_least {
                let now = self.head.load(Acquire);
                if now == head {
                    return None;
                }
                head = now;
                continue;
            }
            match self.head.compare_exchange_weak(head, pack(tag(head).wrapping_add(1), next), AcqRel, Acquire) {
                Ok(_) => {
                    self.len.fetch_sub(len, Relaxed);
                    return Some(Chain { first, last, len });
                }
                Err(now) => head = now,
            }
        }
    }

    /// How many are in it: exact when no push or pop is under way, else too many by those.
    pub fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        index(self.head.load(Acquire)) == NIL
    }
}

impl Default for FreeStack {
    fn default() -> Self {
        Self::new()
    }
}

fn pack(tag: u32, index: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(index)
}

fn tag(head: u64) -> u32 {
    (head >> 32) as u32
}

fn index(head: u64) -> u32 {
    head as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn popped(stack: &FreeStack, links: &LinkArray, at_least: u32, most: u32) -> Option<Vec<u32>> {
        let mut out = Vec::new();
        stack.pop(links, at_least, most, |_, index| out.push(index)).map(|_| out)
    }

    #[test]
    fn a_chain_comes_out_in_the_order_it_went_in_last_chain_first() {
        let (stack, links) = (FreeStack::new(), LinkArray::new(8).unwrap());
        stack.push(&links, links.chain([0, 1, 2]).unwrap());
        stack.push(&links, links.chain([7, 5]).unwrap());
        assert_eq!((stack.len(), stack.is_empty()), (5, false));
        assert_eq!(popped(&stack, &links, 1, 3), Some(Vec::from([7, 5, 0])));
        assert_eq!(popped(&stack, &links, 1, 9), Some(Vec::from([1, 2])));
        assert!(stack.is_empty());
        assert_eq!(popped(&stack, &links, 1, 1), None);
    }

    #[test]
    fn too_few_takes_nothing() {
        let (stack, links) = (FreeStack::new(), LinkArray::new(4).unwrap());
        stack.push(&links, links.chain(0..4).unwrap());
        assert_eq!(popped(&stack, &links, 5, 5), None);
        assert_eq!(popped(&stack, &links, 4, 4), Some(Vec::from([0, 1, 2, 3])));
    }

    #[test]
    fn no_indices_make_no_chain() {
        assert!(LinkArray::new(1).unwrap().chain([]).is_none());
    }
}
