//! TLS 1.3 with pre-shared keys, as NVMe over TCP has it (NVMe/TCP 1.0, 3.6.1): bytes of a socket
//! go in and come out, and so does what they carry. No socket, no thread, nothing that waits.
//!
#![doc = include_str!("../README.md")]
//!
//! ```text
//!   socket ──take──►┌─────────┐──read──► PDUs
//!                   │ Session │
//!   socket ◄─output─└─────────┘◄─write── PDUs
//! ```
//!
//! A host offers the keys that it has ([`Session::client`]); a target looks for one of them by its
//! identity ([`Acceptor`]). The keys are [`TlsPsk`]s, which come of what an administrator has
//! ([`nvme::auth::TlsKey`]). There are no certificates: who has no key has no connection.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod hello;
#[allow(unsafe_code, reason = "the library takes bytes by functions with a pointer")]
mod wire;

use core::fmt;
use core::pin::Pin;
use core::task::{Poll, Waker};

use nvme::auth::{Hash, TlsPsk};
use s2n_tls::callbacks::{ClientHelloCallback, ConnectionFuture};
use s2n_tls::config::{Builder, Config};
use s2n_tls::connection::{Builder as _, Connection};
use s2n_tls::enums::{Blinding, Mode, PskHmac};
use s2n_tls::error::Error;
use s2n_tls::psk::Psk;
use s2n_tls::security::{DEFAULT_TLS13, Policy};

use crate::wire::Wired;

/// A record of TLS carries so much at most: room for it is enough for [`Session::read`].
pub const RECORD: usize = 1 << 14;

/// Why there is no session, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The other end does not speak TLS.
    #[error("it does not speak TLS, and only who does is let in here")]
    NotTls,
    /// No key that was offered is known.
    #[error("no key is known for {0}; add the host with a psk")]
    Unknown(String),
    /// The other end has another key under the same name.
    #[error("it has another key than ours for {0}; compare the keys of both ends")]
    Key(String),
    /// The other end has told us so.
    #[error("it ends TLS with alert {0} ({1})")]
    Alert(u8, &'static str),
    /// All else.
    #[error("TLS: {0}")]
    Library(String),
}

/// Who takes hosts in.
#[derive(Clone)]
pub struct Acceptor(Config);

