//! The controller's end.

use alloc::boxed::Box;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::dh::Exchange;
use super::message::{self, Challenge, FAILURE1, FAILURE2, Head, Kind, NEGOTIATE, REPLY, Reply, SUCCESS2};
use super::{Failure, Group, Hash, Names, Policy, Question, Random, Role, Secret, Value};
use crate::command::Sqe;
use crate::fabrics::{AUTHENTICATION_RECEIVE, AUTHENTICATION_SEND};
use crate::status::Code;

/// The controller's end of the authentication of one queue. What the host sends makes it hold one
/// message and the numbers of one transaction, never more.
///
/// ```text
///   Idle ──Negotiate──► Challenge ──read──► Reply ──right──► Success1 ──read──► (Success2) ──► Idle
///                any ──wrong──► Failure1 ──read──► Over
/// ```
#[derive(Debug)]
pub struct Target {
    policy: Policy,
    names: Names,
    host: Zeroizing<Vec<u8>>,
    controller: Option<Zeroizing<Vec<u8>>>,
    tid: u16,
    step: Step,
    is_authenticated: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
enum Step {
    Idle,
    /// The challenge waits to be read.
    Challenge(Box<Transaction>, Vec<u8>),
    /// It was read.
    Reply(Box<Transaction>),
    /// Success1 waits to be read; whether a Success2 is to follow.
    Success1(Vec<u8>, bool),
    Success2,
    Failure1,
    Over,
}

/// What is known between a challenge and its reply.
#[derive(Debug)]
struct Transaction {
    hash: Hash,
    group: Group,
    challenge: Value,
    seqnum: u32,
    exchange: Option<Exchange>,
}

impl Target {
    /// Of a queue of the host called `hostnqn`, whose secret is `host`. With the controller's own
    /// secret, hosts that ask are answered.
    pub fn new(policy: Policy, hostnqn: &str, subnqn: &str, host: &Secret, controller: Option<&Secret>) -> Self {
        Self {
            policy,
            names: Names { host: hostnqn.into(), subsystem: subnqn.into() },
            host: host.key(hostnqn),
            controller: controller.map(|secret| secret.key(subnqn)),
            tid: 0,
            step: Step::Idle,
            is_authenticated: false,
            failure: None,
        }
    }

    /// Takes the data of an Authentication Send, which then is to be completed. A message that is
    /// wrong makes a command that is right: the host is told by the Receive that follows.
    ///
    /// # Errors
    /// The status of the command: it is none of this protocol.
    pub fn send(&mut self, sqe: &Sqe, data: &[u8], random: Random<'_>) -> Result<(), Code> {
        message::check(sqe, AUTHENTICATION_SEND, data.len())?;
        if let Err(why) = self.message(data, random) {
            self.fail(why);
        }
        Ok(())
    }

    /// Whether [`send`](Self::send) of this data takes a power in a group of the key exchange, and
    /// so up to a tenth of a second: it is to be called where that holds nobody up.
    pub fn takes_long(&self, data: &[u8]) -> bool {
        match (&self.step, Head::of(data).map(|head| head.kind())) {
            (Step::Idle, Ok(NEGOTIATE)) => message::choose(data, &self.policy).is_ok_and(|(_, group)| group != Group::Null),
            (Step::Reply(transaction), Ok(REPLY)) => transaction.exchange.is_some(),
            _ => false,
        }
    }

    /// Whether an authentication has begun and not ended.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle | Step::Over)
    }

    fn message(&mut self, data: &[u8], random: Random<'_>) -> Result<(), Failure> {
        let head = Head::of(data)?;
        let (kind, tid): (Kind, u16) = (head.kind(), head.tid.get());
        // A challenge is answered once: what was under way is taken out.
        match (core::mem::replace(&mut self.step, Step::Over), kind) {
            (Step::Over, _) => Ok(()),
            (Step::Failure1, _) => Err(self.failure.unwrap_or(Failure::Message)),
            (_, FAILURE2) => {
                self.fail(Failure::of(message::explanation(data)));
                self.step = Step::Over;
                Ok(())
            }
            // Once, and again by one that is known: others could have us compute without end.
            (Step::Idle, NEGOTIATE) => {
                self.tid = tid;
                self.negotiate(data, random)
            }
            (Step::Reply(transaction), REPLY) if tid == self.tid => self.reply(&transaction, data),
            (Step::Success2, SUCCESS2) if tid == self.tid => {
                message::is_success2(data)?;
                self.step = Step::Idle;
                self.is_authenticated = true;
                Ok(())
            }
            (Step::Reply(_), REPLY) | (Step::Success2, SUCCESS2) => Err(Failure::Payload),
            _ => Err(Failure::Message),
        }
    }

