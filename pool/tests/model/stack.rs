//! The lock-free stack of indices.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use pool::{Chain, FreeStack, LinkArray, Links};

/// A stack with an object behind each index that only the index's owner may touch.
struct Guarded {
    stack: FreeStack,
    links: LinkArray,
    owned: Vec<UnsafeCell<u32>>,
}

// SAFETY: a cell is touched only between popping its index and pushing it; loom checks that this
// orders the accesses.
unsafe impl Sync for Guarded {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new(count: u32) -> Arc<Self> {
        let (stack, links) = (FreeStack::new(), LinkArray::new(count).unwrap());
        stack.push(&links, links.chain(0..count).unwrap());
        Arc::new(Self { stack, links, owned: (0..count).map(|_| UnsafeCell::new(0)).collect() })
    }

    /// Pops, writes to what it got, and returns it.
    fn take(&self, at_least: u32, most: u32) -> Option<(Chain, Vec<u32>)> {
        let mut seen = Vec::new();
        let chain = self.stack.pop(&self.links, at_least, most, |at, index| {
            seen.truncate(at as usize);
            seen.push(index);
        })?;
        for &index in &seen {
            // SAFETY: popped, so this thread's until pushed.
            self.owned[index as usize].with_mut(|value| unsafe { *value += 1 });
        }
        Some((chain, seen))
    }

    fn put(&self, chain: Chain) {
        self.stack.push(&self.links, chain);
    }

    fn all(&self) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some((_, seen)) = self.take(1, 1) {
            all.extend(seen);
        }
        all.sort_unstable();
        all
    }
}

/// Seeded: a pop that leaves the tag as it was fails here (an index is handed out twice).
#[test]
fn a_pop_notices_that_the_top_went_and_came_back() {
    loom::model(|| {
        let guarded = Guarded::new(3);
        let other = guarded.clone();
        let thread = thread::spawn(move || {
            // Takes two and returns the first only: the same index on top, another below it.
            let (chain, seen) = other.take(2, 2).unwrap_or_else(|| other.take(1, 1).unwrap());
            if seen.len() == 2 {
                other.put(other.links.chain([seen[0]]).unwrap());
                return seen[1..].to_vec();
            }
            other.put(chain);
            Vec::new()
        });
        let mine = guarded.take(1, 2);
        let mut all = thread.join().unwrap();
        all.extend(mine.into_iter().flat_map(|(_, seen)| seen));
        all.extend(guarded.all());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

/// Seeded: a push that swaps with `Relaxed` fails here (unordered writes to the object).
#[test]
fn a_chain_pushed_by_one_core_is_whole_on_another() {
    loom::model(|| {
        let guarded = Guarded::new(3);
        let other = guarded.clone();
        let thread = thread::spawn(move || {
            let (chain, seen) = other.take(1, 3)?;
            other.put(chain);
            Some(seen.len())
        });
        let mine = guarded.take(1, 3);
        let mine = mine.map(|(chain, seen)| {
            guarded.put(chain);
            seen.len()
        });
        // A chain goes out and in with one swap each, so whoever got something got all three.
        for got in [mine, thread.join().unwrap()].into_iter().flatten() {
            assert_eq!(got, 3);
        }
        assert_eq!(guarded.all(), [0, 1, 2]);
    });
}

/// Seeded: a pop that says "too few" without looking at the head again fails here, and so do links
/// that are stored with `Relaxed`.
#[test]
fn too_few_is_said_only_of_a_list_that_stood_still() {
    loom::model(|| {
        let guarded = Guarded::new(3);
        let other = guarded.clone();
        let thread = thread::spawn(move || assert!(other.take(2, 2).is_some()));
        // Never fewer than two are there, but what hangs behind the one taken is its holder's
        // affair.
        let (chain, _) = guarded.take(1, 1).unwrap();
        guarded.links.set_after(chain.last, u32::MAX);
        guarded.put(chain);
        thread.join().unwrap();
    });
}
