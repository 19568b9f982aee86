//! Buffers for code that is written for the crate `bytes`: codecs, HTTP, protobuf.

// UNSAFETY: `BufMut` has others count as filled what they have written.

use ::bytes::buf::UninitSlice;
use ::bytes::{BufMut, Bytes};

use crate::{Buf, SendBuf};

/// The filled part, without a copy: the buffer goes home when the last clone or slice is dropped,
/// on whichever core. One small allocation, for the count of those.
///
/// ```
/// let bufs = pool::BufGroup::new(1, 16);
/// let mut buf = bufs.get().ok_or("all are out")?;
/// buf.append(b"a head, a body");
/// let at = buf.as_ptr();
/// let bytes = bytes::Bytes::from(buf);
/// let body = bytes.slice(8..);
/// assert_eq!((bytes.as_ptr(), &body[..]), (at, &b"a body"[..]));
/// drop(bytes);
/// assert!(bufs.get().is_none(), "the body is still there");
/// drop(body);
/// assert!(bufs.get().is_some());
/// # Ok::<(), &str>(())
/// ```
impl From<SendBuf> for Bytes {
    fn from(buf: SendBuf) -> Self {
        Self::from_owner(buf)
    }
}

/// As of a [`SendBuf`].
impl From<Buf> for Bytes {
    fn from(buf: Buf) -> Self {
        buf.into_send().into()
    }
}

/// Read from the front of the filled part.
///
/// ```
/// use bytes::{Buf, BufMut};
///
/// let mut buf = pool::BufGroup::new(1, 16).get().ok_or("all are out")?;
/// buf.put_u16(0x0102);
/// buf.put_slice(b"abc");
/// assert_eq!((buf.get_u8(), buf.get_u8(), &buf[..]), (1, 2, &b"abc"[..]));
/// assert_eq!(buf.remaining_mut(), 11);
/// # Ok::<(), &str>(())
/// ```
impl ::bytes::Buf for Buf {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    /// # Panics
    /// There are fewer bytes.
    fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "{n} bytes are to be taken of {}", self.len());
        Buf::advance(self, n);
    }
}

// SAFETY: `chunk_mut` is the spare part, the same until `advance_mut` makes it that much shorter,
// and `remaining_mut` is its length.
unsafe impl BufMut for Buf {
    fn remaining_mut(&self) -> usize {
        self.spare_capacity()
    }

    /// # Panics
    /// There is less room.
    unsafe fn advance_mut(&mut self, n: usize) {
        // What has not been written is old bytes or zeroes, never uninitialised.
        assert!(n <= self.spare_capacity(), "{n} bytes are to be filled of {}", self.spare_capacity());
        self.grow(n);
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        UninitSlice::new(self.spare_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufGroup;

    #[test]
    #[should_panic(expected = "2 bytes are to be taken of 1")]
    fn s386_what_is_not_there_cannot_be_taken() {
        let mut buf = BufGroup::new(1, 8).get().expect("there is one");
        buf.put_u8(1);
        ::bytes::Buf::advance(&mut buf, 2);
    }

    #[test]
    #[should_panic(expected = "9 bytes are to be filled of 8")]
    fn s386_what_does_not_fit_cannot_be_filled() {
        let mut buf = BufGroup::new(1, 8).get().expect("there is one");
        // SAFETY: it panics, as none of the buffer is uninitialised.
        unsafe { buf.advance_mut(9) };
    }
}
