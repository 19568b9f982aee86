//! The state machine of one end. The states are drawn at the top of the crate.

use core::time::Duration;

use crate::credits::Credits;
use crate::fragments::{Header, Outgoing};
use crate::message::Data;
use crate::negotiate::{self, Verdict};
use crate::reassembly::Incoming;
use crate::wire::{NegotiateResponse, RESPONSE_REQUESTED};
use crate::{Agreed, Ended, Fragment, Message, Received, SendError, Settings, SettingsError};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that connected, and asks.
    Client,
    /// The one that accepted, and answers.
    Server,
}

/// What the one who has the transport is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Post so many receive buffers of [`max_receive_size`](Settings::max_receive_size) bytes, now
    /// or as they can be had, and say so with [`receives_posted`](Connection::receives_posted).
    PostReceives(u16),
    /// Send this.
    Send(Message),
    /// Send this, and disconnect when it is sent. If the peer does not take it in time
    /// ([`Settings::keep_alive`]), `Disconnect` comes.
    SendLast(Message, Ended),
    /// Disconnect, for this reason.
    Disconnect(Ended),
}

/// One end of a connection. Moments are durations from any start that all calls have in common.
///
/// ```
/// use core::time::Duration;
/// use smb_direct::{Action, Connection, Settings};
///
/// let now = Duration::ZERO;
/// let mut client = Connection::client(Settings::client(), now)?;
/// // A client begins: its request goes out, and it waits for the response.
/// assert!(matches!(client.next_action(now), Some(Action::Send(_))));
/// assert!(client.next_action(now).is_none() && client.agreed().is_none());
/// // It has not come in time.
/// client.on_time(client.deadline());
/// assert!(matches!(client.next_action(client.deadline()), Some(Action::Disconnect(_))));
/// # Ok::<(), smb_direct::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    role: Role,
    own: Settings,
    state: State,
    credits: Credits,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The peer has asked for an answer (Connection.SendImmediate).
    answer: bool,
    keep_alive: KeepAlive,
    deadline: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Asking,
    Awaiting,
    Granting(Agreed),
    Open(Agreed),
    Refusing(NegotiateResponse, Ended),
    /// The last message is out; whoever has the transport disconnects when it is sent, and is told
    /// to when that takes too long.
    Last(Ended),
    /// Still to be told.
    Ending(Ended),
    Closed,
}

/// Connection.KeepaliveRequested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeepAlive {
    None,
    Pending,
    Sent,
}

impl Connection {
    /// A client whose transport has just connected, and has a receive buffer posted for the
    /// response.
    ///
    /// # Errors
    /// Settings that a server would refuse.
    pub fn client(own: Settings, now: Duration) -> Result<Self, SettingsError> {
        Self::new(Role::Client, own, State::Asking, now)
    }

    /// A server whose transport has just accepted, and has a receive buffer posted for the request.
    ///
    /// # Errors
    /// Settings that a client would refuse.
    pub fn server(own: Settings, now: Duration) -> Result<Self, SettingsError> {
        Self::new(Role::Server, own, State::Awaiting, now)
    }

    fn new(role: Role, own: Settings, state: State, now: Duration) -> Result<Self, SettingsError> {
        own.check()?;
        Ok(Self {
            role,
            own,
            state,
            credits: Credits::new(own.credits),
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            answer: false,
            keep_alive: KeepAlive::None,
            deadline: now.saturating_add(own.negotiate_timeout),
        })
    }

    /// Takes in a message: what is in it. The receive buffer is the caller's until
    /// [`receives_freed`](Self::receives_freed) (that of a negotiate message was none of those
    /// granted, and is not counted). What is wrong with a message is told by the next action.
    pub fn on_message(&mut self, now: Duration, message: &[u8]) -> Received {
        let taken = match (self.state, self.role) {
            (State::Open(agreed), _) => self.on_data(now, message, &agreed),
            (State::Awaiting, Role::Server) => {
                self.on_request(message);
                Ok(Received::Nothing)
            }
            (State::Awaiting, Role::Client) => self.on_response(now, message),
            // Before it was asked, or before it was answered.
            (State::Asking | State::Granting(_), _) => Err(Ended::Credit),
            (State::Refusing(..) | State::Last(_) | State::Ending(_) | State::Closed, _) => Ok(Received::Nothing),
        };
        taken.unwrap_or_else(|why| {
            self.state = State::Ending(why);
            Received::Nothing
        })
    }

