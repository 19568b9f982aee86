//! What is asked of a device, and how it comes back.

use core::fmt;

use core_reactor::EventList;
use core_reactor::net::{Frame, Token};

use crate::BdevError;

/// What a request does. There is no order among requests under way: two that touch the same block
/// happen one after the other, whichever comes first, block by block.
///
/// ```
/// use bdev::Kind;
///
/// assert_eq!(Kind::WriteZeroes.to_string(), "write zeroes");
/// assert!(Kind::Unmap.changes() && !Kind::Compare.changes());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Fills empty buffers from the device.
    Read,
    /// Writes what the buffers hold.
    Write,
    /// Makes last what writes that have come back have written.
    Flush,
    /// Says that the blocks are not needed. What is read there afterwards is old or zero.
    Unmap,
    /// Writes zeroes.
    WriteZeroes,
    /// Compares what the buffers hold with the device.
    Compare,
    /// Compares the first half of what the buffers hold, and writes the second where it is equal:
    /// nothing of another request comes between.
    CompareAndWrite,
    /// Comes back when every request that was under way, on any channel of the device, has.
    Reset,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Unmap => "unmap",
            Self::WriteZeroes => "write zeroes",
            Self::Compare => "compare",
            Self::CompareAndWrite => "compare and write",
            Self::Reset => "reset",
        })
    }
}

/// A set of operations.
///
/// ```
/// use bdev::{Kind, Kinds};
///
/// let kinds = Kinds::of(&[Kind::Read, Kind::Write, Kind::Flush]);
/// assert!(kinds.contains(Kind::Flush) && !kinds.contains(Kind::Unmap));
/// assert_eq!(kinds.and(Kinds::of(&[Kind::Read, Kind::Reset])), Kinds::of(&[Kind::Read]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// All that there are.
    pub const ALL: Self = Self(0xFF);

    /// These.
    pub const fn of(kinds: &[Kind]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether `kind` is one of them.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 >> kind as u16 & 1 == 1
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Kind {
    /// Whether it changes what the device holds.
    pub const fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Unmap | Self::WriteZeroes | Self::CompareAndWrite)
    }
}

/// A request and its buffers. It comes back in a [`Completion`], or with the reason why it was
/// refused.
///
/// ```
/// use bdev::{Kind, Request, Token};
///
/// let trim = Request::unmap(8, 8).token(Token(3));
/// assert_eq!((trim.kind, trim.block, trim.blocks, trim.token), (Kind::Unmap, 8, 8, Token(3)));
/// ```
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub kind: Kind,
    /// Force unit access: a write comes back when it would outlast a loss of power.
    pub fua: bool,
    /// The first block.
    pub block: u64,
    /// How many blocks. Nothing for a flush or a reset, which are about all of the device.
    pub blocks: u64,
    /// Empty buffers for a read, and what to write or to compare with; none otherwise.
    pub data: Frame,
    /// The caller's own name for it.
    pub token: Token,
}

impl Request {
    fn new(kind: Kind, block: u64, blocks: u64, data: Frame) -> Self {
        Self { kind, fua: false, block, blocks, data, token: Token(0) }
    }

