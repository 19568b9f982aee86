//! The messages, as they are on the wire (NVMe Base 2.0, 8.13.5).

use alloc::vec::Vec;
use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Failure, Group, Hash, Policy};
use crate::command::Sqe;
use crate::fabrics::{AUTHENTICATION_RECEIVE, AUTHENTICATION_SEND};
use crate::status::Code;

/// Bytes of the longest message: a reply with a number of the largest group.
pub const LONGEST: usize = size_of::<ReplyHead>() + 2 * 64 + 1024;

/// AUTH_TYPE: messages of any protocol, and those of DH-HMAC-CHAP.
const COMMON: u8 = 0;
const CHAP: u8 = 1;

/// AUTH_ID of the protocol in AUTH_Negotiate.
const PROTOCOL: u8 = 1;

/// AUTH_TYPE and AUTH_ID of a message.
pub(super) type Kind = (u8, u8);

pub(super) const NEGOTIATE: Kind = (COMMON, 0x00);
pub(super) const CHALLENGE: Kind = (CHAP, 0x01);
pub(super) const REPLY: Kind = (CHAP, 0x02);
pub(super) const SUCCESS1: Kind = (CHAP, 0x03);
pub(super) const SUCCESS2: Kind = (CHAP, 0x04);
pub(super) const FAILURE2: Kind = (COMMON, 0xF0);
pub(super) const FAILURE1: Kind = (COMMON, 0xF1);

/// What each message begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Head {
    kind: u8,
    id: u8,
    reserved: U16,
    pub(super) tid: U16,
}

/// AUTH_Negotiate with one protocol.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Negotiate {
    head: Head,
    /// SC_C: the secure channel that is wanted.
    channel: u8,
    /// NAPD: protocols that follow.
    protocols: u8,
    auth_id: u8,
    reserved: u8,
    /// HALEN.
    hashes_len: u8,
    /// DHLEN.
    groups_len: u8,
    hashes: [u8; 30],
    groups: [u8; 30],
}

/// DH-HMAC-CHAP_Challenge, before the challenge and the number of the group.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ChallengeHead {
    head: Head,
    /// HL.
    hash_len: u8,
    reserved1: u8,
    hash: u8,
    group: u8,
    /// DHVLEN.
    public_len: U16,
    seqnum: U32,
}

/// DH-HMAC-CHAP_Reply, before the response, the host's challenge, and the number of the group.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ReplyHead {
    head: Head,
    hash_len: u8,
    reserved1: u8,
    /// CVALID: whether there is a challenge of the host.
    has_challenge: u8,
    reserved2: u8,
    public_len: U16,
    seqnum: U32,
}

/// DH-HMAC-CHAP_Success1, before the controller's response.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Success1Head {
    head: Head,
    hash_len: u8,
    reserved1: u8,
    /// RVALID.
    has_response: u8,
    reserved2: [u8; 7],
}

/// DH-HMAC-CHAP_Success2.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Success2 {
    head: Head,
    reserved: [u8; 10],
}

/// Failure1 and Failure2.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FailureMessage {
    head: Head,
    /// Reason code: authentication failure.
    reason: u8,
    explanation: u8,
}

const_assert_eq!(size_of::<Negotiate>(), 72);
const_assert_eq!(offset_of!(Negotiate, hashes), 12);
const_assert_eq!(size_of::<ChallengeHead>(), 16);
const_assert_eq!(size_of::<ReplyHead>(), 16);
const_assert_eq!(size_of::<Success1Head>(), 16);
const_assert_eq!(size_of::<Success2>(), 16);
const_assert_eq!(size_of::<FailureMessage>(), 8);

impl Head {
    fn new((kind, id): Kind, tid: u16) -> Self {
        Self { kind, id, reserved: 0.into(), tid: tid.into() }
    }

    pub(super) fn kind(&self) -> Kind {
        (self.kind, self.id)
    }

    /// The front of a message.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Failure> {
        Self::read_from_prefix(bytes).map(|(head, _)| head).map_err(|_| Failure::Payload)
    }
}

