//! What goes wrong in a network.

use core::time::Duration;

/// The faults of a network. By default there are none: nothing is late or lost.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Time that everything takes to the other side: connects, their answers, bytes, ends.
    pub delay: Duration,
    /// Up to as much more, at random. Nothing overtakes what was sent before it on the same
    /// connection.
    pub jitter: Duration,
    /// Most bytes that a side of a connection has unread or under way to it, whatever its options
    /// say; for sockets that are made from then on. The rest waits with the writer, who has
    /// [`SockOptions::send_buf`](core_reactor::net::SockOptions::send_buf).
    pub window: usize,
    /// Of a thousand reads and writes, so many take a part of what they could.
    pub short_per_mille: u32,
    /// Of a thousand writes, so many break their connection: a reset to both sides.
    pub reset_per_mille: u32,
    /// Of a thousand connects, so many are refused.
    pub refuse_per_mille: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            window: usize::MAX,
            short_per_mille: 0,
            reset_per_mille: 0,
            refuse_per_mille: 0,
        }
    }
}
