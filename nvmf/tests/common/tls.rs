//! Hosts whose connections are secured by TLS.

use std::task::Poll;

use nvme::auth::{TlsIdentity, TlsKey, TlsPsk};
use nvme_tls::{RECORD, Session};

use super::{Host, World};

/// Two keys of 32 bytes, and one of 48.
pub(crate) const KEYS: [&str; 3] = [
    "NVMeTLSkey-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
    "NVMeTLSkey-1:00:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
    "NVMeTLSkey-1:02:AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLIrqU+w==:",
];

pub(crate) fn key(at: usize) -> TlsKey {
    TlsKey::read(KEYS[at]).expect("a key")
}

pub(crate) fn psk(at: usize, hostnqn: &str, nqn: &str) -> TlsPsk {
    key(at).psk(hostnqn, nqn, TlsIdentity::Names).expect("names that fit")
}

impl World {
    /// From now on hosts connect at a port of that subsystem that takes TLS only, with this key.
    pub(crate) fn secure(&mut self, nqn: &str, offered: TlsPsk) {
        self.at = self.target.add_secure_listener(nqn, "127.0.0.1:0".parse().expect("an address")).expect("a listener");
        self.offered = Some(offered);
        self.sim.settle();
    }
}

impl Host {
    /// Moves what can be moved; `false` if this host has no session.
    pub(super) fn pump_secured(&mut self) -> bool {
        let Some(mut session) = self.session.take() else { return false };
        if session.is_open() {
            let out: Vec<u8> = self.out.drain(..).collect();
            // Where the session has ended the target has closed it.
            let _ = session.write(&out);
        }
        let mut buf = [0; 65536];
        loop {
            self.is_closed |= !send(&self.sock, session.output());
            match self.sock.read(&mut buf) {
                _ if self.is_closed || self.is_deaf => break,
                Poll::Ready(Ok(0) | Err(_)) => self.is_closed = true,
                Poll::Ready(Ok(n)) => match session.take(&buf[..n]) {
                    Ok(()) => self.read_all(&mut session),
                    Err(_) => self.is_closed = true,
                },
                Poll::Pending => break,
            }
        }
        self.session = Some(session);
        true
    }

    fn read_all(&mut self, session: &mut Session) {
        let mut record = vec![0; RECORD];
        loop {
            match session.read(&mut record) {
                Ok(0) => return,
                Ok(n) => self.feed(&record[..n]),
                Err(why) => panic!("{why}"),
            }
        }
    }
}

/// Whether the connection is there.
fn send(sock: &net_impl_mem::SimSocket, out: &mut Vec<u8>) -> bool {
    while !out.is_empty() {
        match sock.write(out) {
            Poll::Ready(Ok(n)) => drop(out.drain(..n)),
            Poll::Ready(Err(_)) => return false,
            Poll::Pending => break,
        }
    }
    true
}
