//! Keys of TLS connections, out of the one that an administrator has (NVMe/TCP 1.1, 3.6.1.3 to
//! 3.6.1.5).
//!
//! ```text
//!   configured ──"HostNQN"──► retained ──"nvme-tls-psk", identity──► the key of TLS
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::{Hash, TlsKey};

/// A key that TLS takes, and what it is called there. Gone from memory when it is dropped.
#[derive(Clone)]
pub struct TlsPsk {
    /// Its name, which is no secret.
    pub identity: String,
    /// It.
    pub secret: Zeroizing<Vec<u8>>,
    /// The hash that it is for: with SHA-256 goes AES-128-GCM, with SHA-384 AES-256-GCM.
    pub hash: Hash,
}

/// How identities are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsIdentity {
    /// Of the two names, as NVMe/TCP 1.0 has it.
    Names = 0,
    /// Of the two names and a digest of the key, as NVMe/TCP 1.1 has it.
    Digest = 1,
}

impl TlsPsk {
    /// The host's and the subsystem's name in an identity.
    pub fn names(identity: &str) -> Option<(&str, &str)> {
        let mut words = identity.split(' ');
        words.next().filter(|form| ["NVMe0R01", "NVMe0R02", "NVMe1R01", "NVMe1R02"].contains(form))?;
        Some((words.next()?, words.next()?))
    }
}

impl core::fmt::Debug for TlsPsk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TlsPsk {}", self.identity)
    }
}

impl TlsKey {
    /// The key of connections between these two, `None` if their names are too long for it.
    pub fn psk(&self, hostnqn: &str, subnqn: &str, form: TlsIdentity) -> Option<TlsPsk> {
        let hash = if self.bytes().len() == Hash::Sha384.length() { Hash::Sha384 } else { Hash::Sha256 };
        let retained = match self.hash() {
            None => Zeroizing::new(self.bytes().to_vec()),
            Some(hash) => derive(hash, self.bytes(), "HostNQN", hostnqn)?,
        };
        let (version, id) = (form as u8, hash as u8);
        let mut identity = format!("NVMe{version}R{id:02} {hostnqn} {subnqn}");
        let secret = match form {
            TlsIdentity::Names => derive(hash, &retained, "nvme-tls-psk", &identity)?,
            TlsIdentity::Digest => {
                let parts = [hostnqn, " ", subnqn, " ", "NVMe-over-Fabrics"].map(str::as_bytes);
                let digest = Base64::encode_string(&hash.hmac(&retained, &parts));
                identity = format!("{identity} {digest}");
                derive(hash, &retained, "nvme-tls-psk", &format!("{id:02} {digest}"))?
            }
        };
        Some(TlsPsk { identity, secret, hash })
    }
}

/// As many bytes as the hash has, by HKDF-Extract with no salt (RFC 5869, 2.2) and
/// HKDF-Expand-Label (RFC 8446, 7.1): one block.
fn derive(hash: Hash, key: &[u8], label: &str, context: &str) -> Option<Zeroizing<Vec<u8>>> {
    const TLS13: &str = "tls13 ";
    let length = u16::try_from(hash.length()).ok()?.to_be_bytes();
    let (labels, contexts) = (u8::try_from(TLS13.len() + label.len()).ok()?, u8::try_from(context.len()).ok()?);
    let secret = hash.hmac(&[0; 64][..hash.length()], &[key]);
    let parts: [&[u8]; 7] = [&length, &[labels], TLS13.as_bytes(), label.as_bytes(), &[contexts], context.as_bytes(), &[1]];
    Some(Zeroizing::new(hash.hmac(&secret, &parts).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";
    const SUBSYSTEM: &str = "nqn.2024-01.example:disk";

    /// Computed with another implementation of HMAC and base64: the key, and of each form of
    /// identity the digest and the key of TLS.
    const DERIVED: [(&str, &str, &str, &str); 4] = [
        (
            "NVMeTLSkey-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
            "eb40d99efe65d5c0f738c5de4795c4212625ca5f6c014ce36a355abd3f0d614f",
            "WNs0eUT4qYq4yYmhOw4top858Ufioxi02A2GZW1Whcc=",
            "2f69f71f34cd09666e793c123fd7b62119821e9e92a9aa5a372b1c687c6b55b0",
        ),
        (
            "NVMeTLSkey-1:02:AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLIrqU+w==:",
            "cf05f7763199cdf91ca39102a24a03ac9073a11ef0d12d8f093d9bbcaf93e3e3809b9550fdced8033b1364aaea0fb703",
            "bHK2Rq9UeUsIhNWJxkmEitx3T+dwLg4azm16RmnOFttJZY61JepRYQn5UeVN6ifm",
            "5c40a2a3f010a68bd61ed9ae6478d10b781492cb228179dca09f61e0f4a2c081e0a84e71f5dcd68515cc2fdcab557a9c",
        ),
        (
            "NVMeTLSkey-1:00:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
            "efcacfb349f691667ae31bd1450bea9130a261477f750e1c63640a9d157d79db",
            "v1mqWUknuEag82dfPZMxoKnmRPsjYccunI1D8EqMpPs=",
            "2e38c3571cdac422abf409081470c60e33d42d4f52e96ec8aebeb31ef0319069",
        ),
        (
            "NVMeTLSkey-1:00:AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLIrqU+w==:",
            "ff1d044191dbebd700e79aaba0c1dba7d7abd26e9406a36063a0441d49327082c8057046b67c13dfdac1685e1955005a",
            "vcdLbBf4MZz5U/HAFRya1ytJsbqgW92YCHmn83Rp1SMcvlVrVGda8/f/+GSyVTP0",
            "8469e1a0a9718c8afd6dbda33c07ae1939e53fc08ae147b3263ade74ba72d67b18d11f11f0c2edd6243ed2ec5cb14a93",
        ),
    ];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn s365_keys_of_tls_are_those_of_the_specification() {
        for (text, by_names, digest, by_digest) in DERIVED {
            let key = TlsKey::read(text).unwrap();
            let (id, hash) = if key.bytes().len() == 32 { ("01", Hash::Sha256) } else { ("02", Hash::Sha384) };
            let psk = key.psk(HOST, SUBSYSTEM, TlsIdentity::Names).unwrap();
            assert_eq!((psk.identity, hex(&psk.secret), psk.hash), (format!("NVMe0R{id} {HOST} {SUBSYSTEM}"), by_names.into(), hash));
            let psk = key.psk(HOST, SUBSYSTEM, TlsIdentity::Digest).unwrap();
            let identity = format!("NVMe1R{id} {HOST} {SUBSYSTEM} {digest}");
            assert_eq!((&psk.identity, hex(&psk.secret), psk.hash), (&identity, by_digest.into(), hash));
            assert_eq!(TlsPsk::names(&psk.identity), Some((HOST, SUBSYSTEM)));
            assert!(!format!("{psk:?}").contains(by_digest));
        }
    }

    #[test]
    fn s365_names_that_are_too_long_and_identities_of_others_give_no_key() {
        let key = TlsKey::read(DERIVED[0].0).unwrap();
        let long = "x".repeat(223);
        assert!(key.psk(HOST, &long, TlsIdentity::Names).is_none() && key.psk(HOST, &long, TlsIdentity::Digest).is_some());
        for identity in ["", "NVMe0R01", "NVMe0R01 a", "NVMe2R01 a b", "NVMe0G01 a b", "Client_identity"] {
            assert_eq!(TlsPsk::names(identity), None, "{identity:?}");
        }
        assert!(Secret::read(DERIVED[0].0).is_err());
    }
}
