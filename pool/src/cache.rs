//! One core's cache of a [`Mempool`](crate::Mempool), and the objects that come out of it.

// UNSAFETY: turns an index, of which there is one owner, into a reference to the object that it
// stands for.

use alloc::{boxed::Box, rc::Rc, sync::Arc};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut, Index, IndexMut};
use core::sync::atomic::Ordering::Relaxed;
use core::{array, fmt, ptr};

use crossbeam_utils::CachePadded;

use crate::objects::{Counters, Shared};
use crate::stack::Links;
use crate::sync::AtomicUsize;

/// A core's stock of free objects. It stays on its core:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// # let config = pool::MempoolConfig { objects: 1, caches: 1, cache_size: 1 };
/// # let pool = pool::Mempool::new(config, |_| 0u64).unwrap();
/// send(pool.cache().unwrap());
/// ```
///
/// When it is dropped its free objects go back to the pool at once, and those that are out on their
/// return.
pub struct MempoolCache<T> {
    inner: Rc<Inner<T>>,
}

impl<T> MempoolCache<T> {
    /// A cache with `items` to hold free objects.
    pub(crate) fn new(shared: Arc<Shared<T>>, id: u32, items: Box<[Cell<u32>]>) -> Self {
        let counters = shared.account.counters[id as usize].clone();
        Self { inner: Rc::new(Inner { counters, items, limit: Cell::new(shared.cache_size), shared, id }) }
    }

    /// The object that came home last, as it was left; `None` if neither the cache nor the pool has
    /// one.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 1, caches: 1, cache_size: 1 }, |_| 0u32)?;
    /// # let cache = pool.cache()?;
    /// let mut counter = cache.get().ok_or("all are out")?;
    /// *counter += 1;
    /// assert!(cache.get().is_none());
    /// drop(counter);
    /// assert_eq!(cache.get().as_deref(), Some(&1), "as it was left");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn get(&self) -> Option<Obj<T>> {
        let index = self.inner.take()?;
        Some(Obj { index, home: self.inner.clone() })
    }

    /// `N` objects or none, in one go.
    ///
    /// Bound by reference (`if let Some(bulk) = &mut cache.get_bulk::<32>()`) the list of objects
    /// is copied once; by value it is moved as well.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 4, caches: 1, cache_size: 4 }, |number| number)?;
    /// # let cache = pool.cache()?;
    /// let three = cache.get_bulk::<3>().ok_or("fewer are there")?;
    /// assert_eq!(three.iter().count(), 3);
    /// assert!(cache.get_bulk::<2>().is_none(), "all or none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn get_bulk<const N: usize>(&self) -> Option<Bulk<T, N>> {
        let len = self.inner.len();
        let Some(items) = self.inner.items[..len].last_chunk::<N>() else { return self.get_bulk_slow() };
        self.inner.set_len(len - N);
        add(&self.inner.counters.hits, N);
        // Copied straight to where it stays: through a return value of its own it would be copied
        // three times more.
        Some(Bulk { home: self.inner.clone(), indices: array::from_fn(|at| items[at].get()) })
    }

    #[cold]
    fn get_bulk_slow<const N: usize>(&self) -> Option<Bulk<T, N>> {
        let indices = self.inner.take_bulk()?;
        Some(Bulk { indices, home: self.inner.clone() })
    }
}

/// An object out of a pool. Dropping it returns it to its core's cache; it stays on that core:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// # let config = pool::MempoolConfig { objects: 1, caches: 1, cache_size: 1 };
/// # let pool = pool::Mempool::new(config, |_| 0u64).unwrap();
/// # let cache = pool.cache().unwrap();
/// send(cache.get().unwrap());
/// ```
///
/// An object that is given to `core::mem::forget` is lost to the pool, and nothing else happens.
pub struct Obj<T> {
    index: u32,
    home: Rc<Inner<T>>,
}

impl<T> Obj<T> {
    /// The same object, free to go to another core.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 1, caches: 1, cache_size: 1 }, |_| 5)?;
    /// # let cache = pool.cache()?;
    /// let sent = cache.get().ok_or("all are out")?.into_send();
    /// let there = std::thread::spawn(move || sent); // another core
    /// let back = there.join().map_err(|_| "it panicked")?.into_local(&cache).map_err(|_| "another pool's")?;
    /// assert_eq!(*back, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_send(self) -> SendObj<T> {
        let obj = ManuallyDrop::new(self);
        // SAFETY: `obj` is not used or dropped after this, so the reference to its cache is taken
        // out once.
        let home = unsafe { ptr::read(&obj.home) };
        SendObj { index: obj.index, home: home.shared.clone(), object: PhantomData }
    }
}

