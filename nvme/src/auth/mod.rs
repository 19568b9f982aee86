//! DH-HMAC-CHAP (NVMe Base 2.0, 8.13): a host shows that it knows a secret, and a controller may
//! have to show the same, while neither sends one. Sans-io: messages go in and come out.
//!
//! ```text
//!            Host                                  Target
//!   Negotiate  ──Authentication Send──►    which hashes and groups
//!              ◄─Authentication Receive──  Challenge: a number nobody has seen before
//!   Reply      ──Authentication Send──►    what only who has the secret makes of it
//!              ◄─Authentication Receive──  Success1, with the controller's answer to our number
//!   Success2   ──Authentication Send──►    (only if the controller was asked)
//! ```
//!
//! Each queue is authenticated for itself, after its Connect was accepted with [`REQUIRED`] in
//! AUTHREQ; until then every other command is answered with
//! [`Code::AuthenticationRequired`](crate::Code::AuthenticationRequired), which the caller sees to,
//! as it does to how long a host may take.
//!
//! Random bytes are asked of the caller, by a function that fills what it is given. Whoever can
//! guess them can answer for somebody else: they come from the system, or from hardware.

mod dh;
mod host;
mod message;
mod secret;
mod target;
mod tls;

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

pub use dh::Group;
pub use host::{Host, HostError, Step};
pub use message::LONGEST;
pub use secret::{Secret, SecretError, TlsKey};
pub use target::Target;
pub use tls::{TlsIdentity, TlsPsk};

/// AUTHREQ of Connect's response (ATR): the host has to authenticate itself.
pub const REQUIRED: u16 = crate::fabrics::AUTHREQ_ATR;

/// A function that fills what it is given with bytes that nobody can guess.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Hash functions, by their identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hash {
    /// SHA-256.
    Sha256 = 1,
    /// SHA-384.
    Sha384 = 2,
    /// SHA-512.
    Sha512 = 3,
}

/// What one end takes, the best first.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Hash functions.
    pub hashes: Vec<Hash>,
    /// Groups of the key exchange; [`Group::Null`] is to have none.
    pub groups: Vec<Group>,
}

impl Default for Policy {
    /// All of them, the cheapest first. Whoever wants a key exchange leaves [`Group::Null`] out.
    fn default() -> Self {
        Self { hashes: Hash::ALL.into(), groups: Group::ALL.into() }
    }
}

/// Why an authentication fails: what Failure1 and Failure2 say (8.13.5.7, 8.13.5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u8)]
pub enum Failure {
    /// The response is wrong.
    #[error("the response was made with another secret than ours; compare the secrets of both ends")]
    Failed = 1,
    /// No protocol in common.
    #[error("the host offers no DH-HMAC-CHAP")]
    Protocol = 2,
    /// A secure channel was asked for.
    #[error("a secure channel was asked for, and there is none; ask for authentication alone")]
    Concatenation = 3,
    /// No hash in common.
    #[error("no hash function that both ends take; allow another")]
    Hash = 4,
    /// No group in common, or a number that is none of the group's.
    #[error("no group that both ends take, or a number outside of it; allow another")]
    Group = 5,
    /// Malformed.
    #[error("a message of authentication is malformed")]
    Payload = 6,
    /// Out of order.
    #[error("a message of authentication came when it may not")]
    Message = 7,
}

/// The two that speak.
#[derive(Clone, Debug)]
struct Names {
    host: String,
    subsystem: String,
}

/// Who answers.
#[derive(Clone, Copy)]
enum Role {
    Host,
    Controller,
}

/// What goes into a response beside the secret (8.13.5.4, 8.13.5.5).
struct Question<'a> {
    hash: Hash,
    challenge: &'a [u8],
    /// What the key exchange gave.
    shared: Option<&'a [u8]>,
    seqnum: u32,
    tid: u16,
}

impl Names {
    /// What `role` answers to a question.
    fn response(&self, role: Role, key: &[u8], question: &Question<'_>) -> Value {
        let Question { hash, challenge, shared, seqnum, tid } = *question;
        let augmented = shared.map(|shared| hash.hmac(&hash.digest(shared), &[challenge]));
        let challenge = augmented.as_deref().unwrap_or(challenge);
        let (who, first, second) = match role {
            Role::Host => ("HostHost", &self.host, &self.subsystem),
            Role::Controller => ("Controller", &self.subsystem, &self.host),
        };
        // Between them SC_C: no secure channel.
        let numbers: [&[u8]; 3] = [&seqnum.to_le_bytes(), &tid.to_le_bytes(), &[0]];
        let [seqnum, tid, channel] = numbers;
        hash.hmac(key, &[challenge, seqnum, tid, channel, who.as_bytes(), first.as_bytes(), &[0], second.as_bytes()])
    }
}

impl Failure {
    /// The one that this code stands for; [`Failed`](Self::Failed) for an unknown one.
    fn of(code: u8) -> Self {
        let all = [Self::Protocol, Self::Concatenation, Self::Hash, Self::Group, Self::Payload, Self::Message];
        all.into_iter().find(|failure| *failure as u8 == code).unwrap_or(Self::Failed)
    }
}

