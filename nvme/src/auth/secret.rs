//! Secrets as they are written down: `DHHC-1:01:…:`, as `nvme gen-dhchap-key` prints them, and
//! `NVMeTLSkey-1:01:…:`, as `nvme gen-tls-key` does.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use crc::{CRC_32_ISO_HDLC, Crc};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Hash;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// What a host, or a controller, and the other end both know (NVMe Base 2.0, 8.13.5.8; NVMe-oF
/// secret representation). Gone from memory when it is dropped; what shows it is
/// [`text`](Self::text) alone.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    /// By which it is transformed before its use.
    hash: Option<Hash>,
}

/// Why a secret is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Not in this form at all.
    #[error("a secret looks like {0}:00:<base64>: and this does not; make one with `nvme {1}`")]
    Form(&'static str, &'static str),
    /// An unknown transformation.
    #[error("a secret of this kind has no hash {0:02}")]
    Hash(u8),
    /// A length that there is not.
    #[error("a secret of {0} bytes, which none of this kind and hash has; it has 32, 48 or 64, and a key of TLS as many as its hash")]
    Length(usize),
    /// Mistyped.
    #[error("the check sum of the secret is wrong; copy it again, whole")]
    CheckSum,
}

impl Secret {
    /// One of 32, 48 or 64 bytes; `hash` says by what it is transformed before its use.
    ///
    /// # Errors
    /// [`SecretError::Length`].
    pub fn new(bytes: &[u8], hash: Option<Hash>) -> Result<Self, SecretError> {
        match bytes.len() {
            32 | 48 | 64 => Ok(Self { bytes: Zeroizing::new(bytes.to_vec()), hash }),
            len => Err(SecretError::Length(len)),
        }
    }

    /// Reads one as it is written down.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, SecretError> {
        let (id, bytes) = read(text, CHAP)?;
        let hash = if id == 0 { None } else { Some(Hash::of(id).ok_or(SecretError::Hash(id))?) };
        Self::new(&bytes, hash)
    }

    /// As it is written down.
    pub fn text(&self) -> Zeroizing<String> {
        write(CHAP, self.hash, &self.bytes)
    }

    /// What responses of the one called `nqn` are made with (8.13.5.8).
    pub(super) fn key(&self, nqn: &str) -> Zeroizing<Vec<u8>> {
        match self.hash {
            None => self.bytes.clone(),
            Some(hash) => Zeroizing::new(hash.hmac(&self.bytes, &[nqn.as_bytes(), b"NVMe-over-Fabrics"]).to_vec()),
        }
    }
}

/// A key of TLS as an administrator has it (NVMe/TCP 1.0, 3.6.1): the configured one, from which
/// those of connections come.
#[derive(Clone)]
pub struct TlsKey {
    bytes: Zeroizing<Vec<u8>>,
    hash: Option<Hash>,
}