impl Acceptor {
    /// One that finds keys with `find`, which is called with each identity that a host offers until
    /// there is one.
    ///
    /// # Errors
    /// The library cannot be had.
    pub fn new(find: impl Fn(&str) -> Option<TlsPsk> + Send + Sync + 'static) -> Result<Self, TlsError> {
        let mut builder = builder(&DEFAULT_TLS13)?;
        builder.set_client_hello_callback(Finder(find)).map_err(other)?;
        Ok(Self(builder.build().map_err(other)?))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

/// One end of a connection.
pub struct Session {
    wired: Wired,
    is_open: bool,
    has_begun: bool,
    has_ended: bool,
    identity: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("identity", &self.identity).field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// How much is told of an identity, in characters: more than two names take.
const LONGEST_TOLD: usize = 512;

/// What a ClientHello came to.
struct Asked {
    identity: String,
    found: bool,
}

struct Finder<F>(F);

impl<F: Fn(&str) -> Option<TlsPsk> + Send + Sync + 'static> ClientHelloCallback for Finder<F> {
    fn on_client_hello(&self, connection: &mut Connection) -> Result<Option<Pin<Box<dyn ConnectionFuture>>>, Error> {
        let hello = connection.client_hello()?.raw_message()?;
        let offered = hello::identities(&hello);
        let found = offered.iter().find_map(|identity| (self.0)(identity));
        if let Some(key) = &found {
            connection.append_psk(&psk(key)?)?;
        }
        let identity = found.as_ref().map(|key| key.identity.as_str()).or(offered.first().copied());
        // It is a stranger's, and goes into logs.
        let identity = identity.unwrap_or("a host without one").chars().take(LONGEST_TOLD).flat_map(char::escape_debug).collect();
        connection.set_application_context(Asked { identity, found: found.is_some() });
        Ok(None)
    }
}

fn builder(policy: &Policy) -> Result<Builder, TlsError> {
    let mut builder = Builder::new();
    builder.set_security_policy(policy).map_err(other)?;
    // There are no certificates.
    builder.with_system_certs(false).map_err(other)?;
    Ok(builder)
}

fn psk(key: &TlsPsk) -> Result<Psk, Error> {
    let mut psk = Psk::builder()?;
    psk.set_identity(key.identity.as_bytes())?.set_secret(&key.secret)?;
    psk.set_hmac(if key.hash == Hash::Sha384 { PskHmac::SHA384 } else { PskHmac::SHA256 })?;
    psk.build()
}

fn other(why: Error) -> TlsError {
    TlsError::Library(format!("{}: {}", why.name(), why.message()))
}

impl Session {
    /// The host's end, with the keys that it offers, the one that it likes best first. The first
    /// bytes to send are in its output.
    ///
    /// # Errors
    /// A key cannot be used; the library cannot be had.
    pub fn client(keys: &[TlsPsk]) -> Result<Self, TlsError> {
        // Targets choose a cipher before they look at the keys: only such as go with them.
        let policy = match keys {
            [TlsPsk { hash: Hash::Sha384, .. }, ..] => Policy::from_version(SHA384_ONLY).map_err(other)?,
            _ => DEFAULT_TLS13,
        };
        let mut connection = builder(&policy)?.build().and_then(|config| config.build_connection(Mode::Client)).map_err(other)?;
        for key in keys {
            psk(key).and_then(|psk| connection.append_psk(&psk)).map_err(other)?;
        }
        let mut it = Self::new(connection).map_err(other)?;
        it.has_begun = true;
        it.shake_hands()?;
        Ok(it)
    }

    /// The target's end.
    ///
    /// # Errors
    /// The library has no memory.
    pub fn server(acceptor: &Acceptor) -> Result<Self, TlsError> {
        acceptor.0.build_connection(Mode::Server).and_then(Self::new).map_err(other)
    }

    fn new(mut connection: Connection) -> Result<Self, Error> {
        // Else it would sleep for seconds, with all that is on this core, where a host errs. A
        // wrong key ends the connection, and nothing is told of how far it was right.
        connection.set_blinding(Blinding::SelfService)?;
        connection.prefer_throughput()?;
        // The library asks for one even where nothing waits: keys are found at once.
        connection.set_waker(Some(Waker::noop()))?;
        let wired = Wired::new(connection)?;
        Ok(Self { wired, is_open: false, has_begun: false, has_ended: false, identity: String::new() })
    }

    /// Takes what came from the other end: [`read`](Self::read) has what it carries.
    ///
    /// # Errors
    /// The handshake has failed.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.has_ended {
            return Ok(());
        }
        if !self.has_begun {
            match bytes.first() {
                None => return Ok(()),
                Some(&HANDSHAKE) => self.has_begun = true,
                Some(_) => return Err(TlsError::NotTls),
            }
        }
        self.wired.wire().input.extend_from_slice(bytes);
        if self.is_open { Ok(()) } else { self.shake_hands() }
    }