/// The fixed part of a message, and what follows it.
fn split<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<(&T, &[u8]), Failure> {
    T::ref_from_prefix(bytes).map_err(|_| Failure::Payload)
}

/// Takes `len` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Failure> {
    bytes.split_off(..len).ok_or(Failure::Payload)
}

pub(super) fn negotiate(policy: &Policy, tid: u16) -> Vec<u8> {
    let mut message = Negotiate { head: Head::new(NEGOTIATE, tid), protocols: 1, auth_id: PROTOCOL, ..Negotiate::new_zeroed() };
    for (to, hash) in message.hashes.iter_mut().zip(&policy.hashes) {
        *to = *hash as u8;
        message.hashes_len += 1;
    }
    for (to, group) in message.groups.iter_mut().zip(&policy.groups) {
        *to = *group as u8;
        message.groups_len += 1;
    }
    message.as_bytes().to_vec()
}

/// The best of `policy` that a host offers.
//= NVMe Base 2.0, 8.13.5.1
pub(super) fn choose(bytes: &[u8], policy: &Policy) -> Result<(Hash, Group), Failure> {
    let (message, _) = split::<Negotiate>(bytes)?;
    if message.channel != 0 {
        return Err(Failure::Concatenation);
    }
    if message.protocols == 0 || message.auth_id != PROTOCOL {
        return Err(Failure::Protocol);
    }
    let hashes = message.hashes.get(..message.hashes_len.into()).ok_or(Failure::Payload)?;
    let groups = message.groups.get(..message.groups_len.into()).ok_or(Failure::Payload)?;
    let hash = policy.hashes.iter().find(|hash| hashes.contains(&(**hash as u8))).ok_or(Failure::Hash)?;
    let group = policy.groups.iter().find(|group| groups.contains(&(**group as u8))).ok_or(Failure::Group)?;
    Ok((*hash, *group))
}

/// What a challenge says.
pub(super) struct Challenge<'a> {
    pub(super) hash: Hash,
    pub(super) group: Group,
    pub(super) seqnum: u32,
    pub(super) challenge: &'a [u8],
    pub(super) public: &'a [u8],
}

impl<'a> Challenge<'a> {
    pub(super) fn write(&self, tid: u16) -> Vec<u8> {
        let message = ChallengeHead {
            head: Head::new(CHALLENGE, tid),
            hash_len: self.hash.length() as u8,
            reserved1: 0,
            hash: self.hash as u8,
            group: self.group as u8,
            public_len: (self.public.len() as u16).into(),
            seqnum: self.seqnum.into(),
        };
        [message.as_bytes(), self.challenge, self.public].concat()
    }

    //= NVMe Base 2.0, 8.13.5.3
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Failure> {
        let (message, mut rest) = split::<ChallengeHead>(bytes)?;
        let hash = Hash::of(message.hash).ok_or(Failure::Hash)?;
        let group = Group::of(message.group).ok_or(Failure::Group)?;
        if usize::from(message.hash_len) != hash.length() || usize::from(message.public_len.get()) != group.length() {
            return Err(Failure::Payload);
        }
        let challenge = take(&mut rest, hash.length())?;
        let public = take(&mut rest, group.length())?;
        Ok(Self { hash, group, seqnum: message.seqnum.get(), challenge, public })
    }
}

/// What a reply says.
pub(super) struct Reply<'a> {
    pub(super) response: &'a [u8],
    /// What the controller is asked, and with which sequence number.
    pub(super) challenge: Option<(&'a [u8], u32)>,
    pub(super) public: &'a [u8],
}

impl<'a> Reply<'a> {
    pub(super) fn write(&self, tid: u16) -> Vec<u8> {
        let (challenge, seqnum) = self.challenge.unwrap_or((&[0; 64][..self.response.len()], 0));
        let message = ReplyHead {
            head: Head::new(REPLY, tid),
            hash_len: self.response.len() as u8,
            reserved1: 0,
            has_challenge: self.challenge.is_some().into(),
            reserved2: 0,
            public_len: (self.public.len() as u16).into(),
            seqnum: seqnum.into(),
        };
        [message.as_bytes(), self.response, challenge, self.public].concat()
    }

