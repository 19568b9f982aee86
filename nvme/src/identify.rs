//! What Identify returns (NVMe Base 2.0, 5.17; NVM Command Set 1.0, 4.1.5).

use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of everything that Identify returns.
pub const LENGTH: usize = 4096;

/// CNS, in the low byte of CDW10 (5.17.1).
pub mod cns {
    /// Identify Namespace, NVM command set.
    pub const NAMESPACE: u8 = 0x00;
    /// Identify Controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Active Namespace ID list.
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    /// Namespace Identification Descriptor list.
    pub const DESCRIPTORS: u8 = 0x03;
    /// Identify Namespace of an I/O command set.
    pub const NAMESPACE_OF_SET: u8 = 0x05;
    /// Identify Controller of an I/O command set.
    pub const CONTROLLER_OF_SET: u8 = 0x06;
    /// Identify Namespace, independent of the I/O command set.
    pub const NAMESPACE_INDEPENDENT: u8 = 0x08;
}

/// Identify Controller (5.17.2.1).
///
/// ```
/// use nvme::identify::{Controller, text};
/// use zerocopy::{FromBytes, IntoBytes};
///
/// let controller = Controller { serial: text("S1"), mdts: 5, nn: 4.into(), ..Controller::empty() };
/// let came = Controller::read_from_bytes(controller.as_bytes()).expect("4096 bytes");
/// assert_eq!((4096usize << came.mdts, came.nn.get()), (128 << 10, 4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Controller {
    /// VID, PCI vendor.
    pub vid: U16,
    /// SSVID.
    pub ssvid: U16,
    /// SN, padded with spaces.
    pub serial: [u8; 20],
    /// MN, padded with spaces.
    pub model: [u8; 40],
    /// FR, padded with spaces.
    pub firmware: [u8; 8],
    /// RAB.
    pub rab: u8,
    /// IEEE.
    pub ieee: [u8; 3],
    /// CMIC: bit 1, several controllers; bit 3, ANA.
    pub cmic: u8,
    /// MDTS: most data of a command, 2^n times 4 KiB; 0 is no limit.
    pub mdts: u8,
    /// CNTLID.
    pub cntlid: U16,
    /// VER, as in VS.
    pub version: U32,
    /// RTD3R.
    pub rtd3r: U32,
    /// RTD3E.
    pub rtd3e: U32,
    /// OAES: which events there are.
    pub oaes: U32,
    /// CTRATT: bit 0, host identifiers of 16 bytes; bit 6, any command keeps alive.
    pub ctratt: U32,
    /// RRLS and reserved.
    pub reserved1: [u8; 11],
    /// CNTRLTYPE: 1 I/O, 2 discovery.
    pub kind: u8,
    /// FGUID.
    pub fguid: [u8; 16],
    /// CRDT1 to CRDT3.
    pub retry_delays: [U16; 3],
    /// Reserved and management interface.
    pub reserved2: [u8; 122],
    /// OACS.
    pub oacs: U16,
    /// ACL: aborts at a time, less one.
    pub acl: u8,
    /// AERL: asynchronous event requests at a time, less one.
    pub aerl: u8,
    /// FRMW: firmware slots.
    pub frmw: u8,
    /// LPA: bit 1, command effects; bit 2, offsets in Get Log Page.
    pub lpa: u8,
    /// ELPE: entries of the error log, less one.
    pub elpe: u8,
    /// NPSS.
    pub npss: u8,
    /// AVSCC and APSTA.
    pub reserved3: [u8; 2],
    /// WCTEMP.
    pub wctemp: U16,
    /// CCTEMP.
    pub cctemp: U16,
    /// MTFA, HMPRE, HMMIN, TNVMCAP, UNVMCAP, RPMBS, EDSTT, DSTO, FWUG.
    pub reserved4: [u8; 50],
    /// KAS: granularity of keep alive, in 100 ms.
    pub kas: U16,
    /// HCTMA to ENDGIDMAX.
    pub reserved5: [u8; 20],
    /// ANATT: seconds that an ANA transition may take.
    pub anatt: u8,
    /// ANACAP: which ANA states there are.
    pub anacap: u8,
    /// ANAGRPMAX.
    pub anagrpmax: U32,
    /// NANAGRPID: how many ANA groups there are.
    pub nanagrpid: U32,
    /// PELS and reserved.
    pub reserved6: [u8; 160],
    /// SQES: 66h.
    pub sqes: u8,
    /// CQES: 44h.
    pub cqes: u8,
    /// MAXCMD: commands of a queue at a time.
    pub maxcmd: U16,
    /// NN: the largest NSID.
    pub nn: U32,
    /// ONCS: [`oncs`].
    pub oncs: U16,
    /// FUSES: bit 0, compare and write.
    pub fuses: U16,
    /// FNA.
    pub fna: u8,
    /// VWC: bit 0, there is a volatile cache; bits 2:1 are 11b, Flush takes all namespaces.
    pub vwc: u8,
    /// AWUN.
    pub awun: U16,
    /// AWUPF.
    pub awupf: U16,
    /// ICSVSCC and NWPC.
    pub reserved7: [u8; 2],
    /// ACWU: blocks of compare and write, less one.
    pub acwu: U16,
    /// Copy descriptor formats.
    pub cdfs: U16,
    /// SGLS: bits 1:0, which alignment; bit 20, offsets.
    pub sgls: U32,
    /// MNAN.
    pub mnan: U32,
    /// Reserved.
    pub reserved8: [u8; 224],
    /// SUBNQN, ended by a zero.
    pub subnqn: [u8; 256],
    /// Reserved.
    pub reserved9: [u8; 768],
    /// IOCCSZ: the longest I/O command capsule, in 16 bytes.
    pub ioccsz: U32,
    /// IORCSZ: the longest I/O response capsule, in 16 bytes.
    pub iorcsz: U32,
    /// ICDOFF: where data in the capsule begins.
    pub icdoff: U16,
    /// FCATT.
    pub fcatt: u8,
    /// MSDBD: SGL descriptors in a capsule.
    pub msdbd: u8,
    /// OFCS: bit 0, Disconnect.
    pub ofcs: U16,
    /// DCTYPE.
    pub dctype: u8,
    /// Reserved.
    pub reserved10: [u8; 241],
    /// Power state descriptors.
    pub power: [[u8; 32]; 32],
    /// Vendor specific.
    pub vendor: [u8; 1024],
}

