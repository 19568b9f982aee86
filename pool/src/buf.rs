//! The skeleton's data buffers: one class, one core.

use alloc::{boxed::Box, rc::Rc, vec, vec::Vec};
use core::cell::RefCell;
use core::ops::{Deref, DerefMut};

/// One poll group's buffers. Cloning the handle shares them; it stays on its core.
#[derive(Clone)]
pub struct BufGroup {
    free: Rc<RefCell<Vec<Box<[u8]>>>>,
    size: usize,
}

impl BufGroup {
    /// `count` buffers of `size` bytes.
    pub fn new(count: usize, size: usize) -> Self {
        let free = (0..count).map(|_| vec![0; size].into_boxed_slice()).collect();
        Self { free: Rc::new(RefCell::new(free)), size }
    }

    /// An empty buffer, the one that came home last; `None` when all are out.
    pub fn get(&self) -> Option<Buf> {
        let data = self.free.borrow_mut().pop()?;
        Some(Buf { data, start: 0, end: 0, home: self.clone() })
    }

    /// Bytes that each buffer holds.
    pub fn buf_size(&self) -> usize {
        self.size
    }
}

/// A buffer out of a pool: bytes `start..end` of it are filled. It goes home when dropped.
pub struct Buf {
    data: Box<[u8]>,
    start: u32,
    end: u32,
    home: BufGroup,
}

impl Buf {
    /// Bytes that fit behind the filled part.
    pub fn spare_capacity(&self) -> usize {
        self.data.len() - self.end as usize
    }

    /// The memory behind the filled part (zeroed or stale, never uninitialised).
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let end = self.end as usize;
        &mut self.data[end..]
    }

    /// Counts `n` more bytes as filled, after they were written to [`spare_mut`](Self::spare_mut). At most the spare capacity.
    pub fn grow(&mut self, n: usize) {
        self.end += n.min(self.spare_capacity()) as u32;
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.spare_capacity());
        self.spare_mut()[..n].copy_from_slice(&bytes[..n]);
        self.grow(n);
        n
    }

    /// Drops `n` bytes from the front of the filled part.
    pub fn advance(&mut self, n: usize) {
        self.start += n.min(self.len()) as u32;
    }

    /// Keeps the first `n` filled bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.start + n.min(self.len()) as u32;
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

impl Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.data[self.start as usize..self.end as usize]
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start as usize..self.end as usize]
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let data = core::mem::take(&mut self.data);
        self.home.free.borrow_mut().push(data);
    }
}
