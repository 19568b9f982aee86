//! What a request is called by: the 64 bits that its completions bring back.
//!
//! ```text
//!   63   60 59      48 47              24 23               0
//!   ┌──────┬──────────┬──────────────────┬──────────────────┐
//!   │ op   │ member   │ generation       │ index            │
//!   └──────┴──────────┴──────────────────┴──────────────────┘
//! ```
//!
//! Index and generation are those of a [`SockId`]. Its group tag is too long to fit beside the operation, so a group is called by its number among the
//! members of its ring.

use core_reactor::net::SockId;

/// The bits of a [`SockId`] that are in the key of its requests.
const ID: u64 = 0xFFFF_FFFF_FFFF;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A cancellation. Nobody waits for it.
    Cancel,
    /// Bytes, again and again.
    Recv,
    /// The news that there is something to be read, or room.
    Poll,
    /// The news that a connection is over.
    Gone,
    /// Bytes to be sent.
    Send,
    /// The end of a time.
    Timer,
}

/// The name of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    /// Members that a ring can tell apart.
    pub(crate) const MEMBERS: usize = 1 << 12;

    /// That of a request for a socket.
    #[inline]
    pub(crate) fn of(op: Op, member: u16, id: SockId) -> Self {
        Self(id.raw() & ID | Self::new(op, member, 0).0)
    }

    /// That of a request for no socket, with a number instead.
    #[inline]
    pub(crate) fn new(op: Op, member: u16, number: usize) -> Self {
        Self((op as u64) << 60 | u64::from(member & 0xFFF) << 48 | number as u64 & ID)
    }

    /// That of another request for the same.
    #[inline]
    pub(crate) fn with(self, op: Op) -> Self {
        Self(self.0 & !(0xF << 60) | (op as u64) << 60)
    }

    #[inline]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn op(self) -> Op {
        // Only what `new` has made comes back; anything else would be nobody's.
        match self.0 >> 60 {
            1 => Op::Recv,
            2 => Op::Poll,
            3 => Op::Gone,
            4 => Op::Send,
            5 => Op::Timer,
            _ => Op::Cancel,
        }
    }

    #[inline]
    pub(crate) fn member(self) -> u16 {
        (self.0 >> 48) as u16 & 0xFFF
    }

    /// The socket's slot, or the number.
    #[inline]
    pub(crate) fn index(self) -> usize {
        SockId::from_raw(self.0).index()
    }

    /// The socket, in the group of `tag`.
    #[inline]
    pub(crate) fn id(self, tag: Tag) -> SockId {
        SockId::from_raw(self.0 & ID | tag.0)
    }
}

/// A group's part of its keys, where that is in them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tag(u64);

impl Tag {
    /// That of the group which has this socket.
    pub(crate) fn of(id: SockId) -> Self {
        Self(id.raw() & !ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_it_was() {
        for op in [Op::Cancel, Op::Recv, Op::Poll, Op::Gone, Op::Send, Op::Timer] {
            for (member, index, generation) in [(0, 0, 0), (0xFFF, 0xFF_FFFF, 0xFF_FFFF), (0x123, 0x45_6789, 0xAB_CDEF)] {
                let id = SockId::new(index, generation, 0xABCD);
                let key = Key::from_raw(Key::of(op, member, id).raw());
                assert_eq!((key.op(), key.member(), key.index(), key.id(Tag::of(id))), (op, member, index as usize, id));
            }
        }
        assert_eq!(Key::new(Op::Timer, 3, 1).index(), 1);
    }
}
