//! Bytes of a connection into PDUs.

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::command::{Cqe, Sqe};
use crate::digest::{Digest, digest};
use crate::fault::{Fault, Wrong};
use crate::head::{LastPdu, Shape};
use crate::pdu::{
    C2hData, CapsuleCmd, CapsuleResp, CommonHeader, DATA_DIGEST, DIGEST, H2cData, HEADER_DIGEST, IcReq, IcResp, Kind, LAST, LONGEST_HEADER,
    R2t, SUCCESS, TermReq,
};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host, also called initiator.
    Host,
    /// The controller, also called target.
    Controller,
}

/// Makes PDUs of the bytes that one side sent, in whatever pieces they come. Holds one header and
/// no data.
///
/// ```text
///  Header ──► (Padding) ──► Data ──► (Digest) ──► Header …      any of them ──fault──► Broken
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    from: Side,
    shape: Shape,
    /// The most data of one PDU.
    limit: u32,
    state: State,
    /// The header under way with its digest, or the digest of data.
    held: [u8; LONGEST_HEADER + DIGEST],
    filled: usize,
    sum: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Padding { left: usize, data: u32 },
    Data { left: u32 },
    Digest,
    Broken(Wrong),
    Ended,
}

/// What comes out of a [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// A header whose digest is right. If its data is not empty, [`Data`](Self::Data) and an
    /// [`End`](Self::End) follow.
    Header(Header),
    /// Some of the data.
    Data(&'a [u8]),
    /// All of the data has come.
    End {
        /// Whether its digest, if there is one, was right.
        intact: bool,
    },
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// ICReq.
    IcReq {
        /// PFV.
        pfv: u16,
        /// HPDA.
        hpda: u8,
        /// DGST.
        dgst: u8,
    },
    /// ICResp.
    IcResp {
        /// PFV.
        pfv: u16,
        /// CPDA.
        cpda: u8,
        /// DGST.
        dgst: u8,
        /// MAXH2CDATA.
        maxh2cdata: u32,
    },
    /// H2CTermReq or C2HTermReq; its data is a header of ours.
    TermReq {
        /// FES as it came.
        fes: u16,
        /// FEI.
        fei: u32,
    },
    /// CapsuleCmd; the command itself is [`Decoder::command`].
    Command {
        /// Bytes of data that follow.
        data: u32,
    },
    /// CapsuleResp.
    Response(Cqe),
    /// H2CData.
    H2cData {
        /// CCCID.
        cid: u16,
        /// TTAG.
        tag: u16,
        /// DATAO.
        offset: u32,
        /// DATAL, bytes that follow.
        data: u32,
        /// LAST_PDU.
        last: bool,
    },
    /// C2HData.
    C2hData {
        /// CCCID.
        cid: u16,
        /// DATAO.
        offset: u32,
        /// DATAL, bytes that follow.
        data: u32,
        /// LAST_PDU.
        last: bool,
        /// SUCCESS.
        success: bool,
    },
    /// R2T.
    R2t {
        /// CCCID.
        cid: u16,
        /// TTAG.
        tag: u16,
        /// R2TO.
        offset: u32,
        /// R2TL.
        length: u32,
    },
}

/// What comes next in the stream, for a receiver that can place data where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// At least so many bytes of headers, digests and padding.
    Header(usize),
    /// So many bytes of data.
    Data(usize),
    /// Nothing any more.
    Nothing,
}

impl Decoder {
    /// A decoder of what `from` sends, before ICReq and ICResp.
    pub fn new(from: Side) -> Self {
        Self {
            from,
            shape: Shape::default(),
            // Whoever sends data now breaks the order, which is worse.
            limit: u32::MAX,
            state: State::Header,
            held: [0; LONGEST_HEADER + DIGEST],
            filled: 0,
            sum: Digest::new(),
        }
    }

    /// From the next PDU on they have this shape, and at most `limit` bytes of data.
    pub fn agree(&mut self, shape: Shape, limit: u32) {
        self.shape = shape;
        self.limit = limit;
    }

