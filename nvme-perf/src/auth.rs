//! How this host shows who it is, and wants to be shown who the controller is.

use std::net::SocketAddr;

use nvme::Status;
use nvme::auth::{Host, LONGEST, Policy, Secret, Step};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::args;
use crate::error::Trouble;

/// What this host has to show, if anything.
#[derive(Clone)]
pub(crate) struct Proof {
    key: Option<Secret>,
    controller: Option<Secret>,
    hostnqn: String,
    subnqn: String,
}

impl Proof {
    pub(crate) fn new(host: &args::Host, hostnqn: &str, subnqn: &str) -> Self {
        Self { key: host.key.clone(), controller: host.controller_key.clone(), hostnqn: hostnqn.into(), subnqn: subnqn.into() }
    }

    /// A queue is asked.
    pub(crate) fn begin(&self, at: SocketAddr, qid: u16) -> Result<Host, Trouble> {
        let key = self.key.as_ref().ok_or(Trouble::NoKey { at })?;
        Ok(Host::new(Policy::default(), &self.hostnqn, &self.subnqn, key, self.controller.as_ref(), qid))
    }

    /// A queue is connected: a controller that does not ask shows nothing either.
    pub(crate) fn was_enough(&self, at: SocketAddr, was_asked: bool) -> Result<(), Trouble> {
        if self.controller.is_some() && !was_asked { Err(Trouble::NotAsked { at }) } else { Ok(()) }
    }
}

/// An I/O queue on which this host shows who it is.
pub(crate) struct Proving {
    end: Host,
    told: Vec<u8>,
}

impl Proving {
    pub(crate) fn new(end: Host) -> Self {
        Self { end, told: vec![0; LONGEST] }
    }

    pub(crate) fn step(&self) -> Step {
        self.end.step()
    }

    pub(crate) fn data(&self) -> &[u8] {
        self.end.data()
    }

    /// A part of what the controller says.
    pub(crate) fn told(&mut self, offset: u32, bytes: &[u8]) {
        self.told[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// The command of [`step`](Self::step) is done.
    pub(crate) fn done(&mut self, status: Status) {
        self.end.done(status, &self.told, &mut random);
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(some) => bytes = &mut bytes[some..],
            Err(Errno::INTR) => {}
            // Nobody is to go on with numbers that can be guessed.
            Err(why) => panic!("the system gives no random numbers: {why}"),
        }
    }
}