    fn shake_hands(&mut self) -> Result<(), TlsError> {
        match self.wired.connection().poll_negotiate().map_ok(drop) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(why)) => {
                let why = self.refused(why);
                // The library keeps quiet. Nothing is encrypted yet where a key is refused.
                let alert = match &why {
                    TlsError::Unknown(_) => UNKNOWN_IDENTITY,
                    TlsError::Key(_) => DECRYPT_ERROR,
                    _ => return Err(why),
                };
                self.output().extend_from_slice(&[ALERT, 3, 3, 0, 2, FATAL, alert]);
                return Err(why);
            }
        }
        let connection = self.wired.peek();
        let mut identity = vec![0; connection.negotiated_psk_identity_length().map_err(other)?];
        connection.negotiated_psk_identity(&mut identity).map_err(other)?;
        self.identity = String::from_utf8(identity).unwrap_or_default();
        if self.identity.is_empty() {
            return Err(TlsError::Library("the other end took none of the keys".into()));
        }
        self.is_open = true;
        Ok(())
    }

    fn refused(&self, why: Error) -> TlsError {
        let connection = self.wired.peek();
        match (connection.alert(), connection.application_context::<Asked>()) {
            (Some(alert), _) => TlsError::Alert(alert, alert_name(alert)),
            (None, Some(asked)) if !asked.found => TlsError::Unknown(asked.identity.clone()),
            (None, Some(asked)) if !self.is_open && why.name() == WRONG_KEY => TlsError::Key(asked.identity.clone()),
            _ => other(why),
        }
    }

    /// What came, as much as there is room for; 0 is that there is no more now.
    ///
    /// # Errors
    /// What came was changed on its way, or is no TLS.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, TlsError> {
        if !self.is_open || self.has_ended {
            return Ok(0);
        }
        match self.wired.connection().poll_recv(into) {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(some)) => {
                self.has_ended = some == 0;
                Ok(some)
            }
            Poll::Ready(Err(why)) => Err(self.refused(why)),
        }
    }

    /// Encrypts all of these bytes to the output.
    ///
    /// # Errors
    /// The handshake is not over, or the session is.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            match self.wired.connection().poll_send(bytes) {
                Poll::Ready(Ok(some)) => bytes = &bytes[some..],
                Poll::Ready(Err(why)) => return Err(self.refused(why)),
                Poll::Pending => return Err(TlsError::Library("the session takes nothing".into())),
            }
        }
        Ok(())
    }

    /// What is to be sent to the other end; whoever sends it takes it out.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.wired.wire().output
    }

    /// Tells the other end that no more comes.
    pub fn close(&mut self) {
        if self.is_open {
            // Where it fails there is nobody to tell.
            let _ = self.wired.connection().poll_shutdown_send().map_ok(drop);
        }
    }

    /// Whether the handshake is over.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the other end has said that no more comes.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The identity of the key, once the handshake is over.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// The library's policy that has TLS_AES_256_GCM_SHA384 and no other.
const SHA384_ONLY: &str = "20250414";

/// The first byte of a ClientHello's record.
const HANDSHAKE: u8 = 0x16;

/// An alert's record, its level, and those that are sent here.
const ALERT: u8 = 0x15;
const FATAL: u8 = 2;
const DECRYPT_ERROR: u8 = 51;
const UNKNOWN_IDENTITY: u8 = 115;

/// What the library calls it when a binder, which proves that a host has the key, is wrong.
const WRONG_KEY: &str = "S2N_ERR_BAD_PSK_BINDER";

/// Alerts that other ends send (RFC 8446, 6).
fn alert_name(alert: u8) -> &'static str {
    match alert {
        10 => "unexpected message",
        20 => "bad record",
        40 => "handshake failure: it may not know the key",
        47 => "illegal parameter: the keys may differ",
        50 => "decode error",
        DECRYPT_ERROR => "decrypt error: the keys differ",
        70 => "protocol version",
        80 => "internal error",
        86 => "inappropriate fallback",
        109 => "missing extension",
        UNKNOWN_IDENTITY => "unknown identity: it does not know the key",
        116 => "certificate required: it does not know the key",
        _ => "see RFC 8446, 6",
    }
}

#[cfg(test)]
mod tests {
    use nvme::auth::{TlsIdentity, TlsKey};

    use super::*;

    /// A host goes on sending after it has said that it will not.
    #[test]
    fn s349_a_session_that_has_ended_keeps_nothing_of_what_comes() {
        let key = TlsKey::read("NVMeTLSkey-1:00:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:").unwrap();
        let key = key.psk("nqn.2014-08.org.example:host", "nqn.2014-08.org.example:disk", TlsIdentity::Names).unwrap();
        let known = key.clone();
        let acceptor = Acceptor::new(move |_| Some(known.clone())).unwrap();
        let (mut host, mut target) = (Session::client(&[key]).unwrap(), Session::server(&acceptor).unwrap());
        for _ in 0..4 {
            target.take(&std::mem::take(host.output())).unwrap();
            host.take(&std::mem::take(target.output())).unwrap();
        }
        assert_eq!((host.read(&mut [0; RECORD]).unwrap(), target.is_open()), (0, true));
        host.close();
        target.take(&std::mem::take(host.output())).unwrap();
        assert_eq!((target.read(&mut [0; RECORD]).unwrap(), target.has_ended()), (0, true));
        let before = target.wired.wire().input.len();
        for _ in 0..100 {
            target.take(&[0x17; 1000]).unwrap();
        }
        assert_eq!(target.wired.wire().input.len(), before);
    }
}
