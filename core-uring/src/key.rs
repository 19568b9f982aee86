//! What a request is called by: the 64 bits that its completions bring back.
//!
//! ```text
//!   63   60 59      48 47                                0
//!   ┌──────┬──────────┬──────────────────────────────────┐
//!   │ op   │ member   │ number                           │
//!   └──────┴──────────┴──────────────────────────────────┘
//! ```

/// A member of a ring: who asks, and is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(u16);

impl Member {
    /// Members that a ring can tell apart.
    pub const MOST: usize = 1 << 12;

    pub(crate) fn new(number: usize) -> Self {
        debug_assert!(number < Self::MOST);
        Self(number as u16)
    }

    /// Which of the ring's: less than [`MOST`](Self::MOST).
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The name of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The ring's own operation: a cancellation, whose completion says nothing to anybody.
    pub const CANCEL: u8 = 0;

    /// Of `op`, under 16, for what the member knows by `number`, of 48 bits. What is beyond is cut
    /// off.
    #[inline]
    pub fn new(member: Member, op: u8, number: u64) -> Self {
        Self(u64::from(op) << 60 | u64::from(member.0) << 48 | number & Self::NUMBER)
    }

    const NUMBER: u64 = (1 << 48) - 1;

    /// The same of another request for the same.
    #[inline]
    #[must_use]
    pub fn with(self, op: u8) -> Self {
        Self(self.0 & (u64::MAX >> 4) | u64::from(op) << 60)
    }

    #[inline]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    /// What was asked for.
    #[inline]
    pub fn op(self) -> u8 {
        (self.0 >> 60) as u8
    }

    /// Who asked.
    #[inline]
    pub fn member(self) -> Member {
        Member((self.0 >> 48) as u16 & (Member::MOST - 1) as u16)
    }

    /// What it was asked for.
    #[inline]
    pub fn number(self) -> u64 {
        self.0 & Self::NUMBER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_it_was() {
        for (op, member, number) in [(0, 0, 0), (15, Member::MOST - 1, Key::NUMBER), (4, 0x123, 0xAB_CDEF_4567)] {
            let member = Member::new(member);
            let key = Key::from_raw(Key::new(member, op, number).raw());
            assert_eq!((key.op(), key.member(), key.number()), (op, member, number));
            let other = key.with(9);
            assert_eq!((other.op(), other.member(), other.number()), (9, member, number));
        }
    }
}