impl Hash {
    /// The one of this identifier.
    pub fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| *hash as u8 == id)
    }

    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// What configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a value.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Value {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => mac::<Hmac<Sha384>>(key, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        }
    }

    fn digest(self, bytes: &[u8]) -> Value {
        match self {
            Self::Sha256 => Value::new(&Sha256::digest(bytes)),
            Self::Sha384 => Value::new(&Sha384::digest(bytes)),
            Self::Sha512 => Value::new(&Sha512::digest(bytes)),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Value {
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length (RFC 2104, 3)") };
    parts.iter().for_each(|part| mac.update(part));
    Value::new(&mac.finalize().into_bytes())
}

/// A hash's value, or random bytes of that length. Gone from memory when it is dropped.
#[derive(Clone)]
struct Value {
    bytes: Zeroizing<[u8; 64]>,
    len: usize,
}

impl Value {
    fn new(bytes: &[u8]) -> Self {
        let mut value = Self { bytes: Zeroizing::new([0; 64]), len: bytes.len() };
        value.bytes[..bytes.len()].copy_from_slice(bytes);
        value
    }

    fn random(hash: Hash, random: Random<'_>) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        random(&mut bytes[..hash.length()]);
        Self { bytes, len: hash.length() }
    }

    /// Whether it is `other`, in a time that does not depend on where they differ.
    fn is(&self, other: &[u8]) -> bool {
        self[..].ct_eq(other).into()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl core::fmt::Debug for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Value of {} bytes", self.len)
    }
}

/// A sequence number, which is not 0.
fn seqnum(random: Random<'_>) -> u32 {
    let mut bytes = [0; 4];
    random(&mut bytes);
    let number = u32::from_le_bytes(bytes).max(1);
    bytes.zeroize();
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";
    const SUBSYSTEM: &str = "nqn.2024-01.example:disk";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
    }

    fn names() -> Names {
        Names { host: HOST.into(), subsystem: SUBSYSTEM.into() }
    }

    fn key(first: u8, len: u8) -> Vec<u8> {
        (0..len).map(|at| at.wrapping_mul(7).wrapping_add(first)).collect()
    }

    /// RFC 4231, 4.3 (test case 2).
    #[test]
    fn the_hmac_of_the_rfc() {
        let of = |hash: Hash| hex(&hash.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        assert_eq!(of(Hash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(of(Hash::Sha384).starts_with("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"));
        assert!(of(Hash::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6"));
    }

    /// Values computed with another implementation of HMAC, after the words of 8.13.5.4 and
    /// 8.13.5.5.
    #[test]
    fn s342_responses_are_those_of_the_specification() {
        let host = Secret::new(&key(1, 32), Some(Hash::Sha256)).unwrap().key(HOST);
        let controller = Secret::new(&key(3, 64), Some(Hash::Sha512)).unwrap().key(SUBSYSTEM);
        let wanted = [
            (
                Hash::Sha256,
                "b2f8ef9e76ee5dfe328a095d7f53ec61a157055813ec3f9aee97849e010e785e",
                "55305a201357c9b935ddb9ac4fef70411158475554a930c3195c737c07fa69a5",
            ),
            (
                Hash::Sha384,
                "47cbeabc7b94e8883d8d720de0d3c012de92f3608e83a92cddcd383bc6bdabd89ad94a2460b357256f3aecb39ad21942",
                "4883795bea4fcf4072eb8296ea7d36302a702fa1631b305b034912ef049768022872b53d8baf9cb9f80cd0eae5ffce77",
            ),
            (
                Hash::Sha512,
                "e99c0224b0c230799e74ff0ce6f0e395882e20a2d199e99cea66b6a2d793a2b0\
                 6e966c2443fa9613201b33e61f5aaa8c78c18d27118c75392a7c424fc607730f",
                "cec4c04a4fd9e195945017a73664058ef07d2251106f9721ba6a0e05f676f415\
                 8efa0054ef030f0674dd9f3faa9278b661e5eecbe7dc97cc59c58fbe289e9e8b",
            ),
        ];
        for (hash, by_host, by_controller) in wanted {
            let challenge: Vec<u8> = (0..hash.length() as u8).collect();
            let question = Question { hash, challenge: &challenge, shared: None, seqnum: 0x0102_0304, tid: 0x0506 };
            assert_eq!(hex(&names().response(Role::Host, &host, &question)), by_host);
            assert_eq!(hex(&names().response(Role::Controller, &controller, &question)), by_controller);
        }
    }

    #[test]
    fn s342_a_key_exchange_goes_into_the_response() {
        let host = Secret::new(&key(1, 32), Some(Hash::Sha256)).unwrap().key(HOST);
        let challenge: Vec<u8> = (0..32).collect();
        let shared = dh::tests::shared();
        let question = Question { hash: Hash::Sha256, challenge: &challenge, shared: Some(&shared), seqnum: 0x0102_0304, tid: 0x0506 };
        let response = hex(&names().response(Role::Host, &host, &question));
        assert_eq!(response, "7921ae310c94df1d5efa980d0e569ca5547c5ec293eb6d21bc9b4dfedb133b1d");
    }

    #[test]
    fn a_value_does_not_show_itself() {
        assert_eq!(alloc::format!("{:?}", Value::new(&[0xAB; 48])), "Value of 48 bytes");
        let value = Value::new(&[7; 32]);
        assert!(value.is(&[7; 32]) && !value.is(&[7; 31]) && !value.is(&[8; 32]) && !value.is(&[]));
    }
}
