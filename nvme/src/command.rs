//! Commands and completions as they are in their queues, and what points to their data (NVMe Base
//! 2.0, 3.3.3).

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::status::Status;

/// Opcode of all fabrics commands (NVMe Base 2.0, 3.3.3.1).
pub const FABRICS: u8 = 0x7F;

/// NSID of all namespaces.
pub const ALL_NAMESPACES: u32 = 0xFFFF_FFFF;

/// Opcodes of admin commands (NVMe Base 2.0, 5).
pub mod admin {
    /// Get Log Page.
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// Abort.
    pub const ABORT: u8 = 0x08;
    /// Set Features.
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features.
    pub const GET_FEATURES: u8 = 0x0A;
    /// Asynchronous Event Request.
    pub const ASYNC_EVENT: u8 = 0x0C;
    /// Keep Alive.
    pub const KEEP_ALIVE: u8 = 0x18;
}

/// Opcodes of I/O commands (NVMe Base 2.0, 7; NVM Command Set 1.0, 3.2).
pub mod io {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
    /// Compare.
    pub const COMPARE: u8 = 0x05;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    /// Reservation Register.
    pub const RESERVATION_REGISTER: u8 = 0x0D;
    /// Reservation Report.
    pub const RESERVATION_REPORT: u8 = 0x0E;
    /// Reservation Acquire.
    pub const RESERVATION_ACQUIRE: u8 = 0x11;
    /// Reservation Release.
    pub const RESERVATION_RELEASE: u8 = 0x15;
}

/// Which way the data of a command goes: the low two bits of its opcode, or of FCTYPE (NVMe Base
/// 2.0, 3.3.3.1).
///
/// ```
/// use nvme::command::{Direction, io};
/// use nvme::Sqe;
///
/// let has_data = |opcode| Sqe::new(opcode, 1).direction() != Direction::None;
/// assert!(has_data(io::COMPARE) && !has_data(io::FLUSH));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// There is none.
    None,
    /// From the host.
    ToController,
    /// To the host.
    ToHost,
    /// Both ways; no command of ours.
    Both,
}

/// SGL descriptor (NVMe Base 2.0, 4.1.2): data block, whose address is one of memory or an offset
/// in the capsule, or transport data block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Sgl {
    /// Address, or offset.
    pub address: U64,
    /// Bytes.
    pub length: U32,
    /// Ignored.
    pub reserved: [u8; 3],
    /// SGL Identifier: type and sub type.
    pub kind: u8,
}

impl Sgl {
    /// Data block, offset: the data is in the capsule (type 0h, sub type 1h).
    pub const IN_CAPSULE: u8 = 0x01;

    /// Transport data block (type 5h, sub type Ah): the data goes by H2CData or C2HData.
    pub const TRANSPORT: u8 = 0x5A;

    /// Data behind the header of the capsule.
    ///
    /// ```
    /// use nvme::command::Sgl;
    ///
    /// let sgl = Sgl::in_capsule(512);
    /// assert_eq!((sgl.kind, sgl.length.get()), (Sgl::IN_CAPSULE, 512));
    /// ```
    pub fn in_capsule(length: u32) -> Self {
        Self { address: 0.into(), length: length.into(), reserved: [0; 3], kind: Self::IN_CAPSULE }
    }

    /// Data in PDUs of its own, or none at all.
    ///
    /// ```
    /// use nvme::command::Sgl;
    ///
    /// assert_eq!(Sgl::transport(4096).kind, Sgl::TRANSPORT);
    /// ```
    pub fn transport(length: u32) -> Self {
        Self { kind: Self::TRANSPORT, ..Self::in_capsule(length) }
    }
}

