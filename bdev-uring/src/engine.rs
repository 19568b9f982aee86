//! Calls of one channel, as requests in the ring of its core.

// UNSAFETY: requests name memory that the kernel reads and writes; see `start`.
#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bdev::BdevError;
use bdev_file::{Call, Disk, Engine, Op};
use core_reactor::{Bell, Cx, WaitSource, Watch};
use core_uring::io_uring::{opcode, squeue, types};
use core_uring::{Inbox, Key, Member, Ring, Sizes};

use crate::no_ring;

/// The one operation of its keys, whose number is the slot.
const CALL: u8 = 1;

/// See the module's documentation.
pub(crate) struct Uring {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Watch,
    bell: OwnedFd,
    ring: Rc<Ring>,
    member: Member,
    inbox: Inbox,
    disk: Arc<Disk>,
}

impl Uring {
    pub(crate) fn new(cx: &mut Cx<'_>, disk: Arc<Disk>, depth: usize) -> Result<Self, BdevError> {
        let ring = Ring::here(Sizes::USUAL).map_err(no_ring)?;
        let bell = ring.bell().map_err(no_ring)?;
        let watch = cx.watch_bell(WaitSource(bell.as_raw_fd()), ring.clone());
        let watch = watch.map_err(|why| BdevError::invalid("uring", why.to_string()))?;
        // A call and its cancellation.
        let member = ring.io().join(2 * depth).map_err(no_ring)?;
        Ok(Self { _watch: watch, bell, ring, member, inbox: Inbox::new(member), disk })
    }

    fn entry(&self, call: &Call<'_>) -> squeue::Entry {
        let fd = types::Fd(self.disk.fd());
        let flags = if call.op == (Op::Write { lasts: true }) { libc::RWF_DSYNC } else { 0 };
        match (call.op, call.pieces) {
            // One piece, which the kernel need not fetch.
            (Op::Read, [one]) if let Ok(len) = u32::try_from(one.iov_len) => {
                opcode::Read::new(fd, one.iov_base.cast(), len).offset(call.at).build()
            }
            (Op::Write { .. }, [one]) if let Ok(len) = u32::try_from(one.iov_len) => {
                opcode::Write::new(fd, one.iov_base.cast(), len).offset(call.at).rw_flags(flags).build()
            }
            (Op::Read, pieces) => opcode::Readv::new(fd, pieces.as_ptr(), pieces.len() as u32).offset(call.at).build(),
            (Op::Write { .. }, pieces) => {
                opcode::Writev::new(fd, pieces.as_ptr(), pieces.len() as u32).offset(call.at).rw_flags(flags).build()
            }
            (Op::Sync, _) => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            (Op::Allocate(mode), _) => opcode::Fallocate::new(fd, call.len).offset(call.at).mode(mode).build(),
        }
    }
}

impl Engine for Uring {
    unsafe fn start(&mut self, slot: usize, call: Call<'_>) {
        let entry = self.entry(&call);
        // SAFETY: the caller's promise, for as long as the call is under way, which is until the
        // one completion of its key was taken.
        unsafe { self.ring.io().push(Key::new(self.member, CALL, slot as u64), entry) };
    }

    /// It lies in the ring behind the call that it is about, and before the next one of its slot.
    fn cancel(&mut self, slot: usize) {
        self.ring.io().cancel(Key::new(self.member, CALL, slot as u64));
    }

    fn poll(&mut self, back: &mut Vec<(usize, i32)>) {
        let io = &mut *self.ring.io();
        if io.wants_entry() {
            io.enter(self.member);
        }
        loop {
            while let Some(completion) = self.inbox.next() {
                if completion.key.op() == CALL {
                    back.push((completion.key.number() as usize, completion.result()));
                }
            }
            if !self.inbox.refill(io, usize::MAX) {
                break;
            }
        }
    }

    fn wait(&mut self, most: Duration) {
        if self.ring.arm() {
            let mut told = libc::pollfd { fd: self.bell.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let most = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
            // SAFETY: it reads and writes the one that it is given. That it was interrupted, its
            // one error here, is a wait that was shorter.
            unsafe { libc::poll(&raw mut told, 1, most) };
        }
        self.ring.disarm();
    }
}

impl Drop for Uring {
    /// Nothing of it but cancellations is with the kernel, or it was told that memory is lost.
    fn drop(&mut self) {
        self.ring.io().leave(self.member);
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("member", &self.member).finish_non_exhaustive()
    }
}