    fn on_request(&mut self, message: &[u8]) {
        self.state = match negotiate::judge(message, &self.own) {
            Verdict::Accept(agreed) => {
                self.credits.aim_at(agreed.credits_requested);
                State::Granting(agreed)
            }
            Verdict::Refuse(response, why) => State::Refusing(response, why),
            Verdict::End(why) => State::Ending(why),
        };
    }

    fn on_response(&mut self, now: Duration, message: &[u8]) -> Result<Received, Ended> {
        let agreed = negotiate::conclude(message, &self.own)?;
        self.credits.aim_at(agreed.credits_requested);
        self.credits.earn(agreed.credits_granted);
        self.open(now, agreed);
        Ok(Received::Negotiated(agreed))
    }

    fn open(&mut self, now: Duration, agreed: Agreed) {
        self.state = State::Open(agreed);
        self.deadline = now.saturating_add(self.own.idle);
    }

    //= MS-SMBD 3.1.5.8
    fn on_data(&mut self, now: Duration, message: &[u8], agreed: &Agreed) -> Result<Received, Ended> {
        let data = Data::read(message, agreed)?;
        self.credits.receive()?;
        self.credits.aim_at(data.credits_requested);
        self.credits.earn(data.credits_granted);
        self.answer |= data.flags & RESPONSE_REQUESTED != 0;
        self.keep_alive = KeepAlive::None;
        self.deadline = now.saturating_add(self.own.idle);
        self.incoming.take(data)
    }

    /// The transport has posted `count` of the receive buffers that it was asked for.
    pub fn receives_posted(&mut self, count: u16) {
        self.credits.post(count);
    }

    /// `count` receive buffers in which messages came can be posted again: what they held is done
    /// with.
    pub fn receives_freed(&mut self, count: u16) {
        self.credits.free(count);
    }

    /// The moment at which [`on_time`](Self::on_time) has something to do, unless a message comes
    /// first.
    pub fn deadline(&self) -> Duration {
        match self.state {
            State::Ending(_) | State::Closed => Duration::MAX,
            _ => self.deadline,
        }
    }

    /// Tells the time: past its deadline, a connection asks for an answer or gives up.
    //= MS-SMBD 3.1.6.1
    //= MS-SMBD 3.1.6.2
    pub fn on_time(&mut self, now: Duration) {
        if now < self.deadline() {
            return;
        }
        match (self.state, self.keep_alive) {
            (State::Open(_), KeepAlive::None) => self.ask_for_answer(now),
            (State::Open(_), _) => self.state = State::Ending(Ended::KeepAlive),
            (State::Last(why), _) => self.state = State::Ending(why),
            _ => self.state = State::Ending(Ended::NegotiateTimeout),
        }
    }

    /// Asks the peer for a sign of life now, as silence for [`Settings::idle`] would.
    pub fn ask_for_answer(&mut self, now: Duration) {
        if matches!(self.state, State::Open(_)) && self.keep_alive == KeepAlive::None {
            self.keep_alive = KeepAlive::Pending;
            self.deadline = now.saturating_add(self.own.keep_alive);
        }
    }

    /// What is to be done, until `None`. Pieces of a message go first
    /// ([`next_fragment`](Self::next_fragment)), as they carry credits along.
    pub fn next_action(&mut self, now: Duration) -> Option<Action> {
        match self.state {
            State::Asking => {
                self.state = State::Awaiting;
                Some(Action::Send(Message::new(&negotiate::request(&self.own))))
            }
            State::Granting(agreed) => self.ask().or_else(|| self.respond(now, agreed)),
            State::Open(_) => self.ask().or_else(|| self.send_empty()),
            State::Refusing(response, why) => {
                self.state = State::Last(why);
                self.deadline = now.saturating_add(self.own.keep_alive);
                Some(Action::SendLast(Message::new(&response), why))
            }
            State::Ending(why) => {
                self.state = State::Closed;
                Some(Action::Disconnect(why))
            }
            State::Awaiting | State::Last(_) | State::Closed => None,
        }
    }

