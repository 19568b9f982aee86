//! A data buffer: bytes out of a pool that go home when dropped.

// UNSAFETY: a buffer is one pointer to what is known about it, of which it is the one holder, and
// from there to its bytes and to its home.

use alloc::{rc::Rc, sync::Arc};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::{fmt, slice};
#[cfg(feature = "std")]
use std::io;

use crate::Class;
use crate::local::GroupLocal;
use crate::share::GroupShared;
use crate::slab::{Meta, RawHome};

/// A buffer out of a pool: a part of it is filled, and what follows that part is spare. Dropped, it
/// goes home.
///
/// As a slice it is its filled part. It is written to behind that, by [`append`](Self::append) or
/// `write!`.
///
/// ```
/// use core::fmt::Write;
///
/// let bufs = pool::BufGroup::new(1, 16);
/// let mut buf = bufs.get().ok_or("all are out")?;
/// write!(buf, "GET {}", 42)?;
/// assert_eq!((&buf[..], buf.spare_capacity()), (&b"GET 42"[..], 10));
/// assert!(write!(buf, "more than there is room for").is_err());
/// assert_eq!(buf.len(), 6, "none of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its core; [`into_send`](Self::into_send) makes it one that travels.
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(pool::BufGroup::new(1, 16).get().unwrap());
/// ```
///
/// A buffer that is given to `core::mem::forget` is lost to the pool, and its pool's memory stays.
pub struct Buf(NonNull<Meta>);

static_assertions::assert_eq_size!(Buf, Option<Buf>, [u8; size_of::<usize>()]);
static_assertions::assert_not_impl_any!(Buf: Send, Sync);

impl Buf {
    /// The holder of `meta`'s buffer, empty, which goes to `home`.
    #[inline]
    pub(crate) fn lend(meta: &Meta, home: Home) -> Self {
        meta.witness.touch();
        meta.start.set(0);
        meta.end.set(0);
        meta.home.set(home.into_raw());
        Self(NonNull::from(meta))
    }

    /// Bytes that fit behind the filled part.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"hello");
    /// assert_eq!(buf.spare_capacity(), 11);
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn spare_capacity(&self) -> usize {
        (self.meta().cap - self.meta().end.get()) as usize
    }

    /// The memory behind the filled part (zeroed or stale, never uninitialised).
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// // What a device or a system call would do.
    /// buf.spare_mut()[..3].copy_from_slice(b"abc");
    /// buf.grow(3);
    /// assert_eq!(&buf[..], b"abc");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let (end, spare) = (self.meta().end.get() as usize, self.spare_capacity());
        // SAFETY: end and spare lie within the buffer, which is this holder's alone and
        // initialised; it is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.meta().data.as_ptr().add(end), spare) }
    }

    /// Counts `n` more bytes as filled, after they were written to [`spare_mut`](Self::spare_mut).
    /// At most the spare capacity.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// let mut buf = bufs.get().ok_or("all are out")?;
    /// // As a system call does that writes into the room it is given:
    /// buf.spare_mut()[..3].copy_from_slice(b"abc");
    /// buf.grow(3);
    /// assert_eq!(&buf[..], b"abc");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn grow(&mut self, n: usize) {
        let n = n.min(self.spare_capacity()) as u32;
        self.meta().end.update(|end| end + n);
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// assert_eq!((buf.append(b"0123456789"), buf.append(b"0123456789")), (10, 6));
    /// assert_eq!(&buf[..], b"0123456789012345");
    /// # Ok::<(), &str>(())
    /// ```
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.spare_capacity());
        self.spare_mut()[..n].copy_from_slice(&bytes[..n]);
        self.grow(n);
        n
    }

    /// Puts `bytes` in front of the filled part, if there is room: what was dropped from there by
    /// [`advance`](Self::advance) leaves some. Whether there was.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"....body");
    /// buf.advance(4); // room for a head
    /// assert!(buf.prepend(b"4:"));
    /// assert_eq!(&buf[..], b"4:body");
    /// # Ok::<(), &str>(())
    /// ```
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = (self.meta().start.get() as usize).checked_sub(bytes.len()) else { return false };
        self.meta().start.set(start as u32);
        self[..bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Drops `n` bytes from the front of the filled part.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"head body");
    /// buf.advance(5);
    /// assert_eq!(&buf[..], b"body");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len()) as u32;
        self.meta().start.update(|start| start + n);
    }

    /// Keeps the first `n` filled bytes.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"line\n");
    /// buf.truncate(4);
    /// assert_eq!((&buf[..], buf.spare_capacity()), (&b"line"[..], 12));
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        let n = n.min(self.len()) as u32;
        self.meta().end.set(self.meta().start.get() + n);
    }

    /// Empties the buffer.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 64);
    /// let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"old");
    /// buf.clear();
    /// assert!(buf.is_empty() && buf.spare_capacity() == 64);
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn clear(&mut self) {
        self.meta().start.set(0);
        self.meta().end.set(0);
    }

    /// The class that it is of.
    pub fn class(&self) -> Class {
        self.meta().class
    }

    /// Its number among the buffers of its pool, the same each time it is handed out.
    pub fn index(&self) -> u32 {
        self.meta().index
    }

    /// Where the whole buffer (not its filled part) begins, in bytes from the start of its pool's
    /// [region](crate::DataPool::region).
    pub fn offset_in_region(&self) -> usize {
        self.meta().offset
    }

    /// The same buffer, free to go to another core.
    ///
    /// ```
    /// # let bufs = pool::BufGroup::new(1, 16);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"abc");
    /// let sent = buf.into_send();
    /// std::thread::spawn(move || assert_eq!(&sent[..], b"abc")).join().map_err(|_| "it panicked")?;
    /// assert!(bufs.get().is_some(), "it has come home");
    /// # Ok::<(), &str>(())
    /// ```
    pub fn into_send(self) -> SendBuf {
        self.change_home(|home| match home {
            Home::Here(group) => Some(Home::Away(group.shared.clone())),
            Home::Away(_) => None,
        });
        SendBuf(self)
    }

    /// Gives it the home that `other` makes of its own, if it makes one. The old one is dropped
    /// last, since its group may end with it, which may run wakers.
    fn change_home(&self, other: impl FnOnce(&Home) -> Option<Home>) {
        // SAFETY: the buffer is in hand, so its home is there; it is given up below if another
        // comes.
        let old = ManuallyDrop::new(unsafe { Home::from_raw(self.meta().home.get()) });
        if let Some(new) = other(&old) {
            self.meta().home.set(new.into_raw());
            drop(ManuallyDrop::into_inner(old));
        }
    }

    #[inline]
    fn meta(&self) -> &Meta {
        // SAFETY: the home in it keeps the pool alive, and is there until the drop.
        unsafe { self.0.as_ref() }
    }
}

