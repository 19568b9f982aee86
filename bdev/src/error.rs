//! Why a request, or what is asked of a device, failed.

use alloc::boxed::Box;
use alloc::string::String;

use crate::Kind;

/// Why a request, or what is asked of a device, failed: a variant for each thing that a caller
/// would do differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BdevError {
    /// No device of that name, alias or uuid.
    #[error("there is no block device {0:?}")]
    NotFound(Box<str>),
    /// The name, an alias or the uuid is another device's.
    #[error("there is a block device {0:?} already; choose another name, or delete that one")]
    NameTaken(Box<str>),
    /// What was asked for cannot be.
    #[error("{what}: {why}")]
    Invalid {
        /// Which parameter.
        what: &'static str,
        /// What is wrong with it, with its value.
        why: Box<str>,
    },
    /// There is no memory for it.
    #[error("no memory for {0} bytes")]
    NoMemory(u64),
    /// Somebody has claimed the device: nobody else may write to it.
    #[error("claimed by {0}, which alone may write to it; open it for reading")]
    Claimed(&'static str),
    /// A claim was refused: others have it open for writing.
    #[error("open for writing by {0} others, so that it cannot be claimed")]
    OpenForWriting(usize),
    /// Opened for reading.
    #[error("it was opened for reading, and this would change it")]
    ReadOnly,
    /// The device does not have this operation.
    #[error("the device has no {0}")]
    Unsupported(Kind),
    /// Not within the device.
    #[error("{blocks} blocks from {block} on are not within the {of} blocks of the device")]
    OutOfRange {
        /// The first block asked for.
        block: u64,
        /// How many.
        blocks: u64,
        /// How many the device has.
        of: u64,
    },
    /// A request of no blocks.
    #[error("a request of no blocks")]
    Empty,
    /// More blocks than the device takes as one.
    #[error("{blocks} blocks in one request; the device takes {most}")]
    TooLong {
        /// The blocks asked for.
        blocks: u64,
        /// The most that it takes.
        most: u64,
    },
    /// The buffers do not hold what the request is about.
    #[error("the buffers hold {bytes} bytes, and the request is about {wanted}")]
    Data {
        /// Bytes filled, or with room for a read.
        bytes: u64,
        /// Bytes that the request is about.
        wanted: u64,
    },
    /// A read into buffers that are not empty.
    #[error("a read fills empty buffers, and these hold {0} bytes")]
    NotEmpty(usize),
    /// A buffer lies where the device cannot reach it.
    #[error("the device wants buffers at multiples of {0} bytes")]
    Unaligned(u32),
    /// As many requests as the channel was made for are under way.
    #[error("{0} requests are under way, as many as the channel was made for; take completions first")]
    Full(usize),
    /// What is there is not what a compare expected.
    #[error("compare: byte {0} of what was expected differs from the device")]
    Miscompare(u64),
    /// Given up because somebody asked for that: an abort, a reset.
    #[error("aborted")]
    Aborted,
    /// The device is gone.
    #[error("the device has been removed")]
    Removed,
    /// The device's own error.
    #[error("input/output error: {0}")]
    Io(&'static str),
    /// The device's own error, as an NVMe status.
    #[error("the device answers with NVMe status type {sct:#x}, code {sc:#x}")]
    Status {
        /// The status code type.
        sct: u8,
        /// The status code.
        sc: u8,
    },
    /// The backend has dropped the request.
    #[error("the backend has lost the request")]
    Lost,
}

impl BdevError {
    /// What is wrong with a parameter.
    ///
    /// ```
    /// use bdev::BdevError;
    ///
    /// assert_eq!(BdevError::invalid("size", "0 is too small").to_string(), "size: 0 is too small");
    /// ```
    pub fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { what, why: why.into().into() }
    }
}

impl<T> From<core_reactor::Refused<T, BdevError>> for BdevError {
    fn from(refused: core_reactor::Refused<T, Self>) -> Self {
        refused.why
    }
}
