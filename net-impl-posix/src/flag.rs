//! The bits of `Hot::flags`.

/// What the socket is: one of three, or none in an empty place.
pub(crate) const STREAM: u32 = 1;
pub(crate) const LISTENER: u32 = 1 << 1;
pub(crate) const CONNECTING: u32 = 1 << 2;
/// Reading, accepting or connecting may find something.
pub(crate) const READABLE: u32 = 1 << 3;
/// A short read does not mean that all was read: an end, an error or urgent data was announced.
pub(crate) const DRAIN: u32 = 1 << 4;
/// The system announced an error or the end of both directions.
pub(crate) const ENDED: u32 = 1 << 5;
/// The application does not want to read.
pub(crate) const PAUSED: u32 = 1 << 6;
/// The system had no room for more: the next EPOLLOUT goes on.
pub(crate) const BLOCKED: u32 = 1 << 7;
/// The peer's FIN was delivered.
pub(crate) const READ_EOF: u32 = 1 << 8;
/// FIN goes out behind the queue.
pub(crate) const FIN_WANTED: u32 = 1 << 9;
/// FIN is out.
pub(crate) const FIN_SENT: u32 = 1 << 10;
/// A send failed; what had been received comes first, then `Closed`.
pub(crate) const FAILED: u32 = 1 << 11;
/// Acknowledgements are to be sent at once, which the system must be told again after each read.
pub(crate) const QUICK_ACK: u32 = 1 << 12;
/// Not read, because it holds too much that its peer does not take.
pub(crate) const HELD: u32 = 1 << 13;

/// In the list of sockets to serve.
pub(crate) const IN_READY: u32 = 1 << 24;
/// In the list of sockets with frames to write.
pub(crate) const IN_DIRTY: u32 = 1 << 25;
/// In the list of sockets that wait for a buffer.
pub(crate) const IN_STARVED: u32 = 1 << 26;
/// In the list of listeners that wait for a descriptor.
pub(crate) const IN_NO_FD: u32 = 1 << 27;
/// A frame may be queued if only this is set of it and [`CANNOT_SEND`].
pub(crate) const CANNOT_SEND: u32 = FIN_WANTED | FIN_SENT | FAILED;

const _: () = assert!((IN_READY | IN_DIRTY | IN_STARVED | IN_NO_FD) & !net_sockets::slab::LISTS == 0);
