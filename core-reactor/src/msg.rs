//! Messages: a closure of up to 48 bytes, carried inline.
// UNSAFETY: a closure's bytes are kept in an untyped array beside the function that knows their
// type.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::Cx;

/// Words of 8 bytes that a message carries.
const WORDS: usize = 6;
type Bytes = MaybeUninit<[u64; WORDS]>;

/// Something to do on a thread: a `Send` closure of up to 48 bytes, kept inline, so that a message
/// is one cache line of a ring and nothing else.
///
/// A bigger closure does not compile:
///
/// ```compile_fail
/// let big = [0u64; 7];
/// core_reactor::Msg::new(move |_| drop(big));
/// ```
///
/// Box what is big; 48 bytes do compile:
///
/// ```
/// let fits = [0u64; 6];
/// core_reactor::Msg::new(move |_| drop(fits));
/// let big = Box::new([0u64; 7]);
/// core_reactor::Msg::new(move |_| drop(big));
/// ```
pub struct Msg {
    bytes: Bytes,
    /// Runs the closure with a `Cx`, or drops it without one. Either takes the bytes.
    take: unsafe fn(*mut Bytes, Option<&mut Cx<'_>>),
}

// SAFETY: `new` takes only `Send` closures.
unsafe impl Send for Msg {}

impl Msg {
    /// Wraps a closure.
    #[inline]
    pub fn new<F: FnOnce(&mut Cx<'_>) + Send + 'static>(f: F) -> Self {
        const {
            assert!(
                size_of::<F>() <= size_of::<Bytes>() && align_of::<F>() <= align_of::<Bytes>(),
                "a message carries up to 48 bytes (aligned to 8): put what the closure captures into a Box"
            );
        }
        let mut bytes = Bytes::uninit();
        // SAFETY: the assertion above says that `F` fits, in size and alignment.
        unsafe { bytes.as_mut_ptr().cast::<F>().write(f) };
        Self { bytes, take: take::<F> }
    }

    /// Does the message at `this`, out of where it lies: a copy of its line, which the closure's
    /// few words then come out of, costs as much as the rest.
    ///
    /// # Safety
    /// There is a message, nobody else reaches it until this returns, and nobody takes it
    /// afterwards.
    #[inline(always)]
    pub(crate) unsafe fn run_at(this: NonNull<Self>, cx: &mut Cx<'_>) {
        let this = this.as_ptr();
        // SAFETY: the caller's promise; `bytes` hold the closure that `take` was made for.
        unsafe { ((*this).take)(&raw mut (*this).bytes, Some(cx)) }
    }
}

impl Drop for Msg {
    fn drop(&mut self) {
        let take = self.take;
        // SAFETY: as in `run`; this is the value's end.
        unsafe { take(&raw mut self.bytes, None) }
    }
}

/// # Safety
/// `bytes` hold an `F` which nobody uses afterwards.
unsafe fn take<F: FnOnce(&mut Cx<'_>)>(bytes: *mut Bytes, cx: Option<&mut Cx<'_>>) {
    // SAFETY: the caller's promise.
    let f = unsafe { bytes.cast::<F>().read() };
    if let Some(cx) = cx {
        f(cx);
    }
}

impl core::fmt::Debug for Msg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Msg")
    }
}

#[cfg(target_pointer_width = "64")]
static_assertions::assert_eq_size!(Msg, [u8; 56]);
