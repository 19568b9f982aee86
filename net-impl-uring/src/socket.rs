//! Sockets of this backend, in no group and in one.

use std::collections::VecDeque;

use net_sockets::{Backend, Tcp};
use pool::{Buf, BufGroup, SendBuf};

/// What the backend is called.
pub(crate) const NAME: &str = "uring";

/// A socket in no group, or in one.
pub(crate) type UringSocket = Tcp<Own>;

/// What travels with a socket: bytes that had arrived when it left a group, and were not handed out
/// there.
#[derive(Default)]
pub(crate) struct Own(Vec<SendBuf>);

impl Backend for Own {
    const NAME: &'static str = NAME;
}

impl Own {
    /// Takes out what had arrived in the last group.
    pub(crate) fn unpack(&mut self, bufs: &BufGroup) -> VecDeque<Buf> {
        self.0.drain(..).map(|buf| buf.into_local(bufs)).collect()
    }

    /// Takes along what has arrived.
    pub(crate) fn pack(&mut self, kept: VecDeque<Buf>) {
        self.0.extend(kept.into_iter().map(Buf::into_send));
    }
}
