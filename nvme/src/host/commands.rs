//! Commands as hosts send them.

use zerocopy::FromZeros;

use crate::command::{Blocks, Sqe, admin};
use crate::fabrics::{self, Connect, Property};

impl Sqe {
    /// Connect of queue `qid`, which has `entries`; its data is a
    /// [`ConnectData`](fabrics::ConnectData). KATO is in milliseconds.
    pub fn connect(qid: u16, entries: u16, kato: u32) -> Self {
        let mut sqe = Self::fabrics(fabrics::CONNECT);
        let sqsize = entries.saturating_sub(1).into();
        sqe.set_words(&Connect { qid: qid.into(), sqsize, kato: kato.into(), ..Connect::new_zeroed() });
        sqe
    }

    /// Property Get; `wide` is of 8 bytes.
    pub fn property_get(offset: u32, wide: bool) -> Self {
        let mut sqe = Self::fabrics(fabrics::PROPERTY_GET);
        sqe.set_words(&Property { attrib: wide.into(), offset: offset.into(), ..Property::new_zeroed() });
        sqe
    }

    /// Property Set of 4 bytes.
    pub fn property_set(offset: u32, value: u32) -> Self {
        let mut sqe = Self::fabrics(fabrics::PROPERTY_SET);
        sqe.set_words(&Property { offset: offset.into(), value: u64::from(value).into(), ..Property::new_zeroed() });
        sqe
    }

    /// Identify, 4096 bytes.
    pub fn identify(cns: u8, nsid: u32) -> Self {
        Self { cdw10: u32::from(cns).into(), ..Self::new(admin::IDENTIFY, nsid) }
    }

    /// Set Features.
    pub fn set_feature(id: u8, value: u32) -> Self {
        Self { cdw10: u32::from(id).into(), cdw11: value.into(), ..Self::new(admin::SET_FEATURES, 0) }
    }

    /// Get Features.
    pub fn get_feature(id: u8) -> Self {
        Self { cdw10: u32::from(id).into(), ..Self::new(admin::GET_FEATURES, 0) }
    }

    /// Abort of command `cid` of queue `qid`.
    pub fn abort(qid: u16, cid: u16) -> Self {
        Self { cdw10: (u32::from(cid) << 16 | u32::from(qid)).into(), ..Self::new(admin::ABORT, 0) }
    }

    /// Read, Write, Compare or Write Zeroes of 1 to 65,536 blocks.
    pub fn blocks(opcode: u8, nsid: u32, slba: u64, blocks: u32, control: u16) -> Self {
        let mut sqe = Self::new(opcode, nsid);
        let nlb = (blocks.saturating_sub(1) as u16).into();
        sqe.set_words(&Blocks { slba: slba.into(), nlb, control: control.into(), ..Blocks::new_zeroed() });
        sqe
    }
}
