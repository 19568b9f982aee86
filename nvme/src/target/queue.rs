//! The controller's end of a connection, which is one queue.

use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::command::{Cqe, Direction, FABRICS, PSDT_SGL, Sgl, Sqe};
use crate::decoder::{Decoder, Expects, Header, Item, Side};
use crate::fabrics;
use crate::fault::{Fault, Wrong};
use crate::head::{Head, LastPdu, Shape};
use crate::pdu::{C2hData, CapsuleResp, CommonHeader, IcResp, Kind, LARGEST_ALIGNMENT, LAST, R2t, SUCCESS};
use crate::status::{Code, Status};
use crate::target::cids::Cids;

/// What a queue may do before it is known whose it is, and what it tells the host.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// MAXH2CDATA, a multiple of four and at least 4096.
    pub maxh2cdata: u32,
    /// The most data in the capsule of an admin command. Linux sends 8192 bytes whatever it is
    /// told.
    pub admin_in_capsule: u32,
    /// The most data in the capsule of an I/O command; IOCCSZ says it to the host.
    pub io_in_capsule: u32,
    /// The most data of any command; MDTS says it to the host.
    pub max_transfer: u32,
    /// How long a host may take from the beginning to its Connect.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maxh2cdata: 128 * 1024,
            admin_in_capsule: 8192,
            io_in_capsule: 8192,
            max_transfer: 128 * 1024,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// A command in flight, from its [`Event::Command`] to its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u16);

impl Tag {
    /// A number below the entries of the queue, which no other command in flight has.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Which data a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// None.
    None,
    /// So many bytes from the host, which follow at once.
    InCapsule(u32),
    /// So many bytes from the host, as they are asked for by [`Queue::ask`].
    OnRequest(u32),
    /// So many bytes to the host, by [`Queue::data`].
    ToHost(u32),
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// Send this: the answer to the host's first PDU, or to a command that was answered while its
    /// data was under way.
    Reply(Head),
    /// A command, to be answered with [`Queue::complete`].
    Command {
        /// What it is called here.
        tag: Tag,
        /// The command.
        sqe: Sqe,
        /// Its data.
        data: Transfer,
        /// All bytes of it, if they have come together with the command: then neither
        /// [`Data`](Self::Data) nor [`Ready`](Self::Ready) follows. Otherwise empty.
        whole: &'a [u8],
    },
    /// Data of a command.
    Data {
        /// The command.
        tag: Tag,
        /// Where in the command's data these bytes are.
        offset: u32,
        /// They are.
        bytes: &'a [u8],
    },
    /// What was asked for last has come, and there is more to ask for.
    Asked {
        /// The command.
        tag: Tag,
    },
    /// All data of a command has come.
    Ready {
        /// The command.
        tag: Tag,
        /// Whether each data digest was right. If not, the command is to be answered with
        /// [`Code::TransientTransportError`].
        intact: bool,
    },
    /// A command was refused: send this.
    Refused {
        /// The response.
        head: Head,
        /// Its opcode.
        opcode: u8,
        /// Its identifier.
        cid: u16,
        /// Why.
        why: Code,
    },
    /// The host says that we broke the protocol, and ends the connection.
    Terminated {
        /// FES.
        fes: u16,
        /// FEI.
        fei: u32,
    },
}

/// A call that does not fit the state of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// No command in flight has this tag.
    #[error("no command in flight has this tag")]
    Tag,
    /// More data than the command has, or none at all.
    #[error("not within the data of the command")]
    Range,
    /// A command that reads is done before all of its data was sent.
    #[error("success before all data was sent")]
    Short,
    /// Data is under way already.
    #[error("what was asked for has not come yet")]
    Asked,
}

/// The controller's end of a connection.
///
/// ```text
///  Initializing ──ICReq──► Unconnected ──Connect, open──► Open       any ──fault, TermReq, time──► Ended
/// ```
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    decoder: Decoder,
    /// Of what we send.
    shape: Shape,
    phase: Phase,
    slots: Vec<Slot>,
    /// Which slot has the command of an identifier.
    cids: Cids,
    free: Vec<u16>,
    receiving: Receiving,
    in_capsule: u32,
    sqhd: Option<u16>,
    deadline: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Initializing,
    Unconnected,
    Open,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    used: bool,
    cid: u16,
    transfer: Transfer,
    /// Bytes that have come, or were sent.
    done: u32,
    /// Bytes that have come or are about to.
    asked: u32,
    intact: bool,
    /// The response that waits for data under way to have come.
    closing: Option<(Status, u64)>,
}

const FREE: Slot = Slot { used: false, cid: 0, transfer: Transfer::None, done: 0, asked: 0, intact: true, closing: None };

