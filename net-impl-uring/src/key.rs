//! What requests are called by: a [`Key`] whose number is index and generation of a [`SockId`].
//! Its group tag is too long to fit beside them.

use core_reactor::net::SockId;
use core_uring::{Key, Member};

/// The bits of a [`SockId`] that are in the key of its requests.
const ID: u64 = (1 << 48) - 1;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Bytes, again and again.
    Recv = Key::CANCEL + 1,
    /// The news that there is something to be read, or room.
    Poll,
    /// The news that a connection is over.
    Gone,
    /// Bytes to be sent.
    Send,
    /// The end of a time.
    Timer,
}

impl Op {
    /// That of a request of ours; `None` of a cancellation, for which nobody waits.
    #[inline]
    pub(crate) fn of(key: Key) -> Option<Self> {
        match key.op() {
            1 => Some(Self::Recv),
            2 => Some(Self::Poll),
            3 => Some(Self::Gone),
            4 => Some(Self::Send),
            5 => Some(Self::Timer),
            _ => None,
        }
    }

    /// What such a request of a member's for a socket is called by.
    pub(crate) fn key(self, member: Member, id: SockId) -> Key {
        Key::new(member, self as u8, id.raw())
    }
}

/// The slot of the socket that a request is for.
#[inline]
pub(crate) fn index(key: Key) -> usize {
    SockId::from_raw(key.number()).index()
}

/// A group's part of its sockets' ids, which is not in keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tag(u64);

impl Tag {
    /// That of the group which has this socket.
    pub(crate) fn of(id: SockId) -> Self {
        Self(id.raw() & !ID)
    }

    /// The socket that a request is for.
    #[inline]
    pub(crate) fn id(self, key: Key) -> SockId {
        SockId::from_raw(key.number() | self.0)
    }
}

#[cfg(test)]
mod tests {
    use core_uring::Ring;

    use super::*;
    use crate::Uring;

    #[test]
    fn what_was_asked_for_and_of_which_socket_comes_back() {
        let ring = Ring::new(Uring::new().sizes).expect("a ring");
        let member = ring.io().join(0).expect("the first");
        for op in [Op::Recv, Op::Poll, Op::Gone, Op::Send, Op::Timer] {
            for (slot, generation) in [(0, 0), (0xFF_FFFF, 0xFF_FFFF), (0x45_6789, 0xAB_CDEF)] {
                let id = SockId::new(slot, generation, 0xABCD);
                let key = op.key(member, id);
                assert_eq!((Op::of(key), index(key), Tag::of(id).id(key)), (Some(op), slot as usize, id));
            }
        }
    }
}
