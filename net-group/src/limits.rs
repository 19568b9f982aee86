//! What a socket may hold to be sent, before its sends are refused and before it is read no more.

use core_reactor::Refused;
use core_reactor::net::{Frame, GroupConfig, NetError};

use crate::slab::Hot;

/// The limits of a group's sockets.
pub struct Limits {
    send: usize,
    send_frames: u32,
    hold_reads_at: usize,
    hold_reads_at_frames: u32,
}

impl Limits {
    /// Those that a group is asked to have.
    pub fn new(config: &GroupConfig) -> Self {
        let send_frames = u32::try_from(config.send_frames).unwrap_or(u32::MAX);
        Self {
            send: config.send_limit,
            send_frames,
            // At 0, or at half of one frame, nothing would ever be read.
            hold_reads_at: config.hold_reads_at.max(1),
            hold_reads_at_frames: if config.hold_reads_at == usize::MAX { u32::MAX } else { (send_frames / 2).max(1) },
        }
    }

    /// Whether a socket holds so much that it takes no further frame.
    #[inline]
    pub fn refuse_sends(&self, hot: &Hot) -> bool {
        hot.queued >= self.send || hot.frames >= self.send_frames
    }

    /// The frame, given back to who wanted to send it on such a socket.
    #[cold]
    pub fn refused(&self, hot: &Hot, frame: Frame) -> Refused<Frame, NetError> {
        Refused { item: frame, why: NetError::SendLimit { queued: hot.queued, limit: self.send } }
    }

    /// Whether a socket holds so much that nothing more is read from it.
    #[inline]
    pub fn hold_reads(&self, hot: &Hot) -> bool {
        hot.queued >= self.hold_reads_at || hot.frames >= self.hold_reads_at_frames
    }

    /// Buffers of `size` bytes that a socket from which is still read can hand out, each of them answered by a frame of as many bytes, without a refusal. At least 1.
    pub fn answers(&self, size: usize) -> u32 {
        let bytes = self.send.saturating_sub(self.hold_reads_at) / size.max(1);
        let frames = self.send_frames.saturating_sub(self.hold_reads_at_frames);
        // Where reads are never held, whoever sends minds refusals; then any bound is as good.
        if self.hold_reads_at == usize::MAX { u32::MAX } else { frames.min(u32::try_from(bytes).unwrap_or(u32::MAX)).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use core_reactor::net::{SockId, Token};
    use pool::BufGroup;

    use super::*;
    use crate::Slab;

    fn limits(send_limit: usize, send_frames: usize, hold_reads_at: usize) -> Limits {
        Limits::new(&GroupConfig { send_limit, send_frames, hold_reads_at, ..GroupConfig::new(BufGroup::new(1, 1)) })
    }

    /// Whether sends are refused, and whether reads are held, of a socket that holds so much.
    fn of(limits: &Limits, queued: usize, frames: u32) -> (bool, bool) {
        let mut slab = Slab::new(1, 0);
        let place = slab.put(alloc::boxed::Box::new(()), 0, Token(0), 0).expect("there is room");
        let hot = slab.hot(place);
        (hot.queued, hot.frames) = (queued, frames);
        assert_ne!(hot.id, SockId::from_raw(u64::MAX));
        (limits.refuse_sends(hot), limits.hold_reads(hot))
    }

    #[test]
    fn s18_bytes_and_frames_are_both_limits_and_reads_are_held_before_sends_are_refused() {
        let limits = limits(1000, 64, 250);
        assert_eq!(of(&limits, 249, 31), (false, false));
        assert_eq!([of(&limits, 250, 0), of(&limits, 0, 32)], [(false, true); 2]);
        assert_eq!([of(&limits, 1000, 0), of(&limits, 0, 64)], [(true, true); 2]);
    }

    #[test]
    fn the_smallest_limits_still_let_something_be_read() {
        assert_eq!(of(&limits(1, 1, 0), 0, 0), (false, false));
        assert_eq!(of(&limits(1, 1, usize::MAX), 1, 1), (true, false), "a proxy reads whatever it holds");
    }

    #[test]
    fn as_many_answers_as_bytes_and_frames_leave_room_for() {
        assert_eq!(limits(1 << 20, 64, 256 << 10).answers(16 << 10), 32, "the frames");
        assert_eq!(limits(1 << 20, 64, 256 << 10).answers(128 << 10), 6, "the bytes");
        assert_eq!(limits(1, 1, 1).answers(128 << 10), 1);
        assert_eq!(limits(1 << 20, 64, usize::MAX).answers(1), u32::MAX);
    }
}
