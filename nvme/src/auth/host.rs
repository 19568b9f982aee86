//! The host's end.

use alloc::vec::Vec;

use thiserror::Error;
use zeroize::Zeroizing;

use super::dh::Exchange;
use super::message::{self, CHALLENGE, Challenge, FAILURE1, FAILURE2, Head, LONGEST, Reply, SUCCESS1};
use super::{Failure, Hash, Names, Policy, Question, Random, Role, Secret, Value};
use crate::command::Sqe;
use crate::status::Status;

/// What a host does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Submits this with [`Host::data`], and tells by [`Host::done`] how it went.
    Send(Sqe),
    /// Submits this, with room for so many bytes, and tells by [`Host::done`] what came.
    Receive(Sqe, u32),
    /// Goes on: both know what they have to.
    Authenticated,
    /// Ends the connection.
    Failed(HostError),
}

/// Why a host does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostError {
    /// What the controller said is wrong.
    #[error("authenticating the controller: {0}")]
    Controller(Failure),
    /// The controller has refused what the host said.
    #[error("the controller refuses the host (reason {0:#04x}); compare the secrets of both ends")]
    Refused(u8),
    /// A command failed.
    #[error("a command of authentication failed: {0}")]
    Command(Status),
}

/// The host's end of the authentication of one queue.
#[derive(Debug)]
pub struct Host {
    policy: Policy,
    names: Names,
    host: Zeroizing<Vec<u8>>,
    controller: Option<Zeroizing<Vec<u8>>>,
    tid: u16,
    at: At,
    data: Vec<u8>,
    /// What the controller has to answer, and by which hash.
    wanted: Option<(Hash, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Negotiate,
    Challenge,
    Reply,
    Success1,
    Success2,
    Failure2(Failure),
    Authenticated,
    Failed(HostError),
}

impl Host {
    /// Of a queue to the subsystem called `subnqn`. With the controller's secret, the controller
    /// has to show that it knows that. `tid` names the transaction, and differs from that before.
    pub fn new(policy: Policy, hostnqn: &str, subnqn: &str, host: &Secret, controller: Option<&Secret>, tid: u16) -> Self {
        let data = message::negotiate(&policy, tid);
        Self {
            policy,
            names: Names { host: hostnqn.into(), subsystem: subnqn.into() },
            host: host.key(hostnqn),
            controller: controller.map(|secret| secret.key(subnqn)),
            tid,
            at: At::Negotiate,
            data,
            wanted: None,
        }
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        match self.at {
            At::Negotiate | At::Reply | At::Success2 | At::Failure2(_) => Step::Send(Sqe::authentication_send(self.data.len() as u32)),
            At::Challenge | At::Success1 => Step::Receive(Sqe::authentication_receive(LONGEST as u32), LONGEST as u32),
            At::Authenticated => Step::Authenticated,
            At::Failed(why) => Step::Failed(why),
        }
    }

    /// The data of [`Step::Send`].
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The command of [`step`](Self::step) is done; `data` is what came by a receive.
    pub fn done(&mut self, status: Status, data: &[u8], random: Random<'_>) {
        if !status.is_success() && !matches!(self.at, At::Authenticated | At::Failed(_)) {
            self.at = At::Failed(HostError::Command(status));
        }
        self.at = match self.at {
            At::Negotiate => At::Challenge,
            At::Reply => At::Success1,
            At::Success2 => At::Authenticated,
            At::Failure2(why) => At::Failed(HostError::Controller(why)),
            At::Challenge | At::Success1 => self.message(data, random).unwrap_or_else(|why| {
                self.data = message::failure(FAILURE2, self.tid, why);
                At::Failure2(why)
            }),
            ended @ (At::Authenticated | At::Failed(_)) => ended,
        };
    }

    /// Where a message leads.
    fn message(&mut self, data: &[u8], random: Random<'_>) -> Result<At, Failure> {
        let head = Head::of(data)?;
        if head.kind() == FAILURE1 {
            return Ok(At::Failed(HostError::Refused(message::explanation(data))));
        }
        if head.tid.get() != self.tid {
            return Err(Failure::Payload);
        }
        match (self.at, head.kind()) {
            (At::Challenge, CHALLENGE) => self.challenge(data, random),
            (At::Success1, SUCCESS1) => self.success(data),
            _ => Err(Failure::Message),
        }
    }

    fn challenge(&mut self, data: &[u8], random: Random<'_>) -> Result<At, Failure> {
        let Challenge { hash, group, seqnum, challenge, public } = Challenge::read(data)?;
        if !self.policy.hashes.contains(&hash) {
            return Err(Failure::Hash);
        }
        if !self.policy.groups.contains(&group) {
            return Err(Failure::Group);
        }
        let exchange = Exchange::new(group, random);
        let shared = match &exchange {
            None => None,
            Some(exchange) => Some(exchange.shared(public).ok_or(Failure::Group)?),
        };
        let shared = shared.as_ref().map(|shared| &shared[..]);
        let question = Question { hash, challenge, shared, seqnum, tid: self.tid };
        let response = self.names.response(Role::Host, &self.host, &question);
        let mine = match &self.controller {
            None => None,
            Some(key) => {
                let (challenge, seqnum) = (Value::random(hash, random), super::seqnum(random));
                let question = Question { challenge: &challenge, seqnum, ..question };
                self.wanted = Some((hash, self.names.response(Role::Controller, key, &question)));
                Some((challenge, seqnum))
            }
        };
        let public = exchange.as_ref().map(Exchange::public).unwrap_or_default();
        let challenge = mine.as_ref().map(|(challenge, seqnum)| (&challenge[..], *seqnum));
        self.data = Reply { response: &response, challenge, public: &public }.write(self.tid);
        Ok(At::Reply)
    }

    fn success(&mut self, data: &[u8]) -> Result<At, Failure> {
        let Some((hash, wanted)) = self.wanted.take() else { return Ok(At::Authenticated) };
        // One that leaves the answer out does not know it.
        let response = message::response_of(data, hash)?.ok_or(Failure::Failed)?;
        if !wanted.is(response) {
            return Err(Failure::Failed);
        }
        self.data = message::success2(self.tid);
        Ok(At::Success2)
    }
}
