//! Why a connection has to end.

/// Why a connection has to end: what the peer did, or did not do in time. The texts say what was
/// wrong with which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// A message is shorter than its fixed part.
    #[error("{message} of {length} bytes, which has at least {least}")]
    Short {
        /// Which message.
        message: &'static str,
        /// Its bytes.
        length: usize,
        /// Bytes that it has to have.
        least: usize,
    },
    /// A message is longer than it was told it may be.
    #[error("a message of {length} bytes, where at most {most} were agreed on")]
    Oversized {
        /// Its bytes.
        length: usize,
        /// Bytes that it may have.
        most: usize,
    },
    /// No common version. On the side of the server the client has been told.
    #[error("no common version: the peer speaks {min:#06x} to {max:#06x}, this end 0x0100")]
    Version {
        /// The lowest that the peer speaks.
        min: u16,
        /// The highest.
        max: u16,
    },
    /// A field of a negotiate message that may not be as it is.
    #[error("{field} of the negotiate {message} is {value}, and has to be {rule}")]
    Negotiate {
        /// "request" or "response".
        message: &'static str,
        /// The name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What is right.
        rule: Rule,
    },
    /// The server refused with this NTSTATUS.
    #[error("the server refused with status {0:#010x}")]
    Refused(u32),
    /// A field of a data transfer message that may not be as it is.
    #[error("{field} of a data transfer message is {value}, which {wrong}")]
    Data {
        /// The name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// The parts of an upper-layer message do not add up.
    #[error("a fragment with {said} bytes to come, where {expected} are")]
    Fragments {
        /// DataLength and RemainingDataLength together.
        said: u64,
        /// What was still to come.
        expected: u32,
    },
    /// The peer sent without a credit.
    #[error("a message without a credit: all that were granted are used up")]
    Credit,
    /// No negotiate message came in time.
    #[error("no negotiate message in time")]
    NegotiateTimeout,
    /// Nothing came any more, also when an answer was asked for.
    #[error("the peer is silent and does not answer a keep-alive")]
    KeepAlive,
}

/// What a field has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// This number.
    Exactly(u32),
    /// This number or more.
    AtLeast(u32),
    /// This number or less.
    AtMost(u32),
}

impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exactly(n) => write!(f, "{n}"),
            Self::AtLeast(n) => write!(f, "at least {n}"),
            Self::AtMost(n) => write!(f, "at most {n}"),
        }
    }
}

impl Rule {
    /// Whether `value` is right.
    pub(crate) fn holds(self, value: u32) -> bool {
        match self {
            Self::Exactly(n) => value == n,
            Self::AtLeast(n) => value >= n,
            Self::AtMost(n) => value <= n,
        }
    }
}
