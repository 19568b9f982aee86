//! What a completion says of its command (NVMe Base 2.0, 3.3.3.2.1).

use core::fmt;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Status field and phase tag of a completion, bits 31:16 of DW3 (NVMe Base 2.0, 3.3.3.2.1).
///
/// ```
/// use nvme::{Code, Status};
///
/// let status = Status::from(Code::LbaOutOfRange);
/// assert_eq!(status.to_string(), "LBA out of range (0x080), do not retry");
/// assert!(!status.is_success() && Status::SUCCESS.is_success());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Status(U16);

const_assert_eq!(size_of::<Status>(), 2);

impl Status {
    /// All went well.
    pub const SUCCESS: Self = Self(U16::ZERO);

    /// DNR: the same command would fail again.
    const DNR: u16 = 1 << 15;

    /// This code, to be tried again.
    ///
    /// ```
    /// use nvme::{Code, Status};
    ///
    /// assert!(!Status::retry(Code::WriteFault).is_final());
    /// ```
    pub const fn retry(code: Code) -> Self {
        Self(U16::new((code as u16) << 1))
    }

    /// This code, and trying again does not help (DNR).
    ///
    /// ```
    /// use nvme::{Code, Status};
    ///
    /// let status = Status::fatal(Code::NamespaceNotReady);
    /// assert!(status.is_final() && status.code() == Some(Code::NamespaceNotReady));
    /// ```
    pub const fn fatal(code: Code) -> Self {
        Self(U16::new((code as u16) << 1 | Self::DNR))
    }

    /// Status code type and status code, as in [`Code`]: the type in bits 10:8.
    ///
    /// ```
    /// use nvme::{Code, Status};
    ///
    /// assert_eq!(Status::from(Code::CompareFailure).raw(), 0x285, "type 2, code 85h");
    /// ```
    pub fn raw(self) -> u16 {
        self.0.get() >> 1 & 0x7FF
    }

    /// The code; `None` for one that is none of [`Code`]'s.
    pub fn code(self) -> Option<Code> {
        Code::of(self.raw())
    }

    /// DNR: whether the same command would fail again.
    ///
    /// ```
    /// use nvme::{Code, Status};
    ///
    /// assert!(Status::from(Code::InvalidField).is_final());
    /// assert!(!Status::from(Code::NamespaceNotReady).is_final(), "it may be, soon");
    /// ```
    pub fn is_final(self) -> bool {
        self.0.get() & Self::DNR != 0
    }

    /// Whether all went well.
    pub fn is_success(self) -> bool {
        self.raw() == 0
    }
}