/// `N` objects out of a pool, taken and returned in one go.
pub struct Bulk<T, const N: usize> {
    indices: [u32; N],
    home: Rc<Inner<T>>,
}

impl<T, const N: usize> Bulk<T, N> {
    /// The objects.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        // SAFETY: the indices are this bulk's own, and it is borrowed.
        self.indices.iter().map(|&index| unsafe { &*self.home.shared.object(index) })
    }

    /// The objects, to be changed.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 2, caches: 1, cache_size: 2 }, |_| 0u32)?;
    /// # let cache = pool.cache()?;
    /// if let Some(pair) = &mut cache.get_bulk::<2>() {
    ///     pair.iter_mut().for_each(|object| *object = 7);
    ///     assert!(pair.iter().all(|object| *object == 7));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> {
        // SAFETY: the indices are this bulk's own and differ from each other, and it is borrowed
        // mutably.
        self.indices.iter().map(|&index| unsafe { &mut *self.home.shared.object(index) })
    }
}

/// An object on its way to another core. Dropped there, or anywhere, it returns to the pool.
///
/// ```
/// # use pool::{Mempool, MempoolConfig};
/// # let pool = Mempool::new(MempoolConfig { objects: 1, caches: 1, cache_size: 1 }, |number| number)?;
/// # let cache = pool.cache()?;
/// let object = cache.get().ok_or("all are out")?.into_send();
/// std::thread::spawn(move || drop(object)).join().map_err(|_| "it panicked")?;
/// assert_eq!(pool.in_use(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SendObj<T> {
    index: u32,
    home: Arc<Shared<T>>,
    // Shared between threads it shows them `&T`, which a shared pool alone does not: so it is
    // `Sync` only if `T` is.
    object: PhantomData<T>,
}

impl<T> SendObj<T> {
    /// The same object as one of this core's: dropped, it stays in `cache`.
    ///
    /// ```
    /// # use pool::{Mempool, MempoolConfig};
    /// # let pool = Mempool::new(MempoolConfig { objects: 1, caches: 1, cache_size: 1 }, |_| 0u32)?;
    /// # let cache = pool.cache()?;
    /// let sent = cache.get().ok_or("all are out")?.into_send();
    /// // On the core where it arrives:
    /// let here = sent.into_local(&cache).map_err(|_| "it is another pool's")?;
    /// drop(here);
    /// assert!(cache.get().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Gives the object back if `cache` is one of another pool.
    pub fn into_local(self, cache: &MempoolCache<T>) -> Result<Obj<T>, SendObj<T>> {
        if !Arc::ptr_eq(&self.home, &cache.inner.shared) {
            return Err(self);
        }
        let obj = ManuallyDrop::new(self);
        // SAFETY: `obj` is not used or dropped after this, so the reference to its pool is taken
        // out once.
        drop(unsafe { ptr::read(&obj.home) });
        Ok(Obj { index: obj.index, home: cache.inner.clone() })
    }
}

struct Inner<T> {
    counters: Arc<CachePadded<Counters>>,
    /// The free objects, the one returned last at the end; as many as the counters say.
    items: Box<[Cell<u32>]>,
    /// Objects to hold at most: 0 once the cache's handle is gone.
    limit: Cell<usize>,
    shared: Arc<Shared<T>>,
    id: u32,
}

impl<T> Inner<T> {
    #[inline]
    fn len(&self) -> usize {
        self.counters.len.load(Relaxed) as usize
    }

    #[inline]
    fn set_len(&self, len: usize) {
        self.counters.len.store(len as u32, Relaxed);
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        let last = self.len().wrapping_sub(1);
        let Some(item) = self.items.get(last) else { return self.refill() };
        self.set_len(last);
        add(&self.counters.hits, 1);
        Some(item.get())
    }

    /// Takes an object from the pool and, in the same go, what fills half the cache.
    #[cold]
    fn refill(&self) -> Option<u32> {
        let most = 1 + (self.limit.get() / 2) as u32;
        let mut first = 0;
        let taken = self.shared.account.free.pop(&self.shared.links, 1, most, |at, index| match at.checked_sub(1) {
            None => first = index,
            Some(at) => self.items[at as usize].set(index),
        });
        let Some(taken) = taken else {
            add(&self.counters.failures, 1);
            return None;
        };
        self.set_len(taken.len as usize - 1);
        add(&self.counters.refills, 1);
        Some(first)
    }