    fn negotiate(&mut self, data: &[u8], random: Random<'_>) -> Result<(), Failure> {
        let (hash, group) = message::choose(data, &self.policy)?;
        let (challenge, seqnum) = (Value::random(hash, random), super::seqnum(random));
        let exchange = Exchange::new(group, random);
        let public = exchange.as_ref().map(Exchange::public).unwrap_or_default();
        let message = Challenge { hash, group, seqnum, challenge: &challenge, public: &public }.write(self.tid);
        self.step = Step::Challenge(Box::new(Transaction { hash, group, challenge, seqnum, exchange }), message);
        Ok(())
    }

    fn reply(&mut self, transaction: &Transaction, data: &[u8]) -> Result<(), Failure> {
        let Transaction { hash, group, ref challenge, seqnum, ref exchange } = *transaction;
        let reply = Reply::read(data, hash, group)?;
        let shared = match exchange {
            None => None,
            Some(exchange) => Some(exchange.shared(reply.public).ok_or(Failure::Group)?),
        };
        let shared = shared.as_ref().map(|shared| &shared[..]);
        let question = Question { hash, challenge, shared, seqnum, tid: self.tid };
        if !self.names.response(Role::Host, &self.host, &question).is(reply.response) {
            return Err(Failure::Failed);
        }
        let response = match (reply.challenge, &self.controller) {
            (None, _) => None,
            // It asks for what we do not know.
            (Some(_), None) => return Err(Failure::Failed),
            // A host that sent our own question back would get the answer from us.
            (Some((theirs, _)), _) if challenge.is(theirs) => return Err(Failure::Failed),
            (Some((theirs, seqnum)), Some(key)) => {
                let question = Question { challenge: theirs, seqnum, ..question };
                Some(self.names.response(Role::Controller, key, &question))
            }
        };
        self.is_authenticated |= response.is_none();
        self.step = Step::Success1(message::success1(self.tid, hash, response.as_deref()), response.is_some());
        Ok(())
    }

    /// Writes what the host is to be told into the data of an Authentication Receive, with zeroes
    /// behind it; how many bytes it says. The whole of `out` goes to the host.
    ///
    /// # Errors
    /// The status of the command: it is none of this protocol, has too little room, or there is
    /// nothing to tell.
    pub fn receive(&mut self, sqe: &Sqe, out: &mut [u8]) -> Result<usize, Code> {
        message::check(sqe, AUTHENTICATION_RECEIVE, out.len())?;
        let failure;
        let message: &[u8] = match &self.step {
            Step::Challenge(_, message) | Step::Success1(message, _) => message,
            Step::Failure1 => {
                failure = message::failure(FAILURE1, self.tid, self.failure.unwrap_or(Failure::Message));
                &failure
            }
            _ => return Err(Code::CommandSequenceError),
        };
        let len = message.len();
        let (front, rest) = out.split_at_mut_checked(len).ok_or(Code::InvalidField)?;
        front.copy_from_slice(message);
        rest.fill(0);
        self.step = match core::mem::replace(&mut self.step, Step::Over) {
            Step::Challenge(transaction, _) => Step::Reply(transaction),
            Step::Success1(_, true) => Step::Success2,
            Step::Success1(_, false) => Step::Idle,
            _ => Step::Over,
        };
        Ok(len)
    }

    /// Whether the host has shown that it knows the secret, so that other commands are taken. One
    /// that does it again stays so until it fails.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Whether it failed and the host has been told: close the queue, as the specification has it.
    pub fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    fn fail(&mut self, why: Failure) {
        self.is_authenticated = false;
        self.failure.get_or_insert(why);
        self.step = Step::Failure1;
    }
}
