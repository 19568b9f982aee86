//! Protection domains, and the memory that is registered with them.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use core_reactor::transport::{Access, RemoteMemory};
use pool::{Buf, DataPool};
use rdma_sys as ffi;
use rdma_sys::ibv_access_flags as flags;

use super::{Device, Errno};

/// A protection domain: what its queue pairs and registrations have in common.
pub(crate) struct Domain {
    raw: NonNull<ffi::ibv_pd>,
    device: Device,
}

// SAFETY: libibverbs takes calls on a domain from any thread, at the same time.
unsafe impl Send for Domain {}
// SAFETY: as above.
unsafe impl Sync for Domain {}

impl Domain {
    pub(crate) fn new(device: Device) -> Result<Arc<Self>, Errno> {
        // SAFETY: the device is open.
        let raw = NonNull::new(unsafe { ffi::ibv_alloc_pd(device.context()) }).ok_or_else(Errno::last)?;
        device.unblock()?;
        Ok(Arc::new(Self { raw, device }))
    }

    /// The most bytes that the device copies with a request, found out by doing.
    pub(crate) fn inline(self: &Arc<Self>) -> Result<u32, Errno> {
        super::pair::find_inline(self)
    }

    /// As [`Device::next_at_its_end`] does.
    pub(crate) fn next_at_its_end(&self) -> Option<Option<u32>> {
        self.device.next_at_its_end()
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_pd {
        self.raw.as_ptr()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: whoever needs it holds it, so nothing is left in it but what was leaked, and then
        // the library refuses, which leaks it too.
        unsafe { ffi::ibv_dealloc_pd(self.as_ptr()) };
    }
}

/// A registration.
struct Registered {
    raw: NonNull<ffi::ibv_mr>,
    /// Last, so that it outlives the registration.
    _domain: Arc<Domain>,
}

// SAFETY: libibverbs takes calls on a registration from any thread.
unsafe impl Send for Registered {}
// SAFETY: what is shared of it are numbers that do not change.
unsafe impl Sync for Registered {}

impl Registered {
    /// # Safety
    /// Until this is gone the device may read the bytes, and write them where `access` says so:
    /// they are nobody's in Rust's eyes for that time, or plain bytes behind raw pointers whose
    /// owner knows.
    unsafe fn new(domain: &Arc<Domain>, at: NonNull<u8>, len: usize, access: flags) -> Result<Self, Errno> {
        // SAFETY: the domain lives; the rest is the caller's promise.
        let raw = unsafe { ffi::ibv_reg_mr(domain.as_ptr(), at.as_ptr().cast(), len, access.0 as i32) };
        Ok(Self { raw: NonNull::new(raw).ok_or_else(Errno::last)?, _domain: domain.clone() })
    }

    fn local_key(&self) -> u32 {
        // SAFETY: it lives until the drop.
        unsafe { self.raw.as_ref().lkey }
    }

    fn remote_key(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.raw.as_ref().rkey }
    }

    /// Takes the memory back from the device; if that fails, whoever owns the memory must leak it.
    fn end(self) -> Result<(), Errno> {
        let this = ManuallyDrop::new(self);
        // SAFETY: it lives, and its own drop does not come.
        let ended = Errno::check(unsafe { ffi::ibv_dereg_mr(this.raw.as_ptr()) });
        // SAFETY: read once, and not used again.
        drop(unsafe { std::ptr::read(&raw const this._domain) });
        ended
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it lives, and this is its end.
        if let Err(why) = Errno::check(unsafe { ffi::ibv_dereg_mr(self.raw.as_ptr()) }) {
            log::error!("a registration of memory cannot be ended (error {})", why.0);
        }
    }
}

/// A pool, registered whole, so that any of its buffers can be sent from and received into. Nothing
/// in it can be reached by a peer on its own.
pub(crate) struct Region {
    registered: ManuallyDrop<Registered>,
    /// Keeps the memory.
    pool: ManuallyDrop<DataPool>,
    base: usize,
    len: usize,
}

