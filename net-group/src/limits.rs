//! What a socket may hold to be sent, before its sends are refused and before it is read no more.

use core_reactor::Refused;
use core_reactor::net::{Frame, GroupConfig, NetError};

use crate::slab::{REFUSED, SlotState};

/// Bytes that are read of a socket at once while buffers are low. A system says that it has room
/// when a third of it is free, which is no more than this where a send buffer is as small as 16
/// KiB; what does not fit of an answer keeps its buffer.
pub const SPARING: usize = 4096;

/// The limits of a group's sockets.
///
/// ```
/// use core_reactor::net::GroupConfig;
/// use net_group::Limits;
///
/// let config = GroupConfig::new(pool::BufGroup::new(4, 64)).send_frames(8);
/// let limits = Limits::new(&config);
/// // Reading is held up at half of the frames, so that what one poll hands out can be answered.
/// assert!(limits.turn() >= 1 && usize::from(limits.turn()) <= 8);
/// ```
#[derive(Debug)]
pub struct Limits {
    send: usize,
    send_frames: u32,
    /// When reading is held up while buffers are plenty.
    calm: Hold,
    /// When it is held up now.
    hold: Hold,
    /// Buffers are low, which matters to this group.
    low: bool,
    /// Buffers that one socket hands out in a poll: while buffers are plenty, now, and now without
    /// a further question.
    calm_turn: u8,
    turn: u8,
    plain_turn: u8,
}

/// When reading is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    bytes: usize,
    frames: u32,
}

impl Hold {
    /// Reading goes on whatever is queued.
    const NEVER: Self = Self { bytes: usize::MAX, frames: u32::MAX };
    /// Anything that is queued holds it up.
    const TIGHT: Self = Self { bytes: 1, frames: 1 };
}

/// Buffers of one socket in a poll, where its limits would allow more: then the others have their
/// turn (statement 20).
const TURN: u8 = 16;

impl Limits {
    /// Those that a group is asked to have.
    pub fn new(config: &GroupConfig) -> Self {
        let send_frames = u32::try_from(config.send_frames).unwrap_or(u32::MAX).max(1);
        let send = config.send_limit.max(1);
        let calm = match config.hold_reads_at {
            usize::MAX => Hold::NEVER,
            // At 0, or at half of one frame, nothing would ever be read; past the limit of sends
            // answers would be refused before reading is held up.
            bytes => Hold { bytes: bytes.clamp(1, send), frames: (send_frames / 2).max(1) },
        };
        let answers = answers(send, send_frames, calm, config.bufs.buf_size());
        let turn = u8::try_from(answers).map_or(TURN, |answers| answers.min(TURN));
        Self { send, send_frames, calm, hold: calm, low: false, calm_turn: turn, turn, plain_turn: turn }
    }

    /// Whether a socket holds so much that it takes no further frame.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// # use core_reactor::net::GroupConfig;
    /// # use net_group::Limits;
    /// let limits = Limits::new(&GroupConfig::new(bufs.clone()).send_limit(8));
    /// let state = slab.state_mut(place);
    /// for is_refused in [false, false, true] {
    ///     assert_eq!(limits.refuse_sends(state), is_refused);
    ///     let mut buf = bufs.get().expect("one");
    ///     buf.append(b"hello");
    ///     frames.push(state, buf.into());
    /// }
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn refuse_sends(&self, state: &SlotState) -> bool {
        state.queued >= self.send || state.frames >= self.send_frames
    }

    /// The frame, given back to who wanted to send it on such a socket, and who hears of it when
    /// there is room again.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// # use core_reactor::net::GroupConfig;
    /// # use net_group::Limits;
    /// # use core_reactor::net::NetError;
    /// let limits = Limits::new(&GroupConfig::new(bufs.clone()).send_limit(8));
    /// let mut buf = bufs.get().expect("one");
    /// buf.append(b"hello");
    /// let refused = limits.refused(slab.state_mut(place), buf.into());
    /// assert_eq!(refused.item.bytes(), 5, "it comes back");
    /// assert!(matches!(refused.why, NetError::SendLimit { limit: 8, .. }));
    /// # let _ = &mut frames;
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[cold]
    pub fn refused(&self, state: &mut SlotState, frame: Frame) -> Refused<Frame, NetError> {
        state.flags |= REFUSED;
        let (frames, limit_frames) = (state.frames as usize, self.send_frames as usize);
        Refused { item: frame, why: NetError::SendLimit { queued: state.queued, limit: self.send, frames, limit_frames } }
    }

    /// Whether a socket that refused sends has half of its room back.
    pub(crate) fn has_room(&self, state: &SlotState) -> bool {
        state.queued <= self.send / 2 && state.frames <= self.send_frames / 2
    }