/// Whose data is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// Nobody's, or a refused command's.
    Nothing,
    Slot(u16),
}

impl Queue {
    /// A queue whose connection has just been accepted.
    pub fn new(settings: Settings, now: Duration) -> Self {
        Self {
            settings,
            decoder: Decoder::new(Side::Host),
            shape: Shape::default(),
            phase: Phase::Initializing,
            // Connect is the only command until the queue is open.
            slots: alloc::vec![FREE],
            cids: Cids::new(1),
            free: alloc::vec![0],
            receiving: Receiving::Nothing,
            in_capsule: settings.admin_in_capsule,
            sqhd: Some(0),
            deadline: now.saturating_add(settings.connect_timeout),
        }
    }

    /// Takes bytes off the front of `bytes`; `None` when they are used up.
    ///
    /// # Errors
    /// The host broke the protocol: send [`term_req`](Self::term_req) and close. Nothing comes any more;
    /// commands in flight are still the caller's ([`in_flight`](Self::in_flight)).
    pub fn receive<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, Fault> {
        // Whatever is odd about it goes the long way, which finds it out again.
        if self.phase == Phase::Open
            && let Some(sqe) = self.decoder.plain_command(bytes)
            && let Some(&index) = self.free.last()
            && let Ok(transfer) = self.judge(sqe, 0)
        {
            Decoder::skip_command(bytes, 0);
            self.take(index, sqe.cid.get(), transfer, 0);
            return Ok(Some(Event::Command { tag: Tag(index), sqe: *sqe, data: transfer, whole: &[] }));
        }
        self.receive_any(bytes)
    }

