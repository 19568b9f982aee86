//! The bits of `Hot::flags`.

/// What the socket is: one of three, or none in an empty place.
pub(crate) const STREAM: u32 = 1;
pub(crate) const LISTENER: u32 = 1 << 1;
pub(crate) const CONNECTING: u32 = 1 << 2;
/// The application does not want to read.
pub(crate) const PAUSED: u32 = 1 << 3;
/// The stack had no room for more.
pub(crate) const BLOCKED: u32 = 1 << 4;
/// The peer's FIN was delivered.
pub(crate) const READ_EOF: u32 = 1 << 5;
/// FIN goes out behind the queue.
pub(crate) const FIN_WANTED: u32 = 1 << 6;
/// FIN is with the stack.
pub(crate) const FIN_SENT: u32 = 1 << 7;
/// The connection is gone; what had been received comes first, then `Closed`.
pub(crate) const FAILED: u32 = 1 << 8;
/// Not read, because it holds too much that its peer does not take.
pub(crate) const HELD: u32 = 1 << 9;

/// In the list of sockets to serve.
pub(crate) const IN_READY: u32 = 1 << 24;
/// In the list of sockets with frames to write.
pub(crate) const IN_DIRTY: u32 = 1 << 25;
/// In the list of sockets that wait for a buffer.
pub(crate) const IN_STARVED: u32 = 1 << 26;
/// A frame may be queued if only `STREAM` is set of it and these.
pub(crate) const CANNOT_SEND: u32 = FIN_WANTED | FIN_SENT | FAILED;

const _: () = assert!((IN_READY | IN_DIRTY | IN_STARVED) & !net_group::slab::LISTS == 0);