    /// Whether a socket holds so much that nothing more is read from it.
    ///
    /// ```
    /// # use core_reactor::net::Token;
    /// # use net_group::{Frames, Slab};
    /// # let (mut slab, mut frames) = (Slab::new(1, 7), Frames::new(4));
    /// # let bufs = pool::BufGroup::new(4, 64);
    /// # let place = slab.put(Box::new("socket"), 5, Token(0), 0)?;
    /// # use core_reactor::net::GroupConfig;
    /// # use net_group::Limits;
    /// let limits = Limits::new(&GroupConfig::new(bufs.clone()).hold_reads_at(8));
    /// let state = slab.state_mut(place);
    /// for is_held in [false, false, true] {
    ///     assert_eq!(limits.hold_reads(state), is_held);
    ///     let mut buf = bufs.get().expect("one");
    ///     buf.append(b"hello");
    ///     frames.push(state, buf.into());
    /// }
    /// # Ok::<(), Box<&str>>(())
    /// ```
    #[inline]
    pub fn hold_reads(&self, state: &SlotState) -> bool {
        state.queued >= self.hold.bytes || state.frames >= self.hold.frames
    }

    /// While buffers are low nothing is read from a socket that has anything to be sent. A group
    /// that never holds reads does not do so either.
    pub(crate) fn set_low(&mut self, low: bool) {
        self.low = low && self.calm != Hold::NEVER;
        self.hold = if self.low { Hold::TIGHT } else { self.calm };
        (self.turn, self.plain_turn) = if self.low { (1, 0) } else { (self.calm_turn, self.calm_turn) };
    }

    /// Whether buffers are low, so that a socket is read only where the system has room for an
    /// answer: then the buffer comes back at once.
    #[inline]
    pub fn answers_first(&self) -> bool {
        self.low
    }

    /// Bytes that are read at once into a buffer with so much room.
    ///
    /// ```
    /// # use core_reactor::net::GroupConfig;
    /// let limits = net_group::Limits::new(&GroupConfig::new(pool::BufGroup::new(4, 16 << 10)));
    /// assert_eq!(limits.at_once(16 << 10), 16 << 10, "buffers are plenty");
    /// ```
    #[inline]
    pub fn at_once(&self, room: usize) -> usize {
        if self.low { room.min(SPARING) } else { room }
    }

    /// Buffers that a socket from which is read may hand out in one poll: as many as can be
    /// answered by a frame of the same size each without a refusal, and one while buffers are
    /// low. The application answers after the poll, so until then nothing shows that a socket holds
    /// too much.
    #[inline]
    pub fn turn(&self) -> u8 {
        self.turn
    }

    /// The same for a way that does not ask whether buffers are low, and is not to be gone while
    /// they are: then nothing.
    #[inline]
    pub fn plain_turn(&self) -> u8 {
        self.plain_turn
    }
}

/// Buffers of `size` bytes that a socket which is just not held up can have answered without a
/// refusal. At least 1.
fn answers(send: usize, send_frames: u32, hold: Hold, size: usize) -> u32 {
    if hold == Hold::NEVER {
        // Whoever sends minds refusals; then any bound is as good.
        return u32::MAX;
    }
    let bytes = u32::try_from((send - hold.bytes) / size.max(1)).unwrap_or(u32::MAX);
    (send_frames - hold.frames).min(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use core_reactor::net::{SockId, Token};
    use pool::BufGroup;

    use super::*;
    use crate::Slab;

    fn limits(send_limit: usize, send_frames: usize, hold_reads_at: usize) -> Limits {
        Limits::new(&GroupConfig::new(BufGroup::new(1, 1)).send_limit(send_limit).send_frames(send_frames).hold_reads_at(hold_reads_at))
    }

    /// Whether sends are refused, and whether reads are held, of a socket that holds so much.
    fn of(limits: &Limits, queued: usize, frames: u32) -> (bool, bool) {
        let mut slab = Slab::new(1, 0);
        let place = slab.put(alloc::boxed::Box::new(()), 0, Token(0), 0).expect("there is room");
        let state = slab.state_mut(place);
        (state.queued, state.frames) = (queued, frames);
        assert_ne!(state.id, SockId::from_raw(u64::MAX));
        (limits.refuse_sends(state), limits.hold_reads(state))
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
        let answers = |send, frames, hold, size| {
            let limits = limits(send, frames, hold);
            answers(limits.send, limits.send_frames, limits.calm, size)
        };
        assert_eq!(answers(1 << 20, 64, 256 << 10, 16 << 10), 32, "the frames");
        assert_eq!(answers(1 << 20, 64, 256 << 10, 128 << 10), 6, "the bytes");
        assert_eq!(answers(1 << 20, 64, 256 << 10, 256 << 10), 3);
        assert_eq!(answers(1, 1, 1, 128 << 10), 1);
        assert_eq!(answers(100, 64, 256 << 10, 10), 1, "reads are held where sends are refused, not past that");
        assert_eq!(answers(1 << 20, 64, usize::MAX, 1), u32::MAX);
    }
}