    /// Of a hash and a group as the challenge has named them.
    //= NVMe Base 2.0, 8.13.5.4
    pub(super) fn read(bytes: &'a [u8], hash: Hash, group: Group) -> Result<Self, Failure> {
        let (message, mut rest) = split::<ReplyHead>(bytes)?;
        if usize::from(message.hash_len) != hash.length() || usize::from(message.public_len.get()) != group.length() {
            return Err(Failure::Payload);
        }
        let response = take(&mut rest, hash.length())?;
        let challenge = take(&mut rest, hash.length())?;
        let public = take(&mut rest, group.length())?;
        // Without a sequence number it is for keys of a secure channel, and wants no answer.
        let seqnum = message.seqnum.get();
        let challenge = (message.has_challenge == 1 && seqnum != 0).then_some((challenge, seqnum));
        Ok(Self { response, challenge, public })
    }
}

/// Success1, with the response of a controller that was asked.
pub(super) fn success1(tid: u16, hash: Hash, response: Option<&[u8]>) -> Vec<u8> {
    let head = Head::new(SUCCESS1, tid);
    let message =
        Success1Head { head, hash_len: hash.length() as u8, reserved1: 0, has_response: response.is_some().into(), reserved2: [0; 7] };
    [message.as_bytes(), response.unwrap_or(&[0; 64][..hash.length()])].concat()
}

/// The response in a Success1.
//= NVMe Base 2.0, 8.13.5.5
pub(super) fn response_of(bytes: &[u8], hash: Hash) -> Result<Option<&[u8]>, Failure> {
    let (message, mut rest) = split::<Success1Head>(bytes)?;
    if message.has_response != 1 {
        return Ok(None);
    }
    if usize::from(message.hash_len) != hash.length() {
        return Err(Failure::Payload);
    }
    take(&mut rest, hash.length()).map(Some)
}

pub(super) fn success2(tid: u16) -> Vec<u8> {
    Success2 { head: Head::new(SUCCESS2, tid), reserved: [0; 10] }.as_bytes().to_vec()
}

/// Whether a Success2, which says nothing but that, is whole.
pub(super) fn is_success2(bytes: &[u8]) -> Result<(), Failure> {
    split::<Success2>(bytes).map(|_| ())
}

/// Failure1 or Failure2.
pub(super) fn failure(kind: Kind, tid: u16, why: Failure) -> Vec<u8> {
    FailureMessage { head: Head::new(kind, tid), reason: 1, explanation: why as u8 }.as_bytes().to_vec()
}

/// Why the other end gives up.
pub(super) fn explanation(bytes: &[u8]) -> u8 {
    split::<FailureMessage>(bytes).map_or(0, |(message, _)| message.explanation)
}

/// SPSP1, SPSP0 and SECP of Authentication Send and Receive, in CDW10 (6.1, 6.2).
const SECURITY: u32 = 0xE901_0100;

impl Sqe {
    /// Authentication Send of a message of so many bytes.
    pub fn authentication_send(length: u32) -> Self {
        Self { cdw10: SECURITY.into(), cdw11: length.into(), ..Self::fabrics(AUTHENTICATION_SEND) }
    }

    /// Authentication Receive into so many bytes.
    pub fn authentication_receive(length: u32) -> Self {
        Self { cdw10: SECURITY.into(), cdw11: length.into(), ..Self::fabrics(AUTHENTICATION_RECEIVE) }
    }
}

/// Whether a command of authentication is one of this protocol, with `length` bytes of data.
pub(super) fn check(sqe: &Sqe, fctype: u8, length: usize) -> Result<(), Code> {
    let is_ours = sqe.fctype() == fctype && sqe.cdw10.get() == SECURITY;
    if is_ours && length > 0 && sqe.cdw11.get() as usize == length { Ok(()) } else { Err(Code::InvalidField) }
}
