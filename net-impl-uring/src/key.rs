//! What a request is called by: the 64 bits that its completions bring back.
//!
//! ```text
//!   63   60 59      48 47              24 23               0
//!   ┌──────┬──────────┬──────────────────┬──────────────────┐
//!   │ op   │ member   │ generation       │ place            │
//!   └──────┴──────────┴──────────────────┴──────────────────┘
//! ```
//!
//! Place and generation are those of a [`SockId`](core_reactor::net::SockId). Its group tag is too long to fit beside the operation, so a group is
//! called by its number among the members of its ring.

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A cancellation. Nobody waits for it.
    Cancel,
    /// Bytes, again and again or once.
    Recv,
    /// Connections, again and again.
    Accept,
    /// A connection.
    Connect,
    /// The news that a connect under way is decided.
    Writable,
    /// The news that a connection is over.
    Gone,
    /// One buffer to be sent.
    Send,
    /// Several buffers to be sent.
    SendMsg,
    /// The end of a time.
    Timer,
}

impl Op {
    const ALL: [Self; 9] =
        [Self::Cancel, Self::Recv, Self::Accept, Self::Connect, Self::Writable, Self::Gone, Self::Send, Self::SendMsg, Self::Timer];
}

/// The name of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    /// Members that a ring can tell apart.
    pub(crate) const MEMBERS: usize = 1 << 12;

    #[inline]
    pub(crate) fn new(op: Op, member: u16, place: usize, generation: u32) -> Self {
        Self((op as u64) << 60 | u64::from(member & 0xFFF) << 48 | u64::from(generation & 0xFF_FFFF) << 24 | (place & 0xFF_FFFF) as u64)
    }

    #[inline]
    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn op(self) -> Op {
        // Only what `new` has made comes back; anything else would be nobody's.
        Op::ALL.get((self.0 >> 60) as usize).copied().unwrap_or(Op::Cancel)
    }

    #[inline]
    pub(crate) fn member(self) -> u16 {
        (self.0 >> 48) as u16 & 0xFFF
    }

    #[inline]
    pub(crate) fn place(self) -> usize {
        (self.0 & 0xFF_FFFF) as usize
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 24) as u32 & 0xFF_FFFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_it_was() {
        for (n, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, n);
            for (member, place, generation) in [(0, 0, 0), (0xFFF, 0xFF_FFFF, 0xFF_FFFF), (0x123, 0x45_6789, 0xAB_CDEF)] {
                let key = Key::from_raw(Key::new(op, member, place, generation).raw());
                assert_eq!((key.op(), key.member(), key.place(), key.generation()), (op, member, place, generation));
            }
        }
    }
}