    /// What comes next.
    pub fn expects(&self) -> Expects {
        match self.state {
            State::Header => Expects::Header(self.header_end().saturating_sub(self.filled)),
            State::Padding { left, .. } => Expects::Header(left),
            State::Data { left } => Expects::Data(left as usize),
            State::Digest => Expects::Header(DIGEST - self.filled),
            State::Broken(_) | State::Ended => Expects::Nothing,
        }
    }

    /// Takes bytes off the front of `bytes`; `None` when they are used up, or after a fault.
    ///
    /// # Errors
    /// A PDU that may not be sent. Nothing comes out any more.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Item<'a>>, Fault> {
        loop {
            match self.state {
                State::Header => {
                    if self.filled == 0 && self.fill_whole(bytes) {
                        return self.whole();
                    }
                    if !self.fill(bytes, self.header_end()) {
                        return Ok(None);
                    }
                    // The common header says how long the rest is.
                    if self.filled == size_of::<CommonHeader>() {
                        self.judge_common().map_err(|why| self.fault(why))?;
                        continue;
                    }
                    return self.header().map(|header| Some(Item::Header(header))).map_err(|why| self.fault(why));
                }
                State::Padding { left, data } => {
                    let some = left.min(bytes.len());
                    *bytes = &bytes[some..];
                    if some < left {
                        self.state = State::Padding { left: left - some, data };
                        return Ok(None);
                    }
                    self.sum = Digest::new();
                    self.state = State::Data { left: data };
                }
                State::Data { left } => return Ok(self.data(bytes, left)),
                State::Digest => {
                    if !self.fill(bytes, DIGEST) {
                        return Ok(None);
                    }
                    let intact = self.held[..DIGEST] == self.sum.end();
                    self.begin();
                    return Ok(Some(Item::End { intact }));
                }
                State::Broken(_) | State::Ended => return Ok(None),
            }
        }
    }

    /// The header that has come at once.
    #[inline]
    fn whole(&mut self) -> Result<Option<Item<'static>>, Fault> {
        let end = core::mem::replace(&mut self.filled, size_of::<CommonHeader>());
        if let Err(why) = self.judge_common() {
            return Err(self.fault(why));
        }
        self.filled = end;
        match self.header() {
            Ok(header) => Ok(Some(Item::Header(header))),
            Err(why) => Err(self.fault(why)),
        }
    }

    #[inline]
    fn data<'a>(&mut self, bytes: &mut &'a [u8], left: u32) -> Option<Item<'a>> {
        if left == 0 {
            self.begin();
            return Some(Item::End { intact: true });
        }
        if bytes.is_empty() {
            return None;
        }
        let (some, rest) = bytes.split_at(bytes.len().min(left as usize));
        *bytes = rest;
        let left = left - some.len() as u32;
        let digested = self.shape.data_digest && self.kind().is_some_and(Kind::has_digests);
        if digested {
            self.sum.add(some);
        }
        self.state = if left == 0 && digested {
            self.filled = 0;
            State::Digest
        } else {
            State::Data { left }
        };
        Some(Item::Data(some))
    }

    /// The command of the last [`Header::Command`], until more comes out.
    pub fn command(&self) -> Sqe {
        *self.command_ref()
    }

    #[inline]
    pub(crate) fn command_ref(&self) -> &Sqe {
        const { assert!(size_of::<CapsuleCmd>() <= LONGEST_HEADER) };
        match CapsuleCmd::ref_from_prefix(&self.held) {
            Ok((capsule, _)) => &capsule.sqe,
            Err(_) => unreachable!("the longest header fits"),
        }
    }

    /// The command that lies at the front of `bytes`, if it comes next and is plain: it has neither
    /// data nor digests, and nothing is wrong with its header. That is what most reads are, and one
    /// comparison finds it out. [`skip_command`](Self::skip_command) takes it.
    #[inline]
    pub(crate) fn plain_command<'a>(&self, bytes: &'a [u8]) -> Option<&'a Sqe> {
        const LEN: u8 = size_of::<CapsuleCmd>() as u8;
        const PLAIN: [u8; size_of::<CommonHeader>()] = [Kind::CapsuleCmd as u8, 0, LEN, 0, LEN, 0, 0, 0];
        if self.state != State::Header || self.filled > 0 || self.shape.header_digest || self.from != Side::Host {
            return None;
        }
        let (capsule, _) = CapsuleCmd::ref_from_prefix(bytes).ok()?;
        (capsule.ch.as_bytes() == PLAIN).then_some(&capsule.sqe)
    }

    /// The same with data, all of which lies behind it: what most small writes are.
    #[inline]
    pub(crate) fn plain_write<'a>(&self, bytes: &'a [u8]) -> Option<(&'a Sqe, &'a [u8])> {
        const LEN: u8 = size_of::<CapsuleCmd>() as u8;
        const PLAIN: [u8; 4] = [Kind::CapsuleCmd as u8, 0, LEN, LEN];
        if self.state != State::Header || self.filled > 0 || self.shape != Shape::default() || self.from != Side::Host {
            return None;
        }
        let (capsule, rest) = CapsuleCmd::ref_from_prefix(bytes).ok()?;
        let data = capsule.ch.plen.get().checked_sub(LEN.into()).filter(|data| (1..=self.limit).contains(data))?;
        let data = rest.get(..data as usize)?;
        capsule.ch.as_bytes().starts_with(&PLAIN).then_some((&capsule.sqe, data))
    }

    /// The same of data to the host: its header, if DATAL and PLEN agree.
    /// [`skip_data_header`](Self::skip_data_header) takes it.
    #[inline]
    pub(crate) fn plain_data(&self, bytes: &[u8]) -> Option<C2hData> {
        const LEN: u8 = size_of::<C2hData>() as u8;
        if self.state != State::Header || self.filled > 0 || self.shape != Shape::default() || self.from != Side::Controller {
            return None;
        }
        let (pdu, _) = C2hData::ref_from_prefix(bytes).ok()?;
        let CommonHeader { kind, flags, hlen, pdo, plen } = pdu.ch;
        let is_plain = (kind, flags & !(LAST | SUCCESS), hlen, pdo) == (Kind::C2hData as u8, 0, LEN, LEN);
        (is_plain && pdu.datal.get() > 0 && pdu.datal.get().checked_add(LEN.into()) == Some(plen.get())).then_some(*pdu)
    }

    #[inline]
    pub(crate) fn skip_data_header(&mut self, bytes: &mut &[u8], data: u32) {
        *bytes = &bytes[size_of::<C2hData>()..];
        self.state = State::Data { left: data };
    }

    #[inline]
    pub(crate) fn skip_command(bytes: &mut &[u8], data: usize) {
        *bytes = &bytes[size_of::<CapsuleCmd>() + data..];
    }

    /// The connection ends for a reason that the PDUs alone do not show.
    #[cold]
    pub(crate) fn fault(&mut self, why: Wrong) -> Fault {
        self.state = State::Broken(why);
        Fault { why }
    }

    /// What to send before the connection is closed, after a fault: H2CTermReq or C2HTermReq, with
    /// the header of the PDU that was wrong.
    //= NVMe/TCP 1.0, 3.6.2.4
    //= NVMe/TCP 1.0, 3.6.2.5
    pub fn term_req(&self) -> Option<LastPdu> {
        let State::Broken(why) = self.state else { return None };
        let kind = match self.from {
            Side::Controller => Kind::H2cTermReq,
            Side::Host => Kind::C2hTermReq,
        };
        // A header that was taken for whole is still there, though the next was about to begin.
        let whole = self.kind().map_or(size_of::<CommonHeader>(), Kind::header_len);
        let len = if self.filled == 0 { whole } else { self.filled.min(whole) };
        let (fes, fei) = why.status();
        let mut ch = CommonHeader::new(kind);
        ch.plen = (ch.plen.get() + len as u32).into();
        let pdu = TermReq { ch, fes: (fes as u16).into(), fei: fei.into(), ..TermReq::new_zeroed() };
        Some(LastPdu::new(&pdu, &self.held[..len]))
    }

    /// Nothing comes out any more.
    pub(crate) fn end(&mut self) {
        if !matches!(self.state, State::Broken(_)) {
            self.state = State::Ended;
        }
    }

    #[inline]
    fn begin(&mut self) {
        self.state = State::Header;
        self.filled = 0;
    }

    #[inline]
    fn kind(&self) -> Option<Kind> {
        Kind::of(self.held[0])
    }

    /// How much of `held` the header takes, as far as that is known.
    fn header_end(&self) -> usize {
        match self.kind() {
            Some(kind) if self.filled >= size_of::<CommonHeader>() => kind.header_len() + self.digest_len(kind),
            _ => size_of::<CommonHeader>(),
        }
    }

    #[inline]
    fn digest_len(&self, kind: Kind) -> usize {
        if self.shape.header_digest && kind.has_digests() { DIGEST } else { 0 }
    }

    /// Moves bytes to `held` until it has `end`; whether it has.
    fn fill(&mut self, bytes: &mut &[u8], end: usize) -> bool {
        let some = (end - self.filled).min(bytes.len());
        let (head, rest) = bytes.split_at(some);
        self.held[self.filled..self.filled + some].copy_from_slice(head);
        self.filled += some;
        *bytes = rest;
        self.filled == end
    }

    /// The same of a whole header, if it lies at the front of `bytes`, as nearly all do; whether it
    /// did. Copied by lengths that are known here, which takes a few instructions.
    #[inline]
    fn fill_whole(&mut self, bytes: &mut &[u8]) -> bool {
        const COMMAND: usize = size_of::<CapsuleCmd>();
        const OTHER: usize = size_of::<CapsuleResp>();
        let Some(kind) = bytes.first().and_then(|first| Kind::of(*first)) else { return false };
        let (len, digest) = (kind.header_len(), self.digest_len(kind));
        let end = len + digest;
        if bytes.len() < end {
            return false;
        }
        match len {
            COMMAND => self.held[..COMMAND].copy_from_slice(&bytes[..COMMAND]),
            OTHER => self.held[..OTHER].copy_from_slice(&bytes[..OTHER]),
            _ => return false,
        }
        if digest > 0 {
            self.held[len..end].copy_from_slice(&bytes[len..end]);
        }
        *bytes = &bytes[end..];
        self.filled = end;
        true
    }

    #[inline]
    fn common(&self) -> CommonHeader {
        part(&self.held)
    }

    /// What can be said of the first eight bytes, before more is waited for.
    //= NVMe/TCP 1.0, 3.6.2.1
    #[inline]
    fn judge_common(&self) -> Result<(), Wrong> {
        let ch = self.common();
        let kind = Kind::of(ch.kind).ok_or(Wrong::Kind(ch.kind))?;
        if kind.is_from_host() != (self.from == Side::Host) {
            return Err(Wrong::Kind(ch.kind));
        }
        if usize::from(ch.hlen) != kind.header_len() {
            return Err(Wrong::HeaderLength(ch.hlen));
        }
        if kind.has_digests() && (ch.flags & HEADER_DIGEST != 0) != self.shape.header_digest {
            return Err(Wrong::Flags(ch.flags));
        }
        let least = (kind.header_len() + self.digest_len(kind)) as u32;
        if ch.plen.get() < least || (!may_have_data(kind) && ch.plen.get() != least) {
            return Err(Wrong::Length(ch.plen.get()));
        }
        Ok(())
    }

    /// Reads the header, which is all there, and goes on to its data.
    #[inline]
    fn header(&mut self) -> Result<Header, Wrong> {
        let ch = self.common();
        let kind = self.kind().ok_or(Wrong::Kind(ch.kind))?;
        let len = kind.header_len();
        if self.digest_len(kind) > 0 {
            let sum = [self.held[len], self.held[len + 1], self.held[len + 2], self.held[len + 3]];
            if sum != digest(&self.held[..len]) {
                return Err(Wrong::HeaderDigest(u32::from_le_bytes(sum)));
            }
        }
        let (padding, data) = if may_have_data(kind) { self.extent(kind, &ch)? } else { (0, 0) };
        let header = self.read(kind, data)?;
        self.state = State::Padding { left: padding, data };
        if data == 0 {
            self.begin();
        }
        Ok(header)
    }

    /// Bytes of padding and of data.
    #[inline]
    fn extent(&self, kind: Kind, ch: &CommonHeader) -> Result<(usize, u32), Wrong> {
        let (plen, begin) = (ch.plen.get(), kind.header_len() + self.digest_len(kind));
        if matches!(kind, Kind::H2cTermReq | Kind::C2hTermReq) {
            let data = plen - begin as u32;
            return if data as usize <= LONGEST_HEADER { Ok((0, data)) } else { Err(Wrong::Length(plen)) };
        }
        if plen as usize == begin {
            return Ok((0, 0));
        }
        let pdo = usize::from(ch.pdo);
        if pdo < begin || self.shape.aligned(pdo) != pdo || pdo as u32 > plen {
            return Err(Wrong::DataOffset(ch.pdo));
        }
        if (ch.flags & DATA_DIGEST != 0) != self.shape.data_digest {
            return Err(Wrong::Flags(ch.flags));
        }
        let digest = if self.shape.data_digest { DIGEST as u32 } else { 0 };
        let data = (plen - pdo as u32).checked_sub(digest).filter(|data| *data > 0).ok_or(Wrong::Length(plen))?;
        if data > self.limit {
            return Err(Wrong::TooMuchData(data));
        }
        Ok((pdo - begin, data))
    }

    #[inline]
    fn read(&self, kind: Kind, data: u32) -> Result<Header, Wrong> {
        let ch = self.common();
        let says = |length: u32| if length == data && length > 0 { Ok(()) } else { Err(Wrong::Length(ch.plen.get())) };
        let last = ch.flags & LAST != 0;
        Ok(match kind {
            Kind::IcReq => {
                let pdu: IcReq = part(&self.held);
                Header::IcReq { pfv: pdu.pfv.get(), hpda: pdu.hpda, dgst: pdu.dgst }
            }
            Kind::IcResp => {
                let pdu: IcResp = part(&self.held);
                Header::IcResp { pfv: pdu.pfv.get(), cpda: pdu.cpda, dgst: pdu.dgst, maxh2cdata: pdu.maxh2cdata.get() }
            }
            Kind::H2cTermReq | Kind::C2hTermReq => {
                let pdu: TermReq = part(&self.held);
                Header::TermReq { fes: pdu.fes.get(), fei: pdu.fei.get() }
            }
            Kind::CapsuleCmd => Header::Command { data },
            Kind::CapsuleResp => Header::Response(part::<CapsuleResp>(&self.held).cqe),
            Kind::H2cData => {
                let pdu: H2cData = part(&self.held);
                says(pdu.datal.get())?;
                Header::H2cData { cid: pdu.cccid.get(), tag: pdu.ttag.get(), offset: pdu.datao.get(), data, last }
            }
            Kind::C2hData => {
                let pdu: C2hData = part(&self.held);
                says(pdu.datal.get())?;
                let success = ch.flags & SUCCESS != 0;
                Header::C2hData { cid: pdu.cccid.get(), offset: pdu.datao.get(), data, last, success }
            }
            Kind::R2t => {
                let pdu: R2t = part(&self.held);
                Header::R2t { cid: pdu.cccid.get(), tag: pdu.ttag.get(), offset: pdu.r2to.get(), length: pdu.r2tl.get() }
            }
        })
    }
}

#[inline]
fn may_have_data(kind: Kind) -> bool {
    matches!(kind, Kind::CapsuleCmd | Kind::H2cData | Kind::C2hData | Kind::H2cTermReq | Kind::C2hTermReq)
}

/// The front of `held` as one of the layouts, all of which fit.
#[inline]
fn part<T: FromBytes>(held: &[u8; LONGEST_HEADER + DIGEST]) -> T {
    const { assert!(size_of::<T>() <= LONGEST_HEADER) };
    T::read_from_prefix(held.as_bytes()).map_or_else(|_| unreachable!("the longest header fits"), |(value, _)| value)
}
