//! I/O commands (NVM Command Set 1.0, 3.2): what they ask for, if it can be had.

use zerocopy::FromBytes;

use super::Namespace;
use crate::command::{Blocks, DSM_DEALLOCATE, DSM_RANGES, DsmRange, Sqe, io};
use crate::status::Code;

/// An I/O command whose fields are in their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Read so many blocks.
    Read {
        /// The first one.
        slba: u64,
        /// How many.
        blocks: u32,
    },
    /// Write so many blocks.
    Write {
        /// The first one.
        slba: u64,
        /// How many.
        blocks: u32,
        /// Force unit access: not before they outlive a loss of power.
        fua: bool,
    },
    /// Compare so many blocks.
    Compare {
        /// The first one.
        slba: u64,
        /// How many.
        blocks: u32,
    },
    /// Write zeroes.
    WriteZeroes {
        /// The first block.
        slba: u64,
        /// How many.
        blocks: u32,
        /// Force unit access.
        fua: bool,
        /// The blocks may be deallocated.
        deallocate: bool,
    },
    /// Make what was written outlive a loss of power.
    Flush,
    /// Dataset Management, whose data has so many [`ranges`].
    Deallocate {
        /// How many ranges.
        ranges: u16,
    },
    /// Dataset Management that asks for nothing we have: success.
    Nothing,
}

impl Io {
    /// Reads a command for `namespace` that has `length` bytes of data.
    ///
    /// ```
    /// use nvme::command::io;
    /// use nvme::target::{Io, Namespace};
    /// use nvme::{Code, Sqe};
    /// # let namespace = Namespace {
    /// #     blocks: 64, shift: 9, nguid: [0; 16], eui64: [0; 8], uuid: [0; 16], read_only: false, shared: false, zeroes: true,
    /// #     boundary: 0, group: 1, reservations: 0, persists: false,
    /// # };
    ///
    /// // `namespace` has 64 blocks of 512 bytes.
    /// let read = Sqe::blocks(io::READ, 1, 60, 4, 0);
    /// assert_eq!(Io::read(&read, &namespace, 2048), Ok(Io::Read { slba: 60, blocks: 4 }));
    /// let beyond = Sqe::blocks(io::READ, 1, 61, 4, 0);
    /// assert_eq!(Io::read(&beyond, &namespace, 2048), Err(Code::LbaOutOfRange));
    /// ```
    ///
    /// # Errors
    /// The status that it is to get.
    pub fn read(sqe: &Sqe, namespace: &Namespace, length: u32) -> Result<Self, Code> {
        if sqe.fuse() != 0 {
            return Err(Code::InvalidField);
        }
        match sqe.opcode {
            io::FLUSH => Ok(Self::Flush),
            io::READ | io::WRITE | io::COMPARE | io::WRITE_ZEROES => Self::blocks(sqe, namespace, length),
            io::DATASET_MANAGEMENT => Self::dataset_management(sqe, namespace, length),
            _ => Err(Code::InvalidOpcode),
        }
    }

    fn blocks(sqe: &Sqe, namespace: &Namespace, length: u32) -> Result<Self, Code> {
        let words: Blocks = sqe.words();
        let (slba, blocks, control) = (words.slba.get(), words.count(), words.control.get());
        let fua = control & Blocks::FUA != 0;
        if control & Blocks::PROTECTION != 0 {
            return Err(Code::InvalidField);
        }
        if slba.checked_add(blocks.into()).is_none_or(|end| end > namespace.blocks) {
            return Err(Code::LbaOutOfRange);
        }
        if sqe.opcode != io::WRITE_ZEROES && u64::from(length) != u64::from(blocks) << namespace.shift {
            return Err(Code::SglLengthInvalid);
        }
        match sqe.opcode {
            io::READ => Ok(Self::Read { slba, blocks }),
            io::COMPARE => Ok(Self::Compare { slba, blocks }),
            _ if namespace.read_only => Err(Code::WriteProtected),
            io::WRITE => Ok(Self::Write { slba, blocks, fua }),
            _ => Ok(Self::WriteZeroes { slba, blocks, fua, deallocate: control & Blocks::DEALLOCATE != 0 }),
        }
    }

    fn dataset_management(sqe: &Sqe, namespace: &Namespace, length: u32) -> Result<Self, Code> {
        let ranges = (sqe.cdw10.get() & 0xFF) as u16 + 1;
        // Linux always sends room for all there may be.
        if (length as usize) < usize::from(ranges) * size_of::<DsmRange>() || length as usize > DSM_RANGES * size_of::<DsmRange>() {
            return Err(Code::SglLengthInvalid);
        }
        if sqe.cdw11.get() & DSM_DEALLOCATE == 0 {
            return Ok(Self::Nothing);
        }
        if namespace.read_only { Err(Code::WriteProtected) } else { Ok(Self::Deallocate { ranges }) }
    }
}

/// The first `count` ranges of Dataset Management: first block and blocks, none of them empty.
///
/// ```
/// use nvme::command::DsmRange;
/// use nvme::target::{Namespace, ranges};
/// use zerocopy::IntoBytes;
/// # let namespace = Namespace {
/// #     blocks: 64, shift: 9, nguid: [0; 16], eui64: [0; 8], uuid: [0; 16], read_only: false, shared: false, zeroes: true,
/// #     boundary: 0, group: 1, reservations: 0, persists: false,
/// # };
///
/// // `namespace` has 64 blocks. A range of none counts for nothing.
/// let list = [(0, 8), (16, 0)].map(|(slba, blocks): (u64, u32)| DsmRange { attributes: 0.into(), blocks: blocks.into(), slba: slba.into() });
/// assert!(ranges(list.as_bytes(), 2, &namespace).is_ok_and(|ranges| ranges.eq([(0, 8)])));
/// ```
///
/// # Errors
/// One is not within the namespace, and none of them counts.
pub fn ranges<'a>(data: &'a [u8], count: u16, namespace: &Namespace) -> Result<impl Iterator<Item = (u64, u32)> + use<'a>, Code> {
    let (all, _) = <[DsmRange]>::ref_from_prefix_with_elems(data, count.into()).map_err(|_| Code::SglLengthInvalid)?;
    let within = |range: &DsmRange| range.slba.get().checked_add(range.blocks.get().into()).is_some_and(|end| end <= namespace.blocks);
    if !all.iter().all(within) {
        return Err(Code::LbaOutOfRange);
    }
    Ok(all.iter().map(|range| (range.slba.get(), range.blocks.get())).filter(|(_, blocks)| *blocks > 0))
}
