//! Lists of slices that go out in one request.
//!
//! UNSAFETY: a list holds bare pointers, which the kernel follows; see [`Gather::fill`].
//!
//! A list is in use from the request until its last completion, and lies in memory that does not
//! move meanwhile. There are as many as there have been requests at once.
#![allow(unsafe_code)]

/// Slices that one request takes. The system's limit is 1024.
pub(crate) const PARTS: usize = 64;

/// The lists of a group.
#[derive(Default)]
pub(crate) struct Gathers {
    #[allow(clippy::vec_box, reason = "the kernel knows where each list lies, so they stay there while the vector grows")]
    lists: Vec<Box<Gather>>,
    free: Vec<u32>,
}

/// One list.
pub(crate) struct Gather {
    message: libc::msghdr,
    slices: [libc::iovec; PARTS],
}

impl Gathers {
    /// A list that nobody uses.
    pub(crate) fn claim(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.lists.push(Box::new(Gather::new()));
            self.free.reserve(self.lists.len());
            (self.lists.len() - 1) as u32
        })
    }

    /// Gives a list back: the kernel does not look at it any more.
    pub(crate) fn release(&mut self, number: u32) {
        self.free.push(number);
    }

    pub(crate) fn list(&mut self, number: u32) -> &mut Gather {
        &mut self.lists[number as usize]
    }
}

impl Gather {
    fn new() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all-zero is a valid msghdr: no name, no slices, no control data.
        Self { message: unsafe { std::mem::zeroed() }, slices: [empty; PARTS] }
    }

    /// Makes it a list of these slices, of which it takes [`PARTS`] at most, and tells how many
    /// bytes they are.
    ///
    /// What it points to is followed by whoever sends it, who has to keep the slices alive; by
    /// itself it follows nothing.
    pub(crate) fn fill<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>) -> usize {
        let (mut count, mut bytes) = (0, 0);
        for (slice, entry) in slices.zip(&mut self.slices) {
            *entry = libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
            count += 1;
            bytes += slice.len();
        }
        self.message.msg_iov = self.slices.as_mut_ptr();
        self.message.msg_iovlen = count as _;
        bytes
    }

    pub(crate) fn message(&self) -> *const libc::msghdr {
        &self.message
    }
}