impl TlsKey {
    /// Reads one as it is written down.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, SecretError> {
        let (id, bytes) = read(text, TLS)?;
        let (hash, fits) = match id {
            0 => (None, matches!(bytes.len(), 32 | 48)),
            1 => (Some(Hash::Sha256), bytes.len() == 32),
            2 => (Some(Hash::Sha384), bytes.len() == 48),
            _ => return Err(SecretError::Hash(id)),
        };
        if fits { Ok(Self { bytes, hash }) } else { Err(SecretError::Length(bytes.len())) }
    }

    /// As it is written down.
    pub fn text(&self) -> Zeroizing<String> {
        write(TLS, self.hash, &self.bytes)
    }

    /// The hash by which a connection's key is derived; without one the key is that itself.
    pub fn hash(&self) -> Option<Hash> {
        self.hash
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What such a text begins with, and what of nvme-cli makes one.
type Form = (&'static str, &'static str);

const CHAP: Form = ("DHHC-1", "gen-dhchap-key");
const TLS: Form = ("NVMeTLSkey-1", "gen-tls-key");

/// The hash's number and the bytes of `<form>:<hash>:<base64 of bytes and check sum>:`.
fn read(text: &str, (form, tool): Form) -> Result<(u8, Zeroizing<Vec<u8>>), SecretError> {
    let other = SecretError::Form(form, tool);
    let rest = text.trim().strip_prefix(form).and_then(|rest| rest.strip_prefix(':')).ok_or(other)?;
    let (id, rest) = rest.split_once(':').ok_or(other)?;
    let base64 = rest.strip_suffix(':').ok_or(other)?;
    let is_id = id.len() == 2 && id.bytes().all(|digit| digit.is_ascii_digit());
    let id = is_id.then(|| id.parse().ok()).flatten().ok_or(other)?;
    let mut bytes = Zeroizing::new(Base64::decode_vec(base64).map_err(|_| other)?);
    let len = bytes.len().checked_sub(4).ok_or(SecretError::Length(0))?;
    if CRC.checksum(&bytes[..len]).to_le_bytes() != bytes[len..] {
        return Err(SecretError::CheckSum);
    }
    bytes.truncate(len);
    Ok((id, bytes))
}

fn write((form, _): Form, hash: Option<Hash>, bytes: &[u8]) -> Zeroizing<String> {
    let mut whole = Zeroizing::new(bytes.to_vec());
    whole.extend_from_slice(&CRC.checksum(bytes).to_le_bytes());
    let base64 = Zeroizing::new(Base64::encode_string(&whole));
    Zeroizing::new(format!("{form}:{:02}:{}:", hash.map_or(0, |hash| hash as u8), *base64))
}

impl core::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TlsKey of {} bytes", self.bytes.len())
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secret of {} bytes", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";

    /// Texts and keys made with another implementation of base64, CRC and HMAC.
    const WRITTEN: [(&str, u8, usize, Option<Hash>, &str); 5] = [
        (
            "DHHC-1:00:AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk/PUPo:",
            0,
            32,
            None,
            "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9",
        ),
        (
            "DHHC-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
            1,
            32,
            Some(Hash::Sha256),
            "f109c882550b68e2bedef1a98db5d1818fa1f2a32dcf25d84cb3329beb558b81",
        ),
        (
            "DHHC-1:02:AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLIrqU+w==:",
            2,
            48,
            Some(Hash::Sha384),
            "178ea0cf3f5c4980771a50170bcfc8b23c3dabf37d66264ff7df41e3c4ec77d67f7c195af735f41f310d2f49a437e1e8",
        ),
        (
            "DHHC-1:03:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dzj6vH4/wYNFBsiKTA3PkVMU1phaG92fYSLkpmgp661vPDs2cs=:",
            3,
            64,
            Some(Hash::Sha512),
            "54052b02a22d4e254dc618a34f515fad059a6f1b3d21823d7194ad5fff18600d\
             7a241fb53b74ae6a4f97126cf4d8f0ca4a67553f5322e6f4328e3dc65a5ca6f5",
        ),
        (
            "DHHC-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09rh6O/2/QQLEhkgJy41PENKDH94wg==:",
            1,
            48,
            Some(Hash::Sha256),
            "270ffe4898d4c5144c16cff6d91ec051d0a9086441cde1cb4c76c28c78c9b185",
        ),
    ];

    #[test]
    fn s341_secrets_are_read_and_written_as_nvme_cli_does() {
        for (text, first, len, hash, key) in WRITTEN {
            let bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(7).wrapping_add(first)).collect();
            let secret = Secret::read(text).unwrap();
            assert_eq!((&secret.bytes[..], secret.hash), (&bytes[..], hash));
            assert_eq!(*Secret::new(&bytes, hash).unwrap().text(), text);
            let made: String = secret.key(HOST).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(made, key, "{text}");
        }
    }

    #[test]
    fn s341_a_secret_that_is_none_is_told_why() {
        let (good, form) = (WRITTEN[1].0, SecretError::Form("DHHC-1", "gen-dhchap-key"));
        let short = write(CHAP, None, &[7; 31]);
        for (text, why) in [
            ("", form),
            ("NVMeTLSkey-1:01:AAAA:", form),
            ("DHHC-10:01:AAAA:", form),
            ("DHHC-1:1:AAAA:", form),
            ("DHHC-1:+1:AAAA:", form),
            (good.trim_end_matches(':'), form),
            ("DHHC-1:01:not base64!:", form),
            (&good.replace(":01:", ":04:"), SecretError::Hash(4)),
            ("DHHC-1:01:AAAA:", SecretError::Length(0)),
            (&short, SecretError::Length(31)),
            (&good.replace("AQgP", "AQgQ"), SecretError::CheckSum),
            ("DHHC-1:01:AAAAAAAA:", SecretError::CheckSum),
        ] {
            assert_eq!(Secret::read(text).unwrap_err(), why, "{text:?}");
        }
        assert_eq!(form.to_string(), "a secret looks like DHHC-1:00:<base64>: and this does not; make one with `nvme gen-dhchap-key`");
        assert!(Secret::read(&format!(" {good}\n")).is_ok(), "as it comes out of a file");
        assert_eq!(format!("{:?}", Secret::read(good).unwrap()), "Secret of 32 bytes");
    }

    /// The bytes of the secrets, in the other form.
    #[test]
    fn s341_keys_of_tls_are_read_and_written_as_nvme_cli_does() {
        let text = "NVMeTLSkey-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:";
        let key = TlsKey::read(text).unwrap();
        let wanted: Vec<u8> = (0..32).map(|at: u8| at.wrapping_mul(7).wrapping_add(1)).collect();
        assert_eq!((key.bytes(), key.hash(), &**key.text()), (&wanted[..], Some(Hash::Sha256), text));
        assert_eq!(format!("{key:?}"), "TlsKey of 32 bytes");
        for (id, len, fits) in [(0, 32, true), (0, 48, true), (0, 64, false), (1, 48, false), (2, 48, true), (2, 32, false), (1, 0, false)]
        {
            let hash = Hash::of(id);
            let read = TlsKey::read(&write(TLS, hash, &vec![3; len]));
            assert_eq!(read.err(), (!fits).then_some(SecretError::Length(len)), "{id} {len}");
        }
        assert_eq!(TlsKey::read(&write(TLS, Some(Hash::Sha512), &[3; 64])).err(), Some(SecretError::Hash(3)));
        assert_eq!(TlsKey::read(WRITTEN[1].0).err(), Some(SecretError::Form("NVMeTLSkey-1", "gen-tls-key")));
    }
}
