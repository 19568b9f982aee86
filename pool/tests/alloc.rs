//! Nothing is allocated once a pool is made: an allocator that counts for each thread, since those
//! of the test harness have theirs to allocate whenever they come to it.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::task::Waker;

use pool::{Class, ClassConfig, DataPool, DataPoolConfig, Mempool, MempoolConfig, ReserveConfig};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn s25_s26_s28_nothing_is_allocated_after_the_start() {
    let class = |count| ClassConfig { count, size: 64 };
    let config = DataPoolConfig::DEFAULT.small(class(8)).large(class(4)).control(class(2)).waiters(4);
    let pool = DataPool::on_heap(config).unwrap();
    let group = pool.group(ReserveConfig { small: 2, large: 1, control: 1 }).unwrap();
    let other = pool.group(ReserveConfig { small: 2, large: 1, control: 1 }).unwrap();
    let objects = Mempool::new(MempoolConfig { objects: 64, caches: 2, cache_size: 8 }, |_| 0u64).unwrap();
    let (here, there) = (objects.cache().unwrap(), objects.cache().unwrap());

    let before = ALLOCATED.get();
    for _ in 0..100 {
        let bufs = [0; 6].map(|_| group.get().unwrap());
        let mut waiting = other.request(Class::Small, 3, 0, Waker::noop()).unwrap();
        assert!(waiting.poll(0).is_none());
        bufs.into_iter().for_each(|buf| drop(buf.into_send().into_local(&other)));
        assert_eq!(waiting.poll(0).unwrap().len(), 3);
        drop(group.get_large().unwrap().into_send());

        let bulk = here.get_bulk::<16>().unwrap();
        let single = here.get().unwrap().into_send().into_local(&there).unwrap();
        drop((bulk, single));
    }
    assert_eq!(ALLOCATED.get() - before, 0);
    assert_eq!((pool.stats(Class::Small).waits, pool.stats(Class::Small).in_use, objects.in_use()), (100, 0, 0));
    assert!(before > 0, "the allocator counts");
}