    #[inline]
    fn put(&self, index: u32) {
        let len = self.len();
        if len < self.limit.get() {
            self.items[len].set(index);
            self.set_len(len + 1);
        } else {
            self.spill(index);
        }
    }

    /// Moves the colder half to the pool to make room for `index`. A closed cache has no room and
    /// holds nothing.
    #[cold]
    fn spill(&self, index: u32) {
        let keep = self.limit.get() / 2;
        self.give_back(self.len() - keep);
        if self.limit.get() > 0 {
            self.items[keep].set(index);
            self.set_len(keep + 1);
        } else if let Some(chain) = self.shared.links.chain([index]) {
            self.shared.account.free.push(&self.shared.links, chain);
        }
    }

    /// Gives the `count` objects that have lain longest back to the pool.
    fn give_back(&self, count: usize) {
        let (away, stay) = self.items[..self.len()].split_at(count);
        if let Some(chain) = self.shared.links.chain(away.iter().map(Cell::get)) {
            self.shared.account.free.push(&self.shared.links, chain);
            add(&self.counters.spills, 1);
        }
        for (to, from) in self.items.iter().zip(stay) {
            to.set(from.get());
        }
        self.set_len(stay.len());
    }

    /// Takes what the cache has and the rest from the pool, in one go; the cache has fewer than
    /// `N`.
    fn take_bulk<const N: usize>(&self) -> Option<[u32; N]> {
        let len = self.len();
        let mut indices = [0; N];
        let (cached, rest) = indices.split_at_mut(len);
        let count = rest.len() as u32;
        if self.shared.account.free.pop(&self.shared.links, count, count, |at, index| rest[at as usize] = index).is_none() {
            add(&self.counters.failures, 1);
            return None;
        }
        for (index, item) in cached.iter_mut().zip(&self.items) {
            *index = item.get();
        }
        self.set_len(0);
        add(&self.counters.hits, len);
        add(&self.counters.refills, 1);
        Some(indices)
    }

    #[inline]
    fn put_bulk<const N: usize>(&self, indices: &[u32; N]) {
        let len = self.len();
        if len + N <= self.limit.get() {
            for (item, &index) in self.items[len..len + N].iter().zip(indices) {
                item.set(index);
            }
            self.set_len(len + N);
        } else {
            self.put_bulk_slow(indices);
        }
    }

    #[cold]
    fn put_bulk_slow(&self, indices: &[u32]) {
        for &index in indices {
            self.put(index);
        }
    }
}

impl<T> Deref for Obj<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the index is this object's own, and it is borrowed.
        unsafe { &*self.home.shared.object(self.index) }
    }
}

impl<T> DerefMut for Obj<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the index is this object's own, and it is borrowed mutably.
        unsafe { &mut *self.home.shared.object(self.index) }
    }
}

impl<T> Deref for SendObj<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the index is this object's own, and it is borrowed.
        unsafe { &*self.home.object(self.index) }
    }
}

impl<T> DerefMut for SendObj<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the index is this object's own, and it is borrowed mutably.
        unsafe { &mut *self.home.object(self.index) }
    }
}

impl<T, const N: usize> Index<usize> for Bulk<T, N> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        // SAFETY: the indices are this bulk's own, and it is borrowed.
        unsafe { &*self.home.shared.object(self.indices[at]) }
    }
}

impl<T, const N: usize> IndexMut<usize> for Bulk<T, N> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        // SAFETY: the indices are this bulk's own, and it is borrowed mutably.
        unsafe { &mut *self.home.shared.object(self.indices[at]) }
    }
}

impl<T> Drop for Obj<T> {
    #[inline]
    fn drop(&mut self) {
        self.home.put(self.index);
    }
}

impl<T, const N: usize> Drop for Bulk<T, N> {
    #[inline]
    fn drop(&mut self) {
        self.home.put_bulk(&self.indices);
    }
}

impl<T> Drop for SendObj<T> {
    fn drop(&mut self) {
        if let Some(chain) = self.home.links.chain([self.index]) {
            self.home.account.free.push(&self.home.links, chain);
        }
    }
}

impl<T> Drop for MempoolCache<T> {
    fn drop(&mut self) {
        self.inner.limit.set(0);
        self.inner.give_back(self.inner.len());
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        if let Some(id) = self.shared.id_links.chain([self.id]) {
            self.shared.ids.push(&self.shared.id_links, id);
        }
    }
}

impl<T> fmt::Debug for MempoolCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MempoolCache").field("free", &self.inner.len()).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Obj<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for SendObj<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for Bulk<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Adds to a counter that only this core writes.
#[inline]
fn add(counter: &AtomicUsize, n: usize) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}