    /// The same of a write with all of its data.
    fn receive_any<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, Fault> {
        if self.phase == Phase::Open
            && let Some((sqe, whole)) = self.decoder.plain_write(bytes)
            && whole.len() <= self.in_capsule as usize
            && let Some(&index) = self.free.last()
            && let Ok(transfer) = self.judge(sqe, whole.len() as u32)
        {
            Decoder::skip_command(bytes, whole.len());
            self.take(index, sqe.cid.get(), transfer, whole.len() as u32);
            return Ok(Some(Event::Command { tag: Tag(index), sqe: *sqe, data: transfer, whole }));
        }
        // What each of these answers is what this answers, so that events are made where they go.
        loop {
            let event = match self.decoder.next(bytes) {
                Ok(Some(Item::Header(Header::Command { data }))) => return self.command(data),
                Ok(Some(Item::Header(header))) => match self.header(header) {
                    Ok(event) => event,
                    Err(why) => return self.broken(why),
                },
                Ok(Some(Item::Data(some))) => self.data_came(some),
                Ok(Some(Item::End { intact })) => self.data_ended(intact),
                Ok(None) => return Ok(None),
                Err(fault) => {
                    self.end();
                    return Err(fault);
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    #[cold]
    fn broken<'a>(&mut self, why: Wrong) -> Result<Option<Event<'a>>, Fault> {
        let fault = self.decoder.fault(why);
        self.end();
        Err(fault)
    }

    /// What to send before the connection is closed, after a fault.
    pub fn term_req(&self) -> Option<LastPdu> {
        self.decoder.term_req()
    }

    fn header(&mut self, header: Header) -> Result<Option<Event<'static>>, Wrong> {
        match (self.phase, header) {
            (_, Header::TermReq { fes, fei }) => {
                self.end();
                Ok(Some(Event::Terminated { fes, fei }))
            }
            (Phase::Initializing, Header::IcReq { pfv, hpda, dgst }) => self.initialize(pfv, hpda, dgst).map(Some),
            (Phase::Initializing, _) => Err(Wrong::Sequence(Kind::H2cData)),
            (_, Header::H2cData { cid, tag, offset, data, last }) => self.data_header(cid, tag, offset, data, last).map(|()| None),
            (_, _) => Err(Wrong::Sequence(Kind::IcReq)),
        }
    }

    //= NVMe/TCP 1.0, 3.6.2.2
    //= NVMe/TCP 1.0, 3.6.2.3
    fn initialize(&mut self, pfv: u16, hpda: u8, dgst: u8) -> Result<Event<'static>, Wrong> {
        if pfv != 0 {
            return Err(Wrong::Version(pfv));
        }
        if hpda > LARGEST_ALIGNMENT {
            return Err(Wrong::Alignment(hpda));
        }
        self.shape = Shape::new(dgst, hpda);
        // We want no alignment: hosts refuse to pad.
        let limit = self.settings.maxh2cdata.max(self.settings.admin_in_capsule).max(self.settings.io_in_capsule);
        self.decoder.agree(Shape { alignment: 0, ..self.shape }, limit);
        self.phase = Phase::Unconnected;
        let response = IcResp::new(0, self.shape.dgst(), self.settings.maxh2cdata);
        Ok(Event::Reply(Head::initialize(&zerocopy::transmute!(response))))
    }

    #[inline]
    fn command<'a>(&mut self, data: u32) -> Result<Option<Event<'a>>, Fault> {
        self.receiving = Receiving::Nothing;
        if self.phase == Phase::Initializing {
            return self.broken(Wrong::Sequence(Kind::CapsuleCmd));
        }
        if data > self.in_capsule {
            return self.broken(Wrong::TooMuchData(data));
        }
        let sqe = self.decoder.command_ref();
        let cid = sqe.cid.get();
        let Some(&index) = self.free.last() else { return self.broken(Wrong::QueueFull(cid)) };
        let transfer = match self.judge(sqe, data) {
            Ok(transfer) => transfer,
            Err(why) => return Ok(Some(self.refused(why))),
        };
        self.take(index, cid, transfer, 0);
        Ok(Some(Event::Command { tag: Tag(index), sqe: self.decoder.command(), data: transfer, whole: &[] }))
    }

    /// A command gets the slot that is free. So much of its data has come with it.
    #[inline(always)]
    fn take(&mut self, index: u16, cid: u16, transfer: Transfer, done: u32) {
        self.free.pop();
        let asked = if let Transfer::InCapsule(length) = transfer { length } else { 0 };
        self.slots[usize::from(index)] = Slot { used: true, cid, transfer, done, asked, ..FREE };
        self.cids.insert(cid, index);
        self.receiving = if done < asked { Receiving::Slot(index) } else { Receiving::Nothing };
        self.advance();
    }

    #[cold]
    fn refused<'a>(&mut self, why: Code) -> Event<'a> {
        let Sqe { opcode, cid, .. } = *self.decoder.command_ref();
        let cid = cid.get();
        self.advance();
        Event::Refused { head: self.response(cid, why.into(), 0), opcode, cid, why }
    }

    /// What a command that came says of its data, if it can be taken at all.
    //= NVMe/TCP 1.0, 3.3.2
    #[inline(always)]
    fn judge(&self, sqe: &Sqe, data: u32) -> Result<Transfer, Code> {
        let connects = sqe.opcode == FABRICS && sqe.fctype() == fabrics::CONNECT;
        if connects == (self.phase == Phase::Open) {
            return Err(Code::CommandSequenceError);
        }
        if self.cids.find(sqe.cid.get()).is_some() {
            return Err(Code::CommandIdConflict);
        }
        if sqe.psdt() != PSDT_SGL {
            return Err(Code::InvalidField);
        }
        let length = sqe.sgl.length.get();
        let transfer = match (sqe.direction(), sqe.sgl.kind) {
            (Direction::None | Direction::Both, _) => Transfer::None,
            (Direction::ToController, Sgl::IN_CAPSULE) if sqe.sgl.address.get() != 0 => return Err(Code::SglOffsetInvalid),
            (Direction::ToController, Sgl::IN_CAPSULE) if length != data => return Err(Code::SglLengthInvalid),
            (_, Sgl::IN_CAPSULE | Sgl::TRANSPORT) if length == 0 => Transfer::None,
            (Direction::ToController, Sgl::IN_CAPSULE) => Transfer::InCapsule(length),
            (Direction::ToController, Sgl::TRANSPORT) => Transfer::OnRequest(length),
            (Direction::ToHost, Sgl::TRANSPORT) => Transfer::ToHost(length),
            _ => return Err(Code::SglTypeInvalid),
        };
        let told_of_data = matches!(transfer, Transfer::InCapsule(_));
        if (data > 0 && !told_of_data) || (transfer != Transfer::None && length > self.settings.max_transfer) {
            return Err(Code::InvalidField);
        }
        Ok(transfer)
    }

    //= NVMe/TCP 1.0, 3.6.2.8
    fn data_header(&mut self, cid: u16, tag: u16, offset: u32, length: u32, last: bool) -> Result<(), Wrong> {
        let slot = self.slots.get(usize::from(tag)).filter(|slot| slot.used && slot.done < slot.asked).ok_or(Wrong::Tag(tag))?;
        if slot.cid != cid {
            return Err(Wrong::Command(Kind::H2cData, cid));
        }
        if length > self.settings.maxh2cdata {
            return Err(Wrong::TooMuchData(length));
        }
        if offset != slot.done || length > slot.asked - slot.done {
            return Err(Wrong::Range { offset, length });
        }
        if last != (offset + length == slot.asked) {
            return Err(Wrong::Last(if last { LAST } else { 0 }));
        }
        self.receiving = Receiving::Slot(tag);
        Ok(())
    }

    fn data_came<'a>(&mut self, bytes: &'a [u8]) -> Option<Event<'a>> {
        let Receiving::Slot(index) = self.receiving else { return None };
        let slot = &mut self.slots[usize::from(index)];
        let offset = slot.done;
        slot.done += bytes.len() as u32;
        slot.closing.is_none().then_some(Event::Data { tag: Tag(index), offset, bytes })
    }

