//! The host's end of a connection, which is one queue.

use alloc::vec::Vec;

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::command::{Cqe, Sgl, Sqe};
use crate::decoder::{Decoder, Expects, Header, Item, Side};
use crate::fault::{Fault, Wrong};
use crate::head::{Head, LastPdu, Shape};
use crate::pdu::{CapsuleCmd, CommonHeader, H2cData, IcReq, Kind, LARGEST_ALIGNMENT, LAST, LEAST_MAXH2CDATA, SUCCESS};
use crate::status::{Code, Status};

/// What a host asks for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Digests, and the alignment of the data that it reads (HPDA).
    pub shape: Shape,
    /// Commands in flight at most: the entries of the queue less one.
    pub commands: u16,
    /// The most data in the capsule of a command: 8192 for an admin queue.
    pub in_capsule: u32,
}

/// Data of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// None.
    None,
    /// So many bytes to the controller.
    Send(u32),
    /// So many bytes from the controller.
    Receive(u32),
}

/// A command that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it is called until its completion: less than [`Settings::commands`].
    pub cid: u16,
    /// Send this.
    pub head: Head,
    /// Whether all of its data, and its digest, follow at once.
    pub with_data: bool,
}

/// A part of the data that the controller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Send this, the data, and its digest.
    pub head: Head,
    /// Where in the command's data.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The connection is initialized: submit Connect.
    Ready,
    /// Data that a command reads.
    Data {
        /// The command.
        cid: u16,
        /// Where in its data.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The controller asks for data: see [`Queue::next_piece`].
    Wanted {
        /// The command.
        cid: u16,
    },
    /// A command is done.
    Completed {
        /// The command.
        cid: u16,
        /// Its status. Success means that all data came, and undamaged.
        status: Status,
        /// DW0 and DW1.
        result: u64,
    },
    /// The controller says that we broke the protocol, and ends the connection.
    Terminated {
        /// FES.
        fes: u16,
        /// FEI.
        fei: u32,
    },
}

/// Why a command is not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The connection is not initialized, or has ended.
    #[error("the connection is not ready")]
    NotReady,
    /// All commands are in flight.
    #[error("all commands of the queue are in flight")]
    Full,
    /// Data goes in dwords.
    #[error("data of {0} bytes, which is no multiple of four")]
    Length(u32),
}

/// The host's end of a connection.
///
/// ```
/// use nvme::command::io;
/// use nvme::host::{Payload, Queue, Refused, Settings};
/// use nvme::{Shape, Sqe};
///
/// let (mut queue, hello) = Queue::new(Settings { shape: Shape::default(), commands: 31, in_capsule: 4096 });
/// assert_eq!(hello.length(), 128, "ICReq goes out first");
/// // And nothing else, before the controller has answered.
/// assert_eq!(queue.submit(Sqe::new(io::FLUSH, 1), Payload::None), Err(Refused::NotReady));
/// ```
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    decoder: Decoder,
    /// Of what we send.
    shape: Shape,
    phase: Phase,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// Whose data is coming.
    receiving: Option<u16>,
    /// The controller has no other response than SUCCESS for what is coming.
    success: bool,
    maxh2cdata: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Initializing,
    Ready,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    used: bool,
    payload: Payload,
    /// Bytes that came, or went.
    done: u32,
    /// How far the controller has asked.
    asked: u32,
    /// TTAG.
    tag: u16,
    intact: bool,
}

const FREE: Slot = Slot { used: false, payload: Payload::None, done: 0, asked: 0, tag: 0, intact: true };

impl Queue {
    /// A queue whose connection is established, and what to send first.
    pub fn new(settings: Settings) -> (Self, Head) {
        let shape = Shape { alignment: settings.shape.alignment.min(LARGEST_ALIGNMENT), ..settings.shape };
        let settings = Settings { shape, ..settings };
        // One R2T at a time for each command.
        let hello = Head::initialize(&zerocopy::transmute!(IcReq::new(shape.alignment, shape.dgst(), 0)));
        let queue = Self {
            settings,
            decoder: Decoder::new(Side::Controller),
            shape: Shape::default(),
            phase: Phase::Initializing,
            slots: alloc::vec![FREE; usize::from(settings.commands)],
            free: (0..settings.commands).rev().collect(),
            receiving: None,
            success: false,
            maxh2cdata: 0,
        };
        (queue, hello)
    }

