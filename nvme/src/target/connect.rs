//! What Connect asks for (NVMe Base 2.0, 6.3).

use core::time::Duration;

use zerocopy::FromBytes;

use crate::command::Sqe;
use crate::fabrics::{ANY_CONTROLLER, Connect, ConnectData, DISABLE_SQ_FLOW, Parameter, invalid, nqn};
use crate::status::{Code, Status};

/// A Connect whose fields are in their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// QID; 0 is the admin queue.
    pub qid: u16,
    /// Entries of the queue.
    pub entries: u16,
    /// KATO; zero is for ever.
    pub kato: Duration,
    /// Whether the host wants SQHD.
    pub flow: bool,
    /// HOSTID.
    pub hostid: [u8; 16],
    /// CNTLID; [`ANY_CONTROLLER`] for an admin queue.
    pub cntlid: u16,
    /// SUBNQN.
    pub subnqn: &'a str,
    /// HOSTNQN.
    pub hostnqn: &'a str,
}

/// An answer of Connect, or of another command, that is not success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: Status,
    /// DW0 and DW1.
    pub result: u64,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { status: code.into(), result: 0 }
    }
}

impl From<Parameter> for Refusal {
    /// Connect Invalid Parameters, and where.
    fn from(at: Parameter) -> Self {
        Self { status: Code::ConnectInvalid.into(), result: invalid(at) }
    }
}

/// The fewest entries of a queue (NVMe Base 2.0, 3.3.3): SQSIZE is not 0.
const LEAST_ENTRIES: u16 = 2;

/// The most entries of an admin queue. Hosts ask for 32; each costs memory while it is connected.
pub const MOST_ADMIN_ENTRIES: u16 = 1024;

impl<'a> Request<'a> {
    /// Reads a Connect; an I/O queue has at most `entries`, an admin queue as many as the host
    /// likes up to 1024, since hosts do not bound it by MQES.
    ///
    /// # Errors
    /// The response that it is to get.
    pub fn read(sqe: &Sqe, data: &'a [u8], entries: u16) -> Result<Self, Refusal> {
        let words: Connect = sqe.words();
        if words.recfmt.get() != 0 {
            return Err(Code::IncompatibleFormat.into());
        }
        let (data, _) = ConnectData::ref_from_prefix(data).map_err(|_| Refusal::from(Code::SglLengthInvalid))?;
        let (qid, cntlid) = (words.qid.get(), data.cntlid.get());
        let most = if qid == 0 { MOST_ADMIN_ENTRIES } else { entries };
        let entries =
            words.sqsize.get().checked_add(1).filter(|entries| (LEAST_ENTRIES..=most).contains(entries)).ok_or(Parameter::SQSIZE)?;
        if (qid == 0) != (cntlid == ANY_CONTROLLER) {
            return Err(Parameter::CNTLID.into());
        }
        Ok(Self {
            qid,
            entries,
            kato: Duration::from_millis(words.kato.get().into()),
            flow: words.cattr & DISABLE_SQ_FLOW == 0,
            hostid: data.hostid,
            cntlid,
            subnqn: nqn(&data.subnqn).ok_or(Parameter::SUBNQN)?,
            hostnqn: nqn(&data.hostnqn).ok_or(Parameter::HOSTNQN)?,
        })
    }
}
