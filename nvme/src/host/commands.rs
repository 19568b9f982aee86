//! Commands as hosts send them.

use zerocopy::FromZeros;

use crate::command::{Blocks, Sqe, admin};
use crate::fabrics::{self, Connect, Property};

impl Sqe {
    /// Connect of queue `qid`, which has `entries`; its data is a
    /// [`ConnectData`](fabrics::ConnectData). KATO is in milliseconds.
    ///
    /// ```
    /// use nvme::{Sqe, fabrics::Connect};
    ///
    /// let connect = Sqe::connect(1, 128, 0).words::<Connect>();
    /// assert_eq!((connect.qid.get(), connect.sqsize.get()), (1, 127));
    /// ```
    pub fn connect(qid: u16, entries: u16, kato: u32) -> Self {
        let mut sqe = Self::fabrics(fabrics::CONNECT);
        let sqsize = entries.saturating_sub(1).into();
        sqe.set_words(&Connect { qid: qid.into(), sqsize, kato: kato.into(), ..Connect::new_zeroed() });
        sqe
    }

    /// Property Get; `wide` is of 8 bytes.
    ///
    /// ```
    /// use nvme::{Sqe, fabrics::property};
    ///
    /// let cap = Sqe::property_get(property::CAP, true);
    /// assert_eq!((cap.cdw10.get() & 0b111, cap.cdw11.get()), (1, property::CAP));
    /// ```
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
    ///
    /// ```
    /// use nvme::{Sqe, command, identify::cns};
    ///
    /// let sqe = Sqe::identify(cns::NAMESPACE, 3);
    /// assert_eq!((sqe.opcode, sqe.nsid.get(), sqe.cdw10.get()), (command::admin::IDENTIFY, 3, 0));
    /// ```
    pub fn identify(cns: u8, nsid: u32) -> Self {
        Self { cdw10: u32::from(cns).into(), ..Self::new(admin::IDENTIFY, nsid) }
    }

    /// Set Features.
    ///
    /// ```
    /// use nvme::{Sqe, log::feature};
    ///
    /// // Four I/O queues each way, less one.
    /// let sqe = Sqe::set_feature(feature::QUEUES, 3 << 16 | 3);
    /// assert_eq!((sqe.cdw10.get(), sqe.cdw11.get()), (u32::from(feature::QUEUES), 0x0003_0003));
    /// ```
    pub fn set_feature(id: u8, value: u32) -> Self {
        Self { cdw10: u32::from(id).into(), cdw11: value.into(), ..Self::new(admin::SET_FEATURES, 0) }
    }

    /// Get Features.
    pub fn get_feature(id: u8) -> Self {
        Self { cdw10: u32::from(id).into(), ..Self::new(admin::GET_FEATURES, 0) }
    }

    /// Abort of command `cid` of queue `qid`.
    ///
    /// ```
    /// use nvme::Sqe;
    ///
    /// assert_eq!(Sqe::abort(1, 7).cdw10.get(), 0x0007_0001);
    /// ```
    pub fn abort(qid: u16, cid: u16) -> Self {
        Self { cdw10: (u32::from(cid) << 16 | u32::from(qid)).into(), ..Self::new(admin::ABORT, 0) }
    }

    /// Read, Write, Compare or Write Zeroes of 1 to 65,536 blocks.
    ///
    /// ```
    /// use nvme::{Sqe, command::{Blocks, io}};
    ///
    /// let write = Sqe::blocks(io::WRITE, 1, 2048, 8, Blocks::FUA);
    /// assert_eq!((write.slba(), write.words::<Blocks>().count()), (2048, 8));
    /// ```
    pub fn blocks(opcode: u8, nsid: u32, slba: u64, blocks: u32, control: u16) -> Self {
        let mut sqe = Self::new(opcode, nsid);
        let nlb = (blocks.saturating_sub(1) as u16).into();
        sqe.set_words(&Blocks { slba: slba.into(), nlb, control: control.into(), ..Blocks::new_zeroed() });
        sqe
    }
}