    /// Submits a command: its identifier and SGL are filled in.
    ///
    /// # Errors
    /// As [`Refused`] says.
    //= NVMe/TCP 1.0, 3.6.2.6
    pub fn submit(&mut self, mut sqe: Sqe, payload: Payload) -> Result<Command, Refused> {
        if self.phase != Phase::Ready {
            return Err(Refused::NotReady);
        }
        let (Payload::Send(length) | Payload::Receive(length)) = payload else { return self.send(sqe, Payload::None, 0) };
        if !length.is_multiple_of(4) {
            return Err(Refused::Length(length));
        }
        let in_capsule = matches!(payload, Payload::Send(1..)) && length <= self.settings.in_capsule;
        sqe.sgl = if in_capsule { Sgl::in_capsule(length) } else { Sgl::transport(length) };
        self.send(sqe, payload, if in_capsule { length } else { 0 })
    }

    #[inline]
    fn send(&mut self, mut sqe: Sqe, payload: Payload, data: u32) -> Result<Command, Refused> {
        let cid = self.free.pop().ok_or(Refused::Full)?;
        sqe.cid = cid.into();
        self.slots[usize::from(cid)] = Slot { used: true, payload, done: data, asked: data, ..FREE };
        let pdu = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe };
        Ok(Command { cid, head: Head::shaped(pdu.as_bytes(), self.shape, data), with_data: data > 0 })
    }

    /// The next part of the data that was asked for, if there is any.
    //= NVMe/TCP 1.0, 3.6.2.8
    pub fn next_piece(&mut self, cid: u16) -> Option<Piece> {
        let (shape, most) = (self.shape, self.maxh2cdata);
        let slot = self.slots.get_mut(usize::from(cid)).filter(|slot| slot.used && slot.done < slot.asked)?;
        let (offset, length) = (slot.done, (slot.asked - slot.done).min(most));
        slot.done += length;
        let mut ch = CommonHeader::new(Kind::H2cData);
        ch.flags = if slot.done == slot.asked { LAST } else { 0 };
        let (ttag, datao) = (slot.tag.into(), offset.into());
        let pdu = H2cData { ch, cccid: cid.into(), ttag, datao, datal: length.into(), reserved: 0.into() };
        Some(Piece { head: Head::shaped(pdu.as_bytes(), shape, length), offset, length })
    }

    /// Takes bytes off the front of `bytes`; `None` when they are used up.
    ///
    /// # Errors
    /// The controller broke the protocol: send [`term_req`](Self::term_req) and close.
    pub fn receive<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, Fault> {
        // Whatever is odd about it goes the long way, which finds it out again.
        if self.phase == Phase::Ready
            && let Some(pdu) = self.decoder.plain_data(bytes)
            && let (flags, length) = (pdu.ch.flags, pdu.datal.get())
            && self.data_header(pdu.cccid.get(), pdu.datao.get(), length, flags & LAST != 0, flags & SUCCESS != 0).is_ok()
        {
            self.decoder.skip_data_header(bytes, length);
        }
        loop {
            let event = match self.decoder.next(bytes) {
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

    #[inline]
    fn header(&mut self, header: Header) -> Result<Option<Event<'static>>, Wrong> {
        match (self.phase, header) {
            (_, Header::TermReq { fes, fei }) => {
                self.end();
                Ok(Some(Event::Terminated { fes, fei }))
            }
            (Phase::Initializing, Header::IcResp { pfv, cpda, dgst, maxh2cdata }) => {
                self.initialized(pfv, cpda, dgst, maxh2cdata).map(Some)
            }
            (Phase::Ready, Header::Response(cqe)) => self.response(&cqe).map(Some),
            (Phase::Ready, Header::C2hData { cid, offset, data, last, success }) => {
                self.data_header(cid, offset, data, last, success).map(|()| None)
            }
            (Phase::Ready, Header::R2t { cid, tag, offset, length }) => self.wanted(cid, tag, offset, length).map(Some),
            (_, Header::IcResp { .. }) => Err(Wrong::Sequence(Kind::IcResp)),
            (_, Header::C2hData { .. }) => Err(Wrong::Sequence(Kind::C2hData)),
            (_, Header::R2t { .. }) => Err(Wrong::Sequence(Kind::R2t)),
            (_, _) => Err(Wrong::Sequence(Kind::CapsuleResp)),
        }
    }

    //= NVMe/TCP 1.0, 3.6.2.3
    fn initialized(&mut self, pfv: u16, cpda: u8, dgst: u8, most: u32) -> Result<Event<'static>, Wrong> {
        if pfv != 0 {
            return Err(Wrong::Version(pfv));
        }
        if cpda > LARGEST_ALIGNMENT {
            return Err(Wrong::Alignment(cpda));
        }
        let asked = self.settings.shape;
        if dgst & 0b11 != asked.dgst() {
            return Err(Wrong::Digests(dgst));
        }
        if most < LEAST_MAXH2CDATA || !most.is_multiple_of(4) {
            return Err(Wrong::MaxData(most));
        }
        self.maxh2cdata = most;
        self.shape = Shape { alignment: cpda, ..asked };
        // Nothing is kept of the data, so it needs no bound but that of its command.
        self.decoder.agree(asked, u32::MAX);
        self.phase = Phase::Ready;
        Ok(Event::Ready)
    }

    #[inline]
    fn response(&mut self, cqe: &Cqe) -> Result<Event<'static>, Wrong> {
        let cid = cqe.cid.get();
        let slot = *self.slot(cid, Kind::CapsuleResp)?;
        let complete = !matches!(slot.payload, Payload::Receive(length) if slot.done < length);
        let status = if cqe.status.is_success() && !complete { Code::DataTransferError.into() } else { cqe.status };
        Ok(self.completed(cid, status, cqe.result.get()))
    }

    //= NVMe/TCP 1.0, 3.6.2.9
    #[inline]
    fn data_header(&mut self, cid: u16, offset: u32, length: u32, last: bool, success: bool) -> Result<(), Wrong> {
        let slot = self.slot(cid, Kind::C2hData)?;
        let Payload::Receive(whole) = slot.payload else { return Err(Wrong::Command(Kind::C2hData, cid)) };
        if offset != slot.done || length > whole - slot.done {
            return Err(Wrong::Range { offset, length });
        }
        if last != (offset + length == whole) || (success && !last) {
            return Err(Wrong::Last(if last { LAST } else { 0 } | if success { SUCCESS } else { 0 }));
        }
        self.receiving = Some(cid);
        self.success = success;
        Ok(())
    }

    //= NVMe/TCP 1.0, 3.6.2.10
    fn wanted(&mut self, cid: u16, tag: u16, offset: u32, length: u32) -> Result<Event<'static>, Wrong> {
        let slot = self.slot(cid, Kind::R2t)?;
        let Payload::Send(whole) = slot.payload else { return Err(Wrong::Command(Kind::R2t, cid)) };
        if slot.done < slot.asked {
            return Err(Wrong::R2tLimit(cid));
        }
        if length == 0 || offset != slot.done || length > whole - slot.done || !length.is_multiple_of(4) {
            return Err(Wrong::Range { offset, length });
        }
        slot.asked = offset + length;
        slot.tag = tag;
        Ok(Event::Wanted { cid })
    }

    #[inline]
    fn data_came<'a>(&mut self, bytes: &'a [u8]) -> Option<Event<'a>> {
        let cid = self.receiving?;
        let slot = &mut self.slots[usize::from(cid)];
        let offset = slot.done;
        slot.done += bytes.len() as u32;
        Some(Event::Data { cid, offset, bytes })
    }

    #[inline]
    fn data_ended(&mut self, intact: bool) -> Option<Event<'static>> {
        let cid = self.receiving.take()?;
        self.slots[usize::from(cid)].intact &= intact;
        self.success.then(|| self.completed(cid, Status::SUCCESS, 0))
    }

    #[inline]
    fn completed(&mut self, cid: u16, status: Status, result: u64) -> Event<'static> {
        let slot = core::mem::replace(&mut self.slots[usize::from(cid)], FREE);
        self.free.push(cid);
        let status = if slot.intact || !status.is_success() { status } else { Code::TransientTransportError.into() };
        Event::Completed { cid, status, result }
    }

    #[inline]
    fn slot(&mut self, cid: u16, kind: Kind) -> Result<&mut Slot, Wrong> {
        self.slots.get_mut(usize::from(cid)).filter(|slot| slot.used).ok_or(Wrong::Command(kind, cid))
    }

    /// The identifiers of all commands in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = u16> + '_ {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.used).map(|(cid, _)| cid)
    }

    /// What comes next, to receive data where it belongs.
    pub fn expects(&self) -> Expects {
        self.decoder.expects()
    }

    /// What is agreed of the PDUs that we send.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The controller has said how much data it takes in a capsule (IOCCSZ).
    pub fn set_in_capsule(&mut self, bytes: u32) {
        self.settings.in_capsule = bytes;
    }

    /// Whether commands can be submitted.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Takes nothing any more.
    pub fn end(&mut self) {
        self.phase = Phase::Ended;
        self.decoder.end();
    }
}