/// Where a buffer goes when it is dropped. The reference keeps the pool, and so the buffer's
/// memory, alive.
pub(crate) enum Home {
    /// To the group of this core.
    Here(Rc<GroupLocal>),
    /// To a group of another core.
    Away(Arc<GroupShared>),
}

impl Home {
    #[inline]
    fn into_raw(self) -> RawHome {
        match self {
            Self::Here(group) => RawHome { here: true, at: Rc::into_raw(group).cast() },
            Self::Away(group) => RawHome { here: false, at: Arc::into_raw(group).cast() },
        }
    }

    /// # Safety
    /// `raw` came of [`into_raw`](Self::into_raw), and of all that is made of it one is dropped.
    #[inline]
    unsafe fn from_raw(raw: RawHome) -> Self {
        match raw.here {
            // SAFETY: this kind came of an `Rc` of this type, as the caller says.
            true => Self::Here(unsafe { Rc::from_raw(raw.at.cast()) }),
            // SAFETY: this kind came of an `Arc` of this type, as the caller says.
            false => Self::Away(unsafe { Arc::from_raw(raw.at.cast()) }),
        }
    }
}

/// A buffer on its way to another core. Wherever it is dropped, it goes home.
///
/// ```
/// let bufs = pool::BufGroup::new(1, 16);
/// let sent = bufs.get().ok_or("all are out")?.into_send();
/// // Back on a core, be it another one, it is a buffer again.
/// let buf = sent.into_local(&bufs);
/// assert!(buf.is_empty() && bufs.get().is_none());
/// drop(buf);
/// assert!(bufs.get().is_some());
/// # Ok::<(), &str>(())
/// ```
pub struct SendBuf(Buf);

// SAFETY: its home is `Away`, so nothing that it holds or drops is bound to a thread, and it shows
// nothing of the `Buf` but its bytes.
unsafe impl Send for SendBuf {}

impl SendBuf {
    /// The buffer in it, with the home that `other` makes of its own, if it makes one.
    pub(crate) fn into_buf(self, other: impl FnOnce(&Home) -> Option<Home>) -> Buf {
        let buf = self.0;
        buf.change_home(other);
        buf
    }
}

impl Deref for Buf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let meta = self.meta();
        let (start, end) = (meta.start.get() as usize, meta.end.get() as usize);
        // SAFETY: start and end lie within the buffer, which is this holder's alone and
        // initialised; it is borrowed.
        unsafe { slice::from_raw_parts(meta.data.as_ptr().add(start), end - start) }
    }
}

impl DerefMut for Buf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let meta = self.meta();
        let (start, end) = (meta.start.get() as usize, meta.end.get() as usize);
        // SAFETY: start and end lie within the buffer, which is this holder's alone and
        // initialised; it is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(meta.data.as_ptr().add(start), end - start) }
    }
}

/// The filled part.
impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The filled part.
impl AsMut<[u8]> for Buf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// Writes behind the filled part. A piece that does not fit is an error, and none of it is written;
/// a `write!` may be several pieces.
impl fmt::Write for Buf {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.spare_capacity() {
            return Err(fmt::Error);
        }
        self.append(text.as_bytes());
        Ok(())
    }
}

/// Writes behind the filled part, as [`Buf::append`]: of a full buffer `write` answers 0, which
/// `write_all` makes [`io::ErrorKind::WriteZero`] of.
///
/// ```
/// use std::io::{ErrorKind, Write};
///
/// let mut buf = pool::BufGroup::new(1, 4).get().ok_or("all are out")?;
/// buf.write_all(b"abc")?;
/// assert_eq!(buf.write_all(b"de").unwrap_err().kind(), ErrorKind::WriteZero);
/// assert_eq!(&buf[..], b"abcd");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "std")]
impl io::Write for Buf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.append(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The filled part.
impl AsRef<[u8]> for SendBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The filled part.
impl AsMut<[u8]> for SendBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// As [`Buf::into_send`].
impl From<Buf> for SendBuf {
    fn from(buf: Buf) -> Self {
        buf.into_send()
    }
}

impl Deref for SendBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SendBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        let meta = self.meta();
        meta.witness.touch();
        // SAFETY: the buffer ends here, and the home with it.
        match unsafe { Home::from_raw(meta.home.get()) } {
            Home::Here(group) => group.put(meta),
            Home::Away(group) => group.give_back(meta),
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({:?} {}, {} bytes, {} spare)", self.class(), self.index(), self.len(), self.spare_capacity())
    }
}

impl fmt::Debug for SendBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Send{:?}", self.0)
    }
}