    /// Reads `blocks` from `block` on into empty buffers with room for them, in order.
    ///
    /// ```
    /// use bdev::{Kind, Request, Token};
    ///
    /// let bufs = pool::BufGroup::new(1, 4096);
    /// let buf = bufs.get().ok_or("all are out")?;
    /// let read = Request::read(16, 8, buf).token(Token(1));
    /// assert_eq!((read.kind, read.block, read.blocks), (Kind::Read, 16, 8));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn read(block: u64, blocks: u64, data: impl Into<Frame>) -> Self {
        Self::new(Kind::Read, block, blocks, data.into())
    }

    /// Writes what the buffers hold.
    ///
    /// ```
    /// use bdev::Request;
    ///
    /// let bufs = pool::BufGroup::new(1, 512);
    /// let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(&[7; 512]);
    /// assert!(Request::write(0, 1, buf).fua().fua, "it is to outlast a loss of power");
    /// # Ok::<(), &str>(())
    /// ```
    pub fn write(block: u64, blocks: u64, data: impl Into<Frame>) -> Self {
        Self::new(Kind::Write, block, blocks, data.into())
    }

    /// Makes last whatever was written.
    ///
    /// ```
    /// use bdev::{Kind, Request};
    ///
    /// let flush = Request::flush();
    /// assert_eq!((flush.kind, flush.blocks), (Kind::Flush, 0), "it is about the whole device");
    /// ```
    pub fn flush() -> Self {
        Self::new(Kind::Flush, 0, 0, Frame::new())
    }

    /// Says that blocks are not needed.
    ///
    /// ```
    /// use bdev::Request;
    ///
    /// let all = Request::unmap(0, 2048);
    /// assert!(all.data.parts().is_empty(), "it has no data");
    /// ```
    pub fn unmap(block: u64, blocks: u64) -> Self {
        Self::new(Kind::Unmap, block, blocks, Frame::new())
    }

    /// Writes zeroes.
    pub fn write_zeroes(block: u64, blocks: u64) -> Self {
        Self::new(Kind::WriteZeroes, block, blocks, Frame::new())
    }

    /// Compares.
    ///
    /// ```
    /// use bdev::{Kind, Request};
    ///
    /// let bufs = pool::BufGroup::new(1, 512);
    /// let mut wanted = bufs.get().ok_or("all are out")?;
    /// wanted.append(&[0; 512]);
    /// assert_eq!(Request::compare(0, 1, wanted).kind, Kind::Compare);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn compare(block: u64, blocks: u64, data: impl Into<Frame>) -> Self {
        Self::new(Kind::Compare, block, blocks, data.into())
    }

    /// Writes the second half of `data` where the device holds the first.
    ///
    /// ```
    /// use bdev::Request;
    ///
    /// // A lock in block 3: free is 0, taken is 1.
    /// let bufs = pool::BufGroup::new(2, 512);
    /// let (mut free, mut taken) = (bufs.get().ok_or("all are out")?, bufs.get().ok_or("all are out")?);
    /// free.append(&[0; 512]);
    /// taken.append(&[1; 512]);
    /// let lock = Request::compare_and_write(3, 1, [free, taken]);
    /// assert_eq!((lock.blocks, lock.data.bytes()), (1, 1024));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn compare_and_write(block: u64, blocks: u64, data: impl Into<Frame>) -> Self {
        Self::new(Kind::CompareAndWrite, block, blocks, data.into())
    }

    /// Aborts what is under way on every channel of the device.
    pub fn reset() -> Self {
        Self::new(Kind::Reset, 0, 0, Frame::new())
    }

    /// The same with this token.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = token;
        self
    }

    /// The same with force unit access.
    #[must_use]
    pub fn fua(mut self) -> Self {
        self.fua = true;
        self
    }

    /// Appends `bytes` to the buffers of a read: each is filled before the next. For backends. What
    /// does not fit is left out; a channel has seen to it that all does.
    ///
    /// ```
    /// # use bdev::Request;
    /// let bufs = pool::BufGroup::new(2, 4);
    /// let mut read = Request::read(0, 1, [bufs.get().ok_or("all are out")?, bufs.get().ok_or("all are out")?]);
    /// read.fill(b"abcdef");
    /// assert_eq!((&read.data.parts()[0][..], &read.data.parts()[1][..]), (&b"abcd"[..], &b"ef"[..]));
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn fill(&mut self, mut bytes: &[u8]) {
        for part in self.data.parts_mut() {
            let taken = part.append(bytes);
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// The same with `count` zeroes.
    ///
    /// ```
    /// # use bdev::Request;
    /// # let bufs = pool::BufGroup::new(1, 4);
    /// let mut read = Request::read(0, 1, bufs.get().ok_or("all are out")?);
    /// read.fill_zeroes(3);
    /// assert_eq!(&read.data.parts()[0][..], [0, 0, 0]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn fill_zeroes(&mut self, mut count: usize) {
        for part in self.data.parts_mut() {
            let n = count.min(part.spare_capacity());
            part.spare_mut()[..n].fill(0);
            part.grow(n);
            count -= n;
        }
    }

    /// The bytes from `at` on, `len` of them, in pieces. For backends.
    ///
    /// ```
    /// # use bdev::Request;
    /// # let bufs = pool::BufGroup::new(2, 4);
    /// # let [mut one, mut two] = [bufs.get().ok_or("all are out")?, bufs.get().ok_or("all are out")?];
    /// one.append(b"abcd");
    /// two.append(b"efgh");
    /// let write = Request::write(0, 1, [one, two]);
    /// assert!(write.pieces(2, 4).eq([&b"cd"[..], b"ef"]));
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn pieces(&self, at: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (at, len);
        self.data.parts().iter().filter_map(move |part| {
            let from = skip.min(part.len());
            skip -= from;
            let n = left.min(part.len() - from);
            left -= n;
            (n > 0).then(|| &part[from..from + n])
        })
    }

    /// Copies the bytes from `at` on to `to`. For backends.
    ///
    /// ```
    /// # use bdev::Request;
    /// # let bufs = pool::BufGroup::new(1, 8);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"01234567");
    /// let (write, mut middle) = (Request::write(0, 1, buf), [0; 4]);
    /// write.copy_to(2, &mut middle);
    /// assert_eq!(&middle, b"2345");
    /// # Ok::<(), &str>(())
    /// ```
    #[inline]
    pub fn copy_to(&self, at: usize, to: &mut [u8]) {
        let mut done = 0;
        for piece in self.pieces(at, to.len()) {
            to[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
    }

    /// Where the bytes from `at` on differ from `with` first. For backends.
    ///
    /// ```
    /// # use bdev::Request;
    /// # let bufs = pool::BufGroup::new(1, 8);
    /// # let mut buf = bufs.get().ok_or("all are out")?;
    /// buf.append(b"as it is");
    /// let compare = Request::compare(0, 1, buf);
    /// assert_eq!((compare.differs(0, b"as it is"), compare.differs(0, b"as it was")), (None, Some(6)));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn differs(&self, at: usize, with: &[u8]) -> Option<usize> {
        let mut done = 0;
        for piece in self.pieces(at, with.len()) {
            let there = &with[done..done + piece.len()];
            if piece != there {
                return piece.iter().zip(there).position(|(a, b)| a != b).map(|n| done + n);
            }
            done += piece.len();
        }
        None
    }
}

/// A request that has come back.
#[derive(Debug)]
pub struct Completion {
    /// The request with its buffers: filled by a read that went well, empty after one that did not,
    /// and otherwise as they were.
    pub request: Request,
    /// How it went.
    pub result: Result<(), BdevError>,
}

/// What a channel tells. `Removed` is the last, and comes once.
#[derive(Debug)]
#[non_exhaustive]
pub enum BdevEvent {
    /// A request has come back.
    Done(Completion),
    /// The device has another size.
    Resized {
        /// Its blocks now.
        blocks: u64,
    },
    /// The device is gone, and every request has come back.
    Removed,
}

/// What one poll has told, in a list that is used again and again.
pub type Completions = EventList<BdevEvent>;
