//! The kernel interfaces that the generator can use. They never sleep: a message that comes back is
//! seen at once.

pub(crate) mod epoll;
pub(crate) mod uring;

/// Bytes taken in at a time.
const BUFFER: usize = 64 << 10;