/// Submission queue entry, common format (NVMe Base 2.0, 3.3.3.1).
///
/// ```
/// use nvme::{Sqe, command};
/// use zerocopy::{FromBytes, IntoBytes};
///
/// let mut read = Sqe::new(command::io::READ, 1);
/// read.set_slba(0x1_0000_0002);
/// let wire = read.as_bytes();
/// assert_eq!((wire.len(), wire[0], &wire[40..48]), (64, 0x02, &[2, 0, 0, 0, 1, 0, 0, 0][..]));
/// assert_eq!(Sqe::read_from_bytes(wire).map(|sqe| sqe.slba()), Ok(0x1_0000_0002));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Sqe {
    /// CDW0 7:0, opcode.
    pub opcode: u8,
    /// CDW0 15:8: FUSE in bits 1:0, PSDT in bits 7:6.
    pub flags: u8,
    /// CDW0 31:16, command identifier.
    pub cid: U16,
    /// NSID; the first byte is FCTYPE in fabrics commands.
    pub nsid: U32,
    /// CDW2.
    pub cdw2: U32,
    /// CDW3.
    pub cdw3: U32,
    /// MPTR.
    pub mptr: U64,
    /// DPTR, an SGL on fabrics.
    pub sgl: Sgl,
    /// CDW10.
    pub cdw10: U32,
    /// CDW11.
    pub cdw11: U32,
    /// CDW12.
    pub cdw12: U32,
    /// CDW13.
    pub cdw13: U32,
    /// CDW14.
    pub cdw14: U32,
    /// CDW15.
    pub cdw15: U32,
}

/// First command of a fused operation (FUSE).
pub const FUSED_FIRST: u8 = 0b01;

/// Second command of a fused operation (FUSE).
pub const FUSED_SECOND: u8 = 0b10;

/// SGL in DPTR, MPTR unused (PSDT 01b): the only one on fabrics (NVMe Base 2.0, 3.3.3.1).
pub const PSDT_SGL: u8 = 0b01 << 6;

impl Sqe {
    /// A command without data.
    ///
    /// ```
    /// use nvme::{Sqe, command};
    ///
    /// let flush = Sqe::new(command::io::FLUSH, command::ALL_NAMESPACES);
    /// assert_eq!((flush.opcode, flush.nsid.get(), flush.psdt()), (0, u32::MAX, command::PSDT_SGL));
    /// ```
    pub fn new(opcode: u8, nsid: u32) -> Self {
        Self { opcode, flags: PSDT_SGL, nsid: nsid.into(), sgl: Sgl::transport(0), ..Self::new_zeroed() }
    }

    /// A fabrics command without data (NVMe Base 2.0, 6).
    ///
    /// ```
    /// use nvme::{Sqe, command, fabrics};
    ///
    /// let connect = Sqe::fabrics(fabrics::CONNECT);
    /// assert_eq!((connect.opcode, connect.fctype()), (command::FABRICS, fabrics::CONNECT));
    /// ```
    pub fn fabrics(fctype: u8) -> Self {
        Self::new(FABRICS, u32::from(fctype))
    }

    /// FCTYPE of a fabrics command.
    pub fn fctype(&self) -> u8 {
        self.nsid.to_bytes()[0]
    }

    /// FUSE.
    pub fn fuse(&self) -> u8 {
        self.flags & 0b11
    }

    /// PSDT, where it stands.
    pub fn psdt(&self) -> u8 {
        self.flags & 0b1100_0000
    }

    /// Which way data goes, if there is any.
    ///
    /// ```
    /// use nvme::command::{Direction, io};
    /// use nvme::{Sqe, fabrics};
    ///
    /// assert_eq!(Sqe::new(io::WRITE, 1).direction(), Direction::ToController);
    /// assert_eq!(Sqe::new(io::READ, 1).direction(), Direction::ToHost);
    /// assert_eq!(Sqe::fabrics(fabrics::DISCONNECT).direction(), Direction::None);
    /// ```
    pub fn direction(&self) -> Direction {
        let bits = if self.opcode == FABRICS { self.fctype() } else { self.opcode };
        match bits & 0b11 {
            0b00 => Direction::None,
            0b01 => Direction::ToController,
            0b10 => Direction::ToHost,
            _ => Direction::Both,
        }
    }

    /// CDW10 and CDW11 as one, the first block of most I/O commands (SLBA).
    pub fn slba(&self) -> u64 {
        u64::from(self.cdw11.get()) << 32 | u64::from(self.cdw10.get())
    }

    /// Sets SLBA.
    pub fn set_slba(&mut self, slba: u64) {
        self.cdw10 = (slba as u32).into();
        self.cdw11 = ((slba >> 32) as u32).into();
    }