    fn data_ended(&mut self, intact: bool) -> Option<Event<'static>> {
        let Receiving::Slot(index) = core::mem::replace(&mut self.receiving, Receiving::Nothing) else { return None };
        let slot = &mut self.slots[usize::from(index)];
        slot.intact &= intact;
        if slot.done < slot.asked {
            return None;
        }
        let tag = Tag(index);
        if let Some((status, result)) = slot.closing {
            return Some(Event::Reply(self.finish(tag, status, result)));
        }
        let (Transfer::InCapsule(length) | Transfer::OnRequest(length)) = slot.transfer else { return None };
        Some(if slot.done < length { Event::Asked { tag } } else { Event::Ready { tag, intact: slot.intact } })
    }

    /// Asks for the next `length` bytes of a command's data, now that there is a buffer for them:
    /// send this.
    ///
    /// # Errors
    /// As [`Misuse`] says.
    //= NVMe/TCP 1.0, 3.6.2.10
    pub fn ask(&mut self, tag: Tag, length: u32) -> Result<Head, Misuse> {
        let shape = self.shape;
        let slot = self.slot(tag)?;
        let Transfer::OnRequest(whole) = slot.transfer else { return Err(Misuse::Range) };
        if slot.done < slot.asked {
            return Err(Misuse::Asked);
        }
        if length == 0 || length > whole - slot.done {
            return Err(Misuse::Range);
        }
        slot.asked = slot.done + length;
        let ch = CommonHeader::new(Kind::R2t);
        let (cccid, r2to) = (slot.cid.into(), slot.done.into());
        let pdu = R2t { ch, cccid, ttag: tag.0.into(), r2to, r2tl: length.into(), reserved: 0.into() };
        Ok(Head::shaped(pdu.as_bytes(), shape, 0))
    }

    /// The next `length` bytes of what a command reads: send this, the bytes, and their digest if
    /// [`shape`](Self::shape) says so. A response follows by [`complete`](Self::complete).
    ///
    /// # Errors
    /// As [`Misuse`] says.
    pub fn data(&mut self, tag: Tag, length: u32) -> Result<Head, Misuse> {
        let slot = self.slot(tag)?;
        let Transfer::ToHost(whole) = slot.transfer else { return Err(Misuse::Range) };
        if length == 0 || length > whole - slot.done {
            return Err(Misuse::Range);
        }
        let (cid, done) = (slot.cid, slot.done);
        slot.done += length;
        let flags = if slot.done == whole { LAST } else { 0 };
        Ok(self.data_head(cid, done, length, flags))
    }

    /// The last `length` bytes of what a command reads, and its response: there is no other.
    ///
    /// # Errors
    /// As [`Misuse`] says.
    pub fn data_and_success(&mut self, tag: Tag, length: u32) -> Result<Head, Misuse> {
        let slot = self.slot(tag)?;
        if slot.transfer != Transfer::ToHost(slot.done.saturating_add(length)) {
            return Err(Misuse::Short);
        }
        if length == 0 {
            return Err(Misuse::Range);
        }
        let (cid, done) = (slot.cid, slot.done);
        self.release(tag);
        Ok(self.data_head(cid, done, length, LAST | SUCCESS))
    }

    //= NVMe/TCP 1.0, 3.6.2.9
    #[inline]
    fn data_head(&self, cid: u16, offset: u32, length: u32, flags: u8) -> Head {
        let ch = CommonHeader { flags, ..CommonHeader::new(Kind::C2hData) };
        let (cccid, datao, datal) = (cid.into(), offset.into(), length.into());
        let pdu = C2hData { ch, cccid, reserved1: 0.into(), datao, datal, reserved2: 0.into() };
        Head::shaped(pdu.as_bytes(), self.shape, length)
    }

    /// A command is done: send this. While data that it was asked for is under way there is nothing
    /// to send yet; an [`Event::Reply`] comes when it is there. The tag is no more in any case.
    ///
    /// # Errors
    /// As [`Misuse`] says.
    pub fn complete(&mut self, tag: Tag, status: Status, result: u64) -> Result<Option<Head>, Misuse> {
        let slot = self.slot(tag)?;
        if let Transfer::ToHost(length) = slot.transfer
            && slot.done < length
            && status.is_success()
        {
            return Err(Misuse::Short);
        }
        if matches!(slot.transfer, Transfer::InCapsule(_) | Transfer::OnRequest(_))
            && (slot.done < slot.asked || self.receiving == Receiving::Slot(tag.0))
        {
            self.slots[tag.index()].closing = Some((status, result));
            return Ok(None);
        }
        Ok(Some(self.finish(tag, status, result)))
    }

    fn finish(&mut self, tag: Tag, status: Status, result: u64) -> Head {
        let cid = self.slots[tag.index()].cid;
        self.release(tag);
        self.response(cid, status, result)
    }

    /// Connect is accepted: the queue has `entries`. `flow` is whether the host wants to be told
    /// how far it is emptied. Send this.
    ///
    /// # Errors
    /// As [`Misuse`] says.
    pub fn open(&mut self, tag: Tag, request: &super::Request<'_>, result: u64) -> Result<Head, Misuse> {
        let slot = self.slot(tag)?;
        if slot.done < slot.asked || self.phase != Phase::Unconnected {
            return Err(Misuse::Asked);
        }
        // The first entry of the queue was Connect's.
        self.sqhd = if request.flow { Some(1 % request.entries.max(1)) } else { None };
        let head = self.finish(tag, Status::SUCCESS, result);
        self.slots.resize(usize::from(request.entries), FREE);
        self.cids = Cids::new(request.entries);
        self.free.clear();
        self.free.extend((0..request.entries).rev());
        self.in_capsule = if request.qid == 0 { self.settings.admin_in_capsule } else { self.settings.io_in_capsule };
        self.phase = Phase::Open;
        Ok(head)
    }

    #[inline]
    fn response(&self, cid: u16, status: Status, result: u64) -> Head {
        // FFFFh where it is not told (Connect response), which hosts ignore elsewhere.
        let sqhd = self.sqhd.unwrap_or(0xFFFF).into();
        let cqe = Cqe { result: result.into(), sqhd, sqid: 0.into(), cid: cid.into(), status };
        Head::shaped(CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe }.as_bytes(), self.shape, 0)
    }

    #[inline]
    fn advance(&mut self) {
        if let Some(sqhd) = self.sqhd {
            let next = sqhd + 1;
            self.sqhd = Some(if usize::from(next) < self.slots.len() { next } else { 0 });
        }
    }

    #[inline]
    fn slot(&mut self, tag: Tag) -> Result<&mut Slot, Misuse> {
        self.slots.get_mut(tag.index()).filter(|slot| slot.used && slot.closing.is_none()).ok_or(Misuse::Tag)
    }

    #[inline]
    fn release(&mut self, tag: Tag) {
        let slot = &mut self.slots[tag.index()];
        (slot.used, slot.closing) = (false, None);
        self.cids.remove(slot.cid, tag.0);
        self.free.push(tag.0);
    }

    /// The command in flight with this identifier, for Abort.
    pub fn find(&self, cid: u16) -> Option<Tag> {
        self.cids.find(cid).map(Tag).filter(|tag| self.slots[tag.index()].closing.is_none())
    }

    /// All commands that are the caller's.
    pub fn in_flight(&self) -> impl Iterator<Item = Tag> + '_ {
        let used = |(at, slot): (usize, &Slot)| (slot.used && slot.closing.is_none()).then_some(Tag(at as u16));
        self.slots.iter().enumerate().filter_map(used)
    }

    /// What comes next, to receive data where it belongs.
    pub fn expects(&self) -> Expects {
        self.decoder.expects()
    }

    /// What is agreed of the PDUs that we send.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Commands that can be in flight: one until Connect was accepted, then its entries.
    pub fn entries(&self) -> usize {
        self.slots.len()
    }

    /// Whether Connect was accepted, and nothing has ended the queue since.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether nothing comes any more.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The moment at which [`is_late`](Self::is_late), if nothing happens before.
    pub fn deadline(&self) -> Duration {
        match self.phase {
            Phase::Initializing | Phase::Unconnected => self.deadline,
            Phase::Open | Phase::Ended => Duration::MAX,
        }
    }

    /// Whether the host has taken too long to connect: close.
    pub fn is_late(&self, now: Duration) -> bool {
        now >= self.deadline()
    }

    /// Takes nothing any more.
    pub fn end(&mut self) {
        self.phase = Phase::Ended;
        self.decoder.end();
    }
}
