//! Fused operations: Compare and Write as one (NVMe Base 2.0, 3.4.2).

use super::{Namespace, Tag};
use crate::command::{Blocks, FUSED_FIRST, FUSED_SECOND, Sqe, io};
use crate::status::Code;

/// Finds the two commands of a fused operation, which follow each other in their queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused {
    first: First,
}

/// The command that came last, if it was the first of two.
#[derive(Clone, Copy, Debug, Default)]
enum First {
    #[default]
    None,
    There(Tag, Sqe),
    /// It has failed, and its tag may be another command's.
    Failed,
}

/// What a command is to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fuse {
    /// A command of its own.
    Single,
    /// The first of two: keep it until the other comes.
    First,
    /// The second, and here is the first: do both as one, when the data of both is there.
    Both {
        /// The first command.
        first: Tag,
        /// It is.
        compare: Sqe,
    },
    /// The second without a first: complete it with [`Code::MissingFused`].
    Missing,
    /// The second, and the first has failed: complete it with [`Code::FailedFused`].
    Failed,
}

impl Fused {
    /// A command has come; and the one before it, if that was a first and this is no second: it is
    /// to be completed with [`Code::MissingFused`].
    ///
    /// ```
    /// # use nvme::target::Tag;
    /// # fn f(compare: Tag, write: Tag) {
    /// use nvme::Sqe;
    /// use nvme::command::{FUSED_FIRST, FUSED_SECOND, io};
    /// use nvme::target::{Fuse, Fused};
    ///
    /// let mut fused = Fused::default();
    /// let first = Sqe { flags: FUSED_FIRST, ..Sqe::new(io::COMPARE, 1) };
    /// let second = Sqe { flags: FUSED_SECOND, ..Sqe::new(io::WRITE, 1) };
    /// assert_eq!(fused.next(compare, &first), (Fuse::First, None));
    /// assert_eq!(fused.next(write, &second), (Fuse::Both { first: compare, compare: first }, None));
    /// # }
    /// ```
    #[inline]
    pub fn next(&mut self, tag: Tag, sqe: &Sqe) -> (Fuse, Option<Tag>) {
        if sqe.fuse() == 0 && matches!(self.first, First::None) {
            return (Fuse::Single, None);
        }
        self.next_of_two(tag, sqe)
    }

    #[cold]
    fn next_of_two(&mut self, tag: Tag, sqe: &Sqe) -> (Fuse, Option<Tag>) {
        let first = core::mem::take(&mut self.first);
        let left = if let First::There(left, _) = first { Some(left) } else { None };
        match (sqe.fuse(), first) {
            (FUSED_SECOND, First::There(first, compare)) => (Fuse::Both { first, compare }, None),
            (FUSED_SECOND, First::Failed) => (Fuse::Failed, None),
            (FUSED_SECOND, First::None) => (Fuse::Missing, None),
            (FUSED_FIRST, _) => {
                self.first = First::There(tag, *sqe);
                (Fuse::First, left)
            }
            _ => (Fuse::Single, left),
        }
    }

    /// A command has failed by itself, of which the other half may be still to come.
    pub fn failed(&mut self, tag: Tag) {
        if matches!(self.first, First::There(first, _) if first == tag) {
            self.first = First::Failed;
        }
    }

    /// The command that came last, if it is a first whose second is still to come.
    pub fn lone(&self) -> Option<Tag> {
        if let First::There(tag, _) = self.first { Some(tag) } else { None }
    }

    /// A refused command stands between two as any other does.
    pub fn interrupt(&mut self) -> Option<Tag> {
        match core::mem::take(&mut self.first) {
            First::There(tag, _) => Some(tag),
            First::None | First::Failed => None,
        }
    }
}

/// The blocks that `compare` and `write` are about: the first one, how many, and FUA. Each has
/// `length` bytes of data.
///
/// # Errors
/// The status of each: nothing is to be done.
pub fn compare_and_write(compare: &Sqe, write: &Sqe, namespace: &Namespace, length: [u32; 2]) -> Result<(u64, u32, bool), [Code; 2]> {
    let wrong = |code| Err([code, Code::FailedFused]);
    if compare.opcode != io::COMPARE || write.opcode != io::WRITE {
        return wrong(Code::InvalidField);
    }
    let single = |sqe: &Sqe| Sqe { flags: sqe.flags & !(FUSED_FIRST | FUSED_SECOND), ..*sqe };
    if let Err(code) = super::Io::read(&single(compare), namespace, length[0]) {
        return wrong(code);
    }
    if let Err(code) = super::Io::read(&single(write), namespace, length[1]) {
        return Err([Code::FailedFused, code]);
    }
    let (one, two): (Blocks, Blocks) = (compare.words(), write.words());
    if compare.nsid != write.nsid || one.slba != two.slba || one.nlb != two.nlb {
        return Err([Code::FailedFused, Code::InvalidField]);
    }
    Ok((one.slba.get(), one.count(), two.control.get() & Blocks::FUA != 0))
}