/// ONCS.
pub mod oncs {
    /// Compare.
    pub const COMPARE: u16 = 1 << 0;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u16 = 1 << 2;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u16 = 1 << 3;
    /// Reservations.
    pub const RESERVATIONS: u16 = 1 << 5;
}

/// LBA format (NVM Command Set 1.0, 4.1.5.1).
///
/// ```
/// use nvme::identify::LbaFormat;
///
/// let format = LbaFormat { metadata: 0.into(), shift: 12, performance: 0 };
/// assert_eq!(1 << format.shift, 4096);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LbaFormat {
    /// MS: bytes of metadata.
    pub metadata: U16,
    /// LBADS: a block has 2^n bytes.
    pub shift: u8,
    /// RP.
    pub performance: u8,
}

/// Identify Namespace (NVM Command Set 1.0, 4.1.5.1).
///
/// ```
/// use nvme::identify::{LbaFormat, Namespace};
/// use zerocopy::{FromZeros, IntoBytes};
///
/// let mut namespace = Namespace { nsze: 2048.into(), ..Namespace::new_zeroed() };
/// namespace.formats[0].shift = 9;
/// let format = namespace.formats[usize::from(namespace.flbas & 0xF)];
/// assert_eq!(namespace.nsze.get() << format.shift, 1 << 20, "bytes");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Namespace {
    /// NSZE: blocks.
    pub nsze: U64,
    /// NCAP.
    pub ncap: U64,
    /// NUSE.
    pub nuse: U64,
    /// NSFEAT: bit 2, deallocated blocks are told; bit 4, the hints below count.
    pub nsfeat: u8,
    /// NLBAF: formats less one.
    pub nlbaf: u8,
    /// FLBAS.
    pub flbas: u8,
    /// MC.
    pub mc: u8,
    /// DPC.
    pub dpc: u8,
    /// DPS.
    pub dps: u8,
    /// NMIC: bit 0, several controllers may have it.
    pub nmic: u8,
    /// RESCAP: which reservations there are.
    pub rescap: u8,
    /// FPI.
    pub fpi: u8,
    /// DLFEAT: bits 2:0 are 001b, deallocated blocks read as zeroes; bit 3, Write Zeroes
    /// deallocates.
    pub dlfeat: u8,
    /// NAWUN.
    pub nawun: U16,
    /// NAWUPF.
    pub nawupf: U16,
    /// NACWU.
    pub nacwu: U16,
    /// NABSN, NABO, NABSPF.
    pub boundaries: [U16; 3],
    /// NOIOB: optimal boundary, in blocks.
    pub noiob: U16,
    /// NVMCAP.
    pub nvmcap: [u8; 16],
    /// NPWG, NPWA, NPDG, NPDA, NOWS.
    pub preferred: [U16; 5],
    /// MSSRL, MCL, MSRC: limits of Copy; and reserved.
    pub reserved1: [u8; 18],
    /// ANAGRPID.
    pub anagrpid: U32,
    /// Reserved.
    pub reserved2: [u8; 3],
    /// NSATTR: bit 0, write protected.
    pub nsattr: u8,
    /// NVMSETID.
    pub nvmsetid: U16,
    /// ENDGID.
    pub endgid: U16,
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI64.
    pub eui64: [u8; 8],
    /// LBA formats.
    pub formats: [LbaFormat; 64],
    /// Vendor specific.
    pub vendor: [u8; 3712],
}