    fn ask(&mut self) -> Option<Action> {
        self.credits.ask().map(Action::PostReceives)
    }

    /// The response, once there is something to grant.
    fn respond(&mut self, now: Duration, agreed: Agreed) -> Option<Action> {
        let granted = Some(self.credits.grant()).filter(|granted| *granted > 0)?;
        self.open(now, agreed);
        Some(Action::Send(Message::new(&negotiate::response(&agreed, &self.own, granted))))
    }

    /// A message without payload, if there is a reason for one.
    fn send_empty(&mut self) -> Option<Action> {
        if !(self.answer || self.keep_alive == KeepAlive::Pending || self.credits.grant_is_due()) {
            return None;
        }
        Some(Action::Send(Message::new(&self.header()?.alone())))
    }

    /// The header of the next message; `None` while there is no credit for it.
    //= MS-SMBD 3.1.5.1
    fn header(&mut self) -> Option<Header> {
        let granted = self.credits.spend()?;
        self.answer = false;
        let mut flags = 0;
        if self.keep_alive == KeepAlive::Pending {
            self.keep_alive = KeepAlive::Sent;
            flags = RESPONSE_REQUESTED;
        }
        Some(Header { requested: self.own.credits, granted, flags })
    }

    /// Begins an upper-layer message of `length` bytes, which
    /// [`next_fragment`](Self::next_fragment) cuts into pieces.
    ///
    /// # Errors
    /// As [`SendError`] says; nothing has begun.
    pub fn start_message(&mut self, length: usize) -> Result<(), SendError> {
        let State::Open(agreed) = self.state else { return Err(SendError::NotOpen) };
        self.outgoing.start(length, agreed.max_fragmented_send_size)
    }

    /// The next piece of the message that was begun, out of the `at_hand` bytes of it that come
    /// next (0 asks for nothing). `None`: all of it is sent, or it has to wait for credits, which a
    /// message brings, or for [`receives_posted`](Self::receives_posted).
    pub fn next_fragment(&mut self, at_hand: usize) -> Option<Fragment> {
        let State::Open(agreed) = self.state else { return None };
        let length = Some(self.outgoing.next(at_hand, agreed.max_send_size)).filter(|length| *length > 0)?;
        let header = self.header()?;
        self.outgoing.remaining -= length;
        let remaining = self.outgoing.remaining;
        Some(Fragment { header: header.of_piece(length, remaining), length, remaining })
    }

    /// Bytes of the message that was begun which are not in a piece yet.
    pub fn unsent(&self) -> usize {
        self.outgoing.remaining
    }

    /// Whether a piece could be sent now, as far as credits go.
    pub fn can_send(&self) -> bool {
        matches!(self.state, State::Open(_)) && self.credits.can_spend()
    }

    /// Whether the next action is [`Action::Disconnect`], which takes neither a buffer nor room to
    /// send.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending(_))
    }

    /// What was negotiated; `None` before, and after the end.
    pub fn agreed(&self) -> Option<&Agreed> {
        match &self.state {
            State::Open(agreed) => Some(agreed),
            _ => None,
        }
    }

    /// Messages that may be sent (Connection.SendCredits).
    pub fn send_credits(&self) -> u32 {
        self.credits.sendable()
    }

    /// Messages that the peer may send, as it has been told (Connection.ReceiveCredits).
    pub fn receive_credits(&self) -> u16 {
        self.credits.granted()
    }

    /// Receives that are posted and not granted yet.
    pub fn ungranted(&self) -> u16 {
        self.credits.posted()
    }
}
