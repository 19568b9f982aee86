//! The bits of `Hot::flags`.

/// What the socket is: one of three, or none in an empty place.
pub(crate) const STREAM: u32 = 1;
pub(crate) const LISTENER: u32 = 1 << 1;
pub(crate) const CONNECTING: u32 = 1 << 2;
/// What a place that is not empty has one of.
pub(crate) const KIND: u32 = STREAM | LISTENER | CONNECTING;
/// The application does not want to read.
pub(crate) const PAUSED: u32 = 1 << 3;
/// Not read, because it holds too much that its peer does not take.
pub(crate) const HELD: u32 = 1 << 4;
/// The peer's FIN was delivered.
pub(crate) const READ_EOF: u32 = 1 << 5;
/// FIN goes out behind the queue.
pub(crate) const FIN_WANTED: u32 = 1 << 6;
/// FIN is out.
pub(crate) const FIN_SENT: u32 = 1 << 7;
/// A send failed; what had been received comes first, then `Closed`.
pub(crate) const FAILED: u32 = 1 << 8;
/// Acknowledgements are to be sent at once, which the system must be told again after each read.
pub(crate) const QUICK_ACK: u32 = 1 << 9;
/// Long frames are sent without a copy.
pub(crate) const ZERO_COPY: u32 = 1 << 10;
/// Something has arrived that was not delivered: it comes before what arrives later.
pub(crate) const EARLY: u32 = 1 << 11;
/// A request is with the kernel that receives, accepts or connects. There is one at most.
pub(crate) const READING: u32 = 1 << 12;
/// It has been asked to give that request up.
pub(crate) const STOPPING: u32 = 1 << 13;
/// A request is with the kernel that sends. There is one at most.
pub(crate) const SENDING: u32 = 1 << 14;
/// Closed or detached: its keys are stale, and it goes when the kernel has given everything back.
pub(crate) const LEAVING: u32 = 1 << 15;
/// Less than its low-water mark is not to be read.
pub(crate) const LOW_WATER: u32 = 1 << 16;
/// Nothing was received yet, so that the first receive had better wait.
pub(crate) const FRESH: u32 = 1 << 17;

/// A request is with the kernel that watches for the end of the connection. It stays as long as the
/// socket does.
pub(crate) const WATCHED: u32 = 1 << 18;
/// The connection is over, both ways: what had arrived is still read, which no longer waits.
pub(crate) const HUNG_UP: u32 = 1 << 19;
/// The request that reads takes one buffer at the most, or waits for room to send.
pub(crate) const ONCE: u32 = 1 << 20;

/// In the list of sockets for which something may have to be asked of the kernel.
pub(crate) const IN_TODO: u32 = 1 << 24;
/// In the list of sockets with frames to send.
pub(crate) const IN_DIRTY: u32 = 1 << 25;
/// In the list of sockets that wait for a buffer.
pub(crate) const IN_STARVED: u32 = 1 << 26;
/// In the list of listeners that wait for a descriptor.
pub(crate) const IN_NO_FD: u32 = 1 << 27;
/// In the list of sockets with something early to deliver.
pub(crate) const IN_READY: u32 = 1 << 28;
/// In the list of sockets that wait until the machine has again what it was short of.
pub(crate) const IN_SHORT: u32 = 1 << 29;

/// A frame may be queued if only this is set of it and [`CANNOT_SEND`].
pub(crate) const CANNOT_SEND: u32 = FIN_WANTED | FIN_SENT | FAILED | LEAVING;

/// With the kernel.
pub(crate) const IN_FLIGHT: u32 = READING | SENDING | WATCHED;

const _: () = assert!((IN_TODO | IN_DIRTY | IN_STARVED | IN_NO_FD | IN_READY | IN_SHORT) & !net_sockets::slab::LISTS == 0);