/// Identify Namespace, independent of the I/O command set (5.17.2.8).
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IndependentNamespace {
    /// NSFEAT.
    pub nsfeat: u8,
    /// NMIC.
    pub nmic: u8,
    /// RESCAP.
    pub rescap: u8,
    /// FPI.
    pub fpi: u8,
    /// ANAGRPID.
    pub anagrpid: U32,
    /// NSATTR.
    pub nsattr: u8,
    /// Reserved.
    pub reserved1: u8,
    /// NVMSETID.
    pub nvmsetid: U16,
    /// ENDGID.
    pub endgid: U16,
    /// NSTAT: bit 0, ready.
    pub nstat: u8,
    /// Reserved.
    pub reserved2: [u8; 4081],
}

/// Identify Controller of the NVM command set (NVM Command Set 1.0, 4.1.5.3).
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NvmController {
    /// VSL.
    pub vsl: u8,
    /// WZSL: most of Write Zeroes, 2^n times 4 KiB; 0 is no limit.
    pub wzsl: u8,
    /// WUSL.
    pub wusl: u8,
    /// DMRL: ranges of Dataset Management.
    pub dmrl: u8,
    /// DMRSL: blocks of one range.
    pub dmrsl: U32,
    /// DMSL: blocks in all.
    pub dmsl: U64,
    /// Reserved.
    pub reserved: [u8; 4080],
}

/// Header of a Namespace Identification Descriptor (5.17.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    /// NIDT.
    pub kind: u8,
    /// NIDL: bytes that follow.
    pub len: u8,
    /// Reserved.
    pub reserved: U16,
}

impl Descriptor {
    /// NGUID, 16 bytes.
    pub const NGUID: u8 = 2;
    /// UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// Command set identifier, 1 byte.
    pub const CSI: u8 = 4;

    /// The header of `len` bytes of `kind`.
    ///
    /// ```
    /// use nvme::identify::Descriptor;
    /// use zerocopy::IntoBytes;
    ///
    /// assert_eq!(Descriptor::new(Descriptor::UUID, 16).as_bytes(), [3, 16, 0, 0]);
    /// ```
    pub fn new(kind: u8, len: u8) -> Self {
        Self { kind, len, reserved: U16::ZERO }
    }
}

const_assert_eq!(size_of::<Controller>(), LENGTH);
const_assert_eq!(offset_of!(Controller, cntlid), 78);
const_assert_eq!(offset_of!(Controller, kind), 111);
const_assert_eq!(offset_of!(Controller, oacs), 256);
const_assert_eq!(offset_of!(Controller, kas), 320);
const_assert_eq!(offset_of!(Controller, anatt), 342);
const_assert_eq!(offset_of!(Controller, sqes), 512);
const_assert_eq!(offset_of!(Controller, oncs), 520);
const_assert_eq!(offset_of!(Controller, sgls), 536);
const_assert_eq!(offset_of!(Controller, subnqn), 768);
const_assert_eq!(offset_of!(Controller, ioccsz), 1792);
const_assert_eq!(offset_of!(Controller, dctype), 1806);
const_assert_eq!(offset_of!(Controller, power), 2048);
const_assert_eq!(size_of::<Namespace>(), LENGTH);
const_assert_eq!(offset_of!(Namespace, rescap), 31);
const_assert_eq!(offset_of!(Namespace, nvmcap), 48);
const_assert_eq!(offset_of!(Namespace, anagrpid), 92);
const_assert_eq!(offset_of!(Namespace, nguid), 104);
const_assert_eq!(offset_of!(Namespace, formats), 128);
const_assert_eq!(size_of::<IndependentNamespace>(), LENGTH);
const_assert_eq!(offset_of!(IndependentNamespace, nstat), 14);
const_assert_eq!(size_of::<NvmController>(), LENGTH);

impl Controller {
    /// Nothing said yet.
    pub fn empty() -> Self {
        Self::new_zeroed()
    }
}

/// Fills a field of text: cut to fit, padded with spaces (NVMe Base 2.0, 1.4.2).
///
/// ```
/// use nvme::identify::text;
///
/// assert_eq!(text::<8>("v1.0"), *b"v1.0    ");
/// assert_eq!(text::<4>("longer"), *b"long");
/// ```
pub fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    field
}
