//! Keys to what a group holds. 64 bits, so that they ride in `epoll_data`, `user_data` or a work
//! request's id: index, generation, group.

use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};

/// A socket or a listener in a group. A key whose socket is gone is refused as
/// [`NetError::Stale`](crate::net::NetError::Stale) and names no other socket: none of this group,
/// and none of the 65,535 groups made after it.
///
/// ```
/// use core_reactor::net::SockId;
///
/// let id = SockId::new(3, 1, 9);
/// assert_eq!((id.index(), id.generation(), id.group()), (3, 1, 9));
/// assert_eq!(SockId::from_raw(id.raw()), id, "it rides in 64 bits");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SockId(u64);

/// A queue or a listener in a group. A key whose queue is gone is refused as
/// [`TransportError::Stale`](crate::transport::TransportError::Stale), as a [`SockId`] is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueId(u64);

/// A buffer that a group has exposed. Stale as a [`QueueId`] is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExposedKey(u64);

/// A tag for a new group's keys: no two of 65,536 groups made one after the other have the same,
/// whatever their backends. After that they come again, so a program that makes groups all the time
/// must not keep keys of those that are gone.
///
/// A count, and the only thing that all sets of reactors in a process share beside the link-time
/// slices: were it kept anywhere smaller, a key of one backend's group could name a socket in
/// another's.
///
/// ```
/// use core_reactor::net::group_tag;
///
/// assert_ne!(group_tag(), group_tag());
/// ```
pub fn group_tag() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

macro_rules! key {
    ($key:ident) => {
        impl $key {
            /// Packs a key. `index` and `generation` keep their low 24 bits; `group` is of
            /// [`group_tag`]. Who counts generations stops at the last one that 24 bits hold, and
            /// gives what comes then another slot: else a stale key would name it.
            #[inline]
            pub const fn new(index: u32, generation: u32, group: u16) -> Self {
                Self((group as u64) << 48 | ((generation & 0xFF_FFFF) as u64) << 24 | (index & 0xFF_FFFF) as u64)
            }

            /// The slot in the group's slab.
            #[inline]
            pub const fn index(self) -> usize {
                (self.0 & 0xFF_FFFF) as usize
            }

            /// Which of those that had this slot.
            #[inline]
            pub const fn generation(self) -> u32 {
                (self.0 >> 24 & 0xFF_FFFF) as u32
            }

            /// Which group, so that a key is not taken for another group's.
            #[inline]
            pub const fn group(self) -> u16 {
                (self.0 >> 48) as u16
            }

            /// The key as one number, and back by [`from_raw`](Self::from_raw).
            #[inline]
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// A key out of its number.
            #[inline]
            pub const fn from_raw(raw: u64) -> Self {
                Self(raw)
            }
        }

        impl fmt::Debug for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($key), "({}:{}.{})"), self.group(), self.index(), self.generation())
            }
        }
    };
}

key!(SockId);
key!(QueueId);
key!(ExposedKey);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_key_tells_what_it_was_made_of() {
        let key = QueueId::new(0xAB_CDEF, 0x12_3456, 0x789A);
        assert_eq!((key.index(), key.generation(), key.group()), (0xAB_CDEF, 0x12_3456, 0x789A));
        assert_eq!(QueueId::from_raw(key.raw()), key);
        assert_eq!(format!("{:?}", QueueId::new(3, 2, 1)), "QueueId(1:3.2)");
    }

    #[test]
    fn a_generation_that_overflows_leaves_the_group_alone() {
        let key = ExposedKey::new(1, 0x100_0002, 5);
        assert_eq!((key.index(), key.generation(), key.group()), (1, 2, 5));
    }

    #[test]
    fn groups_have_tags_of_their_own() {
        let mut tags: alloc::vec::Vec<_> = (0..3).map(|_| group_tag()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }
}