    /// The layout of one kind of command over CDW10 to CDW15, such as
    /// [`Connect`](crate::fabrics::Connect).
    pub fn words<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() == 24) };
        let words = &self.as_bytes()[40..];
        T::read_from_bytes(words).unwrap_or_else(|_| unreachable!("24 bytes are 24 bytes"))
    }

    /// Sets CDW10 to CDW15 from such a layout.
    ///
    /// ```
    /// use nvme::fabrics::{self, Connect};
    /// use nvme::{Sqe, command::Blocks};
    /// use zerocopy::FromZeros;
    ///
    /// let mut sqe = Sqe::fabrics(fabrics::CONNECT);
    /// sqe.set_words(&Connect { qid: 1.into(), sqsize: 127.into(), ..Connect::new_zeroed() });
    /// assert_eq!(sqe.words::<Connect>().sqsize.get(), 127);
    /// ```
    pub fn set_words<T: IntoBytes + Immutable>(&mut self, words: &T) {
        const { assert!(size_of::<T>() == 24) };
        self.as_mut_bytes()[40..].copy_from_slice(words.as_bytes());
    }
}

/// Completion queue entry, common format (NVMe Base 2.0, 3.3.3.2).
///
/// ```
/// use nvme::{Code, Cqe, Status};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let cqe = Cqe { cid: 7.into(), status: Status::from(Code::LbaOutOfRange), ..Cqe::new_zeroed() };
/// assert_eq!(cqe.as_bytes()[12..], [7, 0, 0x00, 0x81]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Cqe {
    /// DW0 and DW1: what the command says of it.
    pub result: U64,
    /// SQHD: submission queue head pointer.
    pub sqhd: U16,
    /// SQID; reserved on fabrics.
    pub sqid: U16,
    /// CID: the command.
    pub cid: U16,
    /// Phase tag, 0 on fabrics, and status.
    pub status: Status,
}

const_assert_eq!(size_of::<Sgl>(), 16);
const_assert_eq!(size_of::<Sqe>(), 64);
const_assert_eq!(size_of::<Cqe>(), 16);

/// What the words of Read, Write, Compare and Write Zeroes say (NVM Command Set 1.0, 3.2).
///
/// ```
/// use nvme::Sqe;
/// use nvme::command::{Blocks, io};
/// use zerocopy::FromZeros;
///
/// let mut write = Sqe::new(io::WRITE, 1);
/// write.set_words(&Blocks { slba: 100.into(), nlb: 7.into(), control: Blocks::FUA.into(), ..Blocks::new_zeroed() });
/// assert_eq!((write.slba(), write.words::<Blocks>().count()), (100, 8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Blocks {
    /// CDW10 and CDW11, SLBA: the first block.
    pub slba: U64,
    /// CDW12 15:0, NLB: blocks less one.
    pub nlb: U16,
    /// CDW12 31:16: [`FUA`](Self::FUA), [`DEALLOCATE`](Self::DEALLOCATE) and protection, of which
    /// there is none.
    pub control: U16,
    /// CDW13 to CDW15.
    pub rest: [U32; 3],
}

impl Blocks {
    /// Force unit access.
    pub const FUA: u16 = 1 << 14;

    /// DEAC of Write Zeroes.
    pub const DEALLOCATE: u16 = 1 << 9;

    /// PRINFO: protection information.
    pub const PROTECTION: u16 = 0b1111 << 10;

    /// How many blocks.
    pub fn count(&self) -> u32 {
        u32::from(self.nlb.get()) + 1
    }
}

/// Range of Dataset Management (NVM Command Set 1.0, 3.2.3).
///
/// ```
/// use nvme::command::DsmRange;
/// use zerocopy::IntoBytes;
///
/// let ranges = [DsmRange { attributes: 0.into(), blocks: 8.into(), slba: 64.into() }; 2];
/// assert_eq!(ranges.as_bytes().len(), 32, "the data of a Dataset Management");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DsmRange {
    /// Context attributes, hints.
    pub attributes: U32,
    /// Blocks; may be 0.
    pub blocks: U32,
    /// The first one.
    pub slba: U64,
}

/// AD of Dataset Management, in CDW11: deallocate.
pub const DSM_DEALLOCATE: u32 = 1 << 2;

/// The most ranges of one Dataset Management: NR is 8 bits, less one.
pub const DSM_RANGES: usize = 256;

const_assert_eq!(size_of::<Blocks>(), 24);
const_assert_eq!(size_of::<DsmRange>(), 16);
