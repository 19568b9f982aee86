//! Sockets of this backend, in no group and in one.

use std::collections::VecDeque;

use core_reactor::net::{NetError, SockId};
use net_sockets::{Backend, Kind, Tcp};
use pool::{Buf, BufGroup, SendBuf};
use socket2::SockAddr;

use crate::{NAME, flag};

/// A socket in no group, or in one.
pub(crate) type UringSocket = Tcp<Own>;

/// What travels with a socket: what had arrived when it left a group, and was not delivered there.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) bytes: Vec<SendBuf>,
    #[allow(clippy::vec_box, reason = "they come in boxes and leave in boxes")]
    pub(crate) connections: Vec<Box<UringSocket>>,
}

impl Backend for Own {
    const NAME: &'static str = NAME;
}

/// What a group knows of a socket beside what each echo needs.
pub(crate) struct Seat {
    pub(crate) socket: Box<UringSocket>,
    /// What has arrived and was not delivered, because the application does not want to read now or the socket is leaving.
    pub(crate) early: VecDeque<Early>,
    /// Where the connect under way goes: the kernel reads it.
    pub(crate) to: Option<SockAddr>,
    /// The gather list of the send under way.
    pub(crate) gather: Option<u32>,
    /// A send without a copy is done, but for its memory, which the kernel has yet.
    pub(crate) lent: bool,
    /// What it has taken.
    pub(crate) taken: i32,
    pub(crate) leaving: Option<Leaving>,
}

/// Something that has arrived.
pub(crate) enum Early {
    Bytes(Buf),
    Connection(Box<UringSocket>),
    /// The peer's FIN.
    Eof,
    /// The end of the connection.
    Broken(NetError),
}

/// The end of a socket, once the kernel has given back what it holds.
pub(crate) struct Leaving {
    /// What was its key.
    pub(crate) id: SockId,
    pub(crate) how: How,
}

pub(crate) enum How {
    /// `Closed` follows, with what it ended of.
    Closed(Option<NetError>),
    /// The application waits for it.
    Detached,
    /// The application has it, through another descriptor.
    GoneOn,
}

impl Seat {
    pub(crate) fn new(socket: Box<UringSocket>) -> Self {
        Self { socket, early: VecDeque::new(), to: None, gather: None, lent: false, taken: 0, leaving: None }
    }
}

/// What a group does with a socket that comes or goes.
pub(crate) trait Luggage {
    /// Sending without a copy is off where the other side is this machine: the system copies there anyway.
    fn mind_loopback(&mut self);

    /// The flags that say what it is.
    fn flags(&self) -> u32;

    /// Takes out what had arrived in its last group.
    fn unpack(&mut self, bufs: &BufGroup) -> VecDeque<Early>;

    /// Takes along what has arrived.
    fn pack(&mut self, early: VecDeque<Early>);
}

impl Luggage for UringSocket {
    fn mind_loopback(&mut self) {
        if self.peer.is_some_and(|peer| peer.ip().is_loopback()) {
            self.kept.zero_copy = None;
        }
    }

    fn flags(&self) -> u32 {
        let kind = match &self.kind {
            Kind::Listener => flag::LISTENER,
            Kind::Connect(_) => flag::CONNECTING,
            Kind::Stream => flag::STREAM | flag::FRESH,
        };
        let set = |is: bool, flag: u32| if is { flag } else { 0 };
        kind | set(self.fin_sent, flag::FIN_SENT)
            | set(self.failed.is_some(), flag::FAILED)
            | set(self.kept.quick_ack, flag::QUICK_ACK)
            | set(self.kept.low_water, flag::LOW_WATER)
            | set(self.kept.zero_copy.is_some(), flag::ZERO_COPY)
    }

    fn unpack(&mut self, bufs: &BufGroup) -> VecDeque<Early> {
        let bytes = self.own.bytes.drain(..).map(|buf| Early::Bytes(buf.into_local(bufs)));
        bytes.chain(self.own.connections.drain(..).map(Early::Connection)).collect()
    }

    fn pack(&mut self, early: VecDeque<Early>) {
        for early in early {
            match early {
                Early::Bytes(buf) => self.own.bytes.push(buf.into_send()),
                Early::Connection(socket) => self.own.connections.push(socket),
                // The system tells it again.
                Early::Eof => {}
                Early::Broken(why) => self.failed = self.failed.take().or(Some(why)),
            }
        }
    }
}