impl Region {
    pub(crate) fn new(domain: &Arc<Domain>, pool: DataPool) -> Result<Self, Errno> {
        let (base, len) = pool.region();
        // SAFETY: the pool is kept with its registration. The device writes to its bytes only for a
        // request that names a part of a buffer, which is owned by the request then; buffers are
        // bytes behind raw pointers.
        let registered = unsafe { Registered::new(domain, base, len, flags::IBV_ACCESS_LOCAL_WRITE) }?;
        Ok(Self { registered: ManuallyDrop::new(registered), pool: ManuallyDrop::new(pool), base: base.addr().get(), len })
    }

    /// Whether it is the region of this pool.
    pub(crate) fn is_of(&self, pool: &DataPool) -> bool {
        let (base, len) = pool.region();
        (base.addr().get(), len) == (self.base, self.len)
    }

    /// Whether a buffer is of this pool. The pool lives, so nobody else has memory where its own
    /// is.
    pub(crate) fn has(&self, buf: &Buf) -> bool {
        let at = buf.as_ptr().addr();
        self.base <= at && at + buf.len() <= self.base + self.len
    }

    pub(super) fn key(&self) -> u32 {
        self.registered.local_key()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: taken once.
        let (registered, pool) = unsafe { (ManuallyDrop::take(&mut self.registered), ManuallyDrop::take(&mut self.pool)) };
        if let Err(why) = registered.end() {
            // First: whoever takes the line may panic.
            let _ = ManuallyDrop::new(pool);
            log::error!("a pool cannot be unregistered (error {}): its memory is lost", why.0);
        }
    }
}

/// A buffer that a peer can reach.
pub(crate) struct Exposure {
    registered: ManuallyDrop<Registered>,
    buf: ManuallyDrop<Buf>,
    /// The pool is its memory's owner.
    _region: Arc<Region>,
}

impl Exposure {
    /// Exposes the filled part of a buffer of this region's pool.
    ///
    /// # Errors
    /// The buffer comes back; without a number, it is of another pool.
    pub(crate) fn new(domain: &Arc<Domain>, region: &Arc<Region>, mut buf: Buf, access: Access) -> Result<Self, (Buf, Option<Errno>)> {
        if !region.has(&buf) {
            return Err((buf, None));
        }
        let mut allowed = flags(0);
        if access.reads() {
            allowed |= flags::IBV_ACCESS_REMOTE_READ;
        }
        if access.writes() {
            allowed |= flags::IBV_ACCESS_REMOTE_WRITE | flags::IBV_ACCESS_LOCAL_WRITE;
        }
        let (at, len) = (NonNull::from(&mut *buf).cast(), buf.len());
        // SAFETY: the buffer is kept, out of anybody's sight, as long as the registration, and its
        // memory by the region.
        match unsafe { Registered::new(domain, at, len, allowed) } {
            Ok(registered) => Ok(Self { registered: ManuallyDrop::new(registered), buf: ManuallyDrop::new(buf), _region: region.clone() }),
            Err(why) => Err((buf, Some(why))),
        }
    }

    /// How a peer names it.
    pub(crate) fn memory(&self) -> RemoteMemory {
        RemoteMemory { addr: self.buf.as_ptr().addr() as u64, key: self.registered.remote_key(), len: self.buf.len() as u32 }
    }

    /// Ends it: no peer can reach the buffer any more. `None` if the library will not have it, and
    /// the buffer is lost.
    pub(crate) fn end(self) -> Option<Buf> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: each is taken once; the drop does not come.
        let (registered, buf) = unsafe { (ManuallyDrop::take(&mut this.registered), ManuallyDrop::take(&mut this.buf)) };
        // SAFETY: read once, and not used again.
        let region = unsafe { std::ptr::read(&raw const this._region) };
        match registered.end() {
            Ok(()) => Some(buf),
            Err(why) => {
                // First: whoever takes the line may panic.
                let _ = ManuallyDrop::new((buf, region));
                log::error!("an exposed buffer cannot be taken back (error {}): it is lost", why.0);
                None
            }
        }
    }
}

impl Drop for Exposure {
    fn drop(&mut self) {
        // SAFETY: each is taken once, here or in `end`, which leaves no drop.
        let (registered, buf) = unsafe { (ManuallyDrop::take(&mut self.registered), ManuallyDrop::take(&mut self.buf)) };
        if registered.end().is_err() {
            let _ = ManuallyDrop::new((buf, self._region.clone()));
        }
    }
}