impl From<Code> for Status {
    /// With DNR, unless another try may end otherwise.
    fn from(code: Code) -> Self {
        if code == Code::Success {
            Self::SUCCESS
        } else if code.may_pass() {
            Self::retry(code)
        } else {
            Self::fatal(code)
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{code} ({:#05x})", self.raw())?,
            None => write!(f, "status {:#05x}", self.raw())?,
        }
        if self.is_final() { f.write_str(", do not retry") } else { Ok(()) }
    }
}

macro_rules! codes {
    ($($value:literal $name:ident $text:literal)*) => {
        /// Status code type (bits 10:8) and status code (bits 7:0).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = concat!($text, ".")] $name = $value,)*
        }

        impl Code {
            /// The code of this value.
            pub fn of(value: u16) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

// Generic, command specific, media and data integrity, path related: the tables of NVMe Base 2.0,
// 3.3.3.2.1, and of NVM Command Set 1.0, 3.1.2, as far as fabrics can see them.
codes! {
    0x000 Success "successful completion"
    0x001 InvalidOpcode "invalid command opcode"
    0x002 InvalidField "invalid field in command"
    0x003 CommandIdConflict "command id conflict"
    0x004 DataTransferError "data transfer error"
    0x005 PowerLoss "aborted due to power loss"
    0x006 InternalError "internal error"
    0x007 AbortRequested "command abort requested"
    0x008 SqDeletion "aborted due to submission queue deletion"
    0x009 FailedFused "aborted due to failed fused command"
    0x00A MissingFused "aborted due to missing fused command"
    0x00B InvalidNamespace "invalid namespace or format"
    0x00C CommandSequenceError "command sequence error"
    0x00D InvalidSglSegment "invalid SGL segment descriptor"
    0x00E InvalidSglCount "invalid number of SGL descriptors"
    0x00F SglLengthInvalid "data SGL length invalid"
    0x010 MetadataSglLengthInvalid "metadata SGL length invalid"
    0x011 SglTypeInvalid "SGL descriptor type invalid"
    0x014 AtomicWriteUnitExceeded "atomic write unit exceeded"
    0x015 OperationDenied "operation denied"
    0x016 SglOffsetInvalid "SGL offset invalid"
    0x018 HostIdInconsistent "host identifier inconsistent format"
    0x019 KeepAliveExpired "keep alive timer expired"
    0x01A KeepAliveInvalid "keep alive timeout invalid"
    0x01B Preempted "command aborted due to preempt and abort"
    0x01E SglGranularity "SGL data block granularity invalid"
    0x020 WriteProtected "namespace is write protected"
    0x021 Interrupted "command interrupted"
    0x022 TransientTransportError "transient transport error"
    0x02C InvalidIoCommandSet "I/O command set not supported"
    0x080 LbaOutOfRange "LBA out of range"
    0x081 CapacityExceeded "capacity exceeded"
    0x082 NamespaceNotReady "namespace not ready"
    0x083 ReservationConflict "reservation conflict"
    0x101 InvalidQueueId "invalid queue identifier"
    0x102 InvalidQueueSize "invalid queue size"
    0x103 AbortLimit "abort command limit exceeded"
    0x105 AsyncEventLimit "asynchronous event request limit exceeded"
    0x109 InvalidLogPage "invalid log page"
    0x10D FeatureNotSaveable "feature identifier not saveable"
    0x10E FeatureNotChangeable "feature not changeable"
    0x10F FeatureNotPerNamespace "feature not namespace specific"
    0x180 IncompatibleFormat "connect incompatible format"
    0x181 ControllerBusy "connect controller busy"
    0x182 ConnectInvalid "connect invalid parameters"
    0x183 RestartDiscovery "connect restart discovery"
    0x184 InvalidHost "connect invalid host"
    0x190 DiscoveryRestart "discovery restart"
    0x191 AuthenticationRequired "authentication required"
    0x280 WriteFault "write fault"
    0x281 UnrecoveredRead "unrecovered read error"
    0x285 CompareFailure "compare failure"
    0x286 AccessDenied "access denied"
    0x300 InternalPathError "internal path error"
    0x301 AnaPersistentLoss "asymmetric access persistent loss"
    0x302 AnaInaccessible "asymmetric access inaccessible"
    0x303 AnaTransition "asymmetric access transition"
    0x370 HostPathError "host pathing error"
    0x371 AbortedByHost "command aborted by host"
}

impl Code {
    /// Whether another try may end otherwise, so that DNR is not set.
    fn may_pass(self) -> bool {
        matches!(
            self,
            Self::AbortRequested
                | Self::SqDeletion
                | Self::FailedFused
                | Self::Interrupted
                | Self::TransientTransportError
                | Self::NamespaceNotReady
                | Self::AbortLimit
                | Self::ControllerBusy
                | Self::RestartDiscovery
                | Self::DiscoveryRestart
                | Self::InternalPathError
                | Self::AnaPersistentLoss
                | Self::AnaInaccessible
                | Self::AnaTransition
                | Self::InternalError
        )
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    /// What Linux's log calls 0x4182: Connect Invalid Parameters with DNR.
    #[test]
    fn a_status_is_where_it_stands() {
        assert_eq!(Status::fatal(Code::ConnectInvalid).as_bytes(), [0x04, 0x83]);
        assert_eq!(Status::retry(Code::InvalidOpcode).as_bytes(), [0x02, 0x00]);
        assert_eq!(Status::from(Code::ConnectInvalid).to_string(), "connect invalid parameters (0x182), do not retry");
    }

    #[test]
    fn each_code_comes_back() {
        let known = (0..0x800).filter_map(Code::of);
        assert!(known.clone().count() > 50);
        for code in known {
            assert_eq!(Status::from(code).code(), Some(code));
        }
    }
}
