//! Objects that return on another core while their home refills its cache.

use loom::cell::UnsafeCell;
use loom::thread;
use pool::{Mempool, MempoolConfig, Obj};

/// An object that notices owners who are not ordered. Loom's cell is `Send`, and a mempool asks for
/// no more.
fn mempool(objects: usize, caches: u32, cache_size: usize) -> Mempool<UnsafeCell<u32>> {
    Mempool::new(MempoolConfig { objects, caches, cache_size }, |_| UnsafeCell::new(0)).unwrap()
}

fn write(object: &Obj<UnsafeCell<u32>>) {
    // SAFETY: whoever has the object has it alone, which is what loom checks here.
    object.with_mut(|value| unsafe { *value += 1 });
}

/// Seeded: a stack that is pushed to or popped from with `Relaxed` fails here (unordered writes to
/// the object).
#[test]
fn s25_a_remote_put_meets_a_refill() {
    loom::model(|| {
        let pool = mempool(3, 1, 2);
        let cache = pool.cache().unwrap();
        let (first, second) = (cache.get().unwrap(), cache.get().unwrap());
        write(&first);
        write(&second);
        let (first, second) = (first.into_send(), second.into_send());
        let thread = thread::spawn(move || {
            drop(first);
            drop(second);
        });
        let out: Vec<_> = std::iter::from_fn(|| cache.get()).inspect(write).collect();
        thread.join().unwrap();
        drop(out);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(std::iter::from_fn(|| cache.get().inspect(write).map(Obj::into_send)).collect::<Vec<_>>().len(), 3);
    });
}

/// Seeded: as above.
#[test]
fn s25_two_caches_never_share_an_object() {
    loom::model(|| {
        let pool = mempool(3, 2, 0);
        let send = || {
            let cache = pool.cache().unwrap();
            let object = cache.get().unwrap();
            write(&object);
            object.into_send()
        };
        let (one, other) = (send(), send());
        let thread = thread::spawn(move || {
            write_sent(&one);
            drop(one);
        });
        let cache = pool.cache().unwrap();
        let mine = cache.get().unwrap();
        write(&mine);
        drop(mine);
        drop(other);
        let again = cache.get().unwrap();
        write(&again);
        thread.join().unwrap();
    });
}

fn write_sent(object: &UnsafeCell<u32>) {
    // SAFETY: as in `write`.
    object.with_mut(|value| unsafe { *value += 1 });
}
