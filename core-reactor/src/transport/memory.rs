//! Memory that the peer may reach.

/// What the peer may do with an exposed buffer.
///
/// ```
/// use core_reactor::transport::Access;
///
/// assert!(Access::ReadWrite.reads() && Access::ReadWrite.writes());
/// assert!(!Access::Read.writes());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read it.
    Read,
    /// Write to it.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether it may be read.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether it may be written to.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// A range of memory at the other end, as its owner described it in a message. All that is here
/// came from the peer, so it may be anything; the peer's transport checks what is done with it. The
/// fields are those of SMB Direct's buffer descriptor (MS-SMBD 2.2.3.1) and of NVMe's keyed data
/// block descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteMemory {
    /// Where it begins, in the peer's numbering.
    pub addr: u64,
    /// The key to it.
    pub key: u32,
    /// Bytes.
    pub len: u32,
}

impl RemoteMemory {
    /// The `len` bytes of it that begin at byte `from`; `None` if they do not lie in it, or its end
    /// cannot be counted.
    ///
    /// ```
    /// use core_reactor::transport::RemoteMemory;
    ///
    /// let all = RemoteMemory { addr: 0x1000, key: 7, len: 4096 };
    /// assert_eq!(all.part(512, 8), Some(RemoteMemory { addr: 0x1200, key: 7, len: 8 }));
    /// assert_eq!(all.part(4096, 1), None, "it would lie behind the end");
    /// ```
    pub fn part(self, from: u32, len: u32) -> Option<Self> {
        let inside = from.checked_add(len)? <= self.len;
        let addr = self.addr.checked_add(u64::from(from))?;
        inside.then_some(Self { addr, len, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_within() {
        let all = RemoteMemory { addr: 1000, key: 7, len: 100 };
        assert_eq!(all.part(0, 100), Some(all));
        assert_eq!(all.part(40, 60), Some(RemoteMemory { addr: 1040, key: 7, len: 60 }));
        assert_eq!(all.part(100, 0), Some(RemoteMemory { addr: 1100, key: 7, len: 0 }));
        for (from, len) in [(0, 101), (100, 1), (101, 0), (u32::MAX, 1), (1, u32::MAX)] {
            assert_eq!(all.part(from, len), None, "{from} {len}");
        }
        assert_eq!(RemoteMemory { addr: u64::MAX, ..all }.part(1, 1), None);
    }
}
